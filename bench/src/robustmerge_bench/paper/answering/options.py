"""Options of a run: engine, types, batches, prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from cyclopts import Parameter

from robustmerge.errors import MergeError, unknown

EngineName = Literal["transformers", "server"]
TypeName = Literal["float32", "float16", "bfloat16"]
PromptOption = Literal["auto", "vicuna", "chat-template"]
_CHOICES = {
    "engine": get_args(EngineName),
    "prompt": get_args(PromptOption),
    "dtype": get_args(TypeName),
}


@dataclass(frozen=True)
class AnsweringOptions:
    """How a model answers.

    Attributes:
        engine: What runs the model: transformers here, or a server that speaks OpenAI's protocol.
        url: The server, such as http://localhost:8000/v1.
        model: The server's name for the base with the adapter.
        device: The device that the model runs on here.
        dtype: Type the model runs in here. Unless given, float32 on a CPU and for CLIP, float16 for
            LLaVA-1.5, as in the released scripts, and bfloat16 for others.
        batch: Questions at a time, here.
        workers: Requests at a time to a server; threads that read images for CLIP.
        prompt: vicuna, word for word as the released scripts; chat-template, the model's own; or
            auto: vicuna for LLaVA-1.5, the template for others.
        limit: Ask the first questions of every task only.
        max_new_tokens: Most tokens of an answer; each task's own unless given.
    """

    engine: EngineName = "transformers"
    url: str | None = None
    model: str | None = None
    device: Annotated[str, Parameter(parse=False)] = "cpu"  # by the verb, which looks for a GPU
    dtype: TypeName | None = None
    batch: int = 16
    workers: int = 16
    prompt: PromptOption = "auto"
    limit: int | None = None
    max_new_tokens: int | None = None

    def check(self) -> None:
        """Check what can be checked without a model."""
        for name, choices in _CHOICES.items():
            value: Any = getattr(self, name)
            if value is not None and value not in choices:
                raise unknown(name, value, choices, where=f"--{name}")
        for name in ("batch", "workers", "limit", "max_new_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                option = f"--{name.replace('_', '-')}"
                raise MergeError(
                    f"{value} is less than 1", where=option, hint=f"{option} 1 or more"
                )
        if (self.engine == "server") != (self.url is not None):
            raise MergeError(
                "a server has a --url, and only a server",
                where=f"--engine {self.engine}, --url {self.url}",
                hint="--engine server --url http://localhost:8000/v1 --model NAME",
            )
        if self.engine == "server" and self.model is None:
            raise MergeError(
                "the server may serve several models",
                where="--engine server",
                hint="--model is the name of the merged adapter there, as in vLLM's --lora-modules",
            )

    def dtype_for(self, *, llava_15: bool, clip: bool = False) -> str:
        """Return the name of the type that a base runs in."""
        if self.dtype is not None:
            return self.dtype
        if clip or self.device.startswith("cpu"):
            return "float32"
        return "float16" if llava_15 else "bfloat16"
