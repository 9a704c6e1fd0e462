"""Squared gradients against autograd on a model whose weights are base + B A, made dense."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.func import functional_call

from factories.bases import adapt, text_batch, text_only
from factories.families import IMAGE_TOKEN, build, inputs
from factories.live_models import assert_kept, state
from robustmerge import MergeError
from robustmerge.adapter import layout
from robustmerge.collect.gradients import draw, log_likelihood
from robustmerge.peft import collect

SETTINGS: dict[str, dict[str, Any]] = {
    "one": {"r": 3, "lora_alpha": 5},
    "two": {"r": 4, "lora_alpha": 3, "use_rslora": True, "target_modules": ["q_proj", "lm_head"]},
}


def dense(
    base: nn.Module, model: PeftModel, adapter: str
) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Tensor]]]:
    """The base's weights with B A added as leaves of a graph, scaling folded into B."""
    weights, leaves = dict(base.state_dict()), {}
    for name, layer in model.get_base_model().named_modules():
        if adapter in getattr(layer, "lora_A", {}):
            A = layer.lora_A[adapter].weight.detach().clone().requires_grad_()
            B = (layer.lora_B[adapter].weight * layer.scaling[adapter]).detach().requires_grad_()
            leaves[name] = (A, B)
            weights[f"{name}.weight"] = weights[f"{name}.weight"] + B @ A
    return weights, leaves


def reference(
    make: Any, model: PeftModel, adapter: str, batches: list[Any], targets: list[Tensor]
) -> dict[str, Tensor]:
    """Mean squared gradient of Σ log p(target), target -1 for none."""
    base, sums = make(), dict[str, Tensor]()
    for batch, wanted in zip(batches, targets, strict=True):
        weights, leaves = dense(base, model, adapter)
        options = {k: v for k, v in batch.items() if k != "labels"}
        logits = functional_call(base, weights, (), options, tie_weights=False).logits[0]
        at = torch.nonzero(wanted >= 0)[:, 0]
        likelihood = logits.log_softmax(dim=-1)[at, wanted[at]].sum()
        likelihood.backward()
        for name, pair in leaves.items():
            for leaf, tensor in zip(("fisher_A", "fisher_B"), pair, strict=True):
                grad = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
                key = f"{name}.{leaf}"
                sums[key] = sums.get(key, 0) + grad.double() ** 2 / len(batches)
    return sums


def canonical(name: str) -> str:
    return layout.canonical(name)


def assert_same(result: Any, wanted: dict[str, Tensor]) -> None:
    assert result.keys() == {canonical(name) for name in wanted}
    for name, tensor in wanted.items():
        assert result[canonical(name)].dtype == torch.float64
        assert tensor.any()
        scale = float(tensor.max())
        torch.testing.assert_close(
            result[canonical(name)], tensor.double(), rtol=1e-3, atol=1e-5 * scale
        )


def answered(seed: int) -> dict[str, Tensor]:
    batch = text_batch(seed)
    labels = batch["input_ids"].clone()
    labels[0, :6] = -100
    return batch | {"labels": labels}


@pytest.mark.parametrize("adapter", ["one", "two"])
def test_of_answers(adapter: str) -> None:
    model = adapt(text_only(), SETTINGS)
    batches = [answered(1), answered(2), answered(3)]
    targets = []
    for batch in batches:
        targets.append(torch.full((9,), -1))
        targets[-1][5:8] = batch["input_ids"][0, 6:]
    (result,) = collect(model, {adapter: batches}, what=["fisher"])
    assert_same(result.tensors, reference(text_only, model, adapter, batches, targets))
    assert (result.samples, result.tokens) == (3, 27)


def test_of_drawn_tokens() -> None:
    """Those of the model with the adapter, none at images and padding, the seed per sample."""
    base = build("llava")
    model = adapt(base, {"one": {"r": 2, "target_modules": r".*language_model.*(q|down)_proj"}})
    image, text = inputs("llava", base), text_batch(1)
    text["attention_mask"][0, -2:] = 0
    batches, targets = [image, text], []
    for n, batch in enumerate(batches):
        with torch.no_grad():
            logits = model(**batch).logits[0]
        wanted = draw(logits, torch.Generator().manual_seed(7 + n))
        wanted[batch["input_ids"][0] == IMAGE_TOKEN] = -1
        wanted[batch["attention_mask"][0] == 0] = -1
        targets.append(wanted)
    (result,) = collect(model, {"one": batches}, what=["fisher"], seed=7)
    assert_same(result.tensors, reference(lambda: build("llava"), model, "one", batches, targets))
    (other,) = collect(model, {"one": batches}, what=["fisher"], seed=8)
    assert any(not torch.equal(other.tensors[n], t) for n, t in result.tensors.items())


def test_both_kinds_at_once_are_what_they_are_alone() -> None:
    model = adapt(text_only(), SETTINGS)
    batches = {"two": [text_batch(1)], "one": [text_batch(2), answered(3)]}
    both = collect(model, batches, what=["gram", "fisher"])
    for kind in ("gram", "fisher"):
        for item, alone in zip(both, collect(model, batches, what=[kind]), strict=True):
            assert all(torch.equal(item.tensors[n], t) for n, t in alone.tensors.items())


def test_the_model_is_left_as_it_was() -> None:
    model = adapt(text_only(), SETTINGS).train()
    model.get_base_model().model.norm.weight.requires_grad_(True)
    next(p for n, p in model.named_parameters() if ".one." in n).requires_grad_(False)
    before = state(model)
    collect(model, {"two": [text_batch(1)]}, what=["fisher"])
    assert_kept(before, state(model))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([0.5, 0.0, 2.0, -30.0, 1.0]).expand(20_000, 5)
    drawn = draw(logits, torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=5) / 20_000
    torch.testing.assert_close(shares, logits[0].softmax(dim=0), atol=0.01, rtol=0)
    again = draw(logits, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)


def test_likelihood_is_a_sum_over_positions() -> None:
    logits = torch.tensor([[0.0, 0.0], [3.0, 3.0], [1.0, 2.0]], dtype=torch.float64)
    targets = torch.tensor([0, 1, -100])
    torch.testing.assert_close(
        log_likelihood(logits, targets), 2 * torch.tensor(0.5, dtype=torch.float64).log()
    )


def test_a_sample_without_anything_to_predict_counts_as_zero() -> None:
    model = adapt(text_only(), SETTINGS)
    nothing = text_batch(2) | {"labels": torch.full((1, 9), -100)}
    (alone,) = collect(model, {"one": [answered(1)]}, what=["fisher"])
    (result,) = collect(model, {"one": [answered(1), nothing]}, what=["fisher"])
    for name, tensor in alone.tensors.items():
        torch.testing.assert_close(result.tensors[name], tensor / 2)


def test_what_is_refused() -> None:
    model = adapt(text_only(), SETTINGS)
    two = {k: v.expand(2, -1) for k, v in text_batch(1).items()}
    with pytest.raises(MergeError, match="one sample"):
        collect(model, {"one": [two]}, what=["fisher"])
    for module in model.modules():
        if isinstance(module, LoraLayer) and "one" in module.scaling:
            module.scaling["one"] = 0.0
    with pytest.raises(MergeError, match="scaling 0"):
        collect(model, {"one": [text_batch(1)]}, what=["fisher"])
