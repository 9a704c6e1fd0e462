"""What was learned is what is answered: training and asking put things in the same words."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForImageTextToText

from bench_factories.conversations import entry, source_of, write
from bench_factories.tiny_models import draw, save
from robustmerge_bench.paper.answering.engine import Request
from robustmerge_bench.paper.answering.engines.live import LocalEngine
from robustmerge_bench.paper.answering.family import prompt_for, settings_of
from robustmerge_bench.paper.training.device import DeviceConfig
from robustmerge_bench.paper.training.recipe import TrainingRecipe
from robustmerge_bench.paper.training.train import train

ANSWERS = ("Cat", "[.1]", "so")
QUESTIONS = ("Who?", "A", "2+2 = x")


def enlarge_head(base: Path) -> Path:
    """Enlarge the head, which is frozen: as it is, no hidden state makes it sure of a token."""
    model = AutoModelForImageTextToText.from_pretrained(base)
    model.get_output_embeddings().weight.data *= 5
    model.save_pretrained(base)
    return base


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "idefics3"])
def test_an_expert_answers_as_it_was_trained(family: str, tmp_path: Path) -> None:
    base = enlarge_head(save(family, tmp_path / "base"))
    images = [draw(tmp_path / "0.png", 0), draw(tmp_path / "1.png", 1), None]
    records = [
        entry(question, answer, path and path.name)
        for question, answer, path in zip(QUESTIONS, ANSWERS, images, strict=True)
    ]
    recipe = TrainingRecipe(
        batch=3, epochs=80, learning_rate=5e-3, projector_rate=3e-3, dropout=0.0
    )
    record = train(
        str(base),
        [source_of(write(tmp_path / "train.json", records))],
        tmp_path / "out",
        task="toy",
        recipe=recipe,
        device=DeviceConfig(gradient_checkpointing=False),
    )
    assert record["loss"][-1][1] < 0.1
    settings = settings_of(str(base))
    engine = LocalEngine(
        str(base),
        str(tmp_path / "out"),
        settings=settings,
        prompt=prompt_for(settings, "auto", str(base)),
        device="cpu",
        dtype="float32",
        batch=3,
    )
    request = [
        Request(n, question, path, "pad", 16, "there")
        for n, (question, path) in enumerate(zip(QUESTIONS, images, strict=True))
    ]
    assert tuple(engine.answer(request)) == ANSWERS
