"""`robustmerge tune`: the settings of a merge by a measure of the user's own."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from ..errors import MergeError
from .cluster import HERE, ClusterOptions
from .merge import DEFAULTS, CommandOptions, read_recipe
from .optional import needing
from .rows import LabeledRow, print_rows

if TYPE_CHECKING:  # they import optuna
    from ..tuning.report import TuneReport

_SEVERAL = Parameter(consume_multiple=True, negative="")


def tune(
    sources: Annotated[list[str], Parameter(consume_multiple=True)],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    score: Annotated[list[str] | None, Parameter(negative="")] = None,
    measure: str | None = None,
    search: Annotated[list[str] | None, _SEVERAL] = None,
    objective: Literal["mean", "worst"] = "mean",
    minimize: Annotated[bool, Parameter(negative="")] = False,
    trials: int = 50,
    timeout: float | None = None,
    sampler: Literal["tpe", "random", "qmc"] = "tpe",
    prune: bool = True,
    at_once: int = 1,
    held_out: float = 0.2,
    limit: int = 256,
    server: str = "",
    storage: str | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    options: Annotated[CommandOptions, Parameter(name="*")] = DEFAULTS,
    cluster: Annotated[ClusterOptions, Parameter(name="*")] = HERE,
    device: str = "cpu",
    workers: int | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Search the settings of a merge by a measure of your own, and write the best.

    The search begins at the closed-form values: the merge as it is, and the scales of all rules.
    OUTPUT gets tune.json, the best recipe.yaml and its merge; stopped, the same command goes on.

    Args:
        sources: Adapter folders or Hub ids owner/name[@revision][:subfolder], or one recipe.yaml.
        output: Folder of the search.
        score: A command that prints a number, such as 'python my_eval.py {adapter}'; given several
            times as NAME='…', one per task. {split} stands for tuning or held-out.
        measure: In place of --score: likelihood of the --samples' answers, agreement with the
            adapters' own answers (no labels), or a metric of robustmerge-bench such as exact-match.
        search: What is moved: scale, weights, method:ties,drift, parameters or
            parameters:density=0.1..0.5, projections. scale and weights unless given.
        objective: mean of all tasks, or the worst.
        minimize: Smaller scores are better.
        trials: How many in all, those of earlier runs included.
        timeout: Seconds after which no new trial begins.
        sampler: One of Optuna's.
        prune: End a trial early whose tasks so far are below the median, where trials run one by
            one.
        at_once: Trials that are drawn together and scored side by side on a cluster, or here one
            after the other.
        held_out: Share of every file of samples that no trial sees, for the report.
        limit: Samples used of each file, the first ones.
        server: URL of a server that loads adapters at run time, as vLLM does.
        storage: An URL of Optuna, such as that of a database; a file in OUTPUT unless given.
        set_: A parameter of the method as name=value, which is not searched.
        options: Options that a recipe has, too.
        cluster: Where trials run.
        device: Where models run and merges are computed: cpu or cuda.
        workers: Modules computed side by side; all cores unless given.
        json: Print the report as JSON.
    """
    if (measure is None) == (score is None):
        raise MergeError(
            "one measure is needed",
            where="--score, --measure",
            hint="--score 'python my_eval.py {adapter}', or --measure likelihood or agreement",
        )
    with needing("tuning", "robustmerge[tune]"):
        from ..tuning.command import read_commands
        from ..tuning.run import tune_recipe
        from ..tuning.search import SearchSettings

    recipe, _ = read_recipe(sources, options, set_ or [])
    screen = Console(stderr=True, soft_wrap=True, highlight=False)
    with needing("a measure that runs a model", "robustmerge[collect]"):
        report = tune_recipe(
            recipe,
            output,
            search=search or ("scale", "weights"),
            measure=measure or "command",
            commands=read_commands(score or []),
            settings=SearchSettings(
                trials, timeout, recipe.seed, objective, minimize, sampler, prune, at_once
            ),
            engine=cluster.engine(),
            server=server,
            held_out=held_out,
            limit=limit,
            storage=storage,
            device=device,
            workers=workers,
            ended=lambda so_far, number: _print_trial(so_far, number, screen),
        )
    if json:
        print(json_format.dumps({"output_folder": str(output), **report.record()}, indent=2))
    else:
        print_rows(Console(soft_wrap=True, highlight=False), list(_rows(report)))
        print(f"\nnext: robustmerge check {output / 'merged'} --base BASE_MODEL")


def _print_trial(report: TuneReport, number: int, screen: Console) -> None:
    """Print the trial that has just ended, in one line."""
    trial = report.trial(number)
    values = ", ".join(f"{name}: {_short(value)}" for name, value in trial["values"].items())
    if trial["state"] == "fail":
        result = f"failed: {trial.get('failure', 'interrupted').splitlines()[0]}"
    elif trial["state"] == "pruned":
        result = f"ended early after {len(trial.get('scores', {}))} tasks"
    else:
        result = f"{_short(trial['value'])}{', the best' if report.best == trial['number'] else ''}"
    screen.print(f"trial {trial['number']}: {result}  ({values})", markup=False)


def _rows(report: TuneReport) -> Iterator[LabeledRow]:
    assert report.best is not None
    best, states = report.trial(report.best), [trial["state"] for trial in report.trials]
    yield LabeledRow(
        "trials",
        f"{states.count('complete')} complete, {states.count('pruned')} ended early, "
        f"{states.count('fail')} failed",
    )
    yield LabeledRow("best", f"trial {report.best}: {_short(best['value'])}{_tasks(best)}")
    for name, value in best["values"].items():
        yield LabeledRow("", f"{name}: {_short(value)}")
    yield LabeledRow("start", _start(report))
    if report.held_out:
        after, before = (_mean(s) for s in (report.held_out, report.held_out_start))
        yield LabeledRow(
            "held out",
            f"{_short(after)} on average, {_short(before)} at the start, on what no trial has seen",
        )
    else:
        yield LabeledRow("held out", "nothing: the best is better than it will be elsewhere")
    spent = report.spent
    yield LabeledRow(
        "spent",
        f"{spent['seconds_in_all']:.0f} s, {spent['seconds']:.0f} s of them on "
        f"{spent['merges']:.0f} merges and {spent['rescaled']:.0f} changes of scale",
    )
    yield LabeledRow("written to", str(report.output))


def _start(report: TuneReport) -> str:
    if report.start is None:  # its trial failed or was killed, and all later ones came first
        return "not scored; the same command with more --trials does that"
    start = report.trial(report.start)
    return f"trial {report.start}: {_short(start['value'])}{_tasks(start)}"


def _tasks(trial: Mapping[str, Any]) -> str:
    scores = trial["scores"]
    if len(scores) == 1:
        return ""
    return " (" + ", ".join(f"{task} {_short(score)}" for task, score in scores.items()) + ")"


def _mean(scores: Mapping[str, float]) -> float:
    return sum(scores.values()) / len(scores)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
