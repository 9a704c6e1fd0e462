"""Adapters' own answers to prompts of their tasks: what a merge is to reproduce, without labels.

    prompt      <s> USER: <image> … what is it ? ASSISTANT:
    answer      a cat </s>                                   greedy, by the adapter itself
    sequence    <s> USER: <image> … what is it ? ASSISTANT: a cat
    positions                                    ^          ^ ^      which predict a, cat, </s>

A sequence is the prompt with the answer up to its last token, as one input of the model, so that
a single pass gives the predictions at all *answer positions*: the last token of the prompt, and
those of the answer but its last. Every sequence is a batch of one: nothing is padded, whatever the
family.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import torch
from peft import PeftModel
from torch import Tensor

from ..collect.gradients import IGNORED
from ..collect.model import Batch
from ..collect.samples import Sample
from ..errors import MergeError
from ..families import BY_NAME

Done = Callable[[], None]
"""Called after every sample."""

Encoder = Callable[[Sample], dict[str, Any]]
"""Makes a sample inputs of the model, a batch of one: a `SampleEncoder`, or one around it."""


@dataclass(frozen=True)
class NoiseEncoder:
    """Puts noise in the place of images, with the mean and deviation of their pixels.

    Attributes:
        encoder: Encodes the sample with its images.
        seed: For the noise, which depends on the sample's line and text, too.
    """

    encoder: Encoder
    seed: int

    def __call__(self, sample: Sample) -> dict[str, Any]:
        """Return a batch of one sample."""
        batch = self.encoder(sample)
        if isinstance(pixels := batch.get("pixel_values"), Tensor):
            line = sample.where.rpartition(" ")[2]
            seed = self.seed + crc32(f"{line} {sample.text}".encode(errors="surrogateescape"))
            drawn = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed))
            noise = pixels.float().mean() + drawn * pixels.float().std()
            batch["pixel_values"] = noise.to(pixels.dtype)
        return batch


@dataclass(frozen=True)
class AnsweredPrompt:
    """A prompt with an answer, as the model reads it.

    Attributes:
        where: File and line of the sample.
        inputs: Inputs of `model(**inputs)` on the CPU, a batch of one. `input_ids`,
            [1, prompt + answer - 1], ends before the answer's last token; there are no labels.
        start: The first answer position: that of the prompt's last token.
        answer: The answer's tokens [answer]; the one at position start + i of the sequence predicts
            `answer[i]`. The last is the end token, unless the answer was cut.
    """

    where: str
    inputs: Batch
    start: int
    answer: Tensor

    @property
    def length(self) -> int:
        """Tokens of the sequence."""
        return int(self.inputs["input_ids"].shape[1])

    @property
    def positions(self) -> slice:
        """The answer positions, up to the end of the sequence."""
        return slice(self.start, self.length)


@dataclass(frozen=True)
class AnsweredTask:
    """An adapter's prompts with its answers.

    Attributes:
        adapter: Its name in the model.
        fitted: Those that a merge is made from.
        held_out: Those that only measure it.
    """

    adapter: str
    fitted: tuple[AnsweredPrompt, ...]
    held_out: tuple[AnsweredPrompt, ...]

    @property
    def prompts(self) -> tuple[AnsweredPrompt, ...]:
        """All of them, those held out first."""
        return (*self.held_out, *self.fitted)

    @property
    def tokens(self) -> int:
        """Tokens of the sequences that a merge is made from."""
        return sum(prompt.length for prompt in self.fitted)


def hold_out(count: int, fitted: int, held_out: int) -> tuple[int, int]:
    """Return how many of a file's samples are fitted, and how many after them are held out.

    A file with fewer than `fitted + held_out` samples keeps a fifth of them out at most, and always
    one or more for the merge.
    """
    kept = min(held_out, count // 5)
    return min(fitted, count - kept), kept


def answer_task(
    model: PeftModel,
    adapter: str,
    samples: Sequence[Sample],
    encoder: Encoder,
    *,
    fitted: int,
    longest: int,
    answers_known: bool = False,
    tokens: Sequence[Sequence[int]] | None = None,
    done: Done = lambda: None,
) -> AnsweredTask:
    """Let an adapter answer its samples, the first `fitted` of which are for the merge.

    Args:
        model: The model, in evaluation mode; the adapter stays active.
        adapter: The adapter's name in it.
        samples: Samples of its task.
        encoder: Makes them inputs of the model.
        fitted: How many are fitted; the others are held out.
        longest: Most tokens of an answer.
        answers_known: Take the samples' own answers where they have one, rather than the adapter's.
        tokens: The answers' tokens where they are known from before.
        done: Called after every sample.

    Raises:
        MergeError: a sample that the model's processor refuses, or without any token; or a model
            whose prompts are read in both directions
    """
    _check_direction(model)
    model.set_adapter(adapter)
    answered = []
    for number, sample in enumerate(samples):
        if tokens is not None:
            prompt = continued(_prompt(sample, encoder), torch.tensor(tokens[number]), sample.where)
        else:
            prompt = _answer(model, sample, encoder, longest, answers_known=answers_known)
        answered.append(prompt)
        done()
    return AnsweredTask(adapter, tuple(answered[:fitted]), tuple(answered[fitted:]))


def _check_direction(model: PeftModel) -> None:
    family = BY_NAME.get(getattr(model.config, "model_type", ""))
    if family is not None and family.reads_ahead:
        raise MergeError(
            f"{family.title} reads a prompt in both directions, and its answer with it, so that "
            "one pass does not predict the answer token by token",
            where="--base",
            hint="merge by a method that needs no prompts, such as -m drift",
        )


def continued(inputs: Batch, answer: Tensor, where: str = "") -> AnsweredPrompt:
    """Return a prompt with its answer as one sequence.

    Every input with one number for each of the prompt's tokens grows with them: `input_ids` by the
    answer, masks by ones, the rest (types of tokens) by the zeros that stand for text.

    Args:
        inputs: The prompt as a batch of one.
        answer: The answer's tokens [answer], at least one.
        where: File and line of the sample.
    """
    ids = inputs["input_ids"]
    added = answer[:-1][None].to(ids.device)  # [1, answer - 1]

    def grown(name: str, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.shape != ids.shape:
            return value
        if name == "input_ids":
            return torch.cat([value, added], dim=1)
        fill = 1 if "attention_mask" in name else 0
        return torch.nn.functional.pad(value, (0, added.shape[1]), value=fill)

    longer = {name: grown(name, value) for name, value in inputs.items()}
    return AnsweredPrompt(where, longer, ids.shape[1] - 1, answer.cpu())


def _answer(
    model: PeftModel, sample: Sample, encoder: Encoder, longest: int, *, answers_known: bool
) -> AnsweredPrompt:
    if answers_known and sample.answer is not None:
        return _given_answer(encoder(sample), sample.where, longest)
    inputs = _prompt(sample, encoder)
    return continued(inputs, greedy(model, inputs, longest), sample.where)


def _prompt(sample: Sample, encoder: Encoder) -> dict[str, Any]:
    """Return a sample's prompt as inputs of the model, without an answer."""
    inputs = encoder(replace(sample, answer=None))
    if not inputs["input_ids"].shape[1]:
        raise MergeError(
            "a sample without any token", where=sample.where, hint="take it out of the file"
        )
    return inputs


