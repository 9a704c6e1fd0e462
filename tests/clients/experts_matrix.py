"""Merges of experts in every layout, on transformers 4, where experts are modules.

Two adapters on the fused experts of one tiny base, saved by the PEFT of this environment, are
merged exactly. What that computes here in PEFT is what every layout of it has to compute elsewhere.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

import robustmerge
from clients.cases import table
from clients.environments import python

CLIENT = Path(__file__).with_name("expert_client.py")
PROMPT = [1, 17, 42, 99, 7, 120, 33]
CLOSE = 2e-3  # nats: float32 on either side
SIZES: Mapping[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
LAYOUTS = ("fused", "experts", "projections")


@dataclass(frozen=True)
class MergedExperts:
    """A merge of two adapters of experts.

    Attributes:
        base: Their base.
        outputs: The merge in every layout.
        answer: The next token's log-probabilities with it, by PEFT.
        bare: Those of the base.
    """

    base: Path
    outputs: Mapping[str, Path]
    answer: torch.Tensor
    bare: torch.Tensor

    def judge(self, answer: Any) -> str:
        """Compare a program's answer with PEFT's and with that of the bare base."""
        if isinstance(answer, str):
            return f"refused: {answer}"
        apart, moved = (
            max(abs(value - float(wanted[int(token)])) for token, value in answer.items())
            for wanted in (self.answer, self.bare)
        )
        if moved < CLOSE:
            return "the bare base"
        return f"as the input, {apart:.0e} nats from PEFT" if apart < CLOSE else "another model"


def qwen() -> nn.Module:
    """Build a Qwen3-MoE."""
    sizes = {"moe_intermediate_size": 64, "intermediate_size": 96, "num_experts": 4}
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZES, **sizes))


def mixtral() -> nn.Module:
    """Build a Mixtral."""
    return MixtralForCausalLM(MixtralConfig(**SIZES, intermediate_size=64, num_local_experts=4))


FAMILIES = {"qwen3_moe": qwen, "mixtral": mixtral}


def prepare(root: Path, family: str) -> MergedExperts:
    """Save a base, merge two adapters of it, and write the merge in every layout."""
    base, merged = root / family / "base", root / family / "fused"
    torch.manual_seed(0)
    model: Any = FAMILIES[family]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.1 * torch.randn_like(parameter))
    if not base.exists():
        model.save_pretrained(base)
        path = base / "config.json"
        settings = json.loads(path.read_text())
        # As checkpoints on the Hub have it; transformers 5 writes another name.
        settings.setdefault("num_experts", settings.get("num_local_experts"))
        path.write_text(json.dumps(settings, indent=2))
    bare = _next(model)
    inputs = [save_adapter(base, root / family / name, seed) for seed, name in enumerate("ab")]
    if not merged.exists():
        robustmerge.merge(inputs, merged, method="task-arithmetic", rank="full")
    outputs = {"fused": merged}
    for layout in LAYOUTS[1:]:
        outputs[layout] = root / family / layout
        if not outputs[layout].exists():
            robustmerge.convert(merged, outputs[layout], layout=layout, base=base)
    return MergedExperts(base, outputs, _next(_with(base, merged)), bare)


def save_adapter(base: Path, folder: Path, seed: int) -> Path:
    """Save an adapter on experts and attention that is not zero anywhere."""
    if not folder.exists():
        config = LoraConfig(
            r=4,
            target_modules=["q_proj", "v_proj"],
            target_parameters=EXPERTS,
            task_type="CAUSAL_LM",
        )
        tuned = get_peft_model(_load(base), config)
        torch.manual_seed(1 + seed)
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                nn.init.normal_(parameter, std=0.1)
        tuned.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def ask(program: str, case: MergedExperts, result: Path) -> dict[str, Any]:
    """Run the client in a program's environment, once; return its answers by folder."""
    if not result.exists():
        offline = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        job, folders = result.with_suffix(".job.json"), list(map(str, case.outputs.values()))
        content = {"base": str(case.base), "prompt": PROMPT, "adapters": folders}
        job.write_text(json.dumps(content))
        command = [str(python(program)), str(CLIENT), str(job), str(result)]
        subprocess.run(command, check=True, env=offline | {"HF_HUB_OFFLINE": "1"})
    answers: dict[str, Any] = json.loads(result.read_text())
    return answers


PROGRAMS = ("peft-0.18",)
"""Environments. vLLM is not asked: with LoRA, its experts need Triton, also without an adapter."""


def run(root: Path) -> str:
    """Ask the programs; return the document's section."""
    rows = []
    for family in FAMILIES:
        case = prepare(root.resolve(), family)
        for program in PROGRAMS:
            answers = ask(program, case, root.resolve() / f"{family}-{program}.json")
            rows += [
                [family, program, layout, case.judge(answers.get(str(folder), "not asked"))]
                for layout, folder in case.outputs.items()
            ]
    (root / "experts.json").write_text(json.dumps(rows))
    return table(["family", "program", "layout", "loads"], rows)


def _load(base: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)


def _with(base: Path, adapter: Path) -> Any:
    return PeftModel.from_pretrained(_load(base), str(adapter))


def _next(model: Any) -> torch.Tensor:
    """Return the log-probabilities of the next token."""
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor([PROMPT])).logits[0, -1]
    result: torch.Tensor = logits.double().log_softmax(-1)
    return result
