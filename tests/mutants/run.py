"""Plant every bug of the list in a copy of the project, one by one, and see the tests fail.

    make mutants            all of them, some minutes
    .venv/bin/python tests/mutants/run.py WORD     those with WORD in their description

Exits with 1 if a bug survives its tests, or if the tests fail without any bug.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from planted import PLANTED, Mutant

ROOT = Path(__file__).parents[2]
WORKERS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2


def main() -> int:
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    mutants = [mutant for mutant in PLANTED if word in mutant.bug]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as pool:
        clean = not any(pool.map(lambda tests: fails(Path(folder), None, tests), suites(mutants)))
        if not clean:
            print("the tests fail without any bug: fix that first")
            return 1
        results = pool.map(lambda m: fails(Path(folder), m, m.tests), mutants)
        survived = 0
        for mutant, killed in zip(mutants, results, strict=True):
            survived += not killed
            print(f"{'killed  ' if killed else 'SURVIVED'}  {mutant.bug} ({mutant.at})", flush=True)
    print(f"{len(mutants) - survived} of {len(mutants)} planted bugs were found")
    return 1 if survived else 0


def suites(mutants: list[Mutant]) -> list[tuple[str, ...]]:
    """Return all tests that the mutants name, each once."""
    return list(dict.fromkeys(mutant.tests for mutant in mutants))


def fails(folder: Path, mutant: Mutant | None, tests: tuple[str, ...]) -> bool:
    """Plant the bug in a copy of the project, and return True if some of these tests fail there."""
    copy = Path(tempfile.mkdtemp(dir=folder))
    for name in ("src", "tests", "bench"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "conftest.py"):
        shutil.copy(ROOT / name, copy)
    if mutant is not None:
        file, text = mutant.plant(copy)
        file.write_text(text, encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(copy / "src"), str(copy / "bench" / "src")]),
        "OMP_NUM_THREADS": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(copy),
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, check=False)
    shutil.rmtree(copy)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(tests)} did not run:\n{done.stdout.decode()[-2000:]}")
    return done.returncode == 1


if __name__ == "__main__":
    sys.exit(main())
