"""`robustmerge bench run`: a model answers the paper's tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def run(
    *,
    base: str,
    tasks: str,
    data: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    adapter: str | None = None,
    engine: Literal["transformers", "server"] = "transformers",
    url: str | None = None,
    model: str | None = None,
    device: str | None = None,
    dtype: Literal["float32", "float16", "bfloat16"] | None = None,
    batch: int = 16,
    workers: int = 16,
    prompt: Literal["auto", "vicuna", "chat-template"] = "auto",
    limit: int | None = None,
    max_new_tokens: int | None = None,
) -> int:
    """Have a model answer tasks of the paper's benchmark: greedy, as the released scripts ask.

    OUTPUT gets TASK.jsonl for each task, in the format of the released scripts, and run.json. A run
    that was stopped in whatever way goes on where it was. `robustmerge bench score` scores answers.

    Args:
        base: The base model, a folder or Hub id.
        tasks: Names separated by commas; seen, unseen, all, general and vision are
            groups. The last is for a base that is CLIP.
        data: Folder that holds the tasks' question files and pictures.
        output: Folder of the answers.
        adapter: The adapter, a folder or Hub id, also in the original LLaVA format; the base alone
            where not given.
        engine: What runs the model: transformers here, or a server that speaks OpenAI's protocol.
        url: The server, such as http://localhost:8000/v1.
        model: What the server calls the base with the adapter.
        device: cpu, cuda, cuda:1, …; cuda where there is one unless given.
        dtype: Type the model runs in. Unless given, float32 on a CPU and for CLIP, float16 for
            LLaVA-1.5, as in the released scripts, and bfloat16 for others.
        batch: Questions at a time, here.
        workers: Questions at a time, on a server.
        prompt: vicuna, word for word as the released scripts; chat-template, the model's own; or
            auto: vicuna for LLaVA-1.5, the template for others.
        limit: Ask the first questions of every task only.
        max_new_tokens: Most tokens of an answer; each task's own unless given.
    """
    from . import show_run

    return show_run.run(
        base,
        adapter,
        tasks,
        data,
        output,
        device=device,
        settings={
            "engine": engine,
            "url": url,
            "model": model,
            "dtype": dtype,
            "batch": batch,
            "workers": workers,
            "prompt": prompt,
            "limit": limit,
            "max_new_tokens": max_new_tokens,
        },
    )
