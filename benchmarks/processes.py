"""Work in a process of its own: a script that prints "ready", waits for a line, and then works.

    python benchmarks/processes.py one_merge.py RECIPE OUTPUT ADAPTER...

prints what such a script prints, and its peak of memory.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import sleep

HERE = Path(__file__).parent


def start_ready(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a script, and return its process when it is ready."""
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
    """Start the work, and return its peak of anonymous memory in MB, beyond that when ready."""
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
    """Return megabytes of anonymous memory; 0 where the system does not report it."""
    try:
        lines = [line for line in status.read_text().splitlines() if line.startswith("RssAnon")]
    except OSError:
        return 0.0
    return int(lines[0].split()[1]) / 1e3 if lines else 0.0


def main() -> None:
    script, *arguments = sys.argv[1:]
    process = start_ready(script, *arguments)
    megabytes = peak(process)
    assert process.stdout is not None
    print(f"{process.stdout.read().strip()}, {megabytes:.0f} MB beyond imports")


if __name__ == "__main__":
    main()
