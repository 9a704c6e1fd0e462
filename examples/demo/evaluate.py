"""Put the test questions of every task to a model, with or without an adapter."""

from __future__ import annotations

import warnings
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import world
from peft import PeftModel
from train import pixels
from transformers import AutoTokenizer, LlavaForConditionalGeneration

ITEMS = 400  # per task: the standard error of an accuracy is 2.5 points at most
LONGEST = 3  # tokens of an answer; the right ones have two, the end included

Exams = dict[str, list[world.Example]]
Answers = dict[str, list[str]]


def make_exams(seed: int) -> Exams:
    """The test items of each trade, on scenes that no training has seen."""
    exams = {}
    for k, task in enumerate(world.TASKS):
        rng = np.random.default_rng([seed, 2, k])
        exams[task.trade] = list(islice(world.task_examples(task, rng, test=True), ITEMS))
    return exams


def load(base: Path, adapter: Path | None) -> LlavaForConditionalGeneration | PeftModel:
    """The base model, with the adapter on it if one is given."""
    model = LlavaForConditionalGeneration.from_pretrained(base)
    if adapter is not None:
        with warnings.catch_warnings():
            # PEFT warns, and goes on, if modules find no tensors in the file. What is measured then
            # is the base model under the adapter's name.
            warnings.filterwarnings("error", "Found missing adapter keys")
            model = PeftModel.from_pretrained(model, adapter)
    return model.eval()


@torch.no_grad()
def sit(exams: Exams, base: Path, adapter: Path | None = None) -> Answers:
    """The model's answers to all questions, always the likeliest next word."""
    model = load(base, adapter)
    tokenizer = AutoTokenizer.from_pretrained(base)
    answers = {}
    for trade, examples in exams.items():
        prompts = [world.prompt(example.turns[0].question) for example in examples]
        batch = tokenizer(prompts, padding=True, return_tensors="pt")
        tokens = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            pixel_values=pixels(examples),
            max_new_tokens=LONGEST,
            do_sample=False,
        )
        new = tokens[:, batch["input_ids"].shape[1] :]
        answers[trade] = tokenizer.batch_decode(new, skip_special_tokens=True)
    return answers


def accuracy(answers: list[str], examples: list[world.Example]) -> float:
    """Percent of answers that are right to the letter."""
    right = [a == e.turns[0].answer for a, e in zip(answers, examples, strict=True)]
    return 100 * sum(right) / len(right)
