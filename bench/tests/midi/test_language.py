"""Questions and answers as tokens, and the training of projector and language model on them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import PartialState
from numpy.random import Generator
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from robustmerge_bench.item import Item
from robustmerge_bench.midi.images.questions import blind_caption_floor, blind_number_floor
from robustmerge_bench.midi.training.dialog import END, TURN, Dialog, answer_loss
from robustmerge_bench.midi.training.language import (
    LanguageSettings,
    Trainable,
    collate_with_features,
    split_by_length,
    train_language,
)
from robustmerge_bench.midi.training.tower import TOKENS, pixels
from robustmerge_bench.mini.training.fit import run_workers
from robustmerge_bench.mini.training.turns import IGNORED

from .test_model import small

IMAGE = 39
SETTINGS = LanguageSettings(steps=6, batch=4, rate=1e-2, rank=2, every=4)
WORDS = ("what", "is", "this", "?", "a", "cat", "bus", "red", "user", "assistant", "blue")


@pytest.fixture
def dialog() -> Dialog:
    return make_dialog()


def make_dialog() -> Dialog:
    numbers = {word: number for number, word in enumerate((*WORDS, TURN, END))}
    inner = Tokenizer(models.WordLevel(numbers, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=END, additional_special_tokens=[TURN]
    )
    return Dialog(tokenizer, IMAGE)


def draw(rng: Generator, count: int) -> list[list[Item]]:
    return [[item] for item in draw_items(rng, count)]


def draw_items(rng: Generator, count: int) -> Sequence[Item]:
    shown = [("a cat", 40), ("a red bus", 200)]
    chosen = [shown[int(rng.integers(2))] for _ in range(count)]
    return [
        Item("t", "t", np.full((224, 224, 3), gray, np.uint8), "what is this ?", text, (text,))
        for text, gray in chosen
    ]


def ask(question: str, answer: str, gray: int = 0) -> Item:
    image = np.full((224, 224, 3), gray, np.uint8)
    return Item("t", "t", image, question, answer, (answer,))


def test_answers_are_learned_where_they_are_predicted(dialog: Dialog) -> None:
    rows = dialog.collate([[ask("what is this ?", "a cat")], [ask("what ?", "a red bus")]])
    assert rows.tokens.shape == rows.labels.shape
    for tokens, labels, answer in zip(
        rows.tokens, rows.labels, ("a cat", "a red bus"), strict=True
    ):
        learned = (labels != IGNORED).nonzero()[:, 0]
        assert dialog.text(labels[learned].tolist()) == answer
        assert labels[learned[-1]] == dialog.end
        assert torch.equal(tokens[learned[:-1] + 1], labels[learned[:-1]])
        assert int((tokens == IMAGE).sum()) == TOKENS


def test_the_loss_is_that_of_the_stock_class(dialog: Dialog) -> None:
    model, items = small(), draw_items(np.random.default_rng(0), 5)
    rows, features = collate_with_features(model, dialog, [[item] for item in items])
    images = pixels([item.image for item in items])
    labels = torch.full_like(rows.labels, IGNORED)
    labels[:, 1:] = rows.labels[:, :-1]  # the stock class shifts them itself
    stock = model(input_ids=rows.tokens, pixel_values=images, labels=labels).loss
    torch.testing.assert_close(answer_loss(model, [(rows, features)]), stock)


def test_questions_about_one_image_count_as_they_do_alone(dialog: Dialog) -> None:
    """They do not see each other, however the images are divided among batches."""
    model = small()
    about_cat = [ask("what is this ?", "a cat", 40), ask("what ?", "a red cat", 40)]
    about_bus = [ask("is this a bus ?", "a bus", 200)]
    apart = [[item] for item in (*about_cat, *about_bus)]
    alone = answer_loss(model, [collate_with_features(model, dialog, apart)])
    for parts in ([[about_cat, about_bus]], [[about_cat], [about_bus]]):
        batches = [collate_with_features(model, dialog, part) for part in parts]
        assert sum(len(rows.tokens) for rows, _ in batches) == 2
        torch.testing.assert_close(answer_loss(model, batches), alone)


def test_the_longer_half_is_padded_apart() -> None:
    short, long = ask("what ?", "cat"), ask("what is this ?", "a red bus")
    examples = [[long], [short], [short, short], [short]]
    parts = split_by_length(examples)
    assert parts == [[[short], [short]], [[short, short], [long]]]
    assert split_by_length(examples[:1]) == [examples[:1]]


def test_rank_0_trains_the_projector_alone() -> None:
    alone, both = (Trainable.of(small(), rank).parameters for rank in (0, 2))
    assert all("multi_modal_projector" in name for name in alone)
    assert any("lora_A" in name for name in both)
    assert not any("vision_tower" in name for name in both)


def run(folder: Path, limits: Sequence[float], losses: list[float]) -> torch.Tensor:
    folder.mkdir()
    for limit in limits:
        model = small()
        reached = train_language(
            Trainable.of(model, SETTINGS.rank),
            make_dialog(),
            draw,
            SETTINGS,
            folder / "language.pt",
            report=lambda _, loss: losses.append(loss),
            seconds=limit,
        )
    assert reached == 6
    return model.model.multi_modal_projector.linear_2.weight.detach()


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole: list[float] = []
    pieces: list[float] = []
    first = run(tmp_path / "a", [math.inf], whole)
    second = run(tmp_path / "b", [0.0, math.inf], pieces)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert pieces == whole
    assert whole[-1] < whole[0]


def train_a_share(folder: Path) -> None:
    """What a worker does: it keeps how many images it drew each time, and its weights."""
    counts: list[int] = []

    def counted(rng: Generator, count: int) -> list[list[Item]]:
        counts.append(count)
        return draw(rng, count)

    rank = PartialState().process_index
    trainable = Trainable.of(small(), SETTINGS.rank)
    state = folder / "language.pt"
    train_language(trainable, make_dialog(), counted, SETTINGS, state, report=lambda *_: None)
    torch.save((counts, trainable.parameters.state_dict()), folder / f"{rank}.pt")


def test_workers_share_every_batch_and_have_the_same_weights(tmp_path: Path) -> None:
    run_workers(train_a_share, 2, tmp_path)
    (first, weights), (second, same) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first == second == [SETTINGS.batch // 2] * SETTINGS.steps
    assert weights.keys() == same.keys()
    assert all(torch.equal(weights[name], same[name]) for name in weights)


def test_the_floors_are_the_entropies_of_the_answers() -> None:
    drawings, grounds = 3, 10
    share: Counter[tuple[int, ...]] = Counter()
    for ground in range(grounds):
        for first in range(drawings):
            share[ground, first] += 1 / (2 * drawings * grounds)
            for second in set(range(drawings)) - {first}:
                share[ground, first, second] += 1 / (2 * drawings * (drawings - 1) * grounds)
    entropy = -sum(p * math.log(p) for p in share.values())
    assert sum(share.values()) == pytest.approx(1)
    assert blind_caption_floor(drawings) == pytest.approx(entropy)
    assert blind_number_floor() == pytest.approx(math.log(1000))
