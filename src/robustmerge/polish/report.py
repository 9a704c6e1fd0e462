"""What polishing did, for merge.json and for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

from ..engine.polishing import PolishSettings
from ..engine.run import RunFacts
from .distill import Distilled, DistilledTask

_SLIGHT = 0.6
"""Divergence of an adapter from the base below which its samples may be another task's.

0.00 to 0.55 on another task's in seven of eight cases on the laptop benchmark, 0.77 to 8.55 on its
own.
"""
_LIBRARIES = ("transformers", "peft", "accelerate")


@dataclass(frozen=True)
class TaskDivergence:
    """A task's divergences from its adapter's distributions, on prompts that were not fitted.

    On the fitted ones where no prompt was held out.

    Attributes:
        adapter: The adapter's label.
        samples: Hash of the file of samples.
        task: The prompts.
        base: KL(adapter ‖ base), mean over answer positions.
        before: KL(adapter ‖ merge).
        after: KL(adapter ‖ polished merge).
    """

    adapter: str
    samples: str
    task: DistilledTask
    base: float
    before: float
    after: float

    def record(self) -> dict[str, object]:
        """Return the entry of merge.json."""
        return {
            "adapter": self.adapter,
            "samples_sha256": self.samples,
            "prompts": len(self.task.fitted),
            "held_out": len(self.task.held_out),
            "base": round(self.base, 5),
            "before": round(self.before, 5),
            "after": round(self.after, 5),
        }

    def line(self) -> str:
        """Return the divergences of base, merge and polished merge in words."""
        kind = "held-out" if self.task.held_out else "fitted"
        prompts = len(self.task.held_out) or len(self.task.fitted)
        values = f"{self.base:.3g}, {self.before:.3g}, {self.after:.3g}"
        return f"{values} on {prompts} {kind} prompts"


def report_polish(
    settings: PolishSettings,
    rate: float,
    result: Distilled,
    divergences: Sequence[TaskDivergence],
) -> RunFacts:
    """Gather what was done."""
    if result.kept:
        what = f"{result.done} steps, of which the {result.kept}th is kept"
    else:
        what = f"{result.done} steps, none of which is better on held-out prompts: all undone"
    return RunFacts(
        {
            **asdict(settings),
            "rate": rate,
            "done": result.done,
            "kept": result.kept,
            "held_out_divergence": {step: round(v, 5) for step, v in result.curve.items()},
            "tasks": [each.record() for each in divergences],
            "versions": {name: version(name) for name in _LIBRARIES},
        },
        {
            "polished": what,
            "divergence": "from each adapter, of base, merge and polished merge:",
            **{each.adapter: each.line() for each in divergences},
        },
        tuple(_warnings(result, divergences)),
    )


def _warnings(result: Distilled, divergences: Sequence[TaskDivergence]) -> Iterator[str]:
    for each in divergences:
        if each.base < _SLIGHT:
            yield (
                f"{each.adapter} hardly differs from the base on its samples (divergence "
                f"{each.base:.2f}): are they its own?"
            )
        if not each.task.held_out:
            yield f"no prompt of {each.adapter} is held out: its samples are fewer than five"
        elif each.after > each.before and result.kept:
            yield (
                f"{each.adapter} is further from its own answers than before polishing "
                f"({each.before:.3g}, now {each.after:.3g})"
            )
    if not result.kept:
        yield "polishing changed nothing: the merge is best on held-out prompts as it is"
