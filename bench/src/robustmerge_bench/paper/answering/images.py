"""Pictures as the released scripts hand them to CLIP's processor.

    crop   as they are: the processor cuts a square from the middle
    pad    in the middle of a square whose color is the processor's mean

LLaVA-1.5 was trained on padded pictures; five of the released scripts crop nevertheless. Other
families have ways of their own to take pictures of any shape, and get them as they are.

Source: llava/mm_utils.py (expand2square) and llava/eval/model_*.py of AuroraZengfh/RobustMerge.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from robustmerge.errors import MergeError

from ..tasks import Framing

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Mean of each color that CLIP's processor subtracts, 0 to 1."""


def opened(picture: Path | bytes, where: str) -> Image.Image:
    """Read a picture.

    Args:
        picture: Its file, or what such a file would hold.
        where: The question, for the message.

    Raises:
        MergeError: It cannot be read.
    """
    try:
        with Image.open(picture if isinstance(picture, Path) else BytesIO(picture)) as image:
            return image.convert("RGB")
    except Exception as error:  # every format has errors of its own
        raise MergeError(
            f"cannot read the picture: {str(error) or repr(error):.200}",
            where=f"{picture}\n{where}" if isinstance(picture, Path) else where,
            hint="fetch it again, or convert it to PNG or JPEG",
        ) from None


def framed(image: Image.Image, framing: Framing, mean: Sequence[float] = CLIP_MEAN) -> Image.Image:
    """The picture as the processor gets it.

    Args:
        image: In RGB.
        framing: Whether the task's script crops or pads.
        mean: The processor's mean of each color, 0 to 1.
    """
    width, height = image.size
    if framing == "crop" or width == height:
        return image
    side = max(width, height)
    red, green, blue = (int(255 * share) for share in mean)
    square = Image.new("RGB", (side, side), (red, green, blue))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square
