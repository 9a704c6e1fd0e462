"""Stage two, language pretraining: plain questions about the images that the tower encodes."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from accelerate import PartialState
from numpy.random import Generator
from torch import Tensor

from ..world.generic import example
from ..world.scene import SIDE
from ..world.sprites import DOTS
from .dialog import answer_loss, collate, look
from .fit import fit, print_progress, share_of
from .model import build, pixels
from .processor import make_processor, make_tokenizer
from .sizes import Size

LENGTH = 144  # tokens of a row
WORTH_COMPILING = 500  # steps: a compilation takes as long as about a hundred of them


def can_compile() -> bool:
    """Return whether there is a compiler, which makes this stage half as fast again."""
    return shutil.which("c++") is not None or torch.cuda.is_available()


def pretrain_language(device: str, stages: Path, base: Path, size: Size, seed: int) -> None:
    """Train projector and language model on a tower, and write the base model."""
    state = PartialState(cpu=device == "cpu")
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    model = build(size.shape, tokenizer)
    model.model.vision_tower.load_state_dict(torch.load(stages / "tower.pt"))
    model.model.vision_tower.requires_grad_(False)
    model.set_attn_implementation("eager")
    model.to(device)
    if size.speech.steps >= WORTH_COMPILING and can_compile():
        inner = model.model.language_model
        inner.forward = torch.compile(inner.forward)
    share = share_of(size.rows)

    def loss(rng: Generator) -> Tensor:
        examples = [example(rng) for _ in range(share)]
        turns = [[(turn.question, turn.answer) for turn in e.turns] for e in examples]
        rows = collate(turns, LENGTH).to(device)
        with torch.autocast(device, torch.bfloat16):
            with torch.no_grad():
                features = look(model, pixels([e.image for e in examples]).to(device))
            return answer_loss(model, rows, features)

    fit(
        model,
        loss,
        size.speech,
        seed=(seed, 2),
        device=device,
        report=print_progress("language pretraining", size.speech.steps),
        checkpoint=stages / "speech.pt",
    )
    if state.is_main_process:
        new = base.with_name(".base.new")
        model.save_pretrained(new)
        make_processor(tokenizer, SIDE, DOTS).save_pretrained(new)
        new.rename(base)
