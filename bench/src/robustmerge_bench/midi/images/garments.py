"""Photographs of garments: Fashion-MNIST, Xiao et al., arXiv:1708.07747."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from robustmerge.errors import MergeError, reading

from .splits import Split

GARMENTS = (
    "T-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
"""Names of the classes, in the order of their numbers."""

PARTS = {
    **dict.fromkeys(("T-shirt", "pullover", "dress", "coat", "shirt"), "body"),
    **dict.fromkeys(("sandal", "sneaker", "ankle boot"), "feet"),
    "trousers": "legs",
    "bag": "hand",
}
"""The part of the body that the garments of a class are for."""

VALIDATION = 10_000  # the last photographs of the package's training set
_IMAGES, _LABELS = 2051, 2049  # magic numbers of idx files, with three dimensions and with one


@dataclass(frozen=True)
class Photo:
    """A photograph of a garment; its number is that in the package's file of the split."""

    name: str
    split: Split
    number: int
    pixels: bytes  # 28 x 28, gray

    def draw(self, size: int) -> Image.Image:
        """Return the photograph in a square of `size` pixels."""
        image = Image.frombytes("L", (28, 28), self.pixels)
        return image.resize((size, size), Image.Resampling.BICUBIC).convert("RGBA")


@dataclass(frozen=True)
class Photos:
    """The photographs of a split."""

    split: Split
    images: np.ndarray  # uint8 [n, 28, 28]
    labels: np.ndarray  # uint8 [n]

    def __len__(self) -> int:
        return len(self.labels)

    def photo(self, number: int) -> Photo:
        """Return one of them."""
        name = GARMENTS[int(self.labels[number])]
        return Photo(name, self.split, number, self.images[number].tobytes())


@lru_cache(maxsize=3)
def read_photos(package: Path, split: Split) -> Photos:
    """Return 50,000 photographs to train on, 10,000 for validation, or the package's test set."""
    folder = package / "usr/share/datasets/fashion-mnist"
    stem = "t10k" if split == "test" else "train"
    images = _read(folder / f"{stem}-images-idx3-ubyte.gz", _IMAGES, 16).reshape(-1, 28, 28)
    labels = _read(folder / f"{stem}-labels-idx1-ubyte.gz", _LABELS, 8)
    part = {"train": slice(None, -VALIDATION), "validation": slice(-VALIDATION, None)}
    chosen = part.get(split, slice(None))
    return Photos(split, images[chosen], labels[chosen])


def _read(file: Path, magic: int, header: int) -> np.ndarray:
    with reading(file):
        content = gzip.decompress(file.read_bytes())
    if int.from_bytes(content[:4], "big") != magic:
        raise MergeError("not such a file of images", where=str(file), hint="fetch it again")
    return np.frombuffer(content, np.uint8, offset=header)
