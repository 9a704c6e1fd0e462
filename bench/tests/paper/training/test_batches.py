"""A batch teaches what its conversations teach one by one, in every family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText

from bench_factories.tiny_models import FAMILIES, draw, save
from robustmerge.collect.gradients import IGNORED
from robustmerge_bench.paper.training.batches import Collator, OrderedExamples, answer_loss
from robustmerge_bench.paper.training.conversations import Conversation, Turn
from robustmerge_bench.paper.training.encoding import encoder_for
from robustmerge_bench.paper.training.recipe import TrainingRecipe


@pytest.fixture(scope="module")
def sample_conversations(tmp_path_factory: pytest.TempPathFactory) -> list[Conversation]:
    """Images of unequal shapes, answers of unequal lengths, and one without an image."""
    folder = tmp_path_factory.mktemp("pictures")
    sizes = [(60, 40), (40, 110), (50, 50)]
    images = [draw(folder / f"{n}.png", n, size) for n, size in enumerate(sizes)]
    turns = [Turn("What is this?" + "?" * n, "A" * (n + 1)) for n in range(4)]
    return [
        Conversation(f"record {n}", path, (turn,))
        for n, (path, turn) in enumerate(zip([*images, None], turns, strict=True))
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_of_a_batch_is_that_of_its_parts(
    family: str, tmp_path: Path, sample_conversations: list[Conversation]
) -> None:
    base = save(family, tmp_path / "base")
    encoder = encoder_for(str(base), TrainingRecipe())
    model = AutoModelForImageTextToText.from_pretrained(base).eval()
    collate = Collator(encoder.pad_token)
    examples = [encoder(talk) for talk in sample_conversations]
    counts = [int((example["labels"] != IGNORED).sum()) for example in examples]
    assert counts == [3, 4, 5, 6]  # a space, the letters, the end
    total = torch.tensor(float(sum(counts)))

    def loss(some: Sequence[dict[str, Tensor]]) -> float:
        batch = collate(some)
        labels = batch.pop("labels")
        with torch.no_grad():
            return float(answer_loss(model(**batch), labels, total))

    parts = [loss([example]) for example in examples]
    assert loss(examples) == pytest.approx(sum(parts), rel=1e-5)
    assert loss(examples[::-1]) == pytest.approx(sum(parts), rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_models_own(
    family: str, tmp_path: Path, sample_conversations: list[Conversation]
) -> None:
    base = save(family, tmp_path / "base")
    encoder = encoder_for(str(base), TrainingRecipe())
    model = AutoModelForImageTextToText.from_pretrained(base).eval()
    batch = Collator(encoder.pad_token)([encoder(talk) for talk in sample_conversations])
    with torch.no_grad():
        outputs = model(**batch)
    assert float(answer_loss(outputs, batch["labels"])) == pytest.approx(float(outputs.loss))


def test_sequences_and_pixels_are_filled_up() -> None:
    short = {
        "input_ids": torch.tensor([[5, 6]]),
        "attention_mask": torch.ones(1, 2, dtype=torch.long),
        "labels": torch.tensor([[IGNORED, 6]]),
        "pixel_values": torch.ones(1, 1, 3, 2, 2),
        "grid": torch.tensor([[1, 2]]),
    }
    long = {
        "input_ids": torch.tensor([[7, 8, 9]]),
        "attention_mask": torch.ones(1, 3, dtype=torch.long),
        "labels": torch.tensor([[IGNORED, 8, 9]]),
        "mm_token_type_ids": torch.tensor([[1, 1, 0]]),
        "pixel_values": 2 * torch.ones(1, 2, 3, 2, 3),
        "grid": torch.tensor([[3, 4]]),
    }
    batch = Collator(99)([short, long])
    assert batch["input_ids"].tolist() == [[5, 6, 99], [7, 8, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [[IGNORED, 6, IGNORED], [IGNORED, 8, 9]]
    assert batch["mm_token_type_ids"].tolist() == [[0, 0, 0], [1, 1, 0]]
    assert batch["grid"].tolist() == [[1, 2], [3, 4]]
    assert batch["pixel_values"].shape == (2, 2, 3, 2, 3)
    assert batch["pixel_values"][0].sum() == 12
    assert batch["pixel_values"][0, 0, :, :, :2].sum() == 12
    assert batch["pixel_values"][1].sum() == 72


def numbered(talk: Conversation) -> dict[str, Tensor]:
    return {"labels": torch.tensor([[int(talk.where)]])}


@pytest.mark.parametrize(
    ("rows", "portion", "seen"),
    [
        ([2, 0, 1], 1, [2, 0, 1]),
        ([2, 0, 1], 3, [2, 0, 1]),
        ([2, 0, 1], 2, [2, 0, 1, IGNORED]),
        ([1], 4, [1, IGNORED, IGNORED, IGNORED]),
    ],
)
def test_what_fills_up_a_portion_does_not_count(
    rows: list[int], portion: int, seen: list[int]
) -> None:
    sample_conversations = [Conversation(str(n), None, ()) for n in range(3)]
    examples = OrderedExamples(sample_conversations, rows, portion, numbered)
    assert len(examples) == len(seen)
    assert [int(examples[n]["labels"]) for n in range(len(seen))] == seen
    with pytest.raises(IndexError):
        examples[len(seen)]


def test_no_answer_in_a_portion_is_no_loss() -> None:
    class Outputs:
        logits = torch.randn(2, 3, 5, requires_grad=True)

    loss = answer_loss(Outputs, torch.full((2, 3), IGNORED), torch.tensor(7))
    loss.backward()
    assert float(loss.detach()) == 0
    assert Outputs.logits.grad is not None
    assert not Outputs.logits.grad.any()
