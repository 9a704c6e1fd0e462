"""LoRA layers that multiply once: the update is added to the weight before a step, not after it.

    W' = W + s B A                in float32, rounded to the type of the computation
    y  = W' x
    ∂A = s (Bᵀ g) xᵀ,  ∂B = s g (A x)ᵀ,  ∂x = W'ᵀ g

PEFT computes W x + s B (A x): as exact, but each layer converts its inputs to float32 and back, and
the factors' products are made of every token, forward and backward. At rank 64 a step takes three
quarters of the time here. The weights are rounded as they are when the adapter is served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear
from torch import Tensor
from torch.nn.functional import linear
from transformers.models.llama.modeling_llama import LlamaRMSNorm

ADAPTER = "default"


class MergedProduct(torch.autograd.Function):
    """x [..., inputs] times W' [outputs, inputs], with gradients of x and of the two factors."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, merged: Tensor, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        """Multiply by the merged weight; the factors matter to the gradients alone."""
        ctx.save_for_backward(x, merged, a, b)
        ctx.scaling = scaling
        return linear(x, merged)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, A and B."""
        x, merged, a, b = ctx.saved_tensors
        g, rows = gradient.flatten(0, -2), x.flatten(0, -2)  # [tokens, outputs], [tokens, inputs]
        inner = g @ b.to(g.dtype)  # [tokens, rank]
        inputs = rows @ a.to(g.dtype).T  # [tokens, rank]
        of_a = ctx.scaling * (inner.T @ rows).to(a.dtype)
        of_b = ctx.scaling * (g.T @ inputs).to(b.dtype)
        of_x = (g @ merged).view_as(x) if ctx.needs_input_grad[0] else None
        return of_x, None, of_a, of_b, None


@contextmanager
def multiply_once(wrapped: PeftModel | None, dtype: torch.dtype = torch.bfloat16) -> Iterator[None]:
    """Let the LoRA layers of a model multiply once, in this type, in a block.

    The weights of the norms, which are frozen, are rounded for the length of the block, so that
    what flows between layers stays in the type.
    """
    layers = [] if wrapped is None else [m for m in wrapped.modules() if isinstance(m, Linear)]
    norms = [] if wrapped is None else [m for m in wrapped.modules() if isinstance(m, LlamaRMSNorm)]
    exact = [norm.weight.data for norm in norms]
    for norm in norms:
        norm.weight.data = norm.weight.data.to(dtype)
    for layer in layers:
        # An attribute of the instance: PEFT's own method is behind it again afterwards.
        layer.__dict__["forward"] = _forward_of(layer, dtype)
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["forward"]
        for norm, weight in zip(norms, exact, strict=True):
            norm.weight.data = weight


def _forward_of(layer: Linear, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    weight = layer.base_layer.weight
    a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    scaling = float(layer.scaling[ADAPTER])
    held: dict[tuple[int, int], Tensor] = {}  # the merged weight of a state of the two factors

    def forward(x: Tensor) -> Tensor:
        state = (a._version, b._version)
        if state not in held:
            held.clear()
            with torch.no_grad():
                update = b.to(dtype) @ a.to(dtype)
                held[state] = torch.add(weight, update, alpha=scaling).to(dtype)
        product: Tensor = MergedProduct.apply(x.to(dtype), held[state], a, b, scaling)  # type: ignore[no-untyped-call]
        return product

    return forward
