"""The result of scoring one task: a value, its interval, and its samples.

Methods are compared on the same samples, so a score keeps a row for every sample. Most figures are
means of one number a sample. Those of caption sets are not: BLEU divides sums by sums. So a row
holds numbers whose sums over samples give the figure, and `resampled` computes the figure for
any number of resampled sets at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from robustmerge.files import write_report

from ..jobs.stored import read_stored
from ..results.resampling import DRAWS, LEVEL, times_taken
from .figures import FIGURES

FORMAT = 1
Protocol = Literal["official", "fixed"]
_BLOCK = 2_000_000  # numbers in memory at a time: 16 MB, some times over
_NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Score:
    """The score of the predictions of one task.

    Attributes:
        task: Name of the task.
        protocol: Rules by which it was scored.
        figure: How the value comes from the rows; one of `figures.FIGURES`.
        ids: The samples, as their file calls them.
        rows: What the figure is computed from [samples, columns]; columns depend on the figure.
        empty: Share of answers without a character, 0 to 1.
        unparsable: Share of answers without the requested form, such as a box, 0 to 1.
        parts: Other figures of the same predictions, such as each caption metric, in percent.
        missing: Names of metrics that belong to the value, and that could not be computed: the
            value is of the others.
        chance: The score of guessing, in percent; None where that is unknown.
    """

    task: str
    protocol: Protocol
    figure: str
    ids: tuple[str | int, ...]
    rows: Float[np.ndarray, "samples columns"]
    empty: float = 0.0
    unparsable: float = 0.0
    parts: Mapping[str, float] = field(default_factory=lambda: _NONE)
    missing: tuple[str, ...] = ()
    chance: float | None = None

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.rows)

    @property
    def value(self) -> float:
        """The score, in percent but for MME's points."""
        return float(self.resampled(np.ones((1, self.n), int))[0])

    def resampled(self, times: Int[np.ndarray, "draws samples"]) -> Float[np.ndarray, " draws"]:
        """Return the score of resampled sets, from how often each has every sample."""
        return FIGURES[self.figure](times @ self.rows, times.sum(axis=1))

    def interval(self, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
        """Return the bootstrap interval of the value over samples."""
        random, step = np.random.default_rng(seed), max(1, _BLOCK // self.n)
        parts = [min(step, draws - done) for done in range(0, draws, step)]
        values = np.concatenate([self.resampled(times_taken(random, n, self.n)) for n in parts])
        low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON, with value, n and interval for readers of the file."""
        low, high = self.interval()
        return {
            "format": FORMAT,
            "task": self.task,
            "protocol": self.protocol,
            "value": self.value,
            "interval": [low, high],
            "n": self.n,
            "empty": self.empty,
            "unparsable": self.unparsable,
            "chance": self.chance,
            "parts": dict(self.parts),
            "missing": list(self.missing),
            "figure": self.figure,
            "ids": list(self.ids),
            "rows": self.rows.tolist(),
        }

    def write(self, path: Path) -> None:
        """Write the score, whole or not at all; it replaces none but an earlier score."""
        text = json.dumps(self.as_dict(), ensure_ascii=False) + "\n"
        write_report(path, text, f'{{"format": {FORMAT}, "task": ')

    @classmethod
    def read(cls, path: Path) -> Score:
        """Read a score."""
        hint = "`robustmerge bench score --json` and `bench study` write such files"
        return read_stored(path, _score, kind="score", format=FORMAT, hint=hint)


def _score(content: Mapping[str, Any]) -> Score:
    ids = tuple(content["ids"])
    return Score(
        task=content["task"],
        protocol=content["protocol"],
        figure=content["figure"],
        ids=ids,
        rows=np.array(content["rows"], float).reshape(len(ids), -1),
        empty=content["empty"],
        unparsable=content["unparsable"],
        parts=content["parts"],
        missing=tuple(content["missing"]),
        chance=content["chance"],
    )
