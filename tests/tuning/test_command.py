"""The last number that a command prints is the score, and what fails is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from robustmerge.engine.recipe import Recipe
from robustmerge.errors import MergeError
from robustmerge.tuning.command import make, read_commands, run_command
from robustmerge.tuning.objective import ObjectiveSetup


def prints(text: str, code: int = 0) -> list[str]:
    return [sys.executable, "-c", f"import sys; print({text!r}); sys.exit({code})"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.5", 0.5),
        ("epoch 3: accuracy = 63.1%", 63.1),
        ("a 1\nb -2.5e-3 done", -0.0025),
        ("top5", None),
        ("loss nan", None),
        ("1 then inf", None),
        ("", None),
        ("v1.2.3", None),
        (".25", 0.25),
    ],
)
def test_the_last_number_counts(text: str, number: float | None) -> None:
    if number is not None:
        assert run_command(prints(text), "task") == number
        return
    with pytest.raises(MergeError, match="no finite number last"):
        run_command(prints(text), "task")


def test_failures_are_named() -> None:
    with pytest.raises(MergeError, match="exit code 3: no such model") as caught:
        run_command(prints("no such model", 3), "vqa")
    assert caught.value.where.startswith("vqa: ")
    with pytest.raises(MergeError, match="cannot be started"):
        run_command(["no-such-program-here"], "vqa")


def test_commands_have_names() -> None:
    assert read_commands(["run {adapter}"]) == {"score": "run {adapter}"}
    named = read_commands(["vqa=run {adapter}", "CUDA_VISIBLE_DEVICES=0 run {adapter}"])
    assert named == {"vqa": "run {adapter}", "score2": "CUDA_VISIBLE_DEVICES=0 run {adapter}"}
    with pytest.raises(MergeError, match="two scores"):
        read_commands(["a=x {adapter}", "a=y {adapter}"])


def test_a_command_gets_folder_and_part(tmp_path: Path) -> None:
    code = "import sys; print(*sys.argv[1:]); print(len(sys.argv[2]))"
    command = f'{sys.executable} -c "{code}" {{adapter}}/x {{split}}'
    scorer = make(ObjectiveSetup(Recipe(("a",)), commands={"t": command}))
    assert scorer.splits == ("tuning", "held-out")
    folder = tmp_path / "a folder 'with' quotes"
    assert list(scorer.scores(folder, "held-out")) == [("t", len("held-out"))]
    alone = make(ObjectiveSetup(Recipe(("a",)), commands={"t": "x {adapter}"}))
    assert alone.splits == ("tuning",)


@pytest.mark.parametrize(
    ("commands", "problem"),
    [
        ({}, "no command"),
        ({"t": "python eval.py"}, "never says which adapter"),
        ({"t": "python 'eval.py {adapter}"}, "cannot be read"),
    ],
)
def test_impossible_commands_are_refused(commands: dict[str, str], problem: str) -> None:
    with pytest.raises(MergeError, match=problem):
        make(ObjectiveSetup(Recipe(("a",)), commands=commands))
