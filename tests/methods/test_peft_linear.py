"""The sum of factors against its worked example, PEFT's own and LoraHub's formula."""

from __future__ import annotations

import peft
import pytest
import torch
from torch import nn

from robustmerge import methods
from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack

EXAMPLE = [
    Factors(torch.tensor([[1.0, 0]]), torch.tensor([[2.0], [0]])),
    Factors(torch.tensor([[0.0, 1]]), torch.tensor([[0.0], [4]])),
]


def test_worked_number() -> None:
    result = MethodCase.of("peft-linear").merge(Stack.of(EXAMPLE, [0.5, 0.5]))
    torch.testing.assert_close(result, torch.tensor([[1.0, 1], [2, 2]]).double())


@pytest.mark.parametrize("module", ["linear", "words"])
def test_it_is_pefts(module: str) -> None:
    """With unequal alphas, a negative weight and an embedding."""
    torch.manual_seed(0)
    base = nn.ModuleDict({"linear": nn.Linear(9, 12), "words": nn.Embedding(23, 12)})
    alphas, weights = {"one": 8, "two": 3, "three": 20}, [1.0, -0.5, 0.7]
    configs = {
        name: peft.LoraConfig(
            r=4, lora_alpha=alpha, target_modules=list(base), init_lora_weights=False
        )
        for name, alpha in alphas.items()
    }
    model = peft.LoraModel(base, configs["one"], "one")
    for name in ("two", "three"):
        model.peft_config[name] = configs[name]
        model.inject_adapter(base, name)
    model.add_weighted_adapter(list(alphas), weights, "merged", combination_type="linear")
    layer = base[module]
    A = layer.lora_embedding_A if module == "words" else layer.lora_A
    B = layer.lora_embedding_B if module == "words" else layer.lora_B

    def held(name: str) -> Factors:
        pair = (A[name], B[name])
        a, b = pair if module == "words" else (x.weight for x in pair)
        return Factors(a.data, b.data)

    scalings = tuple(alpha / 4 for alpha in alphas.values())
    folded = [held(name).scaled(s) for name, s in zip(alphas, scalings, strict=True)]
    result = methods.get("peft-linear")(Stack.of(folded, weights, scalings=scalings))
    assert isinstance(result, Factors)
    torch.testing.assert_close(result.A, held("merged").A)
    torch.testing.assert_close(result.B, held("merged").B)


@pytest.mark.parametrize("scalings", [(1.0, 1.0, 1.0), (2.0, 0.5, 8.0)])
def test_lorahub_puts_the_weight_on_both_factors(scalings: tuple[float, ...]) -> None:
    weights = (0.5, -2.0, 0.3)
    files = random_stack(8, 6, (3, 3, 3)).factors
    A = sum((w * f.A for w, f in zip(weights, files, strict=True)), torch.zeros(3, 6))
    parts = zip(weights, scalings, files, strict=True)
    B = sum((w * s * f.B for w, s, f in parts), torch.zeros(8, 3))
    folded = [f.scaled(s) for f, s in zip(files, scalings, strict=True)]
    inputs = Stack.of(folded, weights, scalings=scalings)
    result = MethodCase.of("peft-linear", {"flavor": "lorahub"}).merge(inputs)
    torch.testing.assert_close(result, B @ A)


@pytest.mark.parametrize("flavor", ["peft", "lorahub"])
def test_smaller_ranks_are_padded_with_zeros(flavor: str) -> None:
    inputs = random_stack(8, 6, (1, 3, 0))
    padded = Stack.of([f.pad(3) for f in inputs.factors])
    case = MethodCase.of("peft-linear", {"flavor": flavor})
    torch.testing.assert_close(case.merge(inputs), case.merge(padded))
    small, large, _ = inputs.factors
    A, B = (
        torch.nn.functional.pad(small.A, (0, 0, 0, 2)),
        torch.nn.functional.pad(small.B, (0, 2)),
    )
    torch.testing.assert_close(case.merge(inputs), (B + large.B) @ (A + large.A))
