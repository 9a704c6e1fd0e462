"""Whether an adapter folder is really in a live model: PEFT only warns if it is not."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import closing
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor, nn

from ..adapter import layout
from ..adapter.keys import Part, parse
from ..adapter.source import locate
from ..adapter.tensor_files import AdapterFiles
from ..adapter.tensors import open_tensors
from ..errors import MergeError, few, unknown

_RENAMED = """PEFT drops names it does not know; if they are of an older layout, `robustmerge \
merge FOLDER -o NEW --method task-arithmetic --layout hf` rewrites them"""


def landed(model: PeftModel, folder: str | Path, adapter_name: str = "default") -> None:
    """Check that every tensor of an adapter folder is in the model, bit for bit in its type there.

    PEFT ignores tensors whose names it does not know, with a warning at most. Names are compared in
    the canonical layout. Fully trained parameters in a file next to the adapter are checked, too.

    Args:
        model: The model the adapter was loaded into.
        folder: The adapter's folder, or its Hub id.
        adapter_name: The adapter's name in the model.

    Raises:
        MergeError: a tensor that is not in the model, or has other values there
    """
    check_known(model, adapter_name)
    live = _live_tensors(model, adapter_name)
    local, total = locate(str(folder)), 0
    absent, different = [], []
    paths = AdapterFiles.find(local, str(folder))
    for path in (*paths.own, *paths.beside):
        with closing(open_tensors(path)) as file:
            total += len(file.specs)
            for name in file.specs:
                tensor = live.get(_identity(name))
                if tensor is None:
                    absent.append(name)
                elif not torch.equal(tensor.cpu(), file.read(name).to(tensor.dtype)):
                    different.append(name)
    if absent or different:
        kinds = {"absent": absent, "other values": different}
        raise MergeError(
            f"{len(absent) + len(different)} of {total} tensors are not in the model",
            where="\n".join([str(folder), *(f"{k}: {few(v)}" for k, v in kinds.items() if v)]),
            hint=_RENAMED if absent else f"{adapter_name!r} in the model is another adapter",
        )


def check_known(model: nn.Module, adapter: str) -> None:
    """Check that this is a PeftModel with this adapter."""
    if not isinstance(model, PeftModel):
        raise MergeError(
            f"a {type(model).__name__} is not a PeftModel",
            hint="PeftModel.from_pretrained(base, folder) makes one",
        )
    if adapter not in model.peft_config:
        raise unknown("adapter", adapter, model.peft_config, where="adapters of the model")


def _live_tensors(model: PeftModel, adapter: str) -> dict[Hashable, Tensor]:
    """Return an adapter's tensors in a model, and those of the base, by their identity."""
    base = {
        _identity(name): tensor
        for name, tensor in model.state_dict().items()
        if ".lora_" not in name and ".modules_to_save." not in name
    }
    own = get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)
    return base | {_identity(name): tensor for name, tensor in own.items()}


def _identity(name: str) -> Hashable:
    """Return what identifies a tensor in any layout; a name that no adapter has is itself."""
    key = parse(name)
    if key is None:
        return name
    if key.part is Part.FULL:
        return layout.canonical(f"{key.module}.{key.leaf}".lstrip("."))
    return layout.canonical(key.module), key.part, key.leaf
