"""The model `robustmerge` of lmms-eval: a base and an adapter, whose tensors are checked singly.

    lmms-eval --model robustmerge --model_args base=MODEL,adapter=ADAPTER …

The tasks of this benchmark are answered as `robustmerge bench run` answers them, with its prompts,
images and batches; other tasks by lmms-eval's conversations. Greedy only.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Literal

import torch
from lmms_eval.api.model import lmms
from lmms_eval.utils import simple_parse_args_string
from tqdm import tqdm

from robustmerge.collect.load import load_processor
from robustmerge.engine.options import read_fields
from robustmerge.errors import MergeError, unknown

from ..answering.engines.live import LocalEngine
from ..answering.family import is_llava_15, prompt_for, settings_of
from ..answering.options import AnsweringOptions
from . import docs
from .chat import Chat, with_image

PromptOption = Literal["auto", "vicuna", "chat-template"]
_ARGUMENTS = ("base", "adapter", "device", "dtype", "batch_size", "prompt")
_MOST = 1024  # tokens of an answer where the task does not say


class RobustMerge(lmms):  # type: ignore[misc]  # lmms-eval has no types
    """A base model with an adapter, for lmms-eval's chat tasks.

    Attributes:
        is_simple: False for a model that takes conversations.
    """

    is_simple = False

    def __init__(
        self,
        base: str,
        adapter: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int | str = 1,
        prompt: PromptOption = "auto",
        max_batch_size: int | None = None,
        **others: object,
    ) -> None:
        """Load the model.

        Args:
            base: Folder or Hub id.
            adapter: An adapter in any layout, folder or Hub id; None for the base alone.
            device: The device; by default a GPU if there is one.
            dtype: Type it runs in, as `--dtype` of `bench run`.
            batch_size: Questions at a time.
            prompt: Format of this benchmark's prompts, as `--prompt` of `bench run`.
            max_batch_size: An argument of lmms-eval that is ignored.
            **others: Unknown arguments, which are refused by name.

        Raises:
            MergeError: An argument is unknown or wrong, or something cannot be loaded.
        """
        super().__init__()
        del max_batch_size
        for name in others:
            raise unknown("argument", name, _ARGUMENTS, where="--model_args")
        entries = {
            "device": _device(device),
            "dtype": dtype,
            "batch": _size(batch_size),
            "prompt": prompt,
        }
        options = AnsweringOptions(**read_fields(AnsweringOptions, entries))
        options.check()
        settings = settings_of(base)
        prompt_format = prompt_for(settings, options.prompt, base)
        self._engine = LocalEngine(
            base,
            adapter,
            settings=settings,
            prompt=prompt_format,
            device=options.device,
            dtype=options.dtype_for(llava_15=is_llava_15(settings)),
            batch=options.batch,
        )
        self._chat = Chat(self._engine.model, _padding_left(base), vicuna=prompt_format == "vicuna")
        self.device = self._engine.model.device

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> RobustMerge:
        """Make the model of --model_args, which override --batch_size and --device.

        lmms-eval's own method fails where both are present, and it always passes a batch size.
        """
        more = {k: v for k, v in (additional_config or {}).items() if v is not None}
        return cls(**{**more, **simple_parse_args_string(arg_string)})

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Return the answers, in the order of the requests."""
        answers = [""] * len(requests)
        bar = tqdm(total=len(requests), desc="answering", disable=self.rank != 0)

        def kind(number: int) -> Hashable:
            _, _, settings, _, task, split = requests[number].args
            return task, split, repr(sorted(settings.items()))

        numbers = sorted(range(len(requests)), key=lambda number: repr(kind(number)))
        for _, group in groupby(numbers, key=kind):
            alike = list(group)
            _, messages, settings, _, task, split = requests[alike[0]].args
            data = self.task_dict[task][split]
            documents = [data[requests[number].args[3]] for number in alike]
            most = _most(settings, task)
            for start in range(0, len(alike), self._engine.window):
                window = documents[start : start + self._engine.window]
                if docs.MARK in window[0]:
                    texts = self._answer_questions(window, most)
                else:
                    texts = self._answer_conversations([messages(doc) for doc in window], most)
                for number, text in zip(alike[start:], texts, strict=False):
                    answers[number] = _until(text, settings.get("until"))
                bar.update(len(texts))
        bar.close()
        return answers

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Refuse: this model only generates."""
        raise _refused("likelihoods of given answers")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Refuse: this model only generates."""
        raise _refused("several rounds")

    def _answer_questions(
        self, documents: Sequence[Mapping[str, Any]], most: int | None
    ) -> list[str]:
        """Answer this benchmark's questions, as `bench run` does."""
        questions = [docs.request_of(document) for document in documents]
        if most is not None:
            questions = [replace(question, max_new_tokens=most) for question in questions]
        return self._engine.answer(questions)

    def _answer_conversations(self, conversations: Sequence[Any], most: int | None) -> list[str]:
        answers = [""] * len(conversations)
        for kind in (True, False):
            numbers = [n for n, turns in enumerate(conversations) if with_image(turns) == kind]
            for start in range(0, len(numbers), self._engine.batch):
                batch = numbers[start : start + self._engine.batch]
                texts = self._chat.answer([conversations[n] for n in batch], most or _MOST)
                for number, text in zip(batch, texts, strict=True):
                    answers[number] = text.strip()
        return answers


def _most(settings: Mapping[str, Any], task: str) -> int | None:
    """Return the most tokens of an answer; settings for sampling or beams are refused."""
    sampled = settings.get("do_sample") or (settings.get("temperature") or 0) > 0
    if sampled or (settings.get("num_beams") or 1) > 1:
        raise MergeError(
            f"the task requires other answers than greedy ones: {dict(settings)}",
            where=str(task),
            hint="--gen_kwargs temperature=0,do_sample=False,num_beams=1",
        )
    return settings.get("max_new_tokens")


def _until(text: str, ends: object) -> str:
    """Return the answer up to the first text that ends it."""
    for end in [ends] if isinstance(ends, str) else ends if isinstance(ends, list | tuple) else ():
        text = text.split(end)[0] if end else text
    return text


def _device(named: str | None) -> str:
    """Return the device; of several processes, each has the GPU of its rank."""
    name = named or ("cuda" if torch.cuda.is_available() else "cpu")
    rank = os.environ.get("LOCAL_RANK")
    return f"cuda:{rank}" if name == "cuda" and rank else name


def _size(batch: int | str) -> int:
    try:
        return int(batch)
    except ValueError:
        raise MergeError(
            f"{batch!r} is not a number of questions",
            where="--batch_size",
            hint="such as 16; it is halved where memory does not suffice",
        ) from None


def _padding_left(base: str) -> Any:
    processor = load_processor(base)
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token_id is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def _refused(what: str) -> MergeError:
    return MergeError(
        f"the task wants {what}, and this model only answers",
        hint="`robustmerge export --format full` makes a model for lmms-eval's own classes",
    )
