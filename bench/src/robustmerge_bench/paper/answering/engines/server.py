"""A server that speaks OpenAI's protocol, such as vLLM or SGLang with the merged adapter loaded.

    vllm serve BASE --enable-lora --lora-modules merged=OUT --max-lora-rank 64

The server puts the question into its own chat template and tokenizes it. It is asked to add the
token that begins a text, as transformers does, unless the base's template writes that itself.
`--chat-template` with the file `vicuna_v1.jinja` in this folder gives LLaVA-1.5's prompt word for
word; tokens right after an image may still differ from the original code's.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
from PIL import Image

from robustmerge.collect.processor import open_image
from robustmerge.errors import MergeError, unknown

from ..engine import Request
from ..family import is_llava_15, template_begins_text
from ..images import frame_image
from ..options import AnsweringOptions

TEMPLATE = Path(__file__).with_name("vicuna_v1.jinja")
_KNOWN = ("PNG", "JPEG", "WEBP", "GIF")
_RETRIES = 6  # the client waits 0.5 s, then twice as long each time, up to 8 s
_TIMEOUT = 600  # seconds; a request may wait for others


class ServerEngine:
    """A model on a server.

    Attributes:
        window: Requests that are sent before answers are written.
    """

    def __init__(
        self, *, base: str, settings: Mapping[str, Any], options: AnsweringOptions
    ) -> None:
        """Connect to the server of the options, given the content of the base's config.json."""
        assert options.url is not None
        assert options.model is not None
        self._options, self._model, self._url = options, options.model, options.url
        self._frames = is_llava_15(settings)
        # For LLaVA-1.5 the server has the template of this folder, which does not begin the text.
        self._adds_special_tokens = self._frames or not template_begins_text(base)
        self.window = 4 * options.workers
        self._client = openai.OpenAI(
            base_url=options.url,
            api_key=os.environ.get("OPENAI_API_KEY") or "none",
            max_retries=_RETRIES,
            timeout=_TIMEOUT,
        )
        self._check_model()

    def facts(self) -> Mapping[str, Any]:
        """Return server and version."""
        return {
            "url": self._url,
            "pictures": "as the task's script" if self._frames else "as they are",
            "add_special_tokens": self._adds_special_tokens,
            "versions": {"openai": openai.__version__},
        }

    def answer(self, requests: Sequence[Request]) -> list[str]:
        """Return the answers in the requests' order; several are sent at once."""
        pool = ThreadPoolExecutor(self._options.workers)
        try:
            return list(pool.map(self._answer, requests))
        finally:
            pool.shutdown(cancel_futures=True)

    def _answer(self, request: Request) -> str:
        try:
            made = self._client.chat.completions.create(
                model=self._model,
                messages=[{"role": "user", "content": self._content(request)}],
                max_tokens=request.max_new_tokens,
                temperature=0,
                extra_body={
                    "repetition_penalty": 1.0,  # overrides generation_config.json
                    "add_special_tokens": self._adds_special_tokens,
                },
            )
        except openai.APIConnectionError as error:
            raise self._unreachable(error) from None
        except openai.APIError as error:
            raise MergeError(
                f"the server refuses the question: {_reason(error)}",
                where=f"{self._url}\n{request.location}",
                hint="answers so far are kept; the same command goes on from there",
            ) from None
        if not made.choices:
            raise MergeError(
                "the server's reply holds no answer",
                where=f"{self._url}\n{request.location}",
                hint="--url is that of chat completions without the last part, such as "
                "http://localhost:8000/v1",
            )
        return (made.choices[0].message.content or "").strip()

    def _content(self, request: Request) -> Any:
        if request.image is None:
            return request.text
        image = {"type": "image_url", "image_url": {"url": self._image_url(request, request.image)}}
        return [image, {"type": "text", "text": request.text}]

    def _image_url(self, request: Request, source: Path | bytes) -> str:
        """Return the image as a data URL: the file unchanged where possible."""
        image = open_image(source, request.location)
        sent = frame_image(image, request.framing) if self._frames else image
        content = source if isinstance(source, bytes) else source.read_bytes()
        with Image.open(io.BytesIO(content)) as file:
            kind = file.format
        if sent is not image or kind not in _KNOWN:
            kind, content = "PNG", _png(sent)
        return f"data:{Image.MIME[kind]};base64,{base64.b64encode(content).decode()}"

    def _check_model(self) -> None:
        try:
            names = [model.id for model in self._client.models.list()]
        except openai.APIConnectionError as error:
            raise self._unreachable(error) from None
        except openai.NotFoundError:
            return  # a server without a list of models
        except openai.APIError as error:
            raise MergeError(
                f"the server refuses: {_reason(error)}",
                where=self._url,
                hint="OPENAI_API_KEY in the environment is the key it is sent",
            ) from None
        if self._model not in names:
            raise unknown("model of the server", self._model, names, where=f"{self._url}\n--model")

    def _unreachable(self, error: openai.APIConnectionError) -> MergeError:
        return MergeError(
            f"the server does not answer: {error.__cause__ or error}",
            where=self._url,
            hint="check that it runs, and the --url, such as http://localhost:8000/v1; answers so "
            "far are kept",
        )


def _reason(error: openai.APIError) -> str:
    return error.message.strip()[:300]


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
