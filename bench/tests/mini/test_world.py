"""The world is the same everywhere and every time, and its splits share no scene."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest

from robustmerge_bench.item import Item
from robustmerge_bench.mini.tasks import SEEN, TASKS, UNSEEN
from robustmerge_bench.mini.world import generic
from robustmerge_bench.mini.world.facts import NAMES
from robustmerge_bench.mini.world.scene import LOOKS, SIDE, Line, Scene, Thing, render
from robustmerge_bench.mini.world.splits import SPLITS, split_of
from robustmerge_bench.mini.world.sprites import CHARACTERS, glyph, sprite
from robustmerge_bench.mini.world.words import vocabulary

GOLDEN = {
    "sqa": "5bbd900c2470",
    "viz": "e47ca482127f",
    "imn": "aeb77e0f26a3",
    "vqa": "70eae9f05e62",
    "ico": "c61740e5750c",
    "flk": "8fd19771a0b0",
    "rec": "81be86b5e5dd",
    "ocr": "ad489439ca5e",
    "aok": "5c6d57919e2b",
    "imr": "b5c15b44de1c",
    "s2w": "d2461d7fbc82",
    "tab": "b1498ef1a215",
}


def digest(items: list[Item]) -> str:
    """What items are, in twelve digits."""
    whole = hashlib.sha256()
    for item in items:
        whole.update(item.image.tobytes())
        whole.update(repr((item.prompt, item.answer, item.references)).encode())
    return whole.hexdigest()[:12]


@pytest.mark.parametrize("name", TASKS)
def test_items_are_what_they_have_always_been(name: str) -> None:
    assert digest(TASKS[name].items("test", 40)) == GOLDEN[name]


@pytest.mark.parametrize("name", TASKS)
def test_items_do_not_depend_on_how_many_are_drawn(name: str) -> None:
    task = TASKS[name]
    assert digest(task.items("validation", 20)) == digest(task.items("validation", 30)[:20])
    assert digest(task.items("test", 20, seed=1)) != digest(task.items("test", 20))


@pytest.mark.parametrize("name", TASKS)
def test_no_picture_of_one_split_is_in_another(name: str) -> None:
    pictures = {s: {i.image.tobytes() for i in TASKS[name].items(s, 150)} for s in SPLITS}
    assert not pictures["train"] & (pictures["validation"] | pictures["test"])
    assert not pictures["validation"] & pictures["test"]


def test_the_base_model_sees_scenes_for_training_only() -> None:
    for seed in range(200):
        assert split_of(generic.example(np.random.default_rng(seed)).scene) == "train"


def test_a_scene_is_of_one_split_in_every_look() -> None:
    scene = Scene((Thing("cat", "red", 0, 1),), "sand")
    assert len({split_of(replace(scene, look=look)) for look in LOOKS}) == 1


def test_splits_have_the_shares_that_they_say() -> None:
    scenes = [
        Scene((Thing(n, "red", r, c, k),))
        for n in NAMES
        for r in range(3)
        for c in range(3)
        for k in range(4)
    ]
    shares = [np.mean([split_of(s) == split for s in scenes]) for split in SPLITS]
    assert np.allclose(shares, [0.7, 0.1, 0.2], atol=0.05)


@pytest.mark.parametrize("name", TASKS)
def test_the_right_answer_gets_all_points_and_another_does_not(name: str) -> None:
    items = TASKS[name].items("test", 50)
    assert TASKS[name].score([item.answer for item in items], items).min() > 99.99
    assert TASKS[name].score(["cat cat cat"] * 50, items).mean() < 30
    assert TASKS[name].score([""] * 50, items).max() == 0


@pytest.mark.parametrize("name", [name for name in TASKS if name not in ("sqa", "aok")])
def test_chance_is_what_the_answers_to_other_items_score(name: str) -> None:
    items = sorted(TASKS[name].items("test", 400), key=lambda item: item.kind)
    scores = []
    for kind in {item.kind for item in items}:
        same = [item for item in items if item.kind == kind]
        shuffled = np.random.default_rng(0).permutation(len(same))
        scores += list(TASKS[name].score([same[i].answer for i in shuffled], same))
    assert abs(np.mean(scores) - TASKS[name].chance) < 5


@pytest.mark.parametrize("name", ["sqa", "aok"])
def test_chance_is_one_of_three_where_there_are_options(name: str) -> None:
    items = TASKS[name].items("test", 100)
    for place in range(3):
        guesses = []
        for item in items:
            found = re.search(r"choose from (\w+) , (\w+) or (\w+) \.", item.prompt)
            assert found
            guesses.append(f"the answer is {found.groups()[place]}")
        assert abs(TASKS[name].score(guesses, items).mean() - TASKS[name].chance) < 15


def test_every_word_is_in_the_vocabulary_and_every_one_is_known_to_the_base() -> None:
    known: set[str] = set()
    for seed in range(1000):
        for turn in generic.example(np.random.default_rng(seed)).turns:
            known |= set(f"{turn.question} {turn.answer}".split())
    assert known <= set(vocabulary())
    for task in TASKS.values():
        for item in task.items("train", 100):
            assert set(f"{item.prompt} {item.answer}".split()) <= known


def test_eight_tasks_are_seen_and_four_are_not() -> None:
    assert len(SEEN) == 8
    assert len(UNSEEN) == 4
    assert set(SEEN + UNSEEN) == set(TASKS)


def test_things_and_characters_are_told_apart() -> None:
    things = {sprite(name).tobytes() for name in NAMES}
    assert len(things) == len(NAMES)
    assert len({glyph(c).tobytes() for c in CHARACTERS}) == len(CHARACTERS)


def test_a_picture_shows_what_the_scene_says() -> None:
    rng = np.random.default_rng(0)
    empty = render(Scene(ground="sand"), rng)
    thing = Thing("house", "blue", 1, 2, corner=3)
    shown = render(Scene((thing,), "sand"), rng)
    changed = np.argwhere((shown != empty).any(axis=2))
    x1, y1, x2, y2 = (8 * side for side in thing.box)
    assert thing.box == (5, 3, 6, 4)
    assert changed.min(axis=0).tolist() >= [y1, x1]
    assert (changed.max(axis=0) < [y2, x2]).all()
    assert (shown[y1:y2, x1:x2][sprite("house")] == (40, 80, 215)).all()


def test_writing_and_gauges_fill_their_rows() -> None:
    rng = np.random.default_rng(0)
    scene = Scene((), "sand", (Line("ab", 2, 1),), gauge=(5, 9))
    changed = (render(scene, rng) != render(Scene((), "sand"), rng)).any(axis=2)
    assert changed[16:24, 8:24].any()
    assert not changed[:16].any()
    assert not changed[16:24, 24:].any()
    assert changed[40:].any()
    full, none = (render(replace(scene, gauge=(5, level)), rng)[44] for level in (9, 0))
    assert (full[2 : SIDE - 2] == (230, 60, 50)).all()
    assert (none[2 : SIDE - 2] == (255, 255, 255)).all()


@pytest.mark.parametrize("look", LOOKS)
def test_every_look_changes_the_picture(look: str) -> None:
    scene = Scene((Thing("cat", "red", 0, 1),), "sand", look=look)
    shown = render(scene, np.random.default_rng(0))
    assert shown.shape == (SIDE, SIDE, 3)
    assert shown.dtype == np.uint8
    plain = render(replace(scene, look="plain"), np.random.default_rng(0))
    assert (shown != plain).any() == (look != "plain")
