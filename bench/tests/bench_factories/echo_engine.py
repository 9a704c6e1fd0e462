"""An engine that says what it was asked, and remembers in which windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustmerge_bench.paper.answering.engine import Request


class Echo:
    """Answers without a model.

    Attributes:
        windows: The ids it was asked, call by call.
    """

    window = 4

    def __init__(self, stop: int = 10**9) -> None:
        """Be interrupted after so many windows."""
        self.windows: list[list[Any]] = []
        self.left = stop

    def answer(self, questions: Sequence[Request]) -> list[str]:
        self.windows.append([one.id for one in questions])
        if self.left <= 0:
            raise KeyboardInterrupt
        self.left -= 1
        return [f"{one.text[:20]}\u2028{one.framing}|{bool(one.image)}" for one in questions]

    def facts(self) -> Mapping[str, Any]:
        return {"device": "echo"}
