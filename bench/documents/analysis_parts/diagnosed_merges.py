"""Merges of the laptop benchmark, made again and diagnosed once, and kept on disk.

A merge is diagnosed at its own scale. A tuned or norm-matched merge is the same with a factor on
it, which changes no figure but those of size (`SIZES`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import robustmerge
from robustmerge.diagnosis.pooled import Pooled
from robustmerge.diagnosis.tables import Diagnosis
from robustmerge_bench.mini.runs.contender import Contender

TABLES = ("kept", "directions")
"""Tables with a row for every adapter; the other two are of the merge as a whole."""

SIZES = ("coefficient", "gain", "ratio", "ratio_matched", "size")
"""Measures that a factor on the merge multiplies."""

POOLINGS = ("mean", "weighted")
NOT_A_FIGURE = ("repeated", "norm")  # a flag, and what `size` says of the merge as a whole


@dataclass(frozen=True, order=True)
class MergeId:
    """A merge of the benchmark.

    Attributes:
        label: Method and parameters, as `Contender` reads them.
        rank: input or full.
        count: How many experts are merged, the first ones.
    """

    label: str
    rank: str
    count: int


@dataclass(frozen=True)
class DiagnosedMerge:
    """A merge and its diagnosis.

    Attributes:
        whole: Figures of the merge.
        tasks: Figures of every merged adapter, in their order.
        seconds: What diagnosing took.
    """

    whole: Mapping[str, float]
    tasks: Mapping[str, Sequence[float]]
    seconds: float

    def at(self, factor: float) -> DiagnosedMerge:
        """Return the same with a factor on the merge."""
        return DiagnosedMerge(
            {k: v * factor if is_size(k) else v for k, v in self.whole.items()},
            {k: [x * factor for x in v] if is_size(k) else list(v) for k, v in self.tasks.items()},
            self.seconds,
        )

    def flat(self) -> dict[str, float]:
        """Return figures of the whole, and the mean and least of those of adapters."""
        flat = dict(self.whole)
        for name, values in self.tasks.items():
            flat[f"{name}, task mean"] = fmean(values)
            flat[f"{name}, least task"] = min(values)
        return flat


def is_size(name: str) -> bool:
    """Return whether a factor on the merge multiplies the figure."""
    return name.split(",")[0].rpartition(".")[2] in SIZES


class MergeCache:
    """A folder of merges and their diagnoses."""

    def __init__(self, experts: Sequence[Path], folder: Path) -> None:
        """Take the experts, in the benchmark's order, and the folder."""
        self._experts, self._folder = list(experts), folder
        self._weights = "".join(_hash(each / "adapter_model.safetensors") for each in experts)

    def merged(self, which: MergeId) -> Path:
        """Return the folder of a merge, and make it if it is missing."""
        path = self._folder / "merges" / self._name(which)
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            contender = Contender.parse(which.label)
            robustmerge.merge(
                self._experts[: which.count],
                path,
                method=contender.method,
                balance=contender.balance,
                calibrate=contender.calibrate,
                rank=which.rank,
                extras="mean",  # as the benchmark merges
                workers=1,
                **dict(contender.settings),
            )
        return path

    def diagnosed(self, which: MergeId) -> DiagnosedMerge:
        """Return the diagnosis of a merge, read if it was made before."""
        path = self._folder / "figures" / f"{self._name(which)}.json"
        if path.is_file():
            return DiagnosedMerge(**json.loads(path.read_text(encoding="utf-8")))
        merged, start = self.merged(which), perf_counter()
        experts = [str(each) for each in self._experts[: which.count]]
        diagnosis = figures(robustmerge.diagnose(experts, [str(merged)], workers=1))
        diagnosis["seconds"] = perf_counter() - start
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(diagnosis), encoding="utf-8")
        partial.replace(path)
        return DiagnosedMerge(**diagnosis)

    def _name(self, which: MergeId) -> str:
        contender = Contender.parse(which.label)
        facts = [contender.label, contender.parameters, which.rank, which.count, self._weights]
        text = json.dumps([robustmerge.__version__, *facts], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:10]
        return f"{which.label.replace(':', '-')}-{which.rank}-{which.count}.{key}"


def figures(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return every pooled figure of the only merge of a diagnosis, by table, part and measure."""
    merge = diagnosis.merged[0]
    energy = dict.fromkeys((*diagnosis.adapters, merge), 0.0)
    for row in diagnosis.spectra:
        energy[row.update] += row.weight
    whole = {"size": (energy[merge] ** 0.5) / fmean(energy[a] ** 0.5 for a in diagnosis.adapters)}
    for table in ("spectra", "noise"):
        for pooled in diagnosis.pooled(table):
            if merge in (pooled.words.get("update"), pooled.words.get("merged")):
                whole |= dict(_named(table, pooled))
    tasks: dict[str, list[float]] = {}
    for table in TABLES:
        rows = diagnosis.pooled(table)
        for adapter in diagnosis.adapters:
            for pooled in (row for row in rows if row.words["adapter"] == adapter):
                for name, value in _named(table, pooled):
                    tasks.setdefault(name, []).append(value)
    assert all(len(values) == len(diagnosis.adapters) for values in tasks.values())
    return {"whole": whole, "tasks": tasks}


def _named(table: str, pooled: Pooled) -> Iterable[tuple[str, float]]:
    path = ".".join(filter(None, (table, pooled.words.get("part"))))
    for measure, figure in pooled.figures.items():
        if measure not in NOT_A_FIGURE:
            for pooling in POOLINGS:
                yield f"{path}.{measure}, {pooling}", getattr(figure, pooling)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
