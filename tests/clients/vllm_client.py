"""Runs in the environment of vLLM, on a CPU: one base with several adapters, one after another.

    python vllm_client.py BASE RESULT ADAPTER…

The log-probabilities of the next token after one prompt, of the bare base and with every adapter,
are written as JSON, or the error in their place.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

PROMPT = [1, 17, 42, 99, 7, 120, 33]
TOKENS = 20


def ask(model: Any, request: Any) -> dict[int, float]:
    """Return the log-probabilities of the likeliest next tokens."""
    from vllm import SamplingParams, TokensPrompt  # type: ignore[import-not-found]

    wanted = SamplingParams(max_tokens=1, temperature=0, logprobs=TOKENS)
    prompt = TokensPrompt(prompt_token_ids=PROMPT)
    (answer,) = model.generate([prompt], wanted, lora_request=request, use_tqdm=False)
    (found,) = answer.outputs[0].logprobs
    return {int(token): float(entry.logprob) for token, entry in found.items()}


def main() -> None:
    """Ask the base and every adapter of the command line."""
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"}
    from vllm import LLM
    from vllm.lora.request import LoRARequest  # type: ignore[import-not-found]

    base, result, *adapters = sys.argv[1:]
    model = LLM(
        base,
        dtype="float32",
        enforce_eager=True,
        enable_lora=True,
        max_lora_rank=16,
        max_model_len=128,
        max_num_seqs=1,
        max_num_batched_tokens=128,
    )
    answers: dict[str, Any] = {"": ask(model, None)}
    for number, adapter in enumerate(adapters, 1):
        try:
            answers[adapter] = ask(model, LoRARequest(f"a{number}", number, adapter))
        except Exception as error:
            answers[adapter] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        Path(result).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
