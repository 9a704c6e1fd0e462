"""Images, held to transformers' own padding and to CLIP's cropping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPImageProcessor, LlavaImageProcessor

from bench_factories.tiny_models import draw
from robustmerge import MergeError
from robustmerge.collect.processor import open_image
from robustmerge_bench.paper.answering.images import CLIP_MEAN, frame_image

SIZES = [(90, 30), (31, 80), (50, 50), (101, 100), (336, 400)]


@pytest.mark.parametrize("size", SIZES)
def test_padding_is_that_of_llavas_processor_bit_for_bit(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    image = open_image(draw(tmp_path / "x.png", 1, size), "here")
    clip, llava = CLIPImageProcessor(), LlavaImageProcessor(do_pad=True)
    result = clip(frame_image(image, "pad"), return_tensors="np")["pixel_values"]
    wanted = llava(image, return_tensors="np")["pixel_values"]
    assert result.shape == (1, 3, 224, 224)
    assert np.array_equal(result, np.asarray(wanted))
    if size[0] != size[1]:
        cropped = clip(image, return_tensors="np")["pixel_values"]
        assert not np.array_equal(result, cropped)


def test_a_square_of_the_mean_color_with_the_image_in_the_middle() -> None:
    image = Image.new("RGB", (6, 3), (1, 2, 3))
    square = np.asarray(frame_image(image, "pad"))
    assert square.shape == (6, 6, 3)
    assert (square[1:4] == (1, 2, 3)).all()  # rows (6 - 3) // 2 = 1 to 3
    assert (square[[0, 4, 5]] == (122, 116, 104)).all()
    upright = np.asarray(frame_image(image.rotate(90, expand=True), "pad", (0.5, 0.0, 1.0)))
    assert (upright[:, 1:4] == (1, 2, 3)).all()
    assert (upright[:, [0, 4, 5]] == (127, 0, 255)).all()
    assert [int(255 * share) for share in CLIP_MEAN] == [122, 116, 104]


def test_cropping_leaves_the_image_to_the_processor() -> None:
    image = Image.new("RGB", (6, 3))
    assert frame_image(image, "crop") is image


def test_images_of_every_mode_become_rgb(tmp_path: Path) -> None:
    for mode in ("L", "P", "RGBA", "CMYK", "1"):
        path = tmp_path / f"{mode}.tif"
        Image.new(mode, (5, 4)).save(path)
        assert open_image(path, "here").mode == "RGB"


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"<html>"])
def test_a_damaged_image_is_named_with_its_question(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(MergeError, match="cannot read the image") as caught:
        open_image(path, "test.json, record 3, question 17")
    assert str(path) in str(caught.value)
    assert "record 3, question 17" in str(caught.value)


def test_a_image_that_is_cut_off(tmp_path: Path) -> None:
    path = draw(tmp_path / "x.jpg", 0, (200, 200))
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(MergeError, match="cannot read the image"):
        open_image(path, "here")
