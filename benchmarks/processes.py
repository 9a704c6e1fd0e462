"""Work in a process of its own: a script that says "ready", waits for a line, and then works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import sleep

HERE = Path(__file__).parent


def started(script: str, *arguments: str) -> subprocess.Popen[str]:
    """The process, when it is ready."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise SystemExit(f"{script} did not start")
    return process


def peak(process: subprocess.Popen[str]) -> float:
    """Have it work; the most anonymous memory in megabytes, beyond what it had when ready."""
    assert process.stdin is not None
    status = Path(f"/proc/{process.pid}/status")
    before = most = _anonymous(status)
    process.stdin.write("go\n")
    process.stdin.flush()
    while process.poll() is None:
        most = max(most, _anonymous(status))
        sleep(0.002)
    return most - before


def _anonymous(status: Path) -> float:
    """Megabytes of anonymous memory; 0 where there is no telling."""
    try:
        found = [line for line in status.read_text().splitlines() if line.startswith("RssAnon")]
    except OSError:
        return 0.0
    return int(found[0].split()[1]) / 1e3 if found else 0.0
