"""A server that speaks OpenAI's protocol, such as vLLM or SGLang with the merged adapter loaded.

    vllm serve BASE --enable-lora --lora-modules merged=OUT --max-lora-rank 64

The server puts the question into its own chat template and makes the tokens. LLaVA-1.5's prompt
word for word is to be had by `--chat-template` with the file `vicuna_v1.jinja` beside this one;
tokens right after a picture may still be others than the original code's.
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

from robustmerge.errors import MergeError, unknown

from ..engine import Request
from ..family import is_llava_15
from ..images import framed, opened
from ..options import AnsweringOptions

TEMPLATE = Path(__file__).with_name("vicuna_v1.jinja")
_KNOWN = ("PNG", "JPEG", "WEBP", "GIF")
_RETRIES = 6
_TIMEOUT = 600  # seconds; a question may wait for others


class ServerEngine:
    """A model on a server.

    Attributes:
        window: Questions that are asked before answers are written.
    """

    def __init__(self, *, settings: Mapping[str, Any], options: AnsweringOptions) -> None:
        """Reach the server.

        Args:
            settings: The base's config.json.
            options: With url and model.

        Raises:
            MergeError: There is no server, or it has no such model.
        """
        assert options.url is not None
        assert options.model is not None
        self._options, self._model, self._url = options, options.model, options.url
        self._frames = is_llava_15(settings)
        self.window = 4 * options.workers
        self._client = openai.OpenAI(
            base_url=options.url,
            api_key=os.environ.get("OPENAI_API_KEY") or "none",
            max_retries=_RETRIES,
            timeout=_TIMEOUT,
        )
        self._check_model()

    def facts(self) -> Mapping[str, Any]:
        """Where the answers come from."""
        return {
            "url": self._url,
            "pictures": "as the task's script" if self._frames else "as they are",
            "versions": {"openai": openai.__version__},
        }

    def answer(self, questions: Sequence[Request]) -> list[str]:
        """Answers to these questions, in their order, several asked at once."""
        pool = ThreadPoolExecutor(self._options.workers)
        try:
            return list(pool.map(self._answer, questions))
        finally:
            pool.shutdown(cancel_futures=True)

    def _answer(self, one: Request) -> str:
        try:
            made = self._client.chat.completions.create(
                model=self._model,
                messages=[{"role": "user", "content": self._content(one)}],
                max_tokens=one.max_new_tokens,
                temperature=0,
                extra_body={"repetition_penalty": 1.0},  # not that of the model's own settings
            )
        except openai.APIConnectionError as error:
            raise self._unreachable(error) from None
        except openai.APIError as error:
            raise MergeError(
                f"the server refuses the question: {_reason(error)}",
                where=f"{self._url}\n{one.where}, question {one.id}",
                hint="answers so far are kept; the same command goes on from there",
            ) from None
        if not made.choices:
            raise MergeError(
                "the server's reply holds no answer",
                where=f"{self._url}\n{one.where}, question {one.id}",
                hint="--url is that of chat completions without the last part, such as "
                "http://localhost:8000/v1",
            )
        return (made.choices[0].message.content or "").strip()

    def _content(self, one: Request) -> Any:
        if one.image is None:
            return one.text
        picture = {"type": "image_url", "image_url": {"url": self._picture(one)}}
        return [picture, {"type": "text", "text": one.text}]

    def _picture(self, one: Request) -> str:
        """The picture as a data URL: the file as it is where it can be."""
        assert one.image is not None
        image = opened(one.image, f"{one.where}, question {one.id}")
        sent = framed(image, one.framing) if self._frames else image
        content = one.image if isinstance(one.image, bytes) else one.image.read_bytes()
        with Image.open(io.BytesIO(content)) as file:
            kind = file.format
        if sent is not image or kind not in _KNOWN:
            kind, content = "PNG", _png(sent)
        return f"data:{Image.MIME[kind]};base64,{base64.b64encode(content).decode()}"

    def _check_model(self) -> None:
        try:
            names = [one.id for one in self._client.models.list()]
        except openai.APIConnectionError as error:
            raise self._unreachable(error) from None
        except openai.NotFoundError:
            return  # one that lists none
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
