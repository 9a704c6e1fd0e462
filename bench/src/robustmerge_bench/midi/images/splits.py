"""The split of an image: it follows from what is shown, and not from where it is or how it looks.

So two images of one thing on one ground, at different places or in the dark, are of one split, for
all tasks, seeds and stages of the training.
"""

from __future__ import annotations

from ...mini.world.splits import SPLITS, Split, split_of_content

__all__ = ["SPLITS", "Split", "split_of_content"]
