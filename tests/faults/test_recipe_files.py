"""A recipe that is no YAML, no recipe, or asks for what no recipe may."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from factories.adapters import trio
from faults.refuse import command, refused, tree
from robustmerge.engine.recipe import Recipe

BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9)
)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    trio(tmp_path)
    return tmp_path / "recipe.yaml"


def refused_recipe(path: Path, *messages: str) -> None:
    """Check that package and command refuse the recipe, name the file, and write nothing."""
    before = tree(path.parent)
    error = refused(lambda: Recipe.load(path), *messages)
    assert str(path) in error.where
    assert len(str(error)) < 1000
    code, errors = command("merge", path, "-o", path.parent / "out")
    assert (code, "Traceback" in errors) == (1, False)
    assert error.problem in errors
    assert tree(path.parent) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adapters: [a, b\n", "line 2, column 1"),
        ("adapters: [a]\n\tmethod: ties\n", "cannot start any token, line 2, column 1"),
        ("adapters: [a]\nmethod: 'ties", "line 2, column"),
        ("adapters: [a]\nmethod: @ties", "cannot start any token"),
        ("adapters: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("adapters: !!python/name:os.system", "could not determine a constructor"),
        ("adapters: [*a]", "undefined alias"),
        ("adapters: [a]\nseed: 2024-13-45", "month must be in 1..12"),
        ("adapters: [a]\nseed: !!bool perhaps", "cannot read the recipe"),
        ("adapters: [a]\nseed: !!timestamp soon", "cannot read the recipe"),
        ("adapters: [a]\nseed: " + "9" * 5000, "cannot read the recipe"),
        ("[" * 5000, "cannot read the recipe: it is nested too deeply"),
        ("adapters: [a]\n---\nadapters: [b]", "cannot read the recipe"),
        ("", "must be a table of names and values"),
        ("just text", "must be a table of names and values"),
        ("1: 2", "must be a table of names and values"),
    ],
    ids=lambda text: text[:40],
)
def test_what_is_no_yaml_table(recipe: Path, text: str, message: str) -> None:
    recipe.write_text(text)
    refused_recipe(recipe, message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("adaptors: [a]", "did you mean adapters?"),
        ("adapters: a", "adapters must be a list"),
        ("adapters: [1, 2]", "adapters must be a list"),
        ("adapters:", "adapters must be a list"),
        ("adapters: []", "no adapters"),
        ("method: 5", "method = 5 is not text"),
        ("method: [ties]", "method = ['ties'] is not text"),
        ("layout: {}", "layout = {} is not text"),
        ("dtype: [float32]", "dtype = ['float32'] is not text"),
        ("dtype: fp16", "known: bfloat16, float16, float32"),
        ("missing: zeros", "did you mean zero?"),
        ("base: 5", "base = 5 is not text"),
        ("seed: x", "seed = 'x' is not a whole number"),
        ("seed: 1.5", "seed = 1.5 is not a whole number"),
        ("seed: true", "seed = True is not a whole number"),
        ("same_base: maybe", "same_base = 'maybe' is not true or false"),
        ("rank: [4]", "rank = [4] is not a whole number or text"),
        ("rank: true", "rank = True is not a whole number or text"),
        ("rank: 4.0", "rank = 4.0 is not a whole number or text"),
        ("rank: -4", "rank = -4 is not possible"),
        ("scale: big", "scale = 'big' is neither a number nor a rule"),
        ("scale_over: layer", "unknown scale_over 'layer'"),
        ("balance: [5]", "balance = [5] is not a list of steps"),
        ("calibrate: linse", "did you mean lines?"),
        ("calibrate: ['lines:alfa=1']", "did you mean alpha?"),
        ("calibrate: ['lines:alpha']", "'alpha' is not name=value"),
        ("scale: true", "scale = True is not a finite number"),
        ("scale: .inf", "scale = inf is not a finite number"),
        ("scale: 1" + "0" * 400, "is not a finite number"),
        ("weights: 1", "weights = 1 is not a list of numbers"),
        ("weights: [1, x, 1]", "is not a list of numbers"),
        ("weights: [1, .nan, 1]", "weights = nan is not a finite number"),
        ("weights: [1, 1" + "0" * 400 + ", 1]", "is not a finite number"),
        ("weights: [1, 1]", "2 weights for 3 adapters"),
        ("parameters: [density]", "parameters must be a table"),
        ("parameters: density", "parameters must be a table"),
        ("parameters: {1: 2}", "parameters must be a table"),
        ("parameters: {density: [1]}", "density = [1] is not a single value"),
        ("modules: 5", "modules is not a list"),
        ("modules: {match: x}", "modules is not a list"),
        ("modules: [x]", "an entry of modules must be a table"),
        ("modules: [{scale: 2}]", "no `match` pattern"),
        ("modules: [{match: 5}]", "no `match` pattern"),
        ("modules: [{match: x, weight: [1]}]", "did you mean weights?"),
        ("modules: [{match: x, scale: big}]", "scale of x = 'big' is neither a number nor a rule"),
        ("modules: [{match: x, weights: [1]}]", "1 weights of x for 3 adapters"),
        ("modules: [{match: x, parameters: y}]", "parameters of x must be a table"),
        ("output: 5", "output = 5 is not a path"),
    ],
)
def test_values_of_the_wrong_kind(recipe: Path, line: str, message: str) -> None:
    adapters = "" if line.startswith("ada") else "adapters: [a, b, c]\n"
    recipe.write_text(adapters + line)
    refused_recipe(recipe, message)


@pytest.mark.parametrize("key", ["weights", "seed", "rank", "dtype", "parameters: {density", "x"])
def test_a_bomb_of_aliases_is_not_unfolded(recipe: Path, key: str) -> None:
    end = "}" if "{" in key else ""
    recipe.write_text(f"adapters: [a]\n{BOMB}{key}: *a9{end}\n")
    started = time.monotonic()
    refused(lambda: Recipe.load(recipe), "a0")
    recipe.write_text(f"adapters: [a]\nmodules:\n- match: &a0 [x]\n{key}: *a0{end}\n")
    refused(lambda: Recipe.load(recipe))
    nested = BOMB.replace("a0: &a0 [x]", "- &a0 [x]")
    nested = "".join(
        f"- {line.partition(': ')[2]}\n" if ": " in line else f"{line}\n"
        for line in nested.splitlines()
    )
    recipe.write_text(f"adapters:\n{nested}")
    refused(lambda: Recipe.load(recipe), "adapters must be a list")
    assert time.monotonic() - started < 5


def test_an_override_that_matches_nothing(recipe: Path) -> None:
    recipe.write_text("adapters: [a, b, c]\nmodules: [{match: '*.qproj', scale: 2}]\n")
    before = tree(recipe.parent)
    code, errors = command("merge", recipe, "-o", recipe.parent / "out")
    assert code == 1
    assert "'*.qproj' matches no module" in errors
    assert "names are such as model.language_model.layers.0.mlp.down_proj" in errors
    assert tree(recipe.parent) == before


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    code, errors = command("merge", tmp_path / "recipe.yml", "-o", tmp_path / "out")
    assert code == 1
    assert "cannot read the file: No such file" in errors


def test_a_file_that_is_no_text(recipe: Path) -> None:
    recipe.write_bytes(b"adapters: [\xff]")
    refused_recipe(recipe, "cannot read the recipe: not UTF-8 text")


def test_null_is_not_given_and_a_mark_is_no_text(recipe: Path) -> None:
    recipe.write_text("\ufeffadapters: [a, b, c]\nmethod:\nweights: null\nscale: ~\n", "utf-8")
    assert command("merge", recipe, "-o", recipe.parent / "out")[0] == 0
