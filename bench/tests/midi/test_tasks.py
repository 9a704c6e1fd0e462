"""The twelve tasks: right answers, the same items every time, and no scene in two splits."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator
from PIL import Image

from robustmerge.errors import MergeError
from robustmerge_bench.midi.images.arrange import LOOKS, Arrangement, in_grid
from robustmerge_bench.midi.images.clip_art import (
    TOPICS,
    ClipArt,
    count_pixels,
    read_clip_art,
    series,
)
from robustmerge_bench.midi.images.flags import COUNTRIES, read_flags
from robustmerge_bench.midi.images.garments import GARMENTS, Photos, read_photos
from robustmerge_bench.midi.images.icons import read_icons
from robustmerge_bench.midi.images.splits import SPLITS, Split
from robustmerge_bench.midi.tasks import (
    KINDS,
    SEEN,
    UNSEEN,
    ImageQuestion,
    Pool,
    TaskKind,
    bind,
    draw_item,
)
from robustmerge_bench.midi.tasks.generic import draw_generic


@dataclass(frozen=True)
class Disc:
    """A square of one gray with a name."""

    name: str
    gray: int = 100

    def draw(self, size: int) -> Image.Image:
        return Image.new("RGBA", (size, size), (self.gray, self.gray, self.gray, 255))


def pool() -> Pool:
    rng = np.random.default_rng(0)
    words = [f"{a}{b}" for a in ("cat", "bus", "owl", "axe") for b in ("", "fish", "man", "top")]
    discs = tuple(Disc(word, 10 * i) for i, word in enumerate(words))
    topics = tuple(TOPICS.values())
    art = {split: tuple(Disc(topic, i) for topic in topics) for i, split in enumerate(SPLITS)}
    photos = {
        split: Photos(split, rng.integers(0, 256, (20, 28, 28), np.uint8), np.arange(20) % 10)
        for split in SPLITS
    }
    icons = {disc.name: disc for disc in discs[:8]}
    flags = tuple(map(Disc, COUNTRIES.values()))
    return Pool(discs, icons, flags, ClipArt(art), photos)


TASKS = bind(pool())


@pytest.mark.parametrize("name", TASKS)
def test_items_are_the_same_every_time_and_right_answers_get_all(name: str) -> None:
    task = TASKS[name]
    items = task.items("test", 6)
    again = task.items("test", 3)
    for item, other in zip(items, again, strict=False):
        assert (item.prompt, item.answer) == (other.prompt, other.answer)
        assert np.array_equal(item.image, other.image)
    assert {item.image.shape for item in items} == {(224, 224, 3)}
    assert task.score([item.answer for item in items], items) == pytest.approx(100, abs=1e-3)
    assert task.score(["nonsense"] * 6, items).max() < 50
    assert task.items("test", 3, seed=1)[0].image.tobytes() != items[0].image.tobytes()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_scene_is_in_two_splits(kind: TaskKind) -> None:
    """Of photographs and clip art, no single one is; else no set of things on one ground."""
    shown: dict[str, set[str]] = {split: set() for split in SPLITS}
    drawn: list[ImageQuestion] = []

    def draw(rng: Generator, pictures: Pool, split: Split) -> ImageQuestion:
        drawn.append(kind.draw(rng, pictures, split))
        return drawn[-1]

    rng = np.random.default_rng(5)
    for split in SPLITS:
        for _ in range(12):
            draw_item(rng, draw, TASKS[kind.name].pool, split, kind.name)
            scene = drawn[-1].scene
            content = scene.things[0].depiction if drawn[-1].own_split else scene.content
            shown[split].add(repr(content))
    assert not shown["train"] & (shown["validation"] | shown["test"])
    assert not shown["validation"] & shown["test"]


def test_what_is_where_and_how_it_looks_does_not_decide_the_split() -> None:
    rng = np.random.default_rng(0)
    things = [Disc("cat"), Disc("bus")]
    scenes = [
        Arrangement(in_grid(rng, order, 2, 2, cells), "red", look)
        for order, cells, look in (
            (things, [0, 1], "plain"),
            (things, [2, 3], "dark"),
            (things[::-1], [0, 3], "noisy"),
        )
    ]
    assert len({scene.content for scene in scenes}) == 1


def test_things_stay_in_their_cells() -> None:
    rng = np.random.default_rng(0)
    for cell in range(12):
        (placed,) = in_grid(rng, [Disc("cat")], 4, 3, [cell])
        left, top, right, bottom = placed.box
        assert cell % 4 * 56 <= left < right <= cell % 4 * 56 + 56
        assert cell // 4 * 74 <= top < bottom <= cell // 4 * 74 + 74
        image = Arrangement((placed,), "white").render(rng)
        assert (image[top:bottom, left:right] == 100).all()
        assert (image == 100).all(axis=2).sum() == (right - left) * (bottom - top)


@pytest.mark.parametrize("look", LOOKS)
def test_looks_change_images(look: str) -> None:
    rng = np.random.default_rng(0)
    things = in_grid(rng, [Disc("cat", 200)], 1, 1, [0])
    plain, changed = (
        Arrangement(things, "red", name).render(rng).astype(float) for name in ("plain", look)
    )
    assert (abs(plain - changed).mean() > 5) == (look != "plain")


def test_twelve_tasks_of_which_eight_have_experts() -> None:
    assert (len(SEEN), len(UNSEEN)) == (8, 4)
    assert tuple(TASKS) == (*SEEN, *UNSEEN)


def test_plain_questions_are_about_one_image_of_the_train_split() -> None:
    rng = np.random.default_rng(0)
    pictures = pool()
    examples = [draw_generic(rng, pictures) for _ in range(150)]
    kinds = {item.kind for items in examples for item in items}
    assert kinds == {
        *("color", "where", "what", "count", "exists", "box", "letter", "list"),
        *("garment", "flag", "icons", "name", "caption", "option"),
    }
    for items in examples:
        assert 2 <= len(items) <= 4
        assert len({item.image.tobytes() for item in items}) == 1
        assert len({item.prompt for item in items}) == len(items)


def test_versions_of_a_drawing_are_one_series() -> None:
    assert series("bus1_bw_jarno_vasamaa_01") == series("bus1_jarno_vasamaa_02")
    assert series("head12") == series("head1")
    assert series("bus_lane") != series("bus")


def test_packages_are_read(tmp_path: Path) -> None:
    (tmp_path / "css").mkdir()
    styles = (
        '.mdi-cat::before {\n  content: "\\F011B";\n}\n\n.mdi-cat-off::before {\n  content: "\\F0'
    )
    (tmp_path / "css" / "materialdesignicons.css").write_text(styles)
    assert {name: icon.code for name, icon in read_icons(tmp_path).items()} == {"cat": 0xF011B}
    for code in COUNTRIES:
        (tmp_path / f"{code}.png").touch()
    assert [flag.name for flag in read_flags(tmp_path)] == list(COUNTRIES.values())
    (tmp_path / "fr.png").unlink()
    with pytest.raises(MergeError, match="France"):
        read_flags(tmp_path)
    with pytest.raises(MergeError, match="no clip art"):
        read_clip_art(tmp_path)


def test_clip_art_of_too_many_pixels_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/openclipart/png/food/fruit"
    folder.mkdir(parents=True)
    names = [f"fruit{chr(97 + i)}" for i in range(26)]
    for name in names:
        Image.new("RGB", (3, 5)).save(folder / f"{name}.png")
    assert count_pixels(folder / "fruita.png") == 15
    whole = read_clip_art(tmp_path).drawings
    assert sum(map(len, whole.values())) == 26
    size = (2001).to_bytes(4, "big") + (2000).to_bytes(4, "big")
    (folder / "fruita.png").write_bytes(bytes(16) + size)
    left = read_clip_art(tmp_path).drawings
    assert sum(map(len, left.values())) == 25


def test_photographs_of_the_three_splits_are_different_ones(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/datasets/fashion-mnist"
    folder.mkdir(parents=True)
    for stem, count in (("train", 10_003), ("t10k", 5)):
        images = (np.arange(count) % 251).astype(np.uint8).repeat(784)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, magic, header, values in (
            ("images-idx3", 2051, 16, images),
            ("labels-idx1", 2049, 8, labels),
        ):
            content = magic.to_bytes(4, "big") + bytes(header - 4) + values.tobytes()
            (folder / f"{stem}-{name}-ubyte.gz").write_bytes(gzip.compress(content, 1))
    parts = [read_photos(tmp_path, split) for split in SPLITS]
    assert [len(part) for part in parts] == [3, 10_000, 5]
    assert parts[0].photo(2).name == GARMENTS[2]
    assert parts[1].photo(0).pixels[0] == 3
    assert parts[2].photo(4).name == GARMENTS[4]