def _given_answer(batch: dict[str, Any], where: str, longest: int) -> AnsweredPrompt:
    """Split a sample that has its own answer into prompt and answer."""
    labels = batch.pop("labels")[0]
    start = int((labels != IGNORED).nonzero()[0]) if bool((labels != IGNORED).any()) else 0
    if start == 0:
        raise MergeError(
            "the sample's prompt or answer has no tokens",
            where=where,
            hint="take the sample out of the file, or its answer out of the sample",
        )
    answer = labels[start : start + longest]
    length = batch["input_ids"].shape[1]
    return continued(
        {
            name: value[:, :start]
            if isinstance(value, Tensor) and value.shape == (1, length)
            else value
            for name, value in batch.items()
        },
        answer,
        where,
    )


@torch.no_grad()
def greedy(model: PeftModel, inputs: Batch, longest: int) -> Tensor:
    """Return the active adapter's greedy answer [answer], its end token included.

    Args:
        model: The model.
        inputs: A prompt as a batch of one.
        longest: Most tokens of the answer.
    """
    device = next(model.parameters()).device
    moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in inputs.items()}
    moved.pop("use_cache", None)
    settings = copy.deepcopy(model.generation_config)
    settings.update(
        max_new_tokens=longest,
        max_length=None,
        do_sample=False,
        num_beams=1,
        temperature=None,
        top_p=None,
        top_k=None,
    )
    tokens: Tensor = model.generate(**moved, generation_config=settings)
    return tokens[0, inputs["input_ids"].shape[1] :].cpu()
