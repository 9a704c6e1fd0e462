"""An adapter's own answers as sequences whose answer positions predict them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st

from factories.bases import lines, llava, write_image
from factories.families import FAMILIES, _quiet, attach, build, inputs, save_adapter
from robustmerge import MergeError
from robustmerge.collect.encode import SampleEncoder
from robustmerge.collect.load import load_processor
from robustmerge.collect.samples import Samples
from robustmerge.prompted.answers import answer_task, continued, greedy, hold_out


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with _quiet():
        yield


@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_positions_predict_the_answer(family: str, tmp_path: Path) -> None:
    model = attach(build(family), save_adapter(family, tmp_path / "a", seed=1))
    prompt = inputs(family, model)
    before = {name: value.clone() for name, value in prompt.items()}
    answer = greedy(model, prompt, 5)
    assert 1 <= len(answer) <= 5
    sequence = continued(prompt, answer)
    assert sequence.length == prompt["input_ids"].shape[1] + len(answer) - 1
    with torch.no_grad():
        logits = model(**sequence.inputs).logits[0, sequence.positions]
    assert torch.equal(logits.argmax(-1), answer)
    assert all(torch.equal(prompt[name], value) for name, value in before.items())


def test_a_model_that_reads_prompts_in_both_directions_is_refused(tmp_path: Path) -> None:
    model = attach(build("paligemma"), save_adapter("paligemma", tmp_path / "a", seed=1))
    with pytest.raises(MergeError, match="PaliGemma reads a prompt in both directions"):
        answer_task(model, "default", [], lambda sample: {}, fitted=1, longest=4)


def test_samples_are_answered_and_split(tmp_path: Path) -> None:
    llava(tmp_path / "base")
    model = attach(build("llava"), save_adapter("llava", tmp_path / "a", seed=1))
    write_image(tmp_path / "one.png", 1)
    rows = [{"prompt": f"w{n} w6", "image": "one.png", "answer": "w11 w12"} for n in range(1, 5)]
    lines(tmp_path / "a.jsonl", rows)
    samples = Samples.read(tmp_path / "a.jsonl", 4).samples
    encoder = SampleEncoder(load_processor(str(tmp_path / "base")), torch.float32)
    calls: list[int] = []
    own = answer_task(
        model, "default", samples, encoder, fitted=3, longest=4, done=lambda: calls.append(1)
    )
    assert (len(own.fitted), len(own.held_out), len(calls)) == (3, 1, 4)
    assert own.fitted[0].where.endswith("line 1")
    answered = answer_task(
        model, "default", samples, encoder, fitted=3, longest=9, answers_known=True
    ).fitted[0]
    # w11, w12 and the end, after the same prompt.
    assert len(answered.answer) == 3
    assert answered.start == own.fitted[0].start
    shown = encoder.processor.tokenizer.decode(answered.answer)
    assert shown.startswith("w11 w12")


@given(st.integers(1, 300), st.integers(1, 64), st.integers(0, 16))
def test_every_file_has_samples_to_fit(count: int, fitted: int, held_out: int) -> None:
    used, kept = hold_out(count, fitted, held_out)
    assert 1 <= used <= fitted
    assert 0 <= kept <= held_out
    assert used + kept <= count
    if count >= 5 * held_out and count >= fitted + held_out:
        assert (used, kept) == (fitted, held_out)
