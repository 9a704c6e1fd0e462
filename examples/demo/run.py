"""Train a tiny LLaVA and four LoRA experts, merge them, and see what the merges can do.

    python examples/demo/run.py [--out FOLDER] [--seed N] [--methods NAME ...] [--scale SCALE]

Everything happens here, from pixels to accuracies, in a minute or two on one core and without a
download. A second run finds what the first has trained and takes seconds. `--methods every` merges
by all methods that need no data, which takes a few minutes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from statistics import mean
from time import monotonic

import torch
import world
from evaluate import Answers, Exams, accuracy, make_exams, sit
from rich.console import Console
from rich.table import Table
from rich.text import Text
from train import progress, train_base, train_expert
from transformers.utils import logging

METHODS = ("robustmerge", "task-arithmetic", "average")
GLYPHS = dict(zip(world.SHAPES, "●■▲✚★", strict=True))

results = Console(highlight=False)


def main() -> None:
    """Train, merge, examine, report."""
    given = arguments()
    out, seed, methods = given.out, given.seed, chosen(given.methods)
    start = monotonic()
    quiet()
    claim(out, seed)
    base = out / "base"
    experts = {task.trade: out / "adapters" / task.trade for task in world.TASKS}
    merged = {method: out / "merged" / method for method in methods}

    train_base(base, seed)
    for task in world.TASKS:
        train_expert(task, base, experts[task.trade], seed)
    for method, folder in merged.items():
        merge(list(experts.values()), folder, method, given.scale, show=method == methods[0])

    exams = make_exams(seed)
    candidates: dict[str, Path | None] = {"base, zero-shot": None}
    candidates |= {f"{trade} expert": folder for trade, folder in experts.items()}
    candidates |= {f"merged: {method}": folder for method, folder in merged.items()}
    answers: dict[str, Answers] = {}
    for name, adapter in candidates.items():
        progress.print(f"{name}: answering")
        answers[name] = sit(exams, base, adapter)

    results.print(score_table(answers, exams))
    results.print(sample_table(answers, exams, methods[0]))
    results.print(where_next(base, list(experts.values()), merged[methods[0]]), soft_wrap=True)
    progress.print(f"{monotonic() - start:.0f} s in all")


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for all files")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="merge methods, or `every`")
    parser.add_argument("--scale", default="1", help="a number or a rule, as robustmerge merge has")
    return parser.parse_args()


def chosen(names: list[str]) -> list[str]:
    """The methods, `every` spelled out."""
    if names != ["every"]:
        return list(names)
    from robustmerge import methods

    return [method.name for method in methods.every() if not method.needs]


def quiet() -> None:
    """One thread, and no chatter from the libraries."""
    # A model of this size gains little from a second thread, and loses a lot to it when the other
    # core is busy. With one, results do not depend on the number of cores either.
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def claim(out: Path, seed: int) -> None:
    """Note the seed in the folder; refuse to reuse what another seed has trained."""
    note = out / "demo.json"
    if note.exists() and (found := json.loads(note.read_text())["seed"]) != seed:
        sys.exit(f"{out} holds a demo with seed {found}; give seed {seed} another --out")
    out.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"seed": seed}))


def merge(adapters: list[Path], out: Path, method: str, scale: str, *, show: bool) -> None:
    """Merge as one does by hand; this is all there is to it."""
    arguments = ["merge", *map(str, adapters), "-o", str(out), "--method", method, "--force"]
    if scale != "1":
        arguments += ["--scale", scale]
    progress.print(f"$ {shlex.join(['robustmerge', *arguments])}", soft_wrap=True)
    command = [sys.executable, "-m", "robustmerge", *arguments]
    done = subprocess.run(command, check=False, stdout=None if show else subprocess.DEVNULL)
    if done.returncode:
        sys.exit(done.returncode)  # the command has said why


def score_table(answers: dict[str, Answers], exams: Exams) -> Table:
    """Accuracies: a row for each model, a column for each task."""
    table = Table(
        title="\nRight answers in percent, to questions on unseen boards",
        caption="bold: on its own task; standard error of a task: 2.5 at most",
    )
    table.add_column("")
    for trade in (*exams, "mean"):
        table.add_column(trade, justify="right")
    sections = {f"{list(exams)[-1]} expert", "base, zero-shot"}
    for name, by_task in answers.items():
        scores = {trade: accuracy(said, exams[trade]) for trade, said in by_task.items()}
        cells = [Text(f"{s:.1f}", "bold" * (name == f"{t} expert")) for t, s in scores.items()]
        table.add_row(name, *cells, f"{mean(scores.values()):.1f}", end_section=name in sections)
    return table


def sample_table(answers: dict[str, Answers], exams: Exams, method: str) -> Table:
    """One question of each task: the first whose answer is a word of the trade's own."""
    table = Table(title="\nOne question of each task", show_lines=True)
    merged = f"merged: {method}"
    for column in ("board", "question", "base", "expert", "merged", "right"):
        table.add_column(column)
    for task in world.TASKS:
        exam = exams[task.trade]
        turns = [example.turns[0] for example in exam]
        k = next(k for k, turn in enumerate(turns) if turn.answer in task.words.values())
        models = ("base, zero-shot", f"{task.trade} expert", merged)
        said = [answers[name][task.trade][k] for name in models]
        table.add_row(board(exam[k].scene), turns[k].question, *said, turns[k].answer)
    return table


def board(scene: world.Scene) -> Text:
    """The scene in characters."""
    pieces = {(piece.row, piece.column): piece for piece in scene}
    text = Text()
    for row in world.ROWS:
        for column in world.COLUMNS:
            piece = pieces.get((row, column))
            style = "rgb({},{},{})".format(*world.COLORS[piece.color]) if piece else "dim"
            text.append(f"{GLYPHS[piece.shape] if piece else '·'} ", style)
        text.append("\n")
    text.rstrip()
    return text


def where_next(base: Path, experts: list[Path], merged: Path) -> Text:
    """Where the files are and what to try with them."""
    folders = " ".join(shlex.quote(str(folder)) for folder in experts)
    lines = (
        f"\nbase model   {base}",
        f"experts      {experts[0].parent}",
        f"merges       {merged.parent}",
        "",
        f"next: robustmerge show {folders}",
        f"      robustmerge check {shlex.quote(str(merged))} --base {shlex.quote(str(base))}",
        "      robustmerge methods",
    )
    return Text("\n".join(lines))


if __name__ == "__main__":
    main()
