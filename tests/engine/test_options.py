"""Every option of a merge arrives from all sides: command, YAML, Python, a model in memory."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from docstring_parser import parse as parse_docstring

import robustmerge
from factories.adapters import trio
from factories.live_models import PLAIN, tiny
from robustmerge import MergeError
from robustmerge.adapter import align, layout
from robustmerge.cli.app import run
from robustmerge.engine.options import Layout, MergeOptions, Missing
from robustmerge.engine.recipe import Recipe
from robustmerge.live.merge import LiveRun
from robustmerge.peft import add_merged_adapter

VALUES: dict[str, Any] = {
    "method": "robustmerge-paper",
    "weights": [1.0, 0.5, -1.0],
    "scale": "norm-matched",
    "scale_over": "module",
    "balance": ["norms:cap=2"],
    "calibrate": ["lines", "svc"],
    "rank": 7,
    "dtype": "bfloat16",
    "seed": 3,
    "missing": "drop",
    "base": "tiny/other",
    "same_base": True,
    "leave_out": ["*vision_tower*", "lm_head"],
    "accept_settings": ["swift_version"],
    "layout": "flat",
    "extras": "sum",
    "extras_in": "beside",
    "dora": "mean",
    "plugins": ["plugin.py"],
    "data": "statistics",
    "samples": ["a.jsonl", "b.jsonl"],
    "polish": "20:rate=0.01",
}
"""A value for every option that is not its default."""

OPTIONS = {field.name: field for field in fields(MergeOptions)}
PARAMETERS = inspect.signature(inspect.unwrap(robustmerge.merge)).parameters
LIVE_PARAMETERS = inspect.signature(inspect.unwrap(add_merged_adapter)).parameters
LIVE = [name for name in OPTIONS if name in LIVE_PARAMETERS]

Side = Callable[[list[str], str], Recipe]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    Path("plugin.py").touch()
    return trio(tmp_path)


class RecipeSeenError(Exception):
    """Carries the recipe out of a function that is about to merge."""


def stop(recipe: Recipe, *_: object, **__: object) -> None:
    raise RecipeSeenError(recipe)


def recipe_of(action: Callable[[], object]) -> Recipe:
    with pytest.raises(RecipeSeenError) as caught:
        action()
    recipe = caught.value.args[0]
    assert isinstance(recipe, Recipe)
    return recipe


def flags(name: str) -> list[str]:
    value = VALUES[name]
    single = {"plugins": "plugin", "accept_settings": "accept-setting"}
    flag = f"--{single.get(name, name.replace('_', '-'))}"
    if value is True:
        return [flag]
    if name == "weights":
        return [f"{flag}={','.join(map(str, value))}"]
    return [f"{flag}={item}" for item in (value if isinstance(value, list) else [value])]


def test_there_is_a_value_for_every_option() -> None:
    defaults = MergeOptions()
    assert VALUES.keys() == OPTIONS.keys()
    assert all(getattr(Recipe.from_dict({"adapters": ["a"] * 3, **VALUES}, where=""), name)
               != getattr(defaults, name) for name in OPTIONS)  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_arrives(
    name: str, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustmerge.api.merge_recipe", stop)
    monkeypatch.setattr("robustmerge.cli.show_merge.plan", stop)
    expected = Recipe.from_dict({"adapters": folders, name: VALUES[name]}, where="expected")
    in_words = {"rank": "7"}.get(name)  # the command keeps a rank as the text it is
    by_command = recipe_of(lambda: run(["merge", *folders, *flags(name), "--dry-run"]))
    assert getattr(by_command, name) == (in_words or getattr(expected, name))
    if not in_words:
        assert by_command == expected
    merge: Callable[..., object] = robustmerge.merge
    assert recipe_of(lambda: merge(folders, "out", **{name: VALUES[name]})) == expected
    file = Path("recipe.yaml")
    file.write_text(yaml.safe_dump({"adapters": folders, name: VALUES[name]}))
    assert recipe_of(lambda: run(["merge", "recipe.yaml", "--dry-run"])) == expected


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_the_command_wins_over_the_file(
    name: str, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the command says what is the default anyway."""
    monkeypatch.setattr("robustmerge.cli.show_merge.plan", stop)
    others = {key: value for key, value in VALUES.items() if key != name}
    Path("recipe.yaml").write_text(yaml.safe_dump({"adapters": folders, **others}))
    recipe = recipe_of(lambda: run(["merge", "recipe.yaml", *flags(name), "--dry-run"]))
    everything = Recipe.from_dict({"adapters": folders, **VALUES}, where="expected")
    assert {**vars(recipe), "rank": 7} == vars(everything)
    Path("recipe.yaml").write_text(yaml.safe_dump({"adapters": folders, **VALUES}))
    default = OPTIONS[name].default
    if default not in (None, (), False):
        again = [f"--{name.replace('_', '-')}={default}", "--dry-run"]
        assert getattr(recipe_of(lambda: run(["merge", "recipe.yaml", *again])), name) == default


