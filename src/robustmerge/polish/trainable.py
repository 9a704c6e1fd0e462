r"""A merged adapter as one LoRA that can be trained, and its factors afterwards.

    Δ = U S Vᵀ        B = U √S,  A = √S Vᵀ

The factors of a merge are any that have its product, and the steps of an optimizer depend on
which; these are the same for every pair with this product. Directions that the merge leaves empty
keep what PEFT begins an adapter with, so that they can be learned: a merge of nothing is a new
adapter.

Fully trained parameters are the merged ones, and are not trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from ..adapter import layout
from ..errors import MergeError, few
from ..factors import Factors
from ..linalg import numerical_rank, svd
from ..live.merge import pair_of

NAME = "default"
"""The adapter's name in the model, which is PEFT's own."""


class TrainableMerge:
    """A base model with one LoRA on it.

    Attributes:
        model: The model, in evaluation mode; nothing but the LoRA has gradients.
    """

    def __init__(
        self,
        base: nn.Module,
        updates: Mapping[str, Factors],
        extras: Mapping[str, Tensor],
        *,
        rank: int,
        seed: int,
        recompute: bool = False,
    ) -> None:
        """Put the merge on the base.

        Args:
            base: The base model; it is changed.
            updates: The merged updates by canonical name.
            extras: Merged fully trained parameters by canonical name.
            rank: The rank of the LoRA, at least that of every update.
            seed: For directions that the merge leaves empty.
            recompute: Compute activations again in the backward pass.

        Raises:
            MergeError: a module or parameter that the base does not have
        """
        modules = {layout.canonical(name): name for name, _ in base.named_modules()}
        _check_known(updates, modules, "modules")
        _set_parameters(base, extras)
        config = LoraConfig(
            r=rank,
            lora_alpha=rank,
            # A text is a pattern of whole names, where a list has the ends of names.
            target_modules="|".join(re.escape(modules[name]) for name in updates),
        )
        with torch.random.fork_rng(devices=[]), catch_warnings():
            simplefilter("ignore", FutureWarning)  # between PEFT and transformers
            torch.manual_seed(seed)
            self.model = get_peft_model(base, config).eval()
        layers = {
            layout.canonical(name): layer
            for name, layer in self.model.get_base_model().named_modules()
            if isinstance(layer, LoraLayer)
        }
        self._pairs = {name: _pair(layers[name]) for name in updates}
        for name, update in updates.items():
            _fill(self._pairs[name], balanced(update))
        if recompute:
            _recompute(self.model)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """A and B of every module."""
        return [parameter for pair in self._pairs.values() for parameter in pair]

    def factors(self) -> dict[str, Factors]:
        """Return copies of the factors by module, on the CPU."""
        return {
            name: Factors(A.detach().cpu().clone(), B.detach().cpu().clone())
            for name, (A, B) in self._pairs.items()
        }

    def put(self, factors: Mapping[str, Factors]) -> None:
        """Set the factors of modules."""
        for name, update in factors.items():
            A, B = self._pairs[name]
            A.data.copy_(update.A)
            B.data.copy_(update.B)


def balanced(update: Factors) -> Factors:
    """Return an update's factors with the roots of its singular values on either side.

    Only directions that are more than rounding. Cost: O((d_out + d_in) rank²).
    """
    parts = svd(update)
    return parts.cut(numerical_rank(parts.S))[0]


def _pair(layer: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
    pair = pair_of(layer, NAME)  # type: ignore[arg-type]  # a LoraLayer
    assert pair is not None
    return pair  # type: ignore[return-value]  # of a layer, they are parameters


def _fill(pair: tuple[nn.Parameter, nn.Parameter], update: Factors) -> None:
    """Put an update into the first directions; at the others, as they are, A or B is zero."""
    A, B = pair
    A.data[: update.rank] = update.A.to(A.device, A.dtype)
    B.data[:, : update.rank] = update.B.to(B.device, B.dtype)


def _set_parameters(base: nn.Module, extras: Mapping[str, Tensor]) -> None:
    parameters = {layout.canonical(name): value for name, value in base.named_parameters()}
    values = {name.replace(".base_layer.", "."): value for name, value in extras.items()}
    _check_known(values, parameters, "fully trained parameters")
    for name, value in values.items():
        parameters[name].data.copy_(value)


def _check_known(names: Iterable[str], known: Mapping[str, Any], what: str) -> None:
    if absent := sorted(set(names) - set(known)):
        raise MergeError(
            f"{what} of the merge that the base does not have",
            where=few(absent),
            hint="--base is the model that the adapters were trained on",
        )


def _recompute(model: PeftModel) -> None:
    """Have blocks computed again in the backward pass, which they do in training mode only."""
    with catch_warnings():
        simplefilter("ignore", FutureWarning)  # PEFT has the older of transformers' two names
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
