r"""Second moments of a layer's inputs, in the only directions its adapters read.

    Z = X Rᵀ        X   inputs, one row per token       [token d_in]
    gram = Zᵀ Z     R   all adapters' A, one below another   [R d_in]
    squares = Σ x²  per input
    count           tokens

A layer of a 7B model reads 4096 to 11008 numbers, whose Gram matrix would be 134 to 969 MB. An
update B A sees of X only X Aᵀ, so that R² numbers say all that a merge of the adapters can use.
Everything is summed up in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..adapter import layout
from ..errors import MergeError


@runtime_checkable
class InputSums(Protocol):
    """What is summed up over a layer's inputs."""

    def add(self, X: Tensor) -> None:
        """Count some inputs: [token d_in], or indices [token]."""
        ...


class Moments:
    """The sums of one layer.

    An embedding's input is an index, which stands for a row with a single 1.
    """

    def __init__(self, rows: Float[Tensor, "R d_in"]) -> None:
        self.rows = rows.double()
        R, d_in = rows.shape
        self.gram = torch.zeros(R, R, dtype=torch.float64, device=rows.device)
        self.squares = torch.zeros(d_in, dtype=torch.float64, device=rows.device)
        self.count = 0

    def add(self, X: Tensor) -> None:
        """Count some inputs: [token d_in], or indices [token]."""
        if X.ndim == 1:
            Z = self.rows[:, X].T  # [token, R]
            self.squares += torch.bincount(X, minlength=len(self.squares)).double()
        else:
            X = X.double()
            Z = X @ self.rows.T  # [token, R]
            self.squares += X.square().sum(dim=0)
        self.gram += Z.T @ Z
        self.count += len(X)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the sums under their names in a file.

        Raises:
            MergeError: the sums are not finite.
        """
        if not (self.gram.isfinite().all() and self.squares.isfinite().all()):
            raise MergeError(
                "the activations are NaN or infinite",
                where=name,
                hint="leave out this adapter, which diverged; after --dtype bfloat16, try float32",
            )
        return {
            f"{name}.gram": self.gram.cpu(),
            f"{name}.squares": self.squares.cpu(),
            f"{name}.count": torch.tensor([float(self.count)], dtype=torch.float64),
        }


class BatchState:
    """The mask of the current batch, which the hooks of a pass read."""

    def __init__(self) -> None:
        self.mask: Tensor | None = None

    @contextmanager
    def on(self, layers: Mapping[str, nn.Module], sums: Mapping[str, InputSums]) -> Iterator[None]:
        """Count the layers' inputs while the block runs."""
        handles = [
            layers[name].register_forward_pre_hook(self._hook(name, moments))
            for name, moments in sums.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str, sums: InputSums) -> Any:
        def count(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            sums.add(drop_padding(inputs[0].detach(), self.mask, name))

        return count


def drop_padding(X: Tensor, mask: Tensor | None, name: str) -> Tensor:
    """Return the inputs one below another, without those of padding tokens.

    The mask is about tokens of text. It is applied where there is one input for each of them, and
    never in the vision tower and its connector.
    """
    indices = not X.is_floating_point()
    tokens = X.shape if indices else X.shape[:-1]
    flat = X.reshape(-1) if indices else X.reshape(-1, X.shape[-1])
    if mask is None or layout.tower(name) in ("vision", "connector"):
        return flat
    if tokens == mask.shape or tokens == (mask.numel(),):
        return flat[mask.reshape(-1).bool().to(flat.device)]
    return flat
