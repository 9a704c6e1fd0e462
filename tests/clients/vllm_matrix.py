"""vLLM on a CPU, offline and as a server, with adapters of two families in every layout.

LLaVA is the laptop benchmark's base under Hub names; Qwen2-VL is a small one with random weights.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from clients.cases import Output, agrees, predicted, table
from clients.environments import python
from clients.vllm_client import PROMPT
from clients.vllm_server import ask_server
from robustmerge import MergeError, merge

CLIENT = Path(__file__).with_name("vllm_client.py")
BASE = Path("bench/artifacts/mini/base")
EXPERT = Path("bench/artifacts/mini/experts/shared-0/flk")
CLOSE = 2e-3  # nats: float32 on either side
LAYOUTS = ("hf", "hf-old", "llava", "flat")
QWEN_TEXT = {
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,  # of 32, the smallest that vLLM computes on a CPU
    "num_key_value_heads": 2,
    "vocab_size": 320,
    "max_position_embeddings": 256,
    "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [4, 6, 6]},
    "tie_word_embeddings": False,
}
QWEN_VISION = {"depth": 1, "embed_dim": 64, "hidden_size": 128, "num_heads": 2}


@dataclass(frozen=True)
class Family:
    """A base and an adapter of it.

    Attributes:
        served: The base as vLLM reads it.
        base: The same base as transformers reads it.
        adapter: What is rewritten.
        left_out: What is lost knowingly, since vLLM takes no fully trained parameters.
    """

    served: Path
    base: Path
    adapter: Path
    left_out: str | None = None


def run(root: Path) -> str:
    """Make bases and outputs, ask vLLM, compare with PEFT; return the document's section."""
    makers: Mapping[str, Callable[[Path], Family]] = {"llava": llava, "qwen2_vl": qwen}
    rows, seen_by_server = [], {}
    for name, make in makers.items():
        family = make(root)
        outputs = rewrite(root / name, family)
        result = root / f"{name}.json"
        if not result.exists():
            ask_offline(family.served, result, outputs)
        if name == "llava":
            seen_by_server = by_server(family.served, root / "server.json", outputs)
        answers = json.loads(result.read_text())
        for label, folder in outputs.items():
            said = predicted(Output(name, "", label, family.served, family.adapter, folder), "vllm")
            seen = judge(answers.get(str(folder), "not asked"), answers[""], folder, family)
            server = "not asked"
            if answer := seen_by_server.get(str(folder)):
                server = judge(answer, seen_by_server[""], folder, family)
            wrong = "" if agrees(said, seen) else "wrong"
            rows.append([name, label, said, seen, server, wrong])
    return table(["family", "output", "check", "offline", "server", "check is"], rows)


def ask_offline(base: Path, result: Path, outputs: Mapping[str, Path]) -> None:
    """Ask vLLM's class in a process of its environment."""
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    offline.pop("PYTHONPATH", None)
    command = [str(python("vllm")), str(CLIENT), str(base), str(result)]
    subprocess.run([*command, *map(str, outputs.values())], check=True, env=offline)


def by_server(base: Path, result: Path, outputs: Mapping[str, Path]) -> dict[str, Any]:
    """Ask vLLM's server, once."""
    if not result.exists():
        answers = ask_server(base, list(outputs.values()), result.with_suffix(".log"))
        result.write_text(json.dumps(answers))
    seen: dict[str, Any] = json.loads(result.read_text())
    return seen


def llava(root: Path) -> Family:
    """Name the tower as checkpoints on the Hub do: transformers 5 leaves a level out."""
    folder = root / "base"
    if not folder.exists():
        shutil.copytree(BASE, folder)
        tensors = load_file(folder / "model.safetensors")
        tower = re.compile(r"^vision_tower\.(?!vision_model)")
        named = {tower.sub("vision_tower.vision_model.", n): t for n, t in tensors.items()}
        save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    return Family(folder, BASE, EXPERT, "*projector*")


def qwen(root: Path) -> Family:
    """Save a Qwen2-VL of random weights, and an adapter of its language model."""
    from factories.bases import qwen as save_processor

    folder, adapter = root / "qwen-base", root / "qwen-adapter"
    if not adapter.exists():
        save_processor(folder)
        torch.manual_seed(0)
        config = Qwen2VLConfig(text_config=QWEN_TEXT, vision_config=QWEN_VISION)
        config.image_token_id, config.video_token_id = 303, 304
        config.vision_start_token_id, config.vision_end_token_id = 301, 302
        model = Qwen2VLForConditionalGeneration(config)
        model.save_pretrained(folder)
        targets = ["q_proj", "v_proj", "o_proj", "down_proj"]
        tuned = get_peft_model(model.model.language_model, LoraConfig(r=4, target_modules=targets))
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        save_language_adapter(tuned, adapter)
    return Family(folder, folder, adapter)


def save_language_adapter(tuned: Any, folder: Path) -> None:
    """Save LoRA of the language model under the names of the whole model."""
    tuned.save_pretrained(str(folder), save_embedding_layers=False)
    path = folder / "adapter_model.safetensors"
    start = "base_model.model."
    named = {
        f"{start}model.language_model.{n.removeprefix(start)}": t
        for n, t in load_file(path).items()
    }
    save_file(named, path, metadata={"format": "pt"})


def rewrite(root: Path, family: Family) -> dict[str, Path]:
    """Rewrite an adapter in every layout that is not refused, with what is left out and without."""
    root.mkdir(exist_ok=True)
    outputs: dict[str, Path] = {}
    if family.left_out:
        outputs["with the projector"] = root / "projector"
    outputs |= {layout: root / layout for layout in LAYOUTS}
    for label, folder in list(outputs.items()):
        options = {"layout": label} if label in LAYOUTS else {}
        options |= {"leave_out": family.left_out} if options and family.left_out else {}
        try:
            if not folder.exists():
                merge([family.adapter], folder, method="task-arithmetic", **options)  # type: ignore[arg-type]
        except MergeError:
            del outputs[label]
    if "flat" not in outputs:
        outputs["flat, renamed by hand"] = rename(root / "hf", root / "flat")
    return outputs


def rename(source: Path, folder: Path) -> Path:
    """Copy an output to flat names, which `merge` refuses for the family."""
    if not folder.exists():
        shutil.copytree(source, folder)
        (folder / "merge.json").unlink()  # it has the hashes of what is renamed here
        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        save_file({n.replace("model.language_model.", "model."): tensors[n] for n in tensors}, path)
    return folder


def judge(answer: Any, bare: dict[str, float], folder: Path, family: Family) -> str:
    """Compare an answer with PEFT's and with that of the bare base."""
    if isinstance(answer, str):
        return f"refused: {answer}"
    if max(abs(answer[t] - bare.get(t, answer[t])) for t in answer) < CLOSE:
        return "the bare base"
    source = folder.with_name("hf")  # the same adapter, which PEFT loads in this layout
    model = AutoModelForImageTextToText.from_pretrained(family.base, dtype=torch.float32).eval()
    with torch.no_grad():
        adapted = PeftModel.from_pretrained(model, str(source)).eval()
        wanted = adapted(input_ids=torch.tensor([PROMPT])).logits[0, -1].log_softmax(-1)
    apart = max(abs(value - float(wanted[int(token)])) for token, value in answer.items())
    return f"as the input, {apart:.0e} nats from PEFT" if apart < CLOSE else "another model"
