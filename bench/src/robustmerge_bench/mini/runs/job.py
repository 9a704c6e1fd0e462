"""One evaluation as data: everything that determines its result, and the name of its file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from robustmerge import __version__

from ...jobs.hashes import hash_of
from .contender import Contender

Kind = Literal["zero-shot", "expert", "joint", "merge"]

_FORMER: Mapping[str, Mapping[str, Any]] = {
    "robustmerge": {"prune": True, "scaling": True, "normalize": True, "scale_from": "inter"}
}
"""Parameters that a method once had, with their only values now, so that former results count."""

_DIGITS = 10  # of the hash in a file's name


@dataclass(frozen=True)
class EvaluationJob:
    """One model to evaluate.

    Attributes:
        kind: The base, an expert, the adapter trained on all tasks, or a merge.
        tasks: Tasks of the evaluation: whether each is a seen one, by name.
        items: Test items per task.
        hashes: Content hashes of the base, the world, and each adapter by task.
        family: Name of the expert sets that differ by their seed only; '' for the base alone.
        seed: That seed.
        adapters: The adapters to merge, or the one to load.
        task: The task of an expert.
        validation: Validation items per seen task, for a sweep; 0 without one.
        unlabeled: Validation items per seen task, without answers, for a method that needs data; 0
            for all others.
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
    merge: Contender | None = None
    validation: int = 0
    unlabeled: int = 0
    version: str = field(default=__version__)

    @property
    def seen(self) -> list[str]:
        """The seen tasks among them."""
        return [task for task, is_seen in self.tasks.items() if is_seen]

    def facts(self) -> dict[str, Any]:
        """Return everything that determines the result, as plain data without a path."""
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
            method = self.merge.method
            facts |= {
                "contender": self.merge.label,
                "method": method,
                "parameters": {**self.merge.parameters, **_FORMER.get(method, {})},
                "balance": list(self.merge.balance),
                "calibrate": list(self.merge.calibrate),
                "scale": self.merge.scale,
                "rank": self.merge.rank,
            }
            if polishing := self.merge.polishing:
                facts["polish"] = asdict(polishing)
        return facts

    @property
    def label(self) -> str:
        """A readable name; the same for jobs that differ only in their experts' training."""
        parts = [f"{self.family}-{self.seed}"] if self.family else []
        if self.merge:
            parts += [self.merge.label, self.merge.scale, self.merge.rank]
        else:
            parts += [self.kind, *filter(None, [self.task])]
        return " ".join(parts)

    @property
    def file(self) -> str:
        """Name of the result's file: the label and a hash of the facts."""
        key = hash_of(self.facts())[:_DIGITS]
        readable = re.sub(r"[^A-Za-z0-9.=]+", "-", self.label)[:120]
        return f"{readable}.{key}.json"
