"""Bugs in gradient steps after a merge: batches, targets, loss, start, what is kept."""

from __future__ import annotations

from mutant import Mutant, plant


def _plant(bug: str, at: str, code: str, planted: str, test: str) -> Mutant:
    return plant(f"polish: {bug}", f"polish/{at}", code, planted, f"tests/polish/{test}")


POLISH = (
    _plant(
        "sequences are filled up on the left",
        "batches.py::_filled",
        "(0, missing)",
        "(missing, 0)",
        "test_batches.py",
    ),
    _plant(
        "the divergence is that of the model from the adapter",
        "targets.py::TargetDistribution.divergence",
        "(log_p.exp() * (log_p - log_q)).sum(-1)",
        "(log_q.exp() * (log_q - log_p)).sum(-1)",
        "test_targets.py",
    ),
    _plant(
        "the words that are not kept are forgotten",
        "targets.py::TargetDistribution.divergence",
        "return total + rest.exp() * (rest - left)",
        "return total",
        "test_targets.py",
    ),
    _plant(
        "weights of tasks ignored",
        "distill.py::_Training._step",
        "self._tasks[task].weight / positions[task]",
        "1 / len(self._tasks) / positions[task]",
        "test_distill.py",
    ),
    _plant(
        "the last factors are kept, not the best",
        "distill.py::_Training._look",
        "if value < best:",
        "if True:",
        "test_distill.py",
    ),
    _plant(
        "training starts from whichever factors the merge has",
        "trainable.py::balanced",
        "return parts.cut(numerical_rank(parts.S))[0]",
        "return update",
        "test_distill.py",
    ),
    _plant(
        "trained factors are not written",
        "folder.py::polish_folder",
        "if factors is not start:",
        "if False:",
        "test_merge.py",
    ),
)
