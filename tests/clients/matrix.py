"""Run programs on outputs of this one, and write docs/clients.md.

    PYTHONPATH=tests python -m clients.matrix [peft] [llama.cpp] [vllm] [lmms-eval] [experts]

Every program that is not named keeps its section. `.clients` in the current folder holds the
environments, and `.clients/work` what was made and seen; results there are used again.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path

from clients import experts_matrix, llama_matrix, lmms_matrix, peft_matrix, vllm_matrix
from clients.cases import table
from clients.environments import ROOT
from robustmerge.checks.runtimes import llama_cpp, sglang, vllm

DOCUMENT = Path("docs/clients.md")
SECTIONS: Mapping[str, Callable[[Path], str]] = {
    "peft": peft_matrix.run,
    "llama.cpp": llama_matrix.run,
    "vllm": vllm_matrix.run,
    "lmms-eval": lmms_matrix.run,
    "experts": experts_matrix.run,
}
INTRODUCTION = """# Programs that load adapters

What the programs do with the outputs of `robustmerge merge`, and what `robustmerge check` says
about them beforehand. `make clients` makes an environment for each program, runs it, and writes
this page. A case is one small adapter of real architecture, rewritten by
`merge ADAPTER -m task-arithmetic`: the result must do what the adapter does. For PEFT all weights
of the model with the adapter merged in are compared; for llama.cpp, vLLM and lmms-eval the
log-probabilities of the next token, with those of PEFT. Experts are merges of two adapters on fused
experts, in every layout that `convert` writes.

A layout that `merge` refuses for a family counts as not loaded. Rows are left out where the version
does not load the input at all. `check` is wrong where it passes what the program loses in part, or
fails what it loads whole, whatever the program does with the input.
"""


def run(name: str) -> str:
    """Run one program's cases and return its section."""
    work = ROOT / "work" / name
    work.mkdir(parents=True, exist_ok=True)
    return SECTIONS[name](work)


def known() -> str:
    """Write the rows that `check` judges families by, with how each was verified."""
    rows = [
        [title, family, str(row.evidence), row.why or ("LoRA" if row.lora else "no LoRA")]
        for title, families in (
            ("vLLM", vllm.FAMILIES),
            ("SGLang", sglang.FAMILIES),
            ("llama.cpp", llama_cpp.FAMILIES),
        )
        for family, row in families.items()
    ]
    return table(["program", "family", "verified", "what is known"], rows)


def main() -> None:
    """Run what the command line names, or everything, and write the page."""
    page = DOCUMENT.read_text() if DOCUMENT.is_file() else ""
    sections = dict(re.findall(r"<!-- (\S+) -->\n(.*?)\n<!-- end -->", page, re.DOTALL))
    for name in sys.argv[1:] or SECTIONS:
        day = datetime.now(timezone.utc).date().isoformat()
        sections[name] = f"## {name}, run {day}\n\n{run(name)}"
    parts = [f"<!-- {name} -->\n{text}\n<!-- end -->" for name, text in sections.items()]
    rows = f"## What `check` knows of families\n\n{known()}\n"
    DOCUMENT.write_text("\n\n".join([INTRODUCTION.strip(), *parts, rows]))


if __name__ == "__main__":
    main()
