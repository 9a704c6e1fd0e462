"""Study files: what they may say, and what is said about those that may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench_factories import studies
from robustmerge.errors import MergeError
from robustmerge.methods import _registry
from robustmerge_bench.jobs.hashes import FileHashes
from robustmerge_bench.paper.study.file import Study
from robustmerge_bench.paper.study.models import merge_key
from robustmerge_bench.paper.study.tools import read_answering

SHIPPED = sorted((Path(__file__).parents[3] / "studies").glob("*.yaml"))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_study_is_valid(file: Path) -> None:
    study = Study.load(file, data=Path("anywhere"))
    labels = {each.label for each in study.contenders}
    assert "RobustMerge" in labels or "ablation" in file.name
    # A published row without a contender would be a typing error.
    without_contender = {row.label for row in study.published} - labels
    assert without_contender <= {"Multi-Task"}
    read_answering(study.answering, limit=None)


def test_there_is_a_study_for_every_table_that_can_be_made() -> None:
    assert len(SHIPPED) == 7
    every = {row.source[-7:] for file in SHIPPED for row in Study.load(file).published}
    assert {f"table {n}" for n in (2, 3, 4, 5, 6, 7, 9)} <= every


def test_a_study_as_it_is_read(tmp_path: Path) -> None:
    file = studies.write(
        tmp_path / "study.yaml",
        merging={"rank": "full"},
        methods=[
            "zero-shot",
            {"joint": "./experts/vqav2"},
            "ties",
            {"label": "TA", "method": "task-arithmetic", "scale": 0.3, "adapters": ["rec"]},
        ],
        tasks="unseen,rec",
        protocols="fixed",
    )
    study = Study.load(file)
    zero, joint, ties, ta = study.contenders
    assert (zero.label, zero.kind, zero.recipe, zero.source) == (
        "zero-shot",
        "zero-shot",
        None,
        None,
    )
    assert (joint.label, joint.kind) == ("joint", "joint")
    assert joint.source == str(tmp_path / "experts/vqav2")
    assert ties.recipe is not None
    assert ta.recipe is not None
    assert ties.recipe.adapters == (str(tmp_path / "experts/vqav2"), str(tmp_path / "experts/rec"))
    assert ta.recipe.adapters == (str(tmp_path / "experts/rec"),)
    assert (ta.label, ta.recipe.scale, ta.recipe.rank, ties.recipe.rank) == (
        "TA",
        0.3,
        "full",
        "full",
    )
    assert [t.name for t in study.tasks][-1] == "rec"
    assert len(study.tasks) == 5
    assert study.protocols == ("fixed",)
    assert study.data == tmp_path / "data"


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    file = studies.write(tmp_path / "study.yaml")
    study = Study.load(file, data=tmp_path / "elsewhere", base="an/other")
    assert (study.data, study.base) == (tmp_path / "elsewhere", "an/other")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metods": []}, ["unknown key of a study 'metods'", "did you mean methods?"]),
        ({"base": None}, ["no base model", "base: owner/name"]),
        ({"base": 7}, ["base = 7 is not text"]),
        ({"adapters": ["a"]}, ["adapters must be a table"]),
        ({"adapters": {"vqa": "a"}}, ["unknown task 'vqa'", "did you mean vqav2?"]),
        ({"adapters": {"rec": 3}}, ["3 is not an adapter", "adapters, rec"]),
        ({"adapters": None}, ["individual takes the experts"]),
        ({"merging": {"rnak": 3}}, ["unknown key of a recipe 'rnak'", "did you mean rank?"]),
        ({"methods": None}, ["methods = None is not a list"]),
        ({"methods": ["zero-shots"]}, ["unknown method", "did you mean zero-shot?", "entry 1"]),
        ({"methods": ["ties", "tise"]}, ["unknown method 'tise'", "entry 2 of methods"]),
        ({"methods": ["ties", "ties"]}, ["several methods are called ties", "label"]),
        ({"methods": [{"method": "ties", "lable": "x"}]}, ["'lable'", "did you mean label?"]),
        ({"methods": [{"method": "ties", "label": 3}]}, ["label = 3 is not text"]),
        ({"methods": [{"joint": 3}]}, ["joint = 3 is not an adapter"]),
        ({"methods": [{"joint": "a", "rank": 3}]}, ["unknown key of a joint adapter 'rank'"]),
        (
            {"methods": [{"method": "ties", "parameters": {"densty": 1}}]},
            ["densty", "did you mean density?"],
        ),
        ({"methods": [{"method": "ties", "parameters": {"density": 2}}]}, ["density", "2"]),
        ({"methods": [{"method": "ties", "weights": [1]}]}, ["1 weights for 2 adapters"]),
        ({"methods": [{"method": "ties", "adapters": ["rce"]}]}, ["'rce'", "did you mean rec?"]),
        ({"methods": [{"method": "ties", "adapters": []}]}, ["adapters = [] is not a list"]),
        ({"methods": [{"method": "ties", "plugins": "x"}]}, ["plugins = 'x' is not a list"]),
        ({"methods": [{"method": "ties", "plugins": ["no.py"]}]}, ["there is no such plugin"]),
        ({"methods": ["relay"]}, ["'relay' runs the base model", "entry 1 of methods"]),
        (
            {"methods": [{"method": "relay", "base": "b", "samples": ["a", "b"], "scale": "kept"}]},
            ["'relay' does not go with a scale rule"],
        ),
        ({"tasks": "seeen"}, ["unknown task 'seeen'", "did you mean seen?"]),
        ({"tasks": 3}, ["tasks = 3 is not a list"]),
        ({"protocols": ["offical"]}, ["unknown protocol", "did you mean official?"]),
        ({"protocols": []}, ["protocols = [] is not a list"]),
        ({"answering": 3}, ["answering must be a table"]),
        ({"published": {}}, ["published = {} is not a list"]),
        ({"published": [{}]}, ["the rows have no source", "block 1 of published"]),
        ({"protocols": [["official"]]}, ["unknown protocol"]),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: dict[str, Any], words: list[str]) -> None:
    file = studies.write(tmp_path / "study.yaml", **change)
    with pytest.raises(MergeError) as caught:
        Study.load(file)
    printed = str(caught.value)
    assert str(file) in printed or "plugins" in str(change)
    for word in words:
        assert word in printed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("base: [", "cannot read the study: "),
        ("- a", "the study must be a table"),
        ("base: 2026-13-45", "cannot read the study"),
        ("[" * 5000, "cannot read the study: it is nested too deeply"),
    ],
)
def test_what_is_no_study_at_all(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(MergeError, match=words) as caught:
        Study.load(file)
    assert str(file) in str(caught.value)
    with pytest.raises(MergeError, match="cannot read the file"):
        Study.load(tmp_path / "none.yaml")


def test_only_takes_labels_and_tasks(tmp_path: Path) -> None:
    study = Study.load(studies.write(tmp_path / "study.yaml"))
    everything = study.select([])
    assert everything == (study.contenders, study.tasks)
    contenders, tasks = study.select(["ties", "zero-shot"])
    assert [each.label for each in contenders] == ["zero-shot", "ties"]
    assert tasks == study.tasks
    contenders, tasks = study.select(["seen"])
    assert (contenders, [t.name for t in tasks]) == (study.contenders, ["vqav2", "rec"])
    contenders, tasks = study.select(["ties", "rec"])
    assert ([c.label for c in contenders], [t.name for t in tasks]) == (["ties"], ["rec"])
    with pytest.raises(MergeError, match="unknown label or task 'tise'") as caught:
        study.select(["tise"])
    assert "did you mean ties?" in str(caught.value)


def test_a_method_of_a_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_registry, "_METHODS", dict(_registry._METHODS))  # gone after the test
    (tmp_path / "mine.py").write_text(
        "from robustmerge.methods import method\n"
        "from robustmerge.methods.sums.average import average\n\n\n"
        '@method("of-a-study", paper="none", gauge_invariant=True, checked="")\n'
        "def of_a_study(stack):\n"
        '    """Mean."""\n'
        "    return average(stack)\n"
    )
    file = studies.write(
        tmp_path / "study.yaml", merging={"plugins": ["mine.py"]}, methods=["of-a-study"]
    )
    (contender,) = Study.load(file).contenders
    assert contender.recipe is not None
    assert contender.recipe.plugins == (str(tmp_path / "mine.py"),)


def test_samples_are_those_next_to_the_study(tmp_path: Path) -> None:
    samples = [tmp_path / f"{task}.jsonl" for task in ("vqav2", "rec")]
    for path in samples:
        path.write_text('{"prompt": "a"}')
    entry = {"method": "relay", "base": "b", "samples": [path.name for path in samples]}
    study = Study.load(
        studies.write(tmp_path / "study.yaml", methods=[entry, "ties"]), run_plugins=False
    )
    relay, ties = (contender.recipe for contender in study.contenders)
    assert relay is not None
    assert ties is not None
    assert relay.samples == tuple(map(str, samples))
    keys = [merge_key(recipe, FileHashes(), Path) for recipe in (relay, ties)]
    samples[1].write_text('{"prompt": "b"}')
    after = [merge_key(recipe, FileHashes(), Path) for recipe in (relay, ties)]
    assert keys[0] != after[0]
    assert keys[1] == after[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"bacth": 8}, ["unknown option of answering 'bacth'", "did you mean batch?"]),
        ({"batch": "8"}, ["batch = '8' is not a whole number"]),
        ({"dtype": 16}, ["dtype = 16 is not text"]),
        ({"dtype": "float"}, ["unknown dtype"]),
        ({"engine": "server", "url": "http://x/v1", "model": "m"}, ["one name for all models"]),
    ],
)
def test_options_of_answering(arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(MergeError) as caught:
        read_answering(arguments, limit=None)
    for word in words:
        assert word in str(caught.value)


def test_a_server_knows_models_by_their_labels() -> None:
    arguments = {"engine": "server", "url": "http://x/v1", "model": "{label}"}
    options = read_answering(arguments, limit=5)
    assert (options.model, options.limit) == ("{label}", 5)
