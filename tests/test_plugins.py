"""Methods of one's own: in a file, in a recipe, in Python, and held to the contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import robustmerge
from factories.adapters import deltas, trio
from robustmerge import MergeError
from robustmerge.cli.app import run
from robustmerge.factors import Factors, Stack
from robustmerge.linalg import concat
from robustmerge.methods import _registry
from robustmerge.testing import CHECKS, check_method

PAGE = '''"""Halves: a sum at half its size.

    Δ = gain Σ_t w_t Δ_t

It shows how a method is written. Nothing else is to be said of it, and there is no reason to use
it, as --scale does the same.

Source: none.
"""
'''
CODE = '''
from robustmerge.factors import Factors, Stack
from robustmerge.linalg import concat
from robustmerge.methods import method


@method("halves", gauge_invariant=True)
def halves(stack: Stack, *, gain: float = 0.5) -> Factors:
    """Sum.

    Args:
        stack: The module's updates.
        gain: What the sum is multiplied by.
    """
    return concat(stack).scaled(gain)
'''


@pytest.fixture(autouse=True)
def _restore_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(_registry, "_METHODS", dict(_registry._METHODS))


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "halves.py"
    path.write_text(PAGE + CODE)
    return path


def assert_halved(folders: list[str], out: Path, by: float = 0.5) -> None:
    inputs = [deltas(f) for f in folders]
    for name, delta in deltas(out).items():
        torch.testing.assert_close(delta, by * sum(x[name] for x in inputs), rtol=1e-4, atol=1e-5)


def test_from_the_command_line(
    tmp_path: Path, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders, out = trio(tmp_path), tmp_path / "out"
    wanted = ["-m", "halves", "--set", "gain=0.25", "--rank", "full", "-o", str(out)]
    assert run(["merge", *folders, "--plugin", str(plugin), *wanted]) == 0
    assert_halved(folders, out, 0.25)
    assert json.loads((out / "merge.json").read_text())["recipe"]["plugins"] == [str(plugin)]
    assert run(["methods", "--plugin", str(plugin)]) == 0
    shown = capsys.readouterr().out
    assert "Your own." in shown
    assert "a sum at half its size" in shown
    assert run(["methods", "halves", "--plugin", str(plugin)]) == 0
    assert "What the sum is multiplied by." in capsys.readouterr().out


def test_from_a_recipe_beside_it(tmp_path: Path, plugin: Path) -> None:
    folders = trio(tmp_path)
    recipe = tmp_path / "r.yaml"
    recipe.write_text("adapters: [a, b, c]\nplugins: [halves.py]\nmethod: halves\nrank: full\n")
    assert run(["merge", str(recipe), "-o", str(tmp_path / "out")]) == 0
    assert_halved(folders, tmp_path / "out")


def test_from_python_and_the_contract(tmp_path: Path, plugin: Path) -> None:
    folders, out = trio(tmp_path), tmp_path / "out"
    robustmerge.merge(folders, out, plugins=[plugin], method="halves", rank="full")
    assert_halved(folders, out)
    check_method("halves", {"gain": 2.0})


def test_a_function_registered_in_one_line() -> None:
    def third(stack: Stack) -> Factors:
        """Return a third."""
        return concat(stack).scaled(1 / 3)

    robustmerge.methods.method("third")(third)
    with pytest.raises(AssertionError) as caught:
        check_method("third")
    problems = str(caught.value)
    assert "gauge_invariant is not claimed, but holds" in problems
    assert "page should name the source" in problems or "should be a page" in problems


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "registers no method"),
        ("1 / 0\n", "fails when it is loaded: ZeroDivisionError"),
        ("def f(:\n", "SyntaxError"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError"),
        (CODE.replace("gain: float", "gain: list"), "cannot be configured"),
        (CODE.replace("halves", "ties"), "two methods are called 'ties'"),
    ],
)
def test_files_that_are_no_plugins_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(MergeError, match=message):
        robustmerge.methods.load_plugin(str(path))


def test_missing_plugins_are_refused(tmp_path: Path) -> None:
    for source in (str(tmp_path / "none.py"), "no_such_module"):
        with pytest.raises(MergeError, match="there is no"):
            robustmerge.methods.load_plugin(source)


def test_an_update_of_another_shape_is_refused(tmp_path: Path) -> None:
    @robustmerge.methods.method("bent")
    def bent(stack: Stack) -> Factors:
        f = stack.factors[0]
        return Factors(f.A[:, 1:], f.B)

    with pytest.raises(MergeError, match="gave an update of shape"):
        robustmerge.merge(trio(tmp_path), tmp_path / "out", method="bent")
    assert not (tmp_path / "out").exists()


def broken(name: str) -> Any:
    """Return a method with one fault."""
    calls = []

    def function(stack: Stack, *, seed: int = 0) -> Factors:
        """Break.

        Args:
            stack: The updates.
            seed: Of nothing.
        """
        merged = concat(stack)
        if name == "inputs":
            stack.factors[0].A.mul_(2)
        if name == "bits":
            calls.append(0)
            return merged.scaled(1.0 + 1e-9 * len(calls))
        if name == "finite":
            return merged.scaled(float("inf"))
        if name == "zero":
            return Factors(merged.A + 1, merged.B + 1)
        if name == "weights":
            return concat(stack.reweighted((1.0,) * len(stack)))
        if name == "order":
            return concat(stack.reweighted(tuple(w / (1 + t) for t, w in enumerate(stack.weights))))
        if name == "scale":
            return merged.scaled(float(merged.B.norm()))
        if name == "stable":
            least = torch.linalg.svdvals(merged.A)[-1] if len(stack) > 3 else torch.ones(1)
            return merged.scaled(float(least))
        return merged

    return function


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("inputs", "inputs_untouched"),
        ("bits", "same_bits_again"),
        ("finite", "finite_and_of_the_right_shape"),
        ("zero", "zero_adapters"),
        ("weights", "weights_matter"),
        ("order", "order_of_adapters"),
        ("scale", "scale_of_updates"),
        ("stable", "rounding"),
        ("seed", "seed_decides"),
    ],
)
def test_the_contract_finds_a_fault(fault: str, check: str) -> None:
    assert check in [c.__name__ for c in CHECKS]
    robustmerge.methods.method("broken", gauge_invariant=True)(broken(fault))
    with pytest.raises(AssertionError, match=f"{check}:"):
        check_method("broken")
