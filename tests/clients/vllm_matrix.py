"""vLLM on a CPU, offline and as a server, with adapters of two families.

Each engine starts once and is asked for all adapters. What is not answered in time is reported as
such, and asked again by the next run.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText

from clients.cases import Output, agrees, predicted, refusal, table
from clients.environments import python
from clients.vllm_cases import FAMILIES, Served, outputs
from clients.vllm_server import ask_server

CLIENT = Path(__file__).with_name("vllm_client.py")
CLOSE = 2e-3  # nats: float32 on either side
HOW = (
    "vLLM 0.32.0 with transformers 5.19 on a CPU: its offline class, and its server for one "
    "family. LLaVA is asked about an image, Qwen2-VL a text."
)
START, PATIENCE = 2400, 300  # seconds for an engine, and for a case
LATE = f"no answer within {PATIENCE} s"


def run(root: Path) -> str:
    """Make bases and outputs, ask vLLM, compare with PEFT; return the document's section."""
    rows = []
    for name, make in FAMILIES.items():
        served = make(root)
        cases = list(outputs(root, served))
        folders = [output.output for output in cases if output.output]
        answers = ask_offline(served, root / f"{name}.json", folders)
        online: dict[str, Any] = {}
        if served.image:  # one family is enough for what is the server's own
            language = [o.output for o in cases if o.output and o.case == "language"]
            online = by_server(served.served, root / "server.json", language)
        for output in cases:
            if output.output is None:
                refusal = f"refused: {output.refusal}"
                rows.append([name, output.case, output.label, "–", refusal, "not asked", ""])
                continue
            said = predicted(output, "vllm")
            seen = judge(answers, output, served)
            server = agreement(online, answers, output)
            wrong = "" if seen == LATE or agrees(said, seen) else "wrong"
            rows.append([name, output.case, output.label, said, seen, server, wrong])
    (root / "vllm.json").write_text(json.dumps(rows))
    header = ["family", "contents", "layout", "check", "offline", "server", "check is"]
    return f"{HOW}\n\n{table(header, rows)}"


def ask_offline(served: Served, result: Path, folders: Sequence[Path]) -> dict[str, Any]:
    """Ask vLLM's class in a process of its environment; return what is answered in time."""
    known = json.loads(result.read_text()) if result.exists() else {}
    known = {folder: answer for folder, answer in known.items() if not is_late(answer)}
    left = [str(f) for f in folders if str(f) not in known]
    if left:
        part = result.with_suffix(".part.json")
        part.unlink(missing_ok=True)
        job = result.with_suffix(".job.json")
        image = str(served.image) if served.image else None
        content = {"base": str(served.served), "prompt": served.prompt, "image": image}
        job.write_text(json.dumps(content | {"patience": PATIENCE, "adapters": left}))
        offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
        offline.pop("PYTHONPATH", None)
        command = [str(python("vllm")), str(CLIENT), str(job), str(part)]
        limit = START + PATIENCE * len(left)
        with result.with_suffix(".log").open("w") as log:
            try:
                subprocess.run(
                    command, check=True, env=offline, timeout=limit, stdout=log, stderr=log
                )
            except subprocess.TimeoutExpired:
                log.write(f"ended after {limit} s\n")
        known |= json.loads(part.read_text()) if part.exists() else {}
        result.write_text(json.dumps(known))
    return known


def by_server(base: Path, result: Path, folders: Sequence[Path]) -> dict[str, Any]:
    """Ask vLLM's server, once; where it does not start in time, that is the answer."""
    if not result.exists():
        try:
            answers = ask_server(base, folders, result.with_suffix(".log"))
        except TimeoutError as error:
            return dict.fromkeys(map(str, folders), str(error))
        result.write_text(json.dumps(answers))
    seen: dict[str, Any] = json.loads(result.read_text())
    return seen


def judge(answers: Mapping[str, Any], output: Output, served: Served) -> str:
    """Compare an answer with PEFT's for the input, and with that of the bare base."""
    answer, bare = answers.get(str(output.output), LATE), answers.get("", {})
    if is_late(answer):
        return LATE
    if isinstance(answer, str):
        return refusal(answer)
    model = AutoModelForImageTextToText.from_pretrained(served.base, dtype=torch.float32).eval()
    with torch.no_grad():
        adapted = PeftModel.from_pretrained(model, str(output.input)).eval()
        wanted = adapted(**served.batch).logits[0, -1].log_softmax(-1)
    apart = max(abs(value - float(wanted[int(token)])) for token, value in answer.items())
    if apart < CLOSE:
        return f"as the input, {apart:.0e} nats from PEFT"
    if difference(answer, bare) < CLOSE:
        return "the bare base"
    return f"another model, {apart:.2g} nats from PEFT"


def is_late(answer: Any) -> bool:
    """Decide whether an answer stands for one that did not come in time."""
    return isinstance(answer, str) and answer.startswith((LATE, "TimeoutError"))


def agreement(online: Mapping[str, Any], offline: Mapping[str, Any], output: Output) -> str:
    """Compare the server's two answers, without an image, as the offline ones are compared."""
    answer = online.get(str(output.output))
    if answer is None:
        return "not asked"
    if isinstance(answer, str):
        return answer
    same = difference(answer, online[""]) < CLOSE
    whole = difference(offline[str(output.output)], offline[""]) < CLOSE
    state = "the bare base" if same else "another answer than the base's"
    return state if same == whole else f"{state}, which the class does not give"


def difference(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return the largest difference of two answers over the tokens that both name."""
    return max(abs(one[token] - other[token]) for token in one.keys() & other.keys())
