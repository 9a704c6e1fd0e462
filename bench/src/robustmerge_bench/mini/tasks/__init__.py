"""The twelve tasks, each modeled on one of the paper's (MM-MergeBench, RobustMerge sec. 5)."""

from __future__ import annotations

from ...metrics.boxes import box_match
from ...metrics.captions import sentence_score
from ...metrics.exact import exact_match
from ...metrics.vqa import vqa_accuracy
from . import seen, unseen
from ._task import MiniTask, TaskDraw

__all__ = ["SEEN", "TASKS", "UNSEEN", "MiniTask", "TaskDraw"]

THIRD = 100 / 3  # of three options

_ALL = (
    MiniTask("sqa", "ScienceQA", True, "exact", exact_match, THIRD, seen.science),
    MiniTask("viz", "VizWiz captions", True, "caption", sentence_score, 67.0, seen.photo),
    MiniTask("imn", "ImageNet", True, "exact", exact_match, 8.0, seen.classes),
    MiniTask("vqa", "VQAv2", True, "vqa", vqa_accuracy, 28.0, seen.scenes),
    MiniTask("ico", "IconQA", True, "exact", exact_match, 16.0, seen.icons),
    MiniTask("flk", "Flickr30k", True, "caption", sentence_score, 47.0, seen.captions),
    MiniTask("rec", "REC", True, "iou", box_match, 6.0, seen.boxes),
    MiniTask("ocr", "OCR-VQA", True, "exact", exact_match, 3.0, seen.book),
    MiniTask("aok", "A-OKVQA", False, "exact", exact_match, THIRD, unseen.knowledge),
    MiniTask("imr", "ImageNet-R", False, "exact", exact_match, 5.0, unseen.renditions),
    MiniTask("s2w", "Screen2Words", False, "caption", sentence_score, 40.0, unseen.screens),
    MiniTask("tab", "TabMWP", False, "exact", exact_match, 8.0, unseen.tables),
)
TASKS = {task.name: task for task in _ALL}
SEEN = tuple(task.name for task in _ALL if task.seen)
UNSEEN = tuple(task.name for task in _ALL if not task.seen)
