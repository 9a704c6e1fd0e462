"""What the benchmark's verbs print about work under way, on stderr."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from ..jobs.run import Outcome


def open_screen() -> Console:
    """Return the console for progress and notes."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def duration(seconds: float) -> str:
    """Such as 45 s, 12 min or 2 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def watch_jobs(run: Callable[[], Outcome[Any]], screen: Console, following: str) -> int:
    """Run jobs, print how they ended and the command that follows; return the exit code."""
    try:
        outcome = run()
    except KeyboardInterrupt:
        screen.print("interrupted; what is done is kept, and the same command goes on from there")
        return 130
    screen.print(f"{outcome.done} done, {outcome.skipped} were there", markup=False)
    if outcome.failures:
        raise outcome.error
    print(f"next: {following}")
    return 0
