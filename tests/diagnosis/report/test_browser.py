"""The page in a real browser: every figure is drawn, and its menus work."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from factories.charts import alone, large, small
from robustmerge.diagnosis.report.figures import draw_figures
from robustmerge.diagnosis.report.page import render_page
from robustmerge.diagnosis.tables import Diagnosis

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FRAME = """<!doctype html><meta charset="utf-8">
<iframe src="report.html" width="{width}" height="900"
style="border: 0"></iframe><script>addEventListener("message", (event) => {{
  document.documentElement.dataset.seen = JSON.stringify(event.data);
}});</script>"""
VISIT = Path(__file__).with_name("visit.js")


def browser() -> str:
    """Return the path of Chromium, which this test requires."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert path, f"none of {', '.join(BROWSERS)} is installed (Debian: apt-get install chromium)"
    return path


@cache
def text(diagnosis: Diagnosis) -> str:
    return render_page(diagnosis)


def open_page(
    folder: Path, diagnosis: Diagnosis, width: int, *, dark: bool
) -> tuple[dict[str, Any], list[str]]:
    """Return what a script observed on the page, and the lines of the browser's console."""
    file = folder / "report.html"
    script = f'<script type="module">\n{VISIT.read_text(encoding="utf-8")}</script>\n</body>'
    file.write_text(script.join(text(diagnosis).rsplit("</body>", 1)), encoding="utf-8")
    frame = folder / "frame.html"  # a window of a phone's width is more than Chromium makes
    frame.write_text(FRAME.format(width=width), encoding="utf-8")
    command = [
        *(browser(), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
        *(f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000"),
        *("--virtual-time-budget=60000", "--dump-dom"),
        *(["--blink-settings=preferredColorScheme=0"] if dark else []),
        frame.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    match = re.search(r'data-seen="([^"]*)"', done.stdout)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert match, console
    return json.loads(unescape(match[1])), console


@pytest.mark.parametrize(
    ("made", "width", "theme"),
    [
        *((small, width, theme) for width in (1280, 390) for theme in ("light", "dark")),
        *((made, width, "light") for made in (alone, large) for width in (1280, 390)),
    ],
)
def test_every_figure_is_drawn_and_interactive(
    tmp_path: Path, made: Callable[[], Diagnosis], width: int, theme: str
) -> None:
    diagnosis = made()
    seen, console = open_page(tmp_path, diagnosis, width, dark=theme == "dark")
    assert seen["drawn"] == seen["drawn_again"] == len(draw_figures(diagnosis))
    assert seen["empty"] == []
    assert seen["width"] == width
    assert seen["wide"] <= 0
    assert seen["over"] == []
    assert seen["theme"] == theme
    assert seen["other"] == ("light" if theme == "dark" else "dark")
    assert seen["kept"] == 1
    assert seen["repainted"]
    assert "value" in seen["tooltip"]
    assert seen["network"] == "closed"
    if made is not alone:  # which has one square
        assert seen["chosen"]
    # The script's own network access is refused; the console has no other message.
    assert any("Content Security Policy" in line for line in console)
    assert [line for line in console if "localhost:9" not in line] == []