@pytest.mark.parametrize("name", LIVE)
def test_every_option_of_a_live_merge_arrives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiveRun, "__init__", lambda self, recipe, layers: stop(recipe))
    names, value = list(PLAIN), VALUES[name]
    add: Callable[..., object] = add_merged_adapter
    recipe = recipe_of(lambda: add(tiny(PLAIN), names, "m", **{name: value}))
    assert recipe == Recipe.from_dict({"adapters": names, name: value}, where="expected")


def test_parameters_arrive(folders: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustmerge.api.merge_recipe", stop)
    monkeypatch.setattr("robustmerge.cli.show_merge.plan", stop)
    assert recipe_of(lambda: robustmerge.merge(folders, "out", density=0.3)).parameters == {
        "density": 0.3
    }
    command = ["merge", *folders, "--set", "scale-from=intra", "--set", "density=0.3", "--dry-run"]
    by_command = recipe_of(lambda: run(command))
    assert by_command.parameters == {"density": "0.3", "scale_from": "intra"}


def test_another_method_leaves_the_parameters_of_the_file(
    folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustmerge.cli.show_merge.plan", stop)
    text = {"adapters": folders, "method": "ties", "parameters": {"density": 0.3}}
    Path("recipe.yaml").write_text(yaml.safe_dump(text))
    for method, parameters in {"ties": {"density": 0.3}, "average": {}, "robustmerge": {}}.items():
        recipe = recipe_of(lambda m=method: run(["merge", "recipe.yaml", "-m", m, "--dry-run"]))  # type: ignore[misc]
        assert (recipe.method, recipe.parameters) == (method, parameters)


@pytest.mark.parametrize("name", OPTIONS)
def test_defaults_and_docs_are_the_same_everywhere(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert PARAMETERS[name].default == OPTIONS[name].default
    if name in LIVE:
        assert LIVE_PARAMETERS[name].default == OPTIONS[name].default
    for documented in (MergeOptions, robustmerge.merge, *([add_merged_adapter] * (name in LIVE))):
        rows = {p.arg_name: p.description for p in parse_docstring(documented.__doc__ or "").params}
        assert rows[name], documented
    assert run(["merge", "--help"]) == 0
    assert flags(name)[0].partition("=")[0] in capsys.readouterr().out


def test_words_are_those_of_the_adapters_package() -> None:
    assert get_args(Layout) == layout.LAYOUTS
    assert get_args(Missing) == get_args(align.Missing)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": True}, "seed = True is not a whole number"),
        ({"layout": "hfold"}, "unknown layout 'hfold'"),
        ({"scale": "big"}, "scale = 'big' is neither a number nor a rule"),
        ({"weights": [float("nan")]}, "weights = nan is not a finite number"),
    ],
)
def test_an_object_of_options_cannot_be_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MergeError, match=message):
        Recipe.from_dict({"adapters": ["a"], **options}, where="")


def test_a_list_and_a_path_become_what_the_fields_are() -> None:
    plain = {"adapters": [Path("a")], "base": Path("b"), "weights": [1], "balance": "norms"}
    recipe = Recipe.from_dict(plain, where="")
    assert (recipe.adapters, recipe.base) == (("a",), "b")
    assert (recipe.weights, recipe.balance) == ((1.0,), ("norms",))
    assert json.dumps(recipe.to_dict())
