"""Planted bugs of searches for settings."""

from __future__ import annotations

from mutant import plant as _plant

_SEARCH = "tests/tuning/test_search.py"
_BATCHES = "tests/tuning/test_batches.py"
_SCALED = "tests/tuning/test_scaled.py"
_RANGES = "tests/tuning/test_ranges.py"

TUNING = (
    _plant(
        "a merge at a scale is the merge at 1",
        "tuning/scaled.py::rescale",
        "value *= factor_of(layout.canonical(key.module))",
        "value *= 1.0",
        _SCALED,
    ),
    _plant(
        "the first of two scales of a module counts",
        "tuning/scaled.py::scale_of",
        "reversed(scales)",
        "scales",
        _SCALED,
    ),
    _plant(
        "a starting value whose trial failed is not tried again",
        "tuning/search.py::Search._requeue",
        "if trial.state != TrialState.FAIL",
        "if trial",
        _SEARCH,
    ),
    _plant(
        "starting values end early like any others",
        "tuning/search.py::Search._report",
        'left and "start" not in trial.user_attrs and',
        "left and",
        _SEARCH,
    ),
    _plant(
        "trials of other processes do not count",
        "tuning/search.py::Search.run",
        "callbacks=[self.ended, MaxTrialsCallback(self.settings.trials, _FINISHED)]",
        "callbacks=[self.ended]",
        _SEARCH,
    ),
    _plant(
        "the held-out score of the best is that of the start",
        "tuning/run.py::_held_out",
        "scores_of(work.objective, merged), before",
        "before, before",
        _SEARCH,
    ),
    _plant(
        "a range does not become wider for a value outside of it",
        "tuning/ranges.py::Range.including",
        "min(self.low, value), max(self.high, value)",
        "self.low, self.high",
        _RANGES,
    ),
    _plant(
        "a trial at once that failed is drawn again, without end",
        "tuning/batches.py::run_batches",
        "to_draw -= count",
        "to_draw -= 0",
        _BATCHES,
    ),
    _plant(
        "trials at once are told the scores of the first",
        "tuning/batches.py::_run_batch",
        "results[first[_values(trial)].number]",
        "results[trials[0].number]",
        _BATCHES,
    ),
    _plant(
        "a failure of the first trial at once ends no search",
        "tuning/batches.py::_tell",
        "raise result.failure",
        "pass",
        _BATCHES,
    ),
)
