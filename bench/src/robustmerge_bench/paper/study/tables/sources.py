"""Notes with letters: where published rows come from, and slips in them."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

from ...tasks import PaperTask
from ..published import PublishedRow

_ROUNDING = 0.011  # what two decimals, in the mean and in its values, may make together


class SourceNotes:
    """Letters for the notes of a table, given out in the order of first use."""

    def __init__(self) -> None:
        """Start without notes."""
        self._notes: dict[str, str] = {}

    @property
    def notes(self) -> list[tuple[str, str]]:
        """Every letter and its text."""
        return [(letter, text) for text, letter in self._notes.items()]

    def mark(self, row: PublishedRow) -> str:
        """Return the letter of a row's source."""
        text = row.source + (f". {row.note}" if row.note else "")
        return self._letter(text)

    def slip(self, row: PublishedRow, group: str, tasks: Sequence[PaperTask]) -> str:
        """Return the letter of a remark, where a printed mean is not that of the printed values."""
        average = row.printed_average(tasks, group)
        if average is None or any(task.name not in row.values for task in tasks):
            return ""
        mean = row.mean([task.name for task in tasks])
        decimals = len(f"{average!r}".rpartition(".")[2])
        if abs(average - mean) < _ROUNDING * 10 ** (2 - min(2, decimals)):
            return ""
        return self._letter(
            f"{row.label}: printed as {average}, though the values next to it have the mean "
            f"{mean:.{max(2, decimals)}f}."
        )

    def _letter(self, text: str) -> str:
        if text not in self._notes:
            n = len(self._notes)
            self._notes[text] = ascii_lowercase[n % 26] * (n // 26 + 1)
        return self._notes[text]
