"""Runs in the environment of vLLM, on a CPU: one base with several adapters, one after another.

    python vllm_client.py JOB RESULT

JOB is JSON with base, prompt, image (a file, or null), patience (seconds for each) and adapters.
The log-probabilities of the next token, of the bare base and with every adapter, are written as
JSON after each answer, or the error in their place.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

PROMPT = [1, 17, 42, 99, 7, 120, 33]
TOKENS = 20


def ask(model: Any, request: Any, prompt: list[int], image: str | None) -> dict[int, float]:
    """Return the log-probabilities of the likeliest next tokens."""
    from PIL import Image
    from vllm import SamplingParams, TokensPrompt  # type: ignore[import-not-found]

    wanted = SamplingParams(max_tokens=1, temperature=0, logprobs=TOKENS)
    shown = {"multi_modal_data": {"image": Image.open(image)}} if image else {}
    question = TokensPrompt(prompt_token_ids=prompt, **shown)
    (answer,) = model.generate([question], wanted, lora_request=request, use_tqdm=False)
    (likely,) = answer.outputs[0].logprobs
    return {int(token): float(entry.logprob) for token, entry in likely.items()}


def start(base: str) -> Any:
    """Start vLLM in this process."""
    from vllm import LLM

    return LLM(
        base,
        dtype="float32",
        enforce_eager=True,
        enable_lora=True,
        max_lora_rank=16,
        max_model_len=128,
        max_num_seqs=1,
        max_num_batched_tokens=128,
    )


def too_late(*_: object) -> None:
    """End a case that takes too long."""
    raise TimeoutError("no answer in time")


def main() -> None:
    """Ask the base and every adapter of the job."""
    job, result = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    # Threads bound to a core wait for each other in a loop, which on a shared core takes minutes.
    os.environ |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"}
    model = start(job["base"])
    from vllm.lora.request import LoRARequest  # type: ignore[import-not-found]

    answers: dict[str, Any] = {"": ask(model, None, job["prompt"], job["image"])}
    signal.signal(signal.SIGALRM, too_late)
    for number, adapter in enumerate(job["adapters"], 1):
        request = LoRARequest(f"a{number}", number, adapter)
        signal.alarm(job["patience"])
        try:
            model.llm_engine.add_lora(request)  # a question whose adapter fails would stay queued
            answers[adapter] = ask(model, request, job["prompt"], job["image"])
        except Exception as error:
            answers[adapter] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        signal.alarm(0)
        result.write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
