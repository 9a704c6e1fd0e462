"""Runs in the environment of one PEFT and transformers; imports nothing of this repository.

    python expert_client.py JOB RESULT

JOB is JSON with base, prompt and adapters. The log-probabilities of the next token, of the bare
base and with every adapter, are written as JSON, or the error in their place. An adapter of which a
tensor finds no place is an error, too: PEFT only warns.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from safetensors import safe_open


def ask(model: Any, prompt: list[int]) -> dict[int, float]:
    """Return the log-probabilities of all next tokens."""
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor([prompt])).logits[0, -1]
    return dict(enumerate(logits.double().log_softmax(-1).tolist()))


def load(base: str) -> Any:
    """Load a base in float32."""
    return transformers.AutoModelForCausalLM.from_pretrained(base, torch_dtype=torch.float32)


def answer(base: str, adapter: str, prompt: list[int]) -> Any:
    """Return what the base computes with an adapter, or what is wrong with it."""
    try:
        model = peft.PeftModel.from_pretrained(load(base), adapter)
        live = peft.get_peft_model_state_dict(model)
        with safe_open(Path(adapter) / "adapter_model.safetensors", "pt") as file:
            names = list(file.keys())
            lost = [
                name
                for name in names
                if name not in live or not torch.equal(live[name], file.get_tensor(name).float())
            ]
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    if lost:
        return f"{len(lost)} of {len(names)} tensors are not in the model, such as {lost[0]}"
    return ask(model, prompt)


def main() -> None:
    """Ask the base and every adapter of the command line."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    job, result = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    answers: dict[str, Any] = {"": ask(load(job["base"]), job["prompt"])}
    for adapter in job["adapters"]:
        answers[adapter] = answer(job["base"], adapter, job["prompt"])
    result.write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
