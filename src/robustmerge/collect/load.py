"""The base model, its processor and the adapters, by transformers and PEFT."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
import transformers
from peft import PeftModel

from ..adapter.base import check_model_files
from ..adapter.reader import Adapter
from ..adapter.source import local_folder
from ..errors import MergeError, first_line
from ..files import expand_user
from ..live.loaded import landed


def load_model(
    base: str,
    adapters: Sequence[Adapter],
    names: Sequence[str],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> PeftModel:
    """Load the base model with every adapter, and check that all tensors were loaded.

    Raises:
        MergeError: the base cannot be loaded, or an adapter does not fit it.
    """
    with catch_warnings():
        simplefilter("ignore", FutureWarning)  # between these libraries, none of the user's concern
        return attach_adapters(load_base(base, dtype), base, adapters, names).to(device)


def attach_adapters(
    model: Any, base: str, adapters: Sequence[Adapter], names: Sequence[str]
) -> PeftModel:
    """Attach every adapter to a model, and check that all tensors were loaded.

    Args:
        model: The base model.
        base: Its name in messages.
        adapters: The adapters, in a layout that PEFT reads.
        names: Their names in the model.

    Raises:
        MergeError: an adapter does not fit the model.
    """
    peft: PeftModel | None = None
    for adapter, name in zip(adapters, names, strict=True):
        with _failing(f"the adapter does not fit {base}", adapter.label):
            if peft is None:
                peft = PeftModel.from_pretrained(model, str(adapter.folder), adapter_name=name)
            else:
                peft.load_adapter(str(adapter.folder), adapter_name=name)
        landed(peft, adapter.folder, name)
    assert peft is not None
    return peft


def load_processor(base: str) -> Any:
    """Load the base model's processor, or its tokenizer where it has no processor.

    Raises:
        MergeError: the base has neither.
    """
    path = _checked(base)
    # Some families' processors insist on videos, for which torchvision is needed.
    for load in (transformers.AutoProcessor.from_pretrained, _images_only):
        with suppress(Exception):
            processor = load(path)
            if getattr(processor, "image_processor", None) is not None:
                return processor
    with _failing("neither processor nor tokenizer of the base can be loaded", base):
        return transformers.AutoTokenizer.from_pretrained(path)


def load_base(base: str, dtype: torch.dtype) -> Any:
    """Load the model with its head: one of images and text, or of text.

    Raises:
        MergeError: the model cannot be loaded.
    """
    path = _checked(base)
    with _failing("the base model cannot be loaded", path):
        config = transformers.AutoConfig.from_pretrained(path)
        # Named otherwise before 4.46.
        kind = getattr(transformers, "AutoModelForImageTextToText", None)
        kind = kind or transformers.AutoModelForVision2Seq
        if type(config) not in kind._model_mapping:
            kind = transformers.AutoModelForCausalLM
        recent = tuple(int(n) for n in transformers.__version__.split(".")[:2]) >= (4, 56)
        return kind.from_pretrained(path, **{"dtype" if recent else "torch_dtype": dtype})


def _checked(base: str) -> str:
    """Return a folder or Hub id for transformers, which takes a pipe for a missing file."""
    if folder := local_folder(base):
        check_model_files(folder, base)
    return str(expand_user(base))


def _images_only(path: str) -> Any:
    """Load a processor without its video part."""
    config = transformers.AutoConfig.from_pretrained(path)
    names = transformers.models.auto.processing_auto.PROCESSOR_MAPPING_NAMES
    processor_class = getattr(transformers, names[config.model_type])

    class ImagesOnly(processor_class):  # type: ignore[misc, valid-type]  # known at run time only
        def check_argument_for_proper_class(self, name: str, argument: Any) -> Any:
            if argument is None:
                return type(None)
            return super().check_argument_for_proper_class(name, argument)

        def apply_chat_template(
            self, conversation: Any, chat_template: str | None = None, **options: Any
        ) -> Any:
            if options.get("tokenize"):
                return super().apply_chat_template(conversation, chat_template, **options)
            # SmolVLM's own method reads the number of frames from the video part.
            return self.tokenizer.apply_chat_template(
                conversation,
                chat_template=chat_template or self.chat_template,
                **({"tokenize": False} | options),
            )

    home = sys.modules[processor_class.__module__]
    if getattr(home, "num2words", str) is None:
        home.num2words = str  # type: ignore[attr-defined]  # SmolVLM's, which counts frames by it
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    images = transformers.AutoImageProcessor.from_pretrained(path)
    settings, _ = processor_class.get_processor_dict(path)
    settings.setdefault("chat_template", tokenizer.chat_template)
    return ImagesOnly.from_args_and_dict([images, tokenizer, None], settings)


@contextmanager
def _failing(problem: str, where: str) -> Iterator[None]:
    try:
        yield
    except MergeError:
        raise
    except Exception as error:  # the libraries below have errors of many kinds
        raise MergeError(
            f"{problem}: {first_line(error)}",
            where=where,
            hint="--base is the folder or Hub id of the model the adapters were trained on, with "
            "its tokenizer or processor",
        ) from error


@contextmanager
def enough_device_memory(device: torch.device, hint: str) -> Iterator[None]:
    """Make an error that says what to do of a device whose memory is exhausted."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise MergeError(
            f"the device is out of memory: {first_line(error)}",
            where=f"--device {device}",
            hint=hint,
        ) from None
