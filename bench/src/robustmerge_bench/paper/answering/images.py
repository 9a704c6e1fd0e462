"""Images as the released scripts pass them to CLIP's processor.

    crop   unchanged: the processor cuts a square from the middle
    pad    in the middle of a square whose color is the processor's mean

LLaVA-1.5 was trained on padded images; five of the released scripts crop nevertheless. Other
families take images of any shape in their own ways, and get them unchanged.

Source: llava/mm_utils.py (expand2square) and llava/eval/model_*.py of AuroraZengfh/RobustMerge.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ..tasks import Framing

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Mean of each color that CLIP's processor subtracts, 0 to 1."""


def frame_image(
    image: Image.Image, framing: Framing, mean: Sequence[float] = CLIP_MEAN
) -> Image.Image:
    """Return the image as the processor gets it.

    The image is in RGB. `framing` is whether the task's script crops or pads, `mean` the
    processor's mean of each color, 0 to 1.
    """
    width, height = image.size
    if framing == "crop" or width == height:
        return image
    side = max(width, height)
    red, green, blue = (int(255 * share) for share in mean)  # rounded down, as in LLaVA's code
    square = Image.new("RGB", (side, side), (red, green, blue))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square
