r"""Token weights: how much every token counts in the regression of a module.

    fisher   c_i = mean over two draws of ‖∂L / ∂y_i‖²,   L = Σ_positions ⟨r, logits⟩,  r ~ N(0, 1)
    masses   fixed shares for groups of tokens, evenly within a group

y_i is the module's output at token i in the adapter's own run, a position is an answer position,
and r is drawn for each, less its mean over the vocabulary. So c_i is how strongly the module's
output there acts on the answer: what is not on the way to an answer costs no rank. Logits are used
as they are, since the Fisher information of the model's own distribution vanishes where it is sure.
These are weights: nothing is optimized. Weights of one adapter sum to 1 in every module. Tokens
that all prompts begin with have none; `prefix_length` counts them. This is about the language
model's modules; `early` weights the tokens of what runs before.

The passes go block by block: forward with every block's input kept on the host, the head, and back
through one block at a time, recomputed with gradients. Cost: a forward pass, and for each draw a
backward pass with its share of another forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..collect.gradients import image_tokens
from ..collect.model import Layers
from .answers import AnsweredPrompt, AnsweredTask
from .blocks import LanguageBlocks
from .early import StartGradients
from .stacks import BlockCall, BlockStart
from .stream import Stream
from .switch import SwitchedModel
from .taps import Outputs

TokenWeights = Mapping[str, Sequence[Tensor]]
"""By module, for every fitted prompt of an adapter: the weights of its tokens [tokens]."""

_Shares = tuple[float, float, float, float]

# Shares of prefix, image, prompt and answer positions: averages of what `fisher` gives on the
# laptop benchmark, for modules whose outputs later tokens read, and for all others.
_ATTENDED = (0.05, 0.65, 0.13, 0.17)
_OWN = (0.0, 0.04, 0.04, 0.92)
_LAST = (0.0, 0.0, 0.0, 1.0)  # in the last block only answer positions count: exact
_KEYS_AND_VALUES = ("k_proj", "v_proj", "qkv_proj", "qkv", "c_attn", "key", "value", "kv_b_proj")


def prefix_length(tasks: Sequence[AnsweredTask], images: frozenset[int]) -> int:
    """Return how many tokens all prompts of all adapters begin with, up to the first image.

    A single adapter's prompts may share their instruction, so that only the first token counts.
    """
    if len(tasks) == 1:
        return 1
    rows = [p.inputs["input_ids"][0, : p.start + 1].tolist() for t in tasks for p in t.fitted]
    length = 0
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1 or column[0] in images:
            break
        length += 1
    return max(1, min(length, min(map(len, rows)) - 1))


def masses(
    model: SwitchedModel, blocks: LanguageBlocks, task: AnsweredTask, skip: int
) -> TokenWeights:
    """Return the weights of an adapter's tokens without gradients."""
    images = image_tokens(model.model)
    groups = [_groups(prompt, images, skip) for prompt in task.fitted]  # [tokens] of 0 to 3
    counts = torch.stack([torch.bincount(g, minlength=4) for g in groups]).sum(0)
    last = f"{blocks.stem}.{len(blocks) - 1}."

    def of(shares: _Shares) -> Sequence[Tensor]:
        per_token = torch.tensor(shares).double() * (counts > 0)
        per_token = per_token / per_token.sum() / counts.clamp_min(1)
        return [per_token[group].float() for group in groups]

    kinds = {shares: of(shares) for shares in (_ATTENDED, _OWN, _LAST)}

    def kind(name: str) -> _Shares:
        if name.rpartition(".")[2] in _KEYS_AND_VALUES:
            return _ATTENDED
        return _LAST if name.startswith(last) else _OWN

    return {name: kinds[kind(name)] for name in blocks.adapted}


