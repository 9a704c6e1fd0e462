"""The four unseen tasks, in the order of the paper's table 2."""

from __future__ import annotations

from ._task import PaperTask

UNSEEN = (
    PaperTask(
        name="aokvqa",
        title="A-OKVQA",
        column="AVQA",
        group="unseen",
        kind="letter",
        folders=("AOKVQA", "A-OKVQA"),
        questions=("val.json",),
        framing="crop",
        max_new_tokens=1024,
        without_image=True,
    ),
    PaperTask(
        name="imagenet-r",
        title="ImageNet-R",
        column="Image-R",
        group="unseen",
        kind="class",
        folders=("ImageNet-R",),
        questions=("test.json",),
        max_new_tokens=1024,
        repeated_ids=True,
    ),
    PaperTask(
        name="screen2words",
        title="Screen2Words",
        column="S2W",
        group="unseen",
        kind="captions",
        folders=("Screen2words", "Screen2Words"),
        questions=("test.json",),
        references=("test_coco_type.json",),
    ),
    PaperTask(
        name="tabmwp",
        title="TabMWP",
        column="TabMWP",
        group="unseen",
        kind="words",
        folders=("TabMWP",),
        questions=("test.json",),
    ),
)
