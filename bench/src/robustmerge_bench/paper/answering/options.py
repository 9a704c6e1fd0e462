"""How a model is to answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from robustmerge.errors import MergeError, unknown

Kind = Literal["transformers", "server"]
_TYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class AnsweringOptions:
    """How a model is to answer.

    Attributes:
        engine: What runs it: this process, or a server that speaks OpenAI's protocol.
        url: The server, such as http://localhost:8000/v1.
        model: What the server calls the base with the adapter.
        device: Where it runs in this process.
        dtype: Type it runs in there; by the device and the family where not given: float32 on a
            CPU and for CLIP, float16 for LLaVA-1.5, bfloat16 for others.
        batch: Questions at a time there.
        workers: Questions at a time that a server is asked; threads that read pictures for CLIP.
        prompt: vicuna (word for word as the released scripts), chat-template, or auto: the first
            for LLaVA-1.5, the second for other models.
        limit: The first questions of every task only.
        max_new_tokens: Most tokens of an answer, instead of each task's own.
    """

    engine: Kind = "transformers"
    url: str | None = None
    model: str | None = None
    device: str = "cpu"
    dtype: str | None = None
    batch: int = 16
    workers: int = 16
    prompt: Literal["auto", "vicuna", "chat-template"] = "auto"
    limit: int | None = None
    max_new_tokens: int | None = None

    def check(self) -> None:
        """Check what can be checked without a model.

        Raises:
            MergeError: A value that makes no sense.
        """
        self._one_of("engine", ("transformers", "server"))
        self._one_of("prompt", ("auto", "vicuna", "chat-template"))
        if self.dtype is not None:
            self._one_of("dtype", _TYPES)
        for name in ("batch", "workers", "limit", "max_new_tokens"):
            value: Any = getattr(self, name)
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
        """The type it runs in."""
        if self.dtype is not None:
            return self.dtype
        if clip or self.device.startswith("cpu"):
            return "float32"
        return "float16" if llava_15 else "bfloat16"

    def _one_of(self, name: str, known: tuple[str, ...]) -> None:
        value: str = getattr(self, name)
        if value not in known:
            raise unknown(name, value, known, where=f"--{name}")
