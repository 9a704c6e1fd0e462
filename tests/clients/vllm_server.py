"""vLLM's server on a CPU, into which adapters are loaded while it runs.

An adapter is sent to `/v1/load_lora_adapter`, asked for by its name, and sent away again.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clients.environments import python
from clients.vllm_client import PROMPT, TOKENS

PORT = 18123
URL = f"http://127.0.0.1:{PORT}"
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}
OPTIONS = "--served-model-name base --enforce-eager --dtype float32 --enable-lora"
LIMITS = "--max-lora-rank 16 --max-model-len 128 --max-num-seqs 1 --max-num-batched-tokens 128"
PATIENCE = 2400  # seconds that a start may take


def ask_server(base: Path, adapters: Sequence[Path], log: Path) -> dict[str, Any]:
    """Return the next token's log-probabilities of base and adapters, or the server's refusal."""
    answers: dict[str, Any] = {}
    with serving(base, log):
        answers[""] = ask("base")
        for number, adapter in enumerate(adapters):
            name = {"lora_name": f"a{number}", "lora_path": str(adapter.absolute())}
            try:
                post("load_lora_adapter", name)
                answers[str(adapter)] = ask(name["lora_name"])
                post("unload_lora_adapter", {"lora_name": name["lora_name"]})
            except urllib.error.HTTPError as error:
                text = json.loads(error.read())["error"]["message"][:200]
                answers[str(adapter)] = f"refused: {text}"
    return answers


@contextmanager
def serving(base: Path, log: Path) -> Iterator[None]:
    """Run a server for the length of the block."""
    command = [str(python("vllm")), "-m", "vllm.entrypoints.openai.api_server", "--model"]
    more = [*OPTIONS.split(), *LIMITS.split(), "--host", "127.0.0.1", "--port", str(PORT)]
    environment = {**os.environ, **SETTINGS}
    environment.pop("PYTHONPATH", None)
    with log.open("w") as text:
        server = subprocess.Popen(
            [*command, str(base), *more], env=environment, stdout=text, stderr=text
        )
        try:
            wait(server)
            yield
        finally:
            server.terminate()
            server.wait(timeout=60)


def wait(server: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError("vLLM's server does not start; its log says why")
        try:
            with urllib.request.urlopen(f"{URL}/health"):
                return
        except OSError:
            time.sleep(2)
    raise TimeoutError(f"not started within {PATIENCE} s")


def ask(name: str) -> dict[str, float]:
    """Return the log-probabilities of the likeliest next tokens, as `vllm_client.py` does."""
    answer = post(
        "completions",
        {
            "model": name,
            "prompt": PROMPT,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": TOKENS,
            "return_tokens_as_token_ids": True,
        },
    )
    (likely,) = answer["choices"][0]["logprobs"]["top_logprobs"]
    return {token.removeprefix("token_id:"): float(value) for token, value in likely.items()}


def post(path: str, content: dict[str, Any]) -> Any:
    """Send a request; return what comes back, as JSON where it is."""
    request = urllib.request.Request(
        f"{URL}/v1/{path}",
        json.dumps(content).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        text = answer.read().decode()
    return json.loads(text) if text.startswith("{") else text
