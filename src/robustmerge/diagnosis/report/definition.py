"""A file's documentation as text of a page: paragraphs, and what is indented as it stands."""

from __future__ import annotations

import inspect
import textwrap
from html import escape
from types import ModuleType


def blocks(module: ModuleType) -> list[tuple[bool, str]]:
    """The parts of a module's documentation, and whether each is to be shown as it stands."""
    parts = (inspect.getdoc(module) or "").split("\n\n")
    return [(part.startswith("    "), textwrap.dedent(part)) for part in parts]


def html(module: ModuleType) -> str:
    """The documentation as paragraphs and preformatted blocks."""
    return "".join(
        f"<pre>{escape(text)}</pre>" if stands else f"<p>{escape(text)}</p>"
        for stands, text in blocks(module)
    )


def file(module: ModuleType) -> str:
    """The file's path within the package's sources."""
    return module.__name__.replace(".", "/") + ".py"
