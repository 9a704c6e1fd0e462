"""Reports as files: a page, images, Markdown."""

from __future__ import annotations

import re
import struct
from functools import partial
from pathlib import Path

import pytest
from matplotlib.image import imread

from factories.charts import small
from robustmerge import MergeError
from robustmerge.diagnosis.report import files
from robustmerge.diagnosis.report.figures import draw_figures
from robustmerge.diagnosis.verdict import make_verdict


def test_markdown_has_everything_and_its_images(tmp_path: Path) -> None:
    files.write_report(small(), tmp_path / "new" / "folder", "md")
    text = (tmp_path / "new" / "folder" / "report.md").read_text(encoding="utf-8")
    assert text.index("## Verdict") < text.index("## Before merging") < text.index("## After")
    for sentence in make_verdict(small()):
        assert sentence.text in text
    images = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert images == [f"{figure.name}.png" for figure in draw_figures(small())]
    for image in images:
        assert (tmp_path / "new" / "folder" / image).exists()
    table = text.split("### Merges\n\n")[1].split("\n\n")[0].splitlines()
    assert len(table) == 4
    assert len({line.count("|") for line in table}) == 1


def test_images_are_sharp_and_alone(tmp_path: Path) -> None:
    files.write_report(small(), tmp_path, "png")
    wide = {f"{figure.name}.png": figure.wide for figure in draw_figures(small())}
    assert {p.name for p in tmp_path.iterdir()} == {*wide, "report.json"}
    for name in wide:
        head = (tmp_path / name).read_bytes()[:24]
        assert head.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", head[16:])
        assert width == (2280 if wide[name] else 1560)
        assert height > 200
    corner = imread(tmp_path / "map-norm.png")[0, 0]
    assert corner.tolist() == [1, 1, 1, 1]


def test_a_page_is_one_file(tmp_path: Path) -> None:
    files.write_report(small(), tmp_path / "a" / "report.html", "html")
    (page,) = (tmp_path / "a").iterdir()
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(MergeError, match="not a folder") as error:
        files.write_report(small(), tmp_path / "file", "md")
    assert str(tmp_path / "file") in str(error.value)
    with pytest.raises(MergeError, match="cannot write"):
        files.write_report(small(), tmp_path / "file" / "report.html", "html")
    assert (tmp_path / "file").read_text() == "a file"


@pytest.mark.parametrize("form", ["html", "md", "png"])
def test_only_an_earlier_report_is_replaced(tmp_path: Path, form: files.Format) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        files.write_report(small(), out, form)
    mine = out if form == "html" else out / "figure-1.png"
    mine.write_text("mine")
    for action in (files.check_output, partial(files.write_report, small())):
        with pytest.raises(MergeError, match="the output"):
            action(out, form)
    assert mine.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
