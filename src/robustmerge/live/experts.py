"""Parameters that PEFT wraps, in memory: every expert of one is a layer of its own.

A wrapper has the factors of all experts in two matrices (`adapter.wrapped`), of which those of one
expert are views, so that writing to them writes to the model. Nothing here imports PEFT.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from ..adapter.wrapped import WrappedParameter
from ..factors import Factors

_INNER = ".base_layer"

if TYPE_CHECKING:

    class PeftLayer(Protocol):
        """What a LoRA layer of PEFT keeps of each adapter, by the adapter's name."""

        lora_A: nn.ModuleDict
        lora_B: nn.ModuleDict
        lora_embedding_A: nn.ParameterDict
        lora_embedding_B: nn.ParameterDict
        scaling: dict[str, float]

    class PeftWrapper(PeftLayer, Protocol):
        """What a wrapper has beyond that: its parameter, and how many experts share it."""

        parameter_name: str
        num_experts: int

else:
    # From Python 3.12 on, a protocol does not see the attributes that nn.Module keeps in tables.
    PeftLayer = PeftWrapper = nn.Module


@dataclass(frozen=True)
class ExpertLayer:
    """One expert of a wrapped parameter, or a wrapped parameter that is a matrix.

    Attributes:
        wrapper: PEFT's wrapper.
        parameter: Which parameter it is, and which expert's part of it.
    """

    wrapper: PeftWrapper
    parameter: WrappedParameter

    @property
    def scaling(self) -> dict[str, float]:
        """The scaling of every adapter."""
        return self.wrapper.scaling

    def pair(self, adapter: str) -> tuple[Tensor, Tensor] | None:
        """Return A [rank d_in] and B [d_out rank] of an adapter, None where it has none."""
        if adapter not in self.wrapper.lora_A:
            return None
        A, B = _whole(self.wrapper, adapter)
        experts, number = self.parameter.experts, self.parameter.expert
        rank = len(A) // experts
        return A[number * rank : (number + 1) * rank], B[:, number::experts]

    def fill(self, adapter: str, factors: Factors) -> None:
        """Write an adapter's factors; the wrapper's take on their type."""
        for side in (self.wrapper.lora_A, self.wrapper.lora_B):
            side[adapter].to(factors.A.dtype)
        pair = self.pair(adapter)
        assert pair is not None
        with torch.no_grad():
            for view, value in zip(pair, (factors.A, factors.B), strict=True):
                view.copy_(value)


def experts_of(name: str, wrapper: PeftWrapper) -> Iterator[tuple[str, ExpertLayer]]:
    """Yield the experts of a wrapper, by the names that a merge of folders gives them.

    Args:
        name: The wrapper's name in the base model.
        wrapper: The wrapper.
    """
    depth = name.count(_INNER)
    module, parameter = name.replace(_INNER, ""), wrapper.parameter_name
    whole = WrappedParameter(module, parameter, depth, wrapper.num_experts, rank=0)
    for part in whole.each():
        yield part.name, ExpertLayer(wrapper, part)


def _whole(wrapper: PeftWrapper, adapter: str) -> tuple[Tensor, Tensor]:
    """Return A [experts·rank d_in] and B [d_out rank·experts]."""
    A, B = wrapper.lora_A[adapter].weight, wrapper.lora_B[adapter].weight
    return A, B  # type: ignore[return-value]
