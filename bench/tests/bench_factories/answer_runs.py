"""Runs of questions through an engine, in small windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robustmerge_bench.paper.answering.options import AnsweringOptions
from robustmerge_bench.paper.answering.run import answer
from robustmerge_bench.paper.tasks import select_tasks

FEW = AnsweringOptions(batch=2, max_new_tokens=3)


def answer_tasks(root: Path, tasks: str = "vqav2", out: str = "out", **more: Any) -> list[Path]:
    arguments: dict[str, Any] = {"adapter": str(root / "one"), "options": FEW} | more
    adapter = arguments.pop("adapter")
    base = str(arguments.pop("base", root / "base"))
    return answer(base, adapter, select_tasks(tasks), root / "data", root / out, **arguments)
