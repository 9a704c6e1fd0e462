"""A recipe in YAML says what the command line says."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustmerge.engine.recipe import Override, Recipe
from robustmerge.errors import MergeError

TEXT = """
adapters: [vqa, ocr, owner/name]
method: robustmerge
parameters: {density: 0.3}
weights: [1, 2, 0.5]
scale: 0.8
rank: energy:0.99
modules:
  - {match: "*.mlp.*", scale: 0.5, parameters: {clamp: 0}}
output: merged
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def test_reading(tmp_path: Path) -> None:
    (tmp_path / "vqa").mkdir()
    recipe, output = Recipe.load(write(tmp_path, TEXT))
    assert recipe.adapters == (str(tmp_path / "vqa"), "ocr", "owner/name")
    assert recipe.parameters == {"density": 0.3}
    assert recipe.weights == (1.0, 2.0, 0.5)
    assert recipe.energy == 0.99
    assert recipe.modules == (Override("*.mlp.*", {"clamp": 0}, 0.5),)
    assert output == str(tmp_path / "merged")


def test_a_path_that_is_no_hub_id_is_seen_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path)
    recipe, _ = Recipe.load(write(tmp_path / "recipes", "adapters: [./a, a, ../a]"))
    assert recipe.adapters == (f"{tmp_path}/recipes/a", "a", f"{tmp_path}/recipes/../a")


def test_writing_and_reading_back(tmp_path: Path) -> None:
    recipe, _ = Recipe.load(write(tmp_path, TEXT))
    assert Recipe.from_dict(recipe.to_dict(), where="again") == recipe


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("adapters: [a]\nmethd: ties", "did you mean method"),
        ("adapters: [a]\nmodules: [{pattern: x}]", "unknown key of a override 'pattern'"),
        ("adapters: [a]\nmodules: [{scale: 1}]", "no `match`"),
        ("adapters: a", "must be a list"),
        ("adapters: []", "no adapters"),
        ("- a", "must be a table"),
        ("adapters: [a, b]\nweights: [1]", "1 weights for 2 adapters"),
        ("adapters: [a]\nweights: [x]", "not a list of numbers"),
        ("adapters: [a]\nscale: .nan", "not a finite number"),
        ("adapters: [a]\nrank: 0", "rank = 0"),
        ("adapters: [a]\nrank: energy:1.5", "energy"),
        ("adapters: [a]\nrank: all", "rank = 'all'"),
        ("adapters: [a]\ndtype: float8", "unknown dtype 'float8'"),
        ("adapters: [a]\nmissing: skip", "unknown missing 'skip'"),
        ("adapters: [a\n", "cannot read the recipe"),
        ("adapters: !!python/object:os.system [a]", "cannot read the recipe"),
    ],
)
def test_refusals(tmp_path: Path, text: str, problem: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(MergeError) as caught:
        Recipe.load(path)
    assert problem in str(caught.value)
    assert "recipe.yaml" in str(caught.value)
