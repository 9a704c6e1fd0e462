"""Stage one, vision pretraining: the vision tower learns to classify the content of every patch.

It replaces CLIP's pretraining. From the loss of a language model alone a new tower soon learns
colors, but hardly ever things: one word is too little information about 36 patches.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import CLIPVisionModel

from ..world import draws, scenes
from ..world.facts import COLORS, GROUNDS, NAMES
from ..world.scene import CELLS, GRID, LOOKS, Line, Scene, render
from ..world.splits import until
from ..world.sprites import CHARACTERS
from .fit import fit, print_progress, share_of, write_state
from .model import build, pixels
from .processor import make_tokenizer
from .sizes import Size

COLOR_WORDS = tuple(COLORS)
GROUND_WORDS = (*GROUNDS, *COLOR_WORDS)
LABELS = {
    "name": len(NAMES) + 1,
    "color": len(COLOR_WORDS) + 1,
    "part": 6,  # nothing, four quarters of a large thing, a small thing
    "character": len(CHARACTERS) + 1,
    "gauge": 11,
    "row": GRID,
    "column": GRID,
    "ground": len(GROUND_WORDS),
    "look": len(LOOKS),
}
"""Labels of a patch, and the number of classes of each."""

MANY_LOOKS = (*("plain",) * 6, *LOOKS[1:], "icon", "icon", "icon")


def labels_of(scene: Scene) -> np.ndarray:
    """Return the right classes of every patch: int [6, 6, labels]."""
    board = np.zeros((GRID, GRID, len(LABELS)), np.int64)
    board[..., 5], board[..., 6] = np.mgrid[:GRID, :GRID]
    board[..., 7] = GROUND_WORDS.index(scene.ground)
    board[..., 8] = LOOKS.index(scene.look)
    for thing in scene.things:
        x1, y1, x2, y2 = thing.box
        board[y1:y2, x1:x2, 0] = 1 + NAMES.index(thing.name)
        board[y1:y2, x1:x2, 1] = 1 + COLOR_WORDS.index(thing.color)
        board[y1:y2, x1:x2, 2] = [[1, 2], [3, 4]] if thing.corner is None else 5
    for line in scene.lines:
        for column, character in enumerate(line.text, line.column):
            board[line.row, column, 3] = 1 + CHARACTERS.index(character)
    if scene.gauge is not None:
        board[scene.gauge[0], :, 4] = 1 + scene.gauge[1]
    return board


def example(rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw an image of anything in any look, with its labels."""
    make = draws.pick(rng, SCENES)
    scene = until(lambda: make(rng), lambda made: made, "train")
    look = draws.pick(rng, MANY_LOOKS)
    scene = Scene(scene.things, scene.ground, scene.lines, scene.gauge, look)
    return render(scene, rng), labels_of(scene)


def full_scene(rng: Generator) -> Scene:
    """Draw a scene with something in most cells."""
    count = int(rng.integers(5, 10))
    cells = sorted(draws.some(rng, CELLS, count))
    things = tuple(draws.thing_in(rng, cell) for cell in cells)
    return Scene(things, draws.surface(rng))


def full_page(rng: Generator) -> Scene:
    """Draw a scene with writing or digits in every row."""
    lines = draws.lines(rng, range(GRID))
    digits = tuple(
        Line(str(rng.integers(10**4)), line.row, int(rng.integers(3))) for line in lines[::2]
    )
    return Scene(
        (), draws.surface(rng), tuple(sorted((*lines[1::2], *digits), key=lambda x: x.row))
    )


SCENES = (
    full_scene,
    full_scene,
    full_scene,
    full_page,
    scenes.of_few,
    scenes.of_few,
    scenes.with_writing,
    scenes.with_numbers,
    scenes.with_gauge,
)


class PatchClassifier(nn.Module):
    """The tower with a linear head for each label, for training only."""

    def __init__(self, tower: CLIPVisionModel) -> None:
        super().__init__()
        self.tower = tower
        width = tower.config.hidden_size
        self.heads = nn.ModuleDict({name: nn.Linear(width, n) for name, n in LABELS.items()})

    def losses(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the cross entropy of each label, from [n, 3, 48, 48] and [n, 36, labels]."""
        patches = self.tower(pixel_values=images).last_hidden_state[:, 1:]  # [n, 36, width]
        losses = [
            cross_entropy(head(patches).flatten(0, 1).float(), labels[..., number].flatten())
            for number, head in enumerate(self.heads.values())
        ]
        return torch.stack(losses)


def pretrain_vision(device: str, folder: Path, size: Size, seed: int) -> None:
    """Train a tower and write it to `folder / "tower.pt"`."""
    state = PartialState(cpu=device == "cpu")
    torch.manual_seed(seed)
    model = build(size.shape, make_tokenizer())
    module = PatchClassifier(model.model.vision_tower).to(device)
    share = share_of(size.pictures)

    def loss(rng: Generator) -> Tensor:
        examples = [example(rng) for _ in range(share)]
        # [6, 6, labels] -> [36, labels]
        labels = np.stack([board.reshape(GRID * GRID, -1) for _, board in examples])
        with torch.autocast(device, torch.bfloat16):
            losses = module.losses(
                pixels([image for image, _ in examples]).to(device),
                torch.from_numpy(labels).to(device),
            )
        return losses.sum()

    fit(
        module,
        loss,
        size.sight,
        seed=(seed, 1),
        device=device,
        report=print_progress("vision pretraining", size.sight.steps),
        checkpoint=folder / "sight.pt",
    )
    if state.is_main_process:
        write_state(module.tower.state_dict(), folder / "tower.pt")
