"""Names in texts: escaped for a terminal and for Markdown, since files and paths name themselves.

A name from a file or a path can hold anything. On a terminal, control characters move the cursor,
change colors and hide what follows; in Markdown, a name can be a link, a row of a table or HTML.
"""

from __future__ import annotations

import re
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line end, and those that turn the direction of writing."""

_STYLE = re.compile(r"(\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-2]?[AKJ]|\r)")
"""What rich writes to a terminal: colors, and the moves of a progress bar."""

_MARKDOWN = re.compile(r"[\\`*\[\]<>|~$]|&(?=[#\w])|:(?=//)|(?<!\w)_|_(?!\w)")
"""What means something inside a line; an underscore in a word does not."""


def has_control(value: object) -> bool:
    """Return whether a text, or any text in nested plain data, has control characters."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str) and _CONTROL.search(item):
            return True
        if isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list | tuple):
            waiting += item
    return False


def printable(text: str) -> str:
    r"""Write control characters as Python does, such as \x1b; tabs and line ends stay."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def markdown(text: str) -> str:
    """Return a text as one line of Markdown that shows it and means nothing more."""
    return _MARKDOWN.sub(lambda match: "\\" + match[0], printable(" ".join(text.split())))


def code_span(text: str) -> str:
    """Return a text as code inside a line of Markdown; backticks in it end nothing."""
    text = printable(" ".join(text.split())).replace("|", "\\|")
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


class PrintableStream:
    """Standard output or error, on which control characters are shown and not obeyed.

    Colors and the moves of a progress bar reach a terminal; all else of the stream is passed on.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        if self._stream.isatty():
            parts = _STYLE.split(text)  # styles at odd positions
            text = "".join(p if i % 2 else printable(p) for i, p in enumerate(parts))
        else:
            text = printable(text)
        return int(self._stream.write(text) or 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
