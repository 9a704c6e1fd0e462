"""One evaluation as data: everything that determines its result, and the file it goes to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from robustmerge import __version__

from ...jobs.hashes import hash_of
from .contender import Contender

Kind = Literal["zero-shot", "expert", "joint", "merge"]
Protocol = Literal["default", "norm-matched", "geometric", "sweep"]
Rank = Literal["input", "full"]

SCALES: Mapping[Protocol, float | str] = {
    "default": 1.0,
    "norm-matched": "norm-matched",
    "geometric": "geometric-middle",
    "sweep": 1.0,
}
"""What a protocol has the merge scaled by; a sweep multiplies the default merge afterwards."""

_FORMER: Mapping[str, Mapping[str, Any]] = {
    "robustmerge": {"prune": True, "scaling": True, "normalize": True, "scale_from": "inter"}
}
"""Parameters that a method once had, at the values it has now: its former results are found."""

_DIGITS = 10  # of the hash in a file's name


@dataclass(frozen=True)
class Merge:
    """How a merge is made.

    Attributes:
        contender: The method and the steps around it.
        scale: The scale protocol.
        rank: Rank of the result.
    """

    contender: Contender
    scale: Protocol
    rank: Rank


@dataclass(frozen=True)
class EvaluationJob:
    """One model to be examined.

    Attributes:
        kind: What sort of model it is.
        tasks: The tasks it is examined on, by name, and whether they are seen ones.
        items: Test items per task.
        base: Folder of the base model.
        hashes: Of what is read: base, world, and each adapter by task.
        family: The sets of experts that differ by their seed only, '' for the base alone.
        seed: That seed.
        adapters: The adapters that are merged, or the one that is worn.
        task: The task of an expert.
        merge: How the adapters are merged.
        validation: Validation items per seen task, for a sweep; 0 without one.
        unlabeled: Validation items per seen task that a method which needs data is given without
            their answers; 0 for all others.
    """

    kind: Kind
    tasks: Mapping[str, bool]
    items: int
    base: Path
    hashes: Mapping[str, str]
    family: str = ""
    seed: int = 0
    adapters: tuple[Path, ...] = ()
    task: str = ""
    merge: Merge | None = None
    validation: int = 0
    unlabeled: int = 0
    version: str = field(default=__version__)

    @property
    def seen(self) -> list[str]:
        """The seen ones of the tasks."""
        return [task for task, is_seen in self.tasks.items() if is_seen]

    def facts(self) -> dict[str, Any]:
        """Everything that determines the result, as plain data without a path."""
        facts: dict[str, Any] = {
            "kind": self.kind,
            "family": self.family,
            "seed": self.seed,
            "task": self.task,
            "tasks": dict(self.tasks),
            "items": self.items,
            "validation": self.validation,
            "robustmerge": self.version,
            "hashes": dict(self.hashes),
        }
        if self.unlabeled:
            facts["unlabeled"] = self.unlabeled
        if self.merge:
            contender = self.merge.contender
            facts |= {
                "contender": contender.label,
                "method": contender.method,
                "parameters": {**contender.parameters, **_FORMER.get(contender.method, {})},
                "balance": list(contender.balance),
                "calibrate": list(contender.calibrate),
                "scale": self.merge.scale,
                "rank": self.merge.rank,
            }
        return facts

    @property
    def label(self) -> str:
        """A readable name; the same for jobs that differ only in what was trained."""
        parts = [f"{self.family}-{self.seed}"] if self.family else []
        if self.merge:
            parts += [self.merge.contender.label, self.merge.scale, self.merge.rank]
        else:
            parts += [self.kind, *filter(None, [self.task])]
        return " ".join(parts)

    @property
    def file(self) -> str:
        """Name of the result's file: the label and a hash of the facts."""
        key = hash_of(self.facts())[:_DIGITS]
        readable = re.sub(r"[^A-Za-z0-9.=]+", "-", self.label)[:120]
        return f"{readable}.{key}.json"
