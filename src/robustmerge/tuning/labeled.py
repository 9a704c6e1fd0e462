"""The samples that objectives score on: one task per file, its last part held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..collect.samples import Sample, Samples
from ..errors import MergeError
from .objective import ObjectiveSetup, Split


@dataclass(frozen=True)
class TaskSamples:
    """The samples of one task.

    Attributes:
        name: The file's name without its ending; with a number where two files have one name.
        sha256: Hash of the file.
        tuning: What a search sees.
        held_out: What only the report sees.
    """

    name: str
    sha256: str
    tuning: tuple[Sample, ...]
    held_out: tuple[Sample, ...]

    def of(self, split: Split) -> tuple[Sample, ...]:
        """Return the samples of a part."""
        return self.tuning if split == "tuning" else self.held_out

    @property
    def facts(self) -> Mapping[str, Any]:
        """What decides scores on them."""
        return {
            "sha256": self.sha256,
            "tuning": len(self.tuning),
            "held_out": len(self.held_out),
        }


def read_tasks(setup: ObjectiveSetup, *, answered: bool) -> tuple[TaskSamples, ...]:
    """Read the files of samples; the last `held_out` of each is held out, rounded down.

    Args:
        setup: With the files.
        answered: Whether every sample has to have an answer.

    Raises:
        MergeError: no files, or a sample without an answer that has to have one.
    """
    files = setup.recipe.samples
    if not files:
        raise MergeError(
            "the measure needs samples",
            where="--samples",
            hint="one file of JSON lines per task; or a command of your own: --score",
        )
    if not 0 <= setup.held_out < 1:
        raise MergeError(
            f"{setup.held_out} is no share of the samples", where="--held-out", hint="such as 0.2"
        )
    names = _distinct([Path(file).stem for file in files])
    return tuple(
        _task(name, Samples.read(file, setup.limit), setup.held_out, answered)
        for name, file in zip(names, files, strict=True)
    )


def splits_of(tasks: Sequence[TaskSamples]) -> tuple[Split, ...]:
    """Return the parts that every task has."""
    return ("tuning", "held-out") if all(t.held_out for t in tasks) else ("tuning",)


def _task(name: str, file: Samples, share: float, answered: bool) -> TaskSamples:
    for sample in file.samples:
        if answered and sample.answer is None:
            raise MergeError(
                "a sample without an answer",
                where=sample.where,
                hint='"answer": "…" in every line; --measure agreement needs no answers',
            )
    count = len(file.samples) - int(share * len(file.samples))
    return TaskSamples(name, file.sha256, file.samples[:count], file.samples[count:])


def _distinct(names: Sequence[str]) -> list[str]:
    return [
        f"{name}-{number}" if names.count(name) > 1 else name
        for number, name in enumerate(names, 1)
    ]