def fisher(
    model: SwitchedModel,
    blocks: LanguageBlocks,
    task: AnsweredTask,
    skip: int,
    *,
    draws: int,
    seed: int,
    starts: Sequence[BlockStart],
    done: Callable[[], None],
) -> tuple[TokenWeights, list[StartGradients]]:
    """Return the weights of an adapter's tokens from gradients of randomly weighted logits.

    The gradients at every prompt's start come with them, for what runs before the blocks.

    Args:
        model: The model.
        blocks: Its blocks.
        task: The adapter's prompts with answers.
        skip: Tokens at the start that get no weight.
        draws: How many random weightings of the logits.
        seed: For them.
        starts: Every fitted prompt at the first block, in the adapter's own model.
        done: Called after every block.
    """
    model.adapter(task.adapter)
    stream = Stream.of(starts)
    inputs, gradients = _forward(blocks, task, stream, draws, seed, done)
    weights: dict[str, dict[int, Tensor]] = {}
    added = [dict[int, Tensor]() for _ in starts]
    for index in reversed(range(len(blocks))):
        inside = {name: model.layers[name] for name in blocks.names[index]}
        with blocks.at(index):
            for members in stream.bundles:
                state = torch.cat([inputs[index][i] for i in members])
                stacked = torch.stack([gradients[i] for i in members], dim=1)
                call = starts[members[0]].calls[index]
                squares, before = _backward(blocks, index, call, state, stacked, inside)
                for n, i in enumerate(members):
                    if starts[i].calls[index].added is not None:
                        added[i][index] = gradients[i]
                    gradients[i] = before[:, n]
                    for name in inside:
                        weights.setdefault(name, {})[i] = squares[name][n]
        inputs[index] = []
        done()
    fallback = masses(model, blocks, task, skip)
    normalized = {
        name: _normalized([of[i] for i in range(len(starts))], skip) or fallback[name]
        for name, of in weights.items()
    }
    return normalized, list(map(StartGradients, gradients, added))


def _forward(
    blocks: LanguageBlocks,
    task: AnsweredTask,
    stream: Stream,
    draws: int,
    seed: int,
    done: Callable[[], None],
) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Return every block's inputs, and the gradients at the last block's output, by prompt.

    A gradient is [draw, tokens, width].
    """
    inputs: list[list[Tensor]] = []
    gradients: list[Tensor] = []
    for index in range(len(blocks)):
        inputs.append(list(stream.states))
        with blocks.at(index):
            stream.step(blocks, index)
        done()
    prompts = zip(task.fitted, stream.states, stream.starts, strict=True)
    for number, (prompt, state, start) in enumerate(prompts):
        with torch.enable_grad():
            leaf = state.to(blocks.device_of(len(blocks) - 1)).requires_grad_()
            logits = blocks.finish(prompt.inputs, leaf, start)[prompt.positions].float()
            generator = torch.Generator().manual_seed(seed + number)
            drawn = torch.randn(draws, *logits.shape, generator=generator)
            drawn -= drawn.mean(dim=-1, keepdim=True)
            gradients.append(_gradients(logits, [leaf], drawn)[0].cpu()[:, 0])
    return inputs, gradients


def _backward(
    blocks: LanguageBlocks,
    index: int,
    call: BlockCall,
    state: Tensor,
    gradients: Tensor,
    inside: Layers,
) -> tuple[dict[str, Tensor], Tensor]:
    """Take gradients [draw, prompt, tokens, width] back through a block.

    Returns the mean squares at every module's output [prompt, tokens], and the gradients at its
    input.
    """
    with torch.enable_grad(), Outputs(inside) as outputs:
        leaf = state.to(blocks.device_of(index)).requires_grad_()
        result = blocks.step(index, leaf, call)
    shape = state.shape[:2]
    whole = {n: y for n, y in outputs.values.items() if y.shape[:2] == shape}
    first, *others = _gradients(result, [leaf, *whole.values()], gradients)
    squares = {
        name: g.float().square().sum(-1).mean(0).cpu()
        for name, g in zip(whole, others, strict=True)
    }
    return {n: squares.get(n, torch.zeros(shape)) for n in inside}, first.cpu()


def _gradients(output: Tensor, inputs: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    """Return the gradients of ⟨w, output⟩ for every w, stacked, at each input."""
    weights = weights.to(output)
    each = [
        torch.autograd.grad(output, inputs, w, retain_graph=True, materialize_grads=True)
        for w in weights
    ]
    return [torch.stack(of_input) for of_input in zip(*each, strict=True)]


def _normalized(weights: Sequence[Tensor], skip: int) -> list[Tensor]:
    """Return weights that sum to 1, without the first tokens; nothing where all are zero."""
    for prompt in weights:
        prompt[:skip] = 0
    total = sum(float(w.double().sum()) for w in weights)
    return [w / total for w in weights] if total > 0 else []


def _groups(prompt: AnsweredPrompt, images: frozenset[int], skip: int) -> Tensor:
    """Return the group of every token: 0 prefix, 1 image, 2 prompt, 3 answer position."""
    ids = prompt.inputs["input_ids"][0]
    groups = torch.full_like(ids, 2)
    groups[torch.isin(ids, torch.tensor(sorted(images), dtype=ids.dtype))] = 1
    groups[:skip] = 0
    groups[prompt.positions] = 3
    return groups
