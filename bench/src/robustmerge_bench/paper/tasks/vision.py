"""The eight vision tasks of the paper's tables 4 and 5, for CLIP with LoRA on its vision encoder.

The order is that of the tables' columns. Their heads, as far as we could read them, name the same
eight in another order, which cannot be: zero-shot, CLIP gets about 60 on Cars, 48 on MNIST, 62 on
SUN397, 33 on GTSRB, 61 on RESISC45, 44 on DTD, 45 on EuroSAT and 31 on SVHN, and so do the columns;
and the row of individual experts is within one point of those that KnOTS (arXiv:2410.19735)
publishes for the same tasks.
"""

from __future__ import annotations

from ._task import PaperTask


def _vision(name: str, title: str, column: str, *folders: str) -> PaperTask:
    return PaperTask(
        name=name,
        title=title,
        column=column,
        group="vision",
        kind="label",
        folders=folders,
        questions=("test", "test.json"),  # a folder of images by class, or a question file
        training=("train", "train.json"),
        framing="crop",
    )


VISION = (
    _vision("cars", "Stanford Cars", "Cars", "Cars", "StanfordCars", "stanford_cars", "cars"),
    _vision("mnist", "MNIST", "MNIST", "MNIST", "mnist"),
    _vision("sun397", "SUN397", "SUN397", "SUN397", "sun397"),
    _vision("gtsrb", "GTSRB", "GTSRB", "GTSRB", "gtsrb"),
    _vision("resisc45", "RESISC45", "RESISC45", "RESISC45", "resisc45"),
    _vision("dtd", "DTD", "DTD", "DTD", "dtd"),
    _vision("eurosat", "EuroSAT", "EuroSAT", "EuroSAT", "EuroSAT_splits", "eurosat"),
    _vision("svhn", "SVHN", "SVHN", "SVHN", "svhn"),
)
