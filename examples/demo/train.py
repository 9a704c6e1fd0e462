"""Make the base model and the experts: one full training, then a LoRA for each task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import world
from numpy.random import Generator
from peft import LoraConfig, PeftModel, get_peft_model
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerBase,
)

WIDTH, LAYERS, HEADS = 96, 2, 4  # of the vision tower and of the language model alike
IGNORED = -100  # the label of tokens that are given, not learned

# "all-linear" would also adapt the vision tower and the projector.
LANGUAGE_MODEL = r".*language_model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"

progress = Console(stderr=True)  # stdout is for results


# --- The base model -------------------------------------------------------------------------------


def train_base(folder: Path, seed: int) -> None:
    """Train the base model from nothing and save it, unless the folder holds it already."""
    if (folder / "tokenizer_config.json").exists():  # written last
        progress.print(f"base model: found in {folder}")
        return
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 0])
    tokenizer = world.make_tokenizer()
    model = build(tokenizer)
    learn_to_see(model, rng)
    learn_to_talk(model, tokenizer, rng)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def build(tokenizer: PreTrainedTokenizerBase) -> LlavaForConditionalGeneration:
    """An untrained LLaVA of 0.4 million parameters: CLIP tower, projector, Llama."""
    sizes = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        # The usual 0.02 is meant for widths in the thousands; here it makes training crawl.
        "initializer_range": 0.1,
    }
    vision = CLIPVisionConfig(**sizes, image_size=world.SIDE, patch_size=world.CELL)
    text = LlamaConfig(
        **sizes,
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=tokenizer.convert_tokens_to_ids(world.IMAGE),
            vision_feature_layer=-1,  # not LLaVA's -2: of two layers none is wasted
        )
    )


def learn_to_see(model: LlavaForConditionalGeneration, rng: Generator) -> None:
    """Teach the vision tower what each patch shows, then freeze it.

    This stands in for CLIP's pre-training and takes seconds. From the answers to questions alone a
    tower learns colors soon and shapes hardly ever: one word says too little about nine patches.
    """
    tower = model.model.vision_tower
    heads = nn.ModuleDict({name: nn.Linear(WIDTH, len(values)) for name, values in SIGHTS.items()})
    examples = world.generic_examples(rng)

    def loss() -> Tensor:
        batch = list(islice(examples, 64))
        patches = tower(pixel_values=pixels(batch)).last_hidden_state[:, 1:]  # 0 is the summary
        seen = torch.tensor([what_is_seen(example.scene) for example in batch])
        losses = [
            cross_entropy(head(patches).flatten(0, 1), seen[..., k].flatten())
            for k, head in enumerate(heads.values())
        ]
        return torch.stack(losses).sum()

    weights = [*tower.parameters(), *heads.parameters()]
    fit(weights, loss, steps=200, rate=2e-3, title="base model: learning to see")
    tower.requires_grad_(False)


SIGHTS: dict[str, tuple[str, ...]] = {
    "shape": ("none", *world.SHAPES),
    "color": ("none", *world.COLORS),
    "column": world.COLUMNS,
    "row": world.ROWS,
}


def what_is_seen(scene: world.Scene) -> list[list[int]]:
    """For each patch, in reading order, the number of the right value of each of SIGHTS."""
    pieces = {(piece.row, piece.column): piece for piece in scene}
    cells = [(row, column) for row in world.ROWS for column in world.COLUMNS]
    board = [pieces.get(cell, world.Piece("none", "none", cell[1], cell[0])) for cell in cells]
    return [[values.index(getattr(p, name)) for name, values in SIGHTS.items()] for p in board]


def learn_to_talk(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, rng: Generator
) -> None:
    """Teach the projector and the language model to answer generic questions."""
    loss = answer_loss(model, tokenizer, world.generic_examples(rng))
    fit(learning(model), loss, steps=600, rate=2e-3, title="base model: learning to talk")


# --- The experts ----------------------------------------------------------------------------------


def train_expert(task: world.Task, base: Path, folder: Path, seed: int) -> None:
    """Train a LoRA on one task and save it, unless the folder holds it already."""
    if (folder / "adapter_config.json").exists():  # written after the weights
        progress.print(f"{task.trade} expert: found in {folder}")
        return
    # The adapter's settings will name the base: as an absolute path it is found from everywhere,
    # and is not taken for an owner/name on the Hub.
    model = LlavaForConditionalGeneration.from_pretrained(base.resolve())
    tokenizer = AutoTokenizer.from_pretrained(base)
    # The same seed for each expert, so that all start from the same A. Methods that add A to A and
    # B to B, RobustMerge among them, need it: rows of unrelated A's have nothing to do with each
    # other.
    torch.manual_seed(seed)
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=LANGUAGE_MODEL)
    expert = get_peft_model(model, lora)
    rng = np.random.default_rng([seed, 1, world.TASKS.index(task)])
    loss = answer_loss(expert, tokenizer, world.task_examples(task, rng))
    fit(learning(expert), loss, steps=100, rate=1e-3, title=f"{task.trade} expert: learning")
    expert.save_pretrained(folder)


# --- Both -----------------------------------------------------------------------------------------


def answer_loss(
    model: LlavaForConditionalGeneration | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Iterator[world.Example],
) -> Callable[[], Tensor]:
    """A function that gives the loss on the answers of the next 32 examples."""

    def loss() -> Tensor:
        batch = list(islice(examples, 32))
        encoded = [encode(tokenizer, example) for example in batch]
        pad: int = tokenizer.pad_token_id
        tokens = pad_sequence([given for given, _ in encoded], True, pad)
        labels = pad_sequence([wanted for _, wanted in encoded], True, IGNORED)
        mean: Tensor = model(
            input_ids=tokens,
            attention_mask=(tokens != pad).long(),
            pixel_values=pixels(batch),
            labels=labels,
        ).loss
        return mean

    return loss


def encode(tokenizer: PreTrainedTokenizerBase, example: world.Example) -> tuple[Tensor, Tensor]:
    """A conversation's tokens and labels; questions are given, answers are learned."""
    tokens: list[int] = []
    labels: list[int] = []
    for turn in example.turns:
        question = turn.question if tokens else world.prompt(turn.question)
        asked = tokenizer.convert_tokens_to_ids(question.split())
        answered = tokenizer.convert_tokens_to_ids([*turn.answer.split(), world.END])
        tokens += asked + answered
        labels += [IGNORED] * len(asked) + answered
    return torch.tensor(tokens), torch.tensor(labels)


def pixels(examples: list[world.Example]) -> Tensor:
    """The pictures of a batch: [examples, 3, SIDE, SIDE]."""
    return torch.from_numpy(np.stack([example.pixels for example in examples]))


def learning(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are not frozen."""
    return [weight for weight in model.parameters() if weight.requires_grad]


def fit(
    weights: list[nn.Parameter],
    loss: Callable[[], Tensor],
    *,
    steps: int,
    rate: float,
    title: str,
) -> None:
    """AdamW with a short warm-up and a cosine down to nothing."""
    optimizer = torch.optim.AdamW(weights, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    for _ in track(range(steps), f"{title:<28}", console=progress):
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
