"""A server that loads adapters at run time, by vLLM's API, and answers by OpenAI's.

    POST /v1/load_lora_adapter     {"lora_name": …, "lora_path": …}
    POST /v1/chat/completions      {"model": lora_name, …}
    POST /v1/unload_lora_adapter   {"lora_name": …}

vLLM needs `--enable-lora --max-lora-rank R` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True. The server
reads the adapter's folder itself: it runs on this machine, or sees the folder under the same path.
"""

from __future__ import annotations

import base64
import json
import mimetypes
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ..collect.samples import Sample
from ..errors import MergeError, reading

_SECONDS = 600  # an answer of a loaded server may take minutes
_SHOWN = 300  # characters of a refusal
_HINT = (
    "vLLM takes adapters at run time with --enable-lora, a --max-lora-rank that suffices and the "
    "variable VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
)


class AdapterServer:
    """A server at a URL such as http://localhost:8000."""

    def __init__(self, url: str) -> None:
        """Keep the URL.

        Raises:
            MergeError: no URL of HTTP.
        """
        self.url = url.rstrip("/").removesuffix("/v1")
        if not self.url.startswith(("http://", "https://")):
            raise MergeError(
                f"{url!r} is no URL", where="--server", hint="such as http://localhost:8000"
            )

    @contextmanager
    def using(self, adapter: Path) -> Iterator[str]:
        """Load an adapter for the length of a block; yield its name on the server."""
        name = f"robustmerge-{secrets.token_hex(4)}"
        path = str(adapter.resolve())
        self._post("load_lora_adapter", {"lora_name": name, "lora_path": path})
        try:
            yield name
        finally:
            self._post("unload_lora_adapter", {"lora_name": name})

    @contextmanager
    def answering(self, adapter: Path, longest: int) -> Iterator[Callable[[Sample], str]]:
        """Load an adapter for the length of a block; yield what answers a sample, greedily."""
        with self.using(adapter) as model:
            yield lambda sample: self._answer(model, sample, longest)

    def _answer(self, model: str, sample: Sample, longest: int) -> str:
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": _data_url(image)}} for image in sample.images
        ]
        content: Any = [*parts, {"type": "text", "text": sample.text}] if parts else sample.text
        reply = self._post(
            "chat/completions",
            {
                "model": model,
                "messages": [{"role": "user", "content": content}],
                "max_tokens": longest,
                "temperature": 0,
            },
        )
        try:
            return str(json.loads(reply)["choices"][0]["message"]["content"] or "")
        except (ValueError, LookupError, TypeError):
            raise self._refused("chat/completions", f"an answer without text: {reply}") from None

    def _post(self, path: str, content: Mapping[str, Any]) -> str:
        request = Request(
            f"{self.url}/v1/{path}",
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urlopen(request, timeout=_SECONDS) as reply:
                return str(reply.read().decode(errors="replace"))
        except HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            raise self._refused(path, f"{error.code}: {text}") from None
        except (URLError, OSError, HTTPException) as error:
            raise self._refused(path, f"no reply: {error}") from None

    def _refused(self, path: str, why: str) -> MergeError:
        return MergeError(
            f"the server refuses: {why[:_SHOWN]}", where=f"{self.url}/v1/{path}", hint=_HINT
        )


def _data_url(image: Path) -> str:
    kind = mimetypes.guess_type(image.name)[0] or "image/png"
    with reading(image):
        return f"data:{kind};base64,{base64.b64encode(image.read_bytes()).decode()}"
