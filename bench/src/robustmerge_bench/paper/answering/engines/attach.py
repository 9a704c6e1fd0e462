"""A base model with one adapter in it, whatever layout the adapter is in.

PEFT drops tensors whose names it does not know, with a warning at most, and the bare base would be
measured. So older layouts are rewritten first, parameters in a file next to the adapter are copied
into the model, and every tensor must be in the model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import torch

from robustmerge import merge
from robustmerge.adapter import layout
from robustmerge.adapter.reader import Adapter
from robustmerge.adapter.source import locate
from robustmerge.adapter.tensor_files import BESIDE, NON_LORA
from robustmerge.adapter.tensors import open_tensors
from robustmerge.collect.load import attach_adapters, load_base
from robustmerge.errors import MergeError, few


def load(base: str, adapter: str | None, *, device: torch.device, dtype: torch.dtype) -> Any:
    """Load the base with the adapter, ready to generate.

    The adapter is added to the weights as in the released scripts, or stays separate: `folds`.

    Base and adapter are folders or Hub ids. Without an adapter, the base alone is loaded.
    """
    with catch_warnings():
        simplefilter("ignore", FutureWarning)  # of the libraries' calls to each other
        model = load_base(base, dtype)
        if adapter is not None:
            model = _with_adapter(model, base, adapter, fold=folds(dtype))
        return model.to(device).eval().requires_grad_(False)


def folds(dtype: torch.dtype) -> bool:
    """Return whether the adapter is added to the weights.

    Not in bfloat16: its steps are as large as an update, and most of it would be rounded away.
    """
    return dtype != torch.bfloat16


def _with_adapter(model: Any, base: str, source: str, *, fold: bool) -> Any:
    with current_layout(source) as folder:
        _copy_extras(model, folder)
        with closing(Adapter(folder, dora=True)) as adapter:
            adapter.label = source
            peft = attach_adapters(model, base, [adapter], ["default"])
    return peft.merge_and_unload() if fold else peft.get_base_model()


@contextmanager
def current_layout(source: str) -> Iterator[Path]:
    """Yield the adapter's folder, or a rewritten one where PEFT would not know its names.

    The source is a folder or Hub id.
    """
    folder = locate(source)
    with closing(Adapter(folder, dora=True)) as adapter:
        known = adapter.layout == layout.HF and not (folder / NON_LORA).is_file()
        dora = adapter.config.dora
    if known:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="robustmerge-") as name:
        rewritten = Path(name) / "adapter"
        merge(
            [folder],
            rewritten,
            method="task-arithmetic",
            layout="hf",
            dtype="float32",
            dora="mean" if dora else "refuse",
            extras_in="beside" if (folder / BESIDE).is_file() else "adapter",
            workers=1,
        )
        yield rewritten


def _copy_extras(model: Any, folder: Path) -> None:
    """Copy parameters in a file next to the adapter into the base."""
    if not (folder / BESIDE).is_file():
        return
    live = {layout.canonical(name): tensor for name, tensor in model.state_dict().items()}
    with closing(open_tensors(folder / BESIDE)) as file:
        absent = [name for name in file.specs if layout.canonical(name) not in live]
        if absent:
            raise MergeError(
                f"{len(absent)} of {len(file.specs)} parameters are not in the model: "
                f"{few(absent)}",
                where=str(folder / BESIDE),
                hint="--base is the model the adapter was trained on",
            )
        for name in file.specs:
            live[layout.canonical(name)].copy_(file.read(name))
