"""PEFT: every family, contents and layout, on the generations that load the input."""

from __future__ import annotations

import json
import os
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from clients.cases import Output, agrees, is_as_input, predicted, rewrite_all, table
from clients.environments import python

PROGRAMS = ("peft-0.13", "peft-0.18", "peft-0.21")
"""From the oldest; adapters of one are loaded by it and by all later ones."""

CLIENT = Path(__file__).with_name("peft_client.py")


def run(root: Path) -> str:
    """Make adapters with every program, rewrite them, load them; return the document's section."""
    rows: list[list[str]] = []
    outputs: dict[str, list[Output]] = {}
    for program in PROGRAMS:
        made = root / "sets" / program
        if not made.exists():
            _client(program, "make", str(made))
        outputs[program] = list(rewrite_all(made, root / "outputs" / program))
    predictions = {
        output: predicted(output, "peft")
        for each in outputs.values()
        for output in each
        if output.output
    }
    versions = {}
    for maker in PROGRAMS:
        for loader in PROGRAMS[PROGRAMS.index(maker) :]:
            seen, versions[loader] = load(root, maker, loader, outputs[maker])
            for output, text in zip(outputs[maker], seen, strict=True):
                said = predictions.get(output, "") if loader == PROGRAMS[-1] else ""
                rows.append([maker, loader, output.family, output.case, output.label, said, text])
    (root / "peft.json").write_text(json.dumps({"versions": versions, "rows": rows}, indent=0))
    return section(versions, rows)


def load(root: Path, maker: str, loader: str, outputs: Sequence[Output]) -> tuple[list[str], str]:
    """Return what a program sees of every output, and its versions."""
    jobs: dict[tuple[Path, Path], list[Output]] = defaultdict(list)
    for output in outputs:
        if output.output:
            jobs[output.base, output.input].append(output)
    content = [
        {"base": str(base), "input": str(source), "outputs": [str(o.output) for o in each]}
        for (base, source), each in jobs.items()
    ]
    task, result = root / f"{maker}-{loader}-jobs.json", root / f"{maker}-{loader}.json"
    task.write_text(json.dumps(content))
    if not result.exists():
        _client(loader, "compare", str(task), str(result))
    answer = json.loads(result.read_text())
    seen = {
        o: text
        for each, texts in zip(jobs.values(), answer["seen"], strict=True)
        for o, text in zip(each, texts, strict=True)
    }
    return [seen.get(o, f"refused: {o.refusal}") for o in outputs], answer["versions"]


def section(versions: dict[str, str], rows: list[list[str]]) -> str:
    """Write counts for every pair of programs, and each row that is not as it should be."""
    counts: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    odd = []
    for maker, loader, family, case, layout, said, seen in rows:
        if seen.startswith("input: "):
            continue  # this generation does not load the input either
        count = counts[maker, loader, case, layout]
        count[0] += 1
        count[1] += is_as_input(seen)
        wrong = bool(said) and not agrees(said, seen)
        count[2] += wrong
        if not is_as_input(seen) or wrong:
            odd.append([maker, loader, family, case, layout, said or "–", seen])
    header = ["made with", "loaded with", "contents", "layout", "loads as its input", "check wrong"]
    lines = [
        [*key, f"{right} of {total}", str(wrong) if key[1] == PROGRAMS[-1] else "–"]
        for key, (total, right, wrong) in counts.items()
    ]
    titles = "\n".join(f"- {name}: {text}" for name, text in versions.items())
    families = sorted({row[2] for row in rows})
    return (
        f"{titles}\n\nFamilies: {', '.join(families)}.\n\n{table(header, lines)}\n\n"
        "### Each one that does not load as its input, or of which `check` is wrong\n\n"
        + (table(["made", "loaded", "family", "contents", "layout", "check", "seen"], odd))
    )


def _client(program: str, *arguments: str) -> None:
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    offline.pop("PYTHONPATH", None)
    command = [str(python(program)), str(CLIENT), *arguments]
    subprocess.run(command, check=True, env=offline, stderr=subprocess.DEVNULL)
