"""The twelve tasks of the second world, all of pictures, each modeled on one of the paper's.

Tasks that are about reading are absent: whether this model learns to read is not known.
"""

from __future__ import annotations

from ...metrics.boxes import box_match
from ...metrics.captions import sentence_score
from ...metrics.exact import exact_match
from . import seen, unseen
from ._task import ImageQuestion, ImageTask, TaskKind, draw_item
from .pool import Pool

__all__ = [
    "KINDS",
    "SEEN",
    "UNSEEN",
    "ImageQuestion",
    "ImageTask",
    "Pool",
    "TaskKind",
    "bind",
    "draw_item",
]

THIRD = 100 / 3  # of three options

KINDS = (
    TaskKind("flg", "ScienceQA", True, "exact", exact_match, THIRD, seen.flags),
    TaskKind("viz", "VizWiz captions", True, "caption", sentence_score, None, seen.photo),
    TaskKind("gar", "ImageNet", True, "exact", exact_match, None, seen.garments),
    TaskKind("vqa", "VQAv2", True, "exact", exact_match, None, seen.scenes),
    TaskKind("ico", "IconQA", True, "exact", exact_match, None, seen.icons),
    TaskKind("cap", "Flickr30k", True, "caption", sentence_score, None, seen.captions),
    TaskKind("rec", "REC", True, "iou", box_match, None, seen.boxes),
    TaskKind("art", "OCR-VQA", True, "exact", exact_match, 100 / 14, seen.clip_art),
    TaskKind("cho", "A-OKVQA", False, "exact", exact_match, THIRD, unseen.choices),
    TaskKind("ren", "ImageNet-R", False, "exact", exact_match, None, unseen.renditions),
    TaskKind("scr", "Screen2Words", False, "caption", sentence_score, None, unseen.screens),
    TaskKind("row", "TabMWP", False, "exact", exact_match, None, unseen.rows),
)
"""art takes the row of OCR-VQA, row that of TabMWP; neither has writing in it."""

SEEN = tuple(kind.name for kind in KINDS if kind.seen)
UNSEEN = tuple(kind.name for kind in KINDS if not kind.seen)


def bind(pool: Pool) -> dict[str, ImageTask]:
    """Return the tasks by name, on the pictures of a pool."""
    return {kind.name: ImageTask(kind, pool) for kind in KINDS}
