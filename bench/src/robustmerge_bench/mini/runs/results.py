"""The result of one job on disk: a JSON file that is written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robustmerge.errors import MergeError
from robustmerge.files import write_report

from ...jobs.stored import read_stored
from .job import EvaluationJob

FORMAT = 1


@dataclass(frozen=True)
class Result:
    """The result of an evaluation.

    Attributes:
        facts: The job's, as `EvaluationJob.facts` gives them.
        scores: Per task one score per item, 0 to 100, rounded to two decimals.
        factor: The update was multiplied by it when it was loaded; 1 without a sweep.
        sweep: Mean validation score by factor, and whether the best was the last one tried.
        seconds: Durations of merging, sweeping and answering.
    """

    facts: Mapping[str, Any]
    scores: Mapping[str, np.ndarray]
    factor: float = 1.0
    sweep: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Write the result, whole or not at all; a score that is not finite is a ValueError.

        It replaces none but an earlier result.
        """
        content = {
            "format": FORMAT,
            "job": dict(self.facts),
            "factor": self.factor,
            "sweep": dict(self.sweep),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "notes": list(self.notes),
            "scores": {task: _compact(values) for task, values in self.scores.items()},
        }
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        write_report(path, text + "\n", f'{{"format":{FORMAT},"job":')

    @classmethod
    def read(cls, path: Path) -> Result:
        """Read a result."""
        hint = "remove the file; the next run makes it again"
        return read_stored(path, _read, kind="result", format=FORMAT, hint=hint)


def _read(content: Mapping[str, Any]) -> Result:
    return Result(
        content["job"],
        {task: np.array(v, dtype=np.float64) for task, v in content["scores"].items()},
        float(content["factor"]),
        content["sweep"],
        content["seconds"],
        tuple(content["notes"]),
    )


def is_done(job: EvaluationJob, out: Path) -> bool:
    """Return whether a job's result is present, complete and about this job."""
    path = out / job.file
    if not path.is_file():
        return False
    try:
        result = Result.read(path)
    except MergeError:
        return False
    counts = {task: len(scores) for task, scores in result.scores.items()}
    # Written and read again, since JSON knows no tuples.
    facts = json.loads(json.dumps(job.facts()))
    return result.facts == facts and counts == dict.fromkeys(job.tasks, job.items)


def read_all(out: Path) -> list[Result]:
    """Return every result in a folder, by name."""
    results = [Result.read(path) for path in sorted(out.glob("*.json"))]
    if not results:
        raise MergeError(
            "no results", where=str(out), hint="make some: robustmerge bench mini run --out FOLDER"
        )
    return results


def _compact(values: np.ndarray) -> list[float | int]:
    """Round numbers to two decimals; whole ones have none."""
    return [int(v) if v == int(v) else v for v in (round(float(x), 2) for x in values)]
