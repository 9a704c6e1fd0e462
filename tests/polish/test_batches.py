"""Joined sequences give the logits that each has alone, and every task is in every step."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st

from factories.families import FAMILIES, _quiet, build, inputs, text_inputs
from robustmerge.families import BY_NAME
from robustmerge.polish.batches import TaskSchedule, answer_logits, groups, join
from robustmerge.prompted.answers import AnsweredPrompt, continued

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with _quiet():
        yield


def sequences(family: str) -> tuple[Any, list[AnsweredPrompt]]:
    """Three sequences of one prompt with answers of several lengths, and one without an image."""
    model = build(family)
    answers = [torch.arange(5, 5 + n) for n in (4, 1, 7)]
    prompt = inputs(family, model)
    return model, [*(continued(prompt, a) for a in answers), continued(text_inputs(), answers[0])]


CAUSAL = [family for family in FAMILIES if not BY_NAME[family].reads_ahead]


@pytest.mark.parametrize("family", CAUSAL)
def test_joined_sequences_are_what_each_is_alone(family: str) -> None:
    model, prompts = sequences(family)
    assert groups(prompts, 8) == [[0, 1, 2], [3]]
    assert groups(prompts, 2) == [[0, 1], [2], [3]]
    with torch.no_grad():
        alone = [model(**p.inputs).logits[0, p.positions] for p in prompts]
        joined = answer_logits(model, prompts[:3], CPU)
    for row, wanted, prompt in zip(joined, alone, prompts, strict=False):
        assert row.shape[0] == len(prompt.answer)
        torch.testing.assert_close(row, wanted, atol=2e-5, rtol=2e-5)


def test_models_that_compute_all_logits_give_the_same() -> None:
    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = build("llava")

        def forward(self, **batch: Any) -> Any:
            return self.inner(**batch)

    _, prompts = sequences("llava")
    with torch.no_grad():
        rows = [answer_logits(model, prompts[:3], CPU) for model in (Whole(), build("llava"))]
    for whole, last in zip(*rows, strict=True):
        torch.testing.assert_close(whole, last)


def test_a_mask_is_added_where_there_is_none() -> None:
    ids = torch.arange(3, 8)[None]
    prompts = [continued({"input_ids": ids}, torch.arange(5, 5 + n)) for n in (3, 1)]
    joined = join(prompts)
    assert joined["attention_mask"].tolist() == [[1] * 7, [1] * 5 + [0] * 2]
    assert joined["input_ids"][1].tolist() == [3, 4, 5, 6, 7, 7, 7]
    assert "attention_mask" not in join(prompts[:1])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 9))
def test_every_step_has_every_task_and_every_pass_every_prompt(
    counts: list[int], each: int, seed: int
) -> None:
    passes = 3 * max(counts)
    steps = list(islice(TaskSchedule(counts, each, seed), passes))
    assert steps == list(islice(TaskSchedule(counts, each, seed), passes))
    for task, count in enumerate(counts):
        own = [n for step in steps for t, n in step if t == task]
        assert len(own) == each * passes
        for start in range(0, len(own) - count + 1, count):
            assert sorted(own[start : start + count]) == list(range(count))
