"""vLLM on a CPU: the laptop benchmark's LLaVA under Hub names, with an adapter in every layout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

from clients.cases import Output, agrees, predicted, table
from clients.environments import python
from robustmerge import merge

CLIENT = Path(__file__).with_name("vllm_client.py")
BASE = Path("bench/artifacts/mini/base")
EXPERT = Path("bench/artifacts/mini/experts/shared-0/flk")
PROMPT = [1, 17, 42, 99, 7, 120, 33]  # as the client's
CLOSE = 2e-3  # nats: float32 on either side


def run(root: Path) -> str:
    """Make base and outputs, ask vLLM once, compare with PEFT; return the document's section."""
    base, outputs = hub_base(root / "base"), make(root)
    result = root / "vllm.json"
    if not result.exists():
        offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
        offline.pop("PYTHONPATH", None)
        command = [str(python("vllm")), str(CLIENT), str(base), str(result)]
        subprocess.run([*command, *map(str, outputs.values())], check=True, env=offline)
    answers = json.loads(result.read_text())
    rows = []
    for label, folder in outputs.items():
        said = predicted(Output("llava", "", label, base, EXPERT, folder), "vllm")
        seen = judge(answers.get(str(folder), "not asked"), answers[""], folder)
        rows.append([label, said, seen, "" if agrees(said, seen) else "wrong"])
    return table(["output", "check", "seen", "check is"], rows)


def hub_base(folder: Path) -> Path:
    """Name the tower as checkpoints on the Hub do: transformers 5 leaves a level out."""
    if not folder.exists():
        shutil.copytree(BASE, folder)
        tensors = load_file(folder / "model.safetensors")
        tower = re.compile(r"^vision_tower\.(?!vision_model)")
        named = {tower.sub("vision_tower.vision_model.", n): t for n, t in tensors.items()}
        save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def make(root: Path) -> dict[str, Path]:
    """Rewrite one expert in several layouts, with its projector and without."""
    outputs = {"with the projector": root / "projector"}
    if not outputs["with the projector"].exists():
        merge([EXPERT], root / "projector", method="task-arithmetic")
    for layout in ("hf", "hf-old", "llava"):
        outputs[layout] = root / layout
        if not (root / layout).exists():
            options = {"layout": layout, "leave_out": "*projector*"}
            merge([EXPERT], root / layout, method="task-arithmetic", **options)  # type: ignore[arg-type]
    outputs["flat, renamed by hand"] = flat = root / "flat"
    if not flat.exists():
        shutil.copytree(root / "hf", flat)
        (flat / "merge.json").unlink()  # it has the hashes of what is renamed here
        path = flat / "adapter_model.safetensors"
        tensors = load_file(path)
        save_file({n.replace("model.language_model.", "model."): tensors[n] for n in tensors}, path)
    return outputs


def judge(answer: dict[str, float] | str, bare: dict[str, float], folder: Path) -> str:
    """Compare an answer with PEFT's and with that of the bare base."""
    if isinstance(answer, str):
        return f"refused: {answer}"
    if max(abs(answer[t] - bare.get(t, answer[t])) for t in answer) < CLOSE:
        return "the bare base"
    source = folder.with_name("hf") if folder.name == "llava" else folder
    model = LlavaForConditionalGeneration.from_pretrained(BASE, dtype=torch.float32).eval()
    with torch.no_grad():
        adapted = PeftModel.from_pretrained(model, str(source)).eval()
        wanted = adapted(input_ids=torch.tensor([PROMPT])).logits[0, -1].log_softmax(-1)
    apart = max(abs(value - float(wanted[int(token)])) for token, value in answer.items())
    return f"as the input, {apart:.0e} nats from PEFT" if apart < CLOSE else "another model"
