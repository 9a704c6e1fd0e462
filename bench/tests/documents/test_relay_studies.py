"""Studies of RELAY's samples: wordings that the model can read, prompts of the right tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import robustmerge
from bench_factories.untrained_world import make_root
from relay_parts.anchors import generic_items, write_unchanged
from relay_parts.cases import CASES, SEEN, RelayCase
from relay_parts.wordings import WORDINGS
from relay_studies import HELD_OUT, write_anchors, write_samples
from robustmerge_bench.mini.tasks import TASKS
from robustmerge_bench.mini.training.dialog import numbers


@pytest.mark.parametrize("task", SEEN)
def test_the_model_knows_the_words_of_all_wordings(task: str) -> None:
    items = TASKS[task].items("validation", 12)
    varied = {WORDINGS["varied"](item, n).prompt for n, item in enumerate(items)}
    for name, reword in WORDINGS.items():
        for number, item in enumerate(items):
            other = reword(item, number)
            assert numbers(other.prompt), name  # a KeyError names a word that it does not know
            assert (other.answer, other.references) == (item.answer, item.references)
            if name == "held-out":
                assert other.prompt not in varied
    assert len({WORDINGS["varied"](items[0], n).prompt for n in range(6)}) == 3


def test_two_tasks_share_a_prompt_or_an_instruction() -> None:
    prompts = {
        (name, task): WORDINGS[name](TASKS[task].items("test", 1)[0], 0).prompt
        for name in ("captions", "words")
        for task in SEEN
    }
    assert prompts["captions", "viz"] == prompts["captions", "flk"]
    for task in ("vqa", "ico"):
        assert prompts["words", task].endswith("? answer using a single word .")
        assert "icons" not in prompts["words", task]


@pytest.mark.parametrize(
    ("case", "foreign"),
    [
        (RelayCase("own", prompts=8), []),
        (RelayCase("quarter", prompts=8, foreign=1 / 4), [0, 4, 8, 12]),
        (RelayCase("other", prompts=8, foreign=1.0, spoiled=("vqa",)), []),
        (RelayCase("all", prompts=8, foreign=1.0), list(range(16))),
    ],
    ids=lambda value: value.name if isinstance(value, RelayCase) else "",
)
def test_foreign_prompts_are_the_next_tasks(
    case: RelayCase, foreign: list[int], tmp_path: Path
) -> None:
    lines = write_samples(case, "ocr", tmp_path).read_text().splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines]
    assert len(prompts) == 8 + HELD_OUT
    assert [n for n, prompt in enumerate(prompts) if "book cover" not in prompt] == foreign


def test_every_case_has_its_file() -> None:
    names = [case.name for cases in CASES.values() for case in cases]
    assert len(names) == len(set(names))


def test_the_base_as_an_expert_changes_nothing(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    expert = root / "experts" / "shared-0" / "ocr"
    unchanged = robustmerge.load(write_unchanged(expert, tmp_path / "base"))
    assert list(unchanged.modules) == list(robustmerge.load(expert).modules)
    assert not unchanged.extras
    assert not any(unchanged.factors(name).dense().any() for name in unchanged.modules)


def test_generic_prompts_are_words_that_the_model_knows(tmp_path: Path) -> None:
    items = generic_items(12)
    assert len({numbers(item.prompt)[0] for item in items}) > 1
    lines = write_anchors(RelayCase("anchor", prompts=4, anchor=1), tmp_path).read_text()
    prompts = [json.loads(line)["prompt"] for line in lines.splitlines()]
    assert prompts == [item.prompt for item in items]
