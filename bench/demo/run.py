"""Merge eight LoRA experts of a tiny LLaVA, and score the merges on twelve tasks.

    python bench/demo/run.py [--out FOLDER] [--methods NAME ...] [--scale SCALE]

Base and experts come with the repository, so nothing is trained and nothing is downloaded: it takes
about two minutes on two cores. `--methods every` merges by all methods that need no data, which
takes some minutes more.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import robustmerge
import texts
from answers import TaskAnswers, answer_all, quiet
from page import PageRow, page
from robustmerge_bench.mini.artifact import Artifact, verify
from robustmerge_bench.mini.runs.unlabeled import SAMPLES, write_all_samples
from robustmerge_bench.mini.tasks import SEEN, TASKS, UNSEEN

ARTIFACT = Path(__file__).parents[1] / "artifacts" / "mini"
ITEMS = 100  # per task: enough for a look; the benchmark itself asks 500
PROMPTS = 40  # per task: RELAY fits 32 and measures itself on 8

results, progress = Console(highlight=False), Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Merge:
    """A method, a scale as a number or a rule, and the rank of the result."""

    method: str
    scale: str = "1"
    rank: str = "full"

    @property
    def name(self) -> str:
        """Its name in tables."""
        parts = [self.method, *([self.scale] if self.scale != "1" else [])]
        return ", ".join(parts if self.rank == "full" else [*parts, f"rank {self.rank}"])

    @property
    def runs_the_base(self) -> bool:
        """Whether the method needs the base and prompts of the tasks."""
        return self.method in [method.name for method in robustmerge.methods.with_model()]

    def write(self, artifact: Artifact, folder: Path) -> Path:
        """Merge the experts into a folder, and show the command that does the same."""
        out = folder / "merged" / self.name.replace(", ", "-").replace(" ", "-")
        options = ["--scale", self.scale] if self.scale != "1" else []
        options += ["--rank", self.rank] if self.rank != "input" else []
        needs: dict[str, Any] = {}
        if self.runs_the_base:
            needs = {"base": artifact.base, "samples": write_prompts(folder)}
            options += ["--base", str(artifact.base), "--samples", f"{folder / 'prompts'}/..."]
        command = ["merge", "EXPERTS...", "-o", str(out), "--method", self.method, *options]
        progress.print(f"$ robustmerge {shlex.join(command)}", soft_wrap=True)
        number = self.scale.replace(".", "", 1).isdigit()
        robustmerge.merge(
            list(artifact.experts.values()),
            out,
            method=self.method,
            scale=float(self.scale) if number else self.scale,
            rank=self.rank,
            force=True,
            **needs,
        )
        return out


MERGES = (
    Merge("drift"),
    Merge("relay"),
    Merge("robustmerge"),
    Merge("task-arithmetic", "norm-matched"),
    Merge("ties"),
    Merge("tsv-m"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Merge, examine, report."""
    options = parse_options(arguments)
    start = monotonic()
    quiet()
    try:
        run(options)
    except robustmerge.MergeError as error:
        progress.print("error: ", style="bold red", end="")
        progress.print(str(error), markup=False)
        sys.exit(1)
    progress.print(f"{monotonic() - start:.0f} s in all")


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for all files")
    parser.add_argument("--methods", nargs="+", default=[], help="merge methods, or `every`")
    parser.add_argument("--scale", help="a number or a rule, as robustmerge merge has")
    parser.add_argument("--rank", help="of the merges: input, full or a number")
    parser.add_argument("--items", type=int, default=ITEMS, help="test questions per task")
    parser.add_argument("--seed", type=int, default=0, help="draws other test questions")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    parser.add_argument("--artifact", type=Path, default=ARTIFACT, help="base and experts")
    return parser.parse_args(arguments)


def select_merges(names: Sequence[str], scale: str | None, rank: str | None) -> tuple[Merge, ...]:
    """Return the merges to make; a given scale or rank holds for all of them."""
    if list(names) == ["every"]:
        names = [method.name for method in robustmerge.methods.every() if not method.needs]
    merges = tuple(Merge(name) for name in dict.fromkeys(names)) or MERGES
    options = {key: value for key, value in (("scale", scale), ("rank", rank)) if value}
    return tuple(dict.fromkeys(replace(merge, **options) for merge in merges))


