"""The folder of statistics: one file per adapter and a record, whole or not at all."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from .._version import __version__
from ..adapter.reader import Adapter
from ..adapter.statistics import FILE, FORMAT
from ..adapter.tensor_files import hash_weights
from ..adapter.tensors import TensorSpec
from ..adapter.writer import SafetensorsWriter
from ..errors import MergeError, few
from ..files import expand_user, sha256, write_json
from ..outputs import ResultKind, check_target, whole_folder
from ..statistic_kinds import KINDS
from .live import AdapterStatistics

_TYPES = {torch.float64: "F64", torch.float32: "F32"}


def _listed_files(record: Mapping[str, Any]) -> Mapping[str, str]:
    return {entry["file"]: entry["sha256"] for entry in record["adapters"]}


KIND = ResultKind("a folder of statistics", FILE, _listed_files)


def save(
    gathered: Iterable[AdapterStatistics],
    adapters: Sequence[str | Path],
    output: str | Path,
    *,
    facts: Mapping[str, Any] | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Write statistics as a folder that `merge` takes as its data.

    Args:
        gathered: The statistics that `collect` returned.
        adapters: The same adapters as folders, in the same order.
        output: The folder to write; it appears whole or not at all.
        facts: More for the record, such as where the samples are from.
        force: Replace statistics that are already there.

    Returns:
        The record, as it is in statistics.json.

    Raises:
        MergeError: the statistics are of other adapters; nothing was written.
    """
    opened = [Adapter(source) for source in adapters]
    try:
        return write(gathered, opened, output, facts=[{} for _ in opened], force=force, more=facts)
    finally:
        for adapter in opened:
            adapter.close()


def write(
    gathered: Iterable[AdapterStatistics],
    adapters: Sequence[Adapter],
    output: str | Path,
    *,
    facts: Sequence[Mapping[str, Any]],
    force: bool,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write statistics of opened adapters, with facts about each and more about all.

    Raises:
        MergeError: the statistics are of other adapters; nothing was written.
    """
    target = expand_user(output)
    inputs = [*(a.folder for a in adapters), *_local(facts, more or {})]
    check_target(target, KIND, inputs, force=force)
    entries: list[dict[str, Any]] = []
    kinds: set[str] = set()
    with whole_folder(target, KIND, inputs, force=force) as folder:
        for n, statistics in enumerate(gathered):
            if n == len(adapters):
                raise MergeError(
                    f"statistics of more adapters than the {n} folders",
                    hint="name the folder of each, in their order",
                )
            _check(statistics, adapters[n])
            entries.append(_entry(statistics, adapters[n], n, folder) | dict(facts[n]))
            kinds |= {
                k for k, kind in KINDS.items() if any(_has(statistics, n) for n in kind.names)
            }
        if len(entries) < len(adapters):
            raise MergeError(
                f"statistics of {len(entries)} adapters for {len(adapters)} folders",
                hint="name the folder of each, in their order",
            )
        record = _record([k for k in KINDS if k in kinds], entries, more or {})
        write_json(folder / FILE, record)
    return record


def _local(facts: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> list[Path]:
    """Return the base and the files of samples, as far as they are on this machine."""
    names = [more.get("base"), *(fact.get("samples_file") for fact in facts)]
    return [path for path in map(expand_user, filter(None, names)) if path.exists()]


def _record(
    kinds: Sequence[str], entries: Sequence[Mapping[str, Any]], more: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "robustmerge": __version__,
        "what": list(kinds),
        **more,
        "adapters": list(entries),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
        },
    }


def _entry(statistics: AdapterStatistics, adapter: Adapter, n: int, folder: Path) -> dict[str, Any]:
    """Write an adapter's file; return its entry in the record."""
    label = re.sub(r"[^\w.-]+", "-", Path(adapter.label).name, flags=re.ASCII)[:60]
    path = folder / f"{n + 1}-{label}.safetensors"
    writer = SafetensorsWriter(
        path,
        {
            name: TensorSpec(_TYPES[t.dtype], tuple(t.shape))
            for name, t in statistics.tensors.items()
        },
    )
    try:
        for name, tensor in statistics.tensors.items():
            writer.write(name, tensor)
    except BaseException:
        writer.abandon()
        raise
    writer.close()
    return {
        "adapter": adapter.label,
        "weights": hash_weights(adapter.paths.weights),
        "file": path.name,
        "sha256": sha256(path),
        "samples": statistics.samples,
        "tokens": statistics.tokens,
        "unseen": list(statistics.unseen),
        "ranks": dict(statistics.ranks),
    }


def _check(statistics: AdapterStatistics, adapter: Adapter) -> None:
    """Check that statistics are of this adapter, by its modules and ranks."""
    ranks = {name: module.rank for name, module in adapter.modules.items()}
    if wrong := sorted(n for n, _ in ranks.items() ^ dict(statistics.ranks).items()):
        raise MergeError(
            f"the statistics of {statistics.adapter!r} are of other modules or ranks than "
            f"{adapter.label}",
            where=few(list(dict.fromkeys(wrong))),
            hint="give the folders of the adapters that were in the model, in their order",
        )


def _has(statistics: AdapterStatistics, name: str) -> bool:
    return any(tensor.endswith(f".{name}") for tensor in statistics.tensors)
