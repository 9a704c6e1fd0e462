"""The rivals: which coefficients, which loss, and what was chosen on labeled validation items."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .live import CoefficientModel
from .losses import entropy, mean_over_tokens, outside, soft_maximum
from .prompts import PromptRows

START = 0.4
"""λ / T at the start: 2.4 / 6 in NSC's code for LLaVA, 3.2 / 8 in TARA's for eight tasks."""


@dataclass(frozen=True)
class Measures:
    """What a loss may compare the merged model with.

    Attributes:
        bases: The rows of every adapter's A in each module: orthonormal columns
            [task, d_in, rank].
        entropies: Mean entropy of each adapter's first answer token on its own prompts [task].
        blocks: Blocks of the language model.
    """

    bases: Mapping[str, Tensor]
    entropies: Tensor
    blocks: int


Loss = Callable[[CoefficientModel, PromptRows, Measures], Tensor]
"""The loss on some prompts, of which every task has as many."""


@dataclass(frozen=True)
class Rival:
    """A published method in one of its forms.

    Attributes:
        form: A key of FORMS.
        loss: What it minimizes.
        each: Prompts of a task in a step.
        rates: Learning rates to choose from, the published one first.
        rate: The chosen one.
        steps: The chosen number of steps.
    """

    form: str
    loss: Loss
    each: int
    rates: tuple[float, ...]
    rate: float
    steps: int


def nsc(*, last_values: bool, newest: bool = False) -> Loss:
    """Return NSC's loss.

    Args:
        last_values: Look at v_proj in the last quarter of the blocks only, as the code for LLaVA
            does, rather than at all modules.
        newest: Look at the prompt's last token only, rather than at all of them.
    """

    def loss(model: CoefficientModel, prompts: PromptRows, measures: Measures) -> Tensor:
        model.run(prompts)
        counted = prompts.newest if newest else prompts.tokens
        first = measures.blocks - max(measures.blocks // 4, 1)
        shares = [
            mean_over_tokens(outside(x, measures.bases[name][prompts.tasks]), counted)
            for name, x in model.inputs.items()
            if not last_values or (name.endswith("v_proj") and block_of(name) >= first)
        ]
        return torch.stack(shares).mean()

    return loss


def tara(*, weighted: bool) -> Loss:
    """Return TARA's loss.

    Args:
        weighted: Whether tasks have a preference of 1 / T each, as in the code; else 1.
    """

    def loss(model: CoefficientModel, prompts: PromptRows, measures: Measures) -> Tensor:
        tasks = len(measures.entropies)
        each = entropy(model.logits(prompts, model.run(prompts)))
        means = torch.stack([each[prompts.tasks == task].mean() for task in range(tasks)])
        return soft_maximum(means - measures.entropies, 1 / tasks if weighted else 1.0)

    return loss


def block_of(module: str) -> int:
    """Return the number of a module's block."""
    match = re.search(r"\.layers\.(\d+)\.", module)
    assert match, module
    return int(match[1])


_NSC_RATES, _TARA_RATES = (3e-4, 3e-3), (1e-3, 1e-2)
RIVALS: Mapping[str, Rival] = {
    "nsc": Rival("adapters", nsc(last_values=True), 1, _NSC_RATES, 3e-4, 500),
    "nsc-newest": Rival("adapters", nsc(last_values=True, newest=True), 1, _NSC_RATES, 3e-4, 500),
    "nsc-all": Rival("adapters", nsc(last_values=False), 1, _NSC_RATES, 3e-4, 250),
    "tara-a": Rival("units", tara(weighted=False), 1, _TARA_RATES, 1e-2, 250),
    "tara-b": Rival("directions", tara(weighted=False), 1, _TARA_RATES, 1e-2, 250),
    "tara-b-weighted": Rival("directions", tara(weighted=True), 1, _TARA_RATES, 1e-2, 250),
}