def run(options: argparse.Namespace) -> None:
    """Run the demo.

    Raises:
        MergeError: the artifact is not as its manifest says, or a merge is not possible.
    """
    merges = select_merges(options.methods, options.scale, options.rank)
    artifact = verify(options.artifact)
    progress.print(f"{options.artifact}: every file as its manifest says")
    merged = {merge.name: merge.write(artifact, options.out) for merge in merges}
    answers = answer_everything(artifact, merged, options)
    rows = texts.score_rows(answers, list(merged))
    findings = texts.findings(rows, answers, options.items)
    results.print(score_table(rows))
    results.print("\n".join(findings))
    options.out.mkdir(parents=True, exist_ok=True)
    scores = {row.name: dict(row.scores) for row in rows}
    record = {
        "artifact": artifact.manifest["made_by"],
        "items": options.items,
        "seed": options.seed,
    }
    (options.out / "results.json").write_text(json.dumps(record | {"scores": scores}, indent=2))
    (options.out / "index.html").write_text(
        page(
            texts.TITLE,
            texts.lead(len(merges)),
            rows,
            findings,
            texts.examples(answers, rows, options.seed),
            texts.RULE,
            texts.notes(artifact.manifest, options.items, options.seed),
        ),
        encoding="utf-8",
    )
    results.print(where_next(artifact, options.out, merged[merges[0].name]), soft_wrap=True)


def write_prompts(folder: Path) -> list[Path]:
    """Write prompts of every seen task without answers, of other items than those examined."""
    files = [folder / "prompts" / "samples" / task / SAMPLES for task in SEEN]
    if not all(file.is_file() for file in files):
        items = {task: TASKS[task].items("validation", PROMPTS) for task in SEEN}
        write_all_samples(items, SEEN, folder / "prompts")
    return files


def answer_everything(
    artifact: Artifact, merged: dict[str, Path], options: argparse.Namespace
) -> dict[str, dict[str, TaskAnswers]]:
    """Let every model answer every task; return answers by model and task."""
    everywhere = {texts.ZERO: None, texts.JOINT: artifact.joint, **merged}
    models = {task: dict(everywhere) for task in TASKS}
    for task, expert in artifact.experts.items():
        models[task][texts.EXPERTS] = expert
    by_model: dict[str, dict[str, TaskAnswers]] = defaultdict(dict)
    counts = (options.items, options.seed, options.processes)
    for task, of_task in answer_all(artifact.base, models, *counts):
        progress.print(f"{task}: {len(of_task)} models answered {options.items} questions")
        for name, own in of_task.items():
            by_model[name][task] = own
    return by_model


def score_table(rows: Sequence[PageRow]) -> Table:
    """Make the table of scores: models × tasks, 80 characters wide."""
    table = Table(title="\nScores on test questions, 0 to 100", box=box.HORIZONTALS, padding=0)
    table.add_column("", min_width=16)
    for column in (*SEEN, "seen", *UNSEEN, "unseen"):
        table.add_column(column, justify="right", no_wrap=True)
    for row, after in zip(rows, (*rows[1:], None), strict=True):
        cells = [whole(row.scores.get(task)) for task in SEEN] + [exact(row.mean(SEEN))]
        cells += [whole(row.scores.get(task)) for task in UNSEEN] + [exact(row.mean(UNSEEN))]
        table.add_row(
            f"{row.name} ★" if row.best else row.name,
            *cells,
            style="bold" if row.best else "dim" if row.sort == "chance" else "",
            end_section=after is not None and after.sort == "merge" != row.sort,
        )
    return table


def whole(score: float | None) -> str:
    """Write a task's score."""
    return "–" if score is None else f"{score:.0f}"


def exact(mean: float | None) -> str:
    """Write a mean."""
    return "–" if mean is None else f"{mean:.1f}"


def where_next(artifact: Artifact, out: Path, merged: Path) -> Text:
    """Say where the files are, and what to try with them."""
    experts = " ".join(shlex.quote(str(folder)) for folder in artifact.experts.values())
    base = shlex.quote(str(artifact.base))
    lines = (
        f"\nthe page     {(out / 'index.html').resolve().as_uri()}",
        f"the merges   {merged.parent}",
        "",
        f"next: robustmerge show {experts}",
        f"      robustmerge check {shlex.quote(str(merged))} --base {base}",
        "      robustmerge methods",
        "      make demo with other methods: "
        f"python bench/demo/run.py --out {shlex.quote(str(out))} --methods wudi pico dare-ties",
    )
    return Text("\n".join(lines))


if __name__ == "__main__":
    main()
