r"""The diagonal of the Fisher information, in the factors of one adapter.

    F_θ = mean over samples of (∂ log p(y | x) / ∂θ)²        θ an entry of A or of B

y is the sample's answer where it has one. Otherwise it is drawn from the model itself, as the
definition of the Fisher information has it: one token for every position, from what the model
predicts there; no text is generated. The draws of all positions are independent, so that in the
mean this is the sum of the positions' own Fisher information.

B is meant with every scaling s folded in, as in merging: ∂/∂(s B) = (∂/∂B) / s.

Cost: one forward and one backward pass per sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor

from ..errors import MergeError
from ..live.merge import pair_of
from .model import Batch, Layers, mask_of

IGNORED = -100
"""The label of tokens that are not predicted, as torch's cross entropy has it."""

_IMAGES = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")


class Fisher:
    """The sums of one adapter's squared gradients."""

    def __init__(self, model: PeftModel, layers: Layers, adapter: str) -> None:
        """Make the adapter's factors, and nothing else, take gradients.

        Raises:
            MergeError: a scaling is zero, so that there is no gradient.
        """
        self._model = model
        self._held = _held(layers, adapter)
        model.requires_grad_(False)
        for parameter in (p for pair, _ in self._held.values() for p in pair):
            parameter.requires_grad_(True)
        self._sums = {
            name: tuple(torch.zeros_like(p, dtype=torch.float64) for p in pair)
            for name, (pair, _) in self._held.items()
        }
        self.samples = 0

    def add(self, batch: Batch, seed: int) -> None:
        """Count one sample.

        Raises:
            MergeError: the batch has several samples.
        """
        ids = batch.get("input_ids")
        if not isinstance(ids, Tensor) or len(ids) != 1:
            raise MergeError(
                "a batch of more or less than one sample in input_ids",
                where="fisher",
                hint="gradients are squared sample by sample; give batches of one",
            )
        # The loss would be a mean over tokens, of labels that the model shifts by itself.
        inputs = {k: v for k, v in batch.items() if k != "labels"}
        with torch.enable_grad():
            logits = self._model(**inputs).logits[0]
            targets = self._targets(logits.detach(), batch, seed).to(logits.device)
            likelihood = log_likelihood(logits, targets)
            parameters = [p for pair, _ in self._held.values() for p in pair]
            # Without anything to predict, the sum is a constant.
            gradients = (
                torch.autograd.grad(likelihood, parameters, allow_unused=True)
                if likelihood.requires_grad
                else [None] * len(parameters)
            )
        self._count(gradients)

    def tensors(self) -> dict[str, Tensor]:
        """Return the means under their names in a file.

        Raises:
            MergeError: the means are not finite.
        """
        named = {}
        for name, (A, B) in self._sums.items():
            s = self._held[name][1]
            for leaf, total in (("fisher_A", A), ("fisher_B", B / s**2)):
                if not total.isfinite().all():
                    raise MergeError(
                        "the gradients are NaN or infinite",
                        where=name,
                        hint="leave out this adapter, which diverged; after --dtype bfloat16, "
                        "try float32",
                    )
                named[f"{name}.{leaf}"] = (total / max(self.samples, 1)).cpu()
        return named

    def _count(self, gradients: Iterable[Tensor | None]) -> None:
        self.samples += 1
        remaining = iter(gradients)
        for sums in self._sums.values():
            for total in sums:
                if (gradient := next(remaining)) is not None:
                    total += gradient.double().square()

    def _targets(self, logits: Tensor, batch: Batch, seed: int) -> Tensor:
        """Return the target of every position: the next label, or a token drawn there."""
        if isinstance(labels := batch.get("labels"), Tensor):
            return torch.nn.functional.pad(labels[0, 1:], (0, 1), value=IGNORED)
        drawn = draw(logits, torch.Generator().manual_seed(seed + self.samples))
        drawn = drawn.to(batch["input_ids"].device)  # of a model on several devices
        ids, mask = batch["input_ids"][0], mask_of(batch)
        fixed = torch.zeros_like(ids, dtype=torch.bool) if mask is None else ~mask[0].bool()
        for token in image_tokens(self._model):  # no model is trained to predict these
            fixed |= ids == token
        return drawn.masked_fill(fixed, IGNORED)


def image_tokens(model: PeftModel) -> frozenset[int]:
    """Return the tokens that stand for images and videos."""
    config = model.get_base_model().config
    tokens = (getattr(config, field, None) for field in _IMAGES)
    return frozenset(token for token in tokens if isinstance(token, int))


def log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """Return Σ log p(target) over positions with one, of [position word] and [position]."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return -torch.nn.functional.cross_entropy(
        logits.to(dtype), targets, ignore_index=IGNORED, reduction="sum"
    )


def draw(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a token for each position by its probabilities, the same ones on every device.

    The numbers come from the CPU's generator, and fall into the cumulated probabilities.
    """
    cumulated = logits.float().softmax(dim=-1).double().cumsum(dim=-1)
    numbers = torch.rand(len(logits), 1, generator=generator, dtype=torch.float64)
    numbers = numbers.to(logits.device) * cumulated[:, -1:]
    tokens: Tensor = torch.searchsorted(cumulated, numbers, right=True)[:, 0]  # [position]
    return tokens.clamp_max(logits.shape[-1] - 1)


def _held(
    layers: Mapping[str, LoraLayer], adapter: str
) -> dict[str, tuple[tuple[Tensor, Tensor], float]]:
    """Return an adapter's factors in the model, with their scalings."""
    held: dict[str, tuple[tuple[Tensor, Tensor], float]] = {}
    for name, layer in layers.items():
        if pair := pair_of(layer, adapter):
            scaling = float(layer.scaling[adapter])
            if scaling == 0:
                raise MergeError(
                    f"adapter {adapter!r} has the scaling 0 in this module, and so no gradient",
                    where=name,
                    hint="leave it out of the merge, or correct its alpha",
                )
            held[name] = (pair, scaling)
    return held
