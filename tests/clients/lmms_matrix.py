"""lmms-eval's own model classes on what `merge` and `export` write.

The classes take one folder, `pretrained`, and no adapter: so a merge is given to them baked into
its base (`export --format full`), and as a folder that transformers loads as base and adapter
(`--format embedded`); the merge itself has no config.json, and is tried, too.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from clients.cases import refusal, table
from clients.environments import python
from factories.bases import llava, qwen, write_image
from factories.families import save_adapter
from robustmerge import MergeError, merge
from robustmerge.export.exported import export_adapter

CLIENT = Path(__file__).with_name("lmms_client.py")
CLOSE = 1e-3  # nats: float32 on either side, weights rounded once
WHOLE = {"targets": "language"}
CASES: Mapping[str, Mapping[str, Any]] = {
    "language": WHOLE,
    "all linear layers": {"targets": "all-linear"},
    "projector": WHOLE | {"modules_to_save": ["PROJECTOR"]},
    "head": WHOLE | {"modules_to_save": ["lm_head"]},
    "token rows": WHOLE | {"trainable_token_indices": [5, 7]},
}
FORMS = ("full", "embedded", "the merge")
QUESTION = "w5 w6 w7"


@dataclass(frozen=True)
class Kind:
    """A family: how its base is saved, lmms-eval's class for it, and its projector's name."""

    save: Callable[[Path], Path]
    model: str
    projector: str


KINDS = {
    "llava": Kind(llava, "llava_hf", "multi_modal_projector"),
    "qwen2_vl": Kind(qwen, "qwen2_vl", "merger"),
}


def run(root: Path) -> str:
    """Make bases, merges and exports, ask lmms-eval; return the document's section."""
    rows = [row for name, kind in KINDS.items() for row in rows_of(root / name, name, kind)]
    (root / "lmms.json").write_text(json.dumps(rows))
    classes = ", ".join(f"`{kind.model}`" for kind in KINDS.values())
    return (
        f"lmms-eval 0.7.3, its classes {classes}, each asked one question about an image. Its "
        "command line is run with this project's plug-in by a test of its own "
        "(`bench/tests/paper/lmms/test_real.py`). It breaks with filelock 4, and ends with exit "
        "code 0 on errors unless `--verbosity DEBUG` is given.\n\n"
        + table(["family", "contents", "given as", "seen"], rows)
    )


def rows_of(root: Path, name: str, kind: Kind) -> list[list[str]]:
    """Return the rows of one family."""
    root.mkdir(parents=True, exist_ok=True)
    base, image = root / "base", root / "image.png"
    if not base.exists():
        kind.save(base)
        write_image(image, 0, side=56)
    adapters: dict[str, str] = {}
    folders: dict[tuple[str, str], str] = {}
    refused: dict[tuple[str, str], str] = {}
    for case, settings in CASES.items():
        adapters[case] = str(make(root / case.replace(" ", "-"), name, kind, settings))
        for form in FORMS if case == "language" else FORMS[:2]:
            try:
                folders[case, form] = str(written(Path(adapters[case]), base, form))
            except MergeError as error:
                refused[case, form] = f"refused: {error.problem}"
    job = {"class": kind.model, "base": str(base), "image": str(image), "question": QUESTION}
    job |= {"adapters": list(adapters.values()), "folders": list(folders.values())}
    answers = ask(root, job)
    seen = {
        key: judge(answers[folder], answers[adapters[key[0]]], answers[""])
        for key, folder in folders.items()
    }
    return [[name, *key, text] for key, text in (seen | refused).items()]


def make(folder: Path, name: str, kind: Kind, settings: Mapping[str, Any]) -> Path:
    """Save an adapter; PROJECTOR stands for the family's own name of it."""
    if not folder.exists():
        saved = settings.get("modules_to_save")
        named = [kind.projector if n == "PROJECTOR" else n for n in saved] if saved else None
        save_adapter(name, folder, seed=1, **{**settings, "modules_to_save": named})
    return folder


def written(adapter: Path, base: Path, form: str) -> Path:
    """Return the merge of one adapter, or its export."""
    merged = adapter.with_name(f"{adapter.name}-merge")
    if not merged.exists():
        merge([adapter], merged, method="task-arithmetic")
    if form == "the merge":
        return merged
    folder = adapter.with_name(f"{adapter.name}-{form}")
    if not folder.exists():
        export_adapter(merged, folder, format=form, base=str(base))
    return folder


def ask(root: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """Ask lmms-eval's class in its environment, once."""
    result = root / "answers.json"
    if not result.exists():
        (root / "job.json").write_text(json.dumps(job))
        offline = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        offline.pop("PYTHONPATH", None)
        command = [str(python("lmms-eval")), str(CLIENT), str(root / "job.json"), str(result)]
        with (root / "lmms.log").open("w") as log:
            subprocess.run(command, check=True, env=offline, timeout=3600, stdout=log, stderr=log)
    answers: dict[str, Any] = json.loads(result.read_text())
    return answers


def judge(answer: Any, wanted: Any, bare: Any) -> str:
    """Compare an answer with that of the base with the input merged in by PEFT."""
    if isinstance(answer, str):
        return refusal(answer)
    if isinstance(wanted, str):
        return f"PEFT refuses the input: {wanted}"
    values, right, before = (torch.tensor(each["logprobs"]) for each in (answer, wanted, bare))
    apart = float((values - right).abs().max())
    if apart < CLOSE and answer["text"] == wanted["text"]:
        return f"as the input, {apart:.0e} nats from PEFT"
    if float((values - before).abs().max()) < CLOSE:
        return "the bare base"
    return f"another model, {apart:.2g} nats from PEFT"
