"""Chat templates, tokens and pixels by a processor of transformers, whatever the model's family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MergeError

if TYPE_CHECKING:
    from PIL.Image import Image

ChatTurn = Mapping[str, Any]
"""A turn of a conversation as chat templates take it: role and content."""


@dataclass(frozen=True)
class ModelProcessor:
    """A model's processor, or its tokenizer alone where it takes no images.

    Attributes:
        processor: The object that transformers loads.
    """

    processor: Any

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return getattr(self.processor, "tokenizer", self.processor)

    @property
    def takes_images(self) -> bool:
        """Whether there is a processor for images."""
        return self.tokenizer is not self.processor

    @property
    def has_template(self) -> bool:
        """Whether the model has a chat template."""
        return self._template_owner is not None

    @property
    def _template_owner(self) -> Any:
        owners = (self.processor, self.tokenizer)
        return next((owner for owner in owners if getattr(owner, "chat_template", None)), None)

    def turn(self, role: str, text: str, images: int = 0) -> ChatTurn:
        """Return a turn of a conversation, its images before its text."""
        if not self.takes_images:  # templates of language models expect plain text
            return {"role": role, "content": text}
        parts = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": text}]
        return {"role": role, "content": parts}

    def render(self, turns: Sequence[ChatTurn], *, ask: bool) -> str:
        """Write a conversation by the model's chat template.

        Args:
            turns: The conversation.
            ask: End with the start of the model's next answer.
        """
        text: str = self._template_owner.apply_chat_template(
            list(turns), tokenize=False, add_generation_prompt=ask
        )
        return text

    def encode(
        self, text: str | Sequence[str], images: Sequence[Any] = (), **options: Any
    ) -> dict[str, Any]:
        """Return the model's inputs for one text or several.

        Args:
            text: The text, or the texts of a batch.
            images: The images in the order of their marks; for several texts, a list for each.
            **options: Passed to the processor.
        """
        first = text if isinstance(text, str) else text[0]
        start = getattr(self.tokenizer, "bos_token", None)
        if start and first.startswith(start):
            options["add_special_tokens"] = False  # the template has written it
        if images:
            options["images"] = list(images)
        text = text if isinstance(text, str) else list(text)
        return dict(self.processor(text=text, return_tensors="pt", **options))


@contextmanager
def processor_errors(subject: str, where: str, hint: str) -> Iterator[None]:
    """Turn a processor's exceptions into errors that name the sample.

    Args:
        subject: What the processor was given, such as "the sample".
        where: Its location.
        hint: What to do.
    """
    try:
        yield
    except MergeError:
        raise
    except Exception as error:  # every processor has errors of its own
        raise MergeError(
            f"the model's processor refuses {subject}: {error!r:.300}", where=where, hint=hint
        ) from error


def open_image(source: Path | bytes, where: str) -> Image:
    """Read an image as RGB.

    Args:
        source: Its file, or the content of one.
        where: The sample or question that it belongs to, for the message.

    Raises:
        MergeError: Pillow is not installed, or the image cannot be read.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MergeError(
            "images need Pillow, which is not installed", where=where, hint="pip install pillow"
        ) from None
    try:
        with Image.open(source if isinstance(source, Path) else BytesIO(source)) as image:
            return image.convert("RGB")
    except Exception as error:  # every format has errors of its own
        raise MergeError(
            f"cannot read the image: {str(error) or repr(error):.200}",
            where=f"{source}\n{where}" if isinstance(source, Path) else where,
            hint="download it again, or convert it to PNG or JPEG",
        ) from None
