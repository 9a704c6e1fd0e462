"""Stage two: the language model learns to answer plain questions about what the tower sees."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from numpy.random import Generator
from torch import Tensor

from .dialog import answer_loss, collate, look
from .fit import Place, Plan, fit, teller
from .generic import example
from .model import Size, build
from .sight import pixels
from .words import make_tokenizer

LENGTH = 144  # tokens of a row


def can_compile() -> bool:
    """Whether there is a C++ compiler; with it, this stage is half as fast again."""
    return shutil.which("c++") is not None or torch.cuda.is_available()


def learn_to_speak(
    place: Place, folder: Path, size: Size, seed: int, plan: Plan, batch: int
) -> None:
    """Train projector and language model on a tower, and write the base model."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    model = build(size, tokenizer)
    model.model.vision_tower.load_state_dict(torch.load(folder / "tower.pt"))
    model.model.vision_tower.requires_grad_(False)
    model.set_attn_implementation("eager")
    model.to(place.device)
    if can_compile():
        inner = model.model.language_model
        inner.forward = torch.compile(inner.forward)
    share = batch // place.workers

    def loss(rng: Generator) -> Tensor:
        drawn = [example(rng) for _ in range(share)]
        turns = [[(turn.question, turn.answer) for turn in e.turns] for e in drawn]
        rows = collate(turns, LENGTH).to(place.device)
        with torch.autocast(place.device, torch.bfloat16):
            with torch.no_grad():
                features = look(model, pixels([e.image for e in drawn]).to(place.device))
            return answer_loss(model, rows, features)

    fit(
        model,
        loss,
        plan,
        seed=(seed, 2),
        place=place,
        told=teller("learning to speak", plan.steps),
        checkpoint=folder / "speech.pt",
    )
    if place.rank == 0:
        model.save_pretrained(folder / "base")
        tokenizer.save_pretrained(folder / "base")
