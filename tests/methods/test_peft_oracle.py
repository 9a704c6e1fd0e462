"""The entry-wise methods against PEFT's own, on a small model with adapters of unequal alphas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import peft
import pytest
import torch
from peft.utils import merge_utils
from torch import Tensor, nn

from robustmerge import methods
from robustmerge.factors import Dense, Factors, Stack
from robustmerge.methods.entrywise._drop import draw_kept

ADAPTERS = {"one": 8, "two": 3, "three": 20}
"""Names and alphas; the rank is 4."""
WEIGHTS = (1.0, -0.5, 0.7)
SHAPES = {"up": (12, 9), "down": (9, 12), "words": (9, 23)}
"""(d_out, d_in) of each module's delta; the embedding's words are its inputs."""

METHODS = {
    "ties": "ties",
    "magnitude-prune": "magnitude_prune",
    "dare": "dare_linear",
    "dare-ties": "dare_ties",
}

pytestmark = pytest.mark.filterwarnings("ignore:The density 1.0 is greater than or equal to 1")


class TwoLinears(nn.Module):
    """Two linear layers and an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(23, 9)
        self.up = nn.Linear(9, 12)
        self.down = nn.Linear(12, 9)

    def forward(self, x: Tensor) -> Tensor:
        """Use all modules."""
        result: Tensor = self.down(self.up(self.words(x)))
        return result


@pytest.fixture
def model() -> peft.PeftModel:
    torch.manual_seed(0)
    adapted: peft.PeftModel | None = None
    for name, alpha in ADAPTERS.items():
        config = peft.LoraConfig(
            r=4, lora_alpha=alpha, target_modules=list(SHAPES), init_lora_weights=False
        )
        if adapted is None:
            adapted = peft.get_peft_model(TwoLinears(), config, adapter_name=name)
        else:
            adapted.add_adapter(name, config)
    assert adapted is not None
    return adapted


def factors(model: peft.PeftModel, module: str, adapter: str) -> tuple[Tensor, Tensor]:
    """Return a and B as PEFT holds them."""
    layer = getattr(model.base_model.model, module)
    if module == "words":
        return layer.lora_embedding_A[adapter].data, layer.lora_embedding_B[adapter].data
    return layer.lora_A[adapter].weight.data, layer.lora_B[adapter].weight.data


def stack(model: peft.PeftModel, module: str) -> Stack:
    """Return PEFT's adapters as our reader would: the scaling folded into B."""
    scalings = tuple(alpha / 4 for alpha in ADAPTERS.values())
    pairs = [factors(model, module, name) for name in ADAPTERS]
    folded = [Factors(A, B * s) for (A, B), s in zip(pairs, scalings, strict=True)]
    return Stack(module, tuple(folded), WEIGHTS, scalings)


def add_weighted(model: peft.PeftModel, kind: str, **settings: Any) -> None:
    model.base_model.add_weighted_adapter(
        list(ADAPTERS), list(WEIGHTS), "merged", combination_type=kind, **settings
    )


def ours(model: peft.PeftModel, name: str, module: str, **settings: Any) -> Factors | Dense:
    method = methods.get(name)
    update = method(stack(model, module), **method.configure(settings))
    assert isinstance(update, (Factors, Dense))
    return update


def masks(model: peft.PeftModel, density: float, seed: int, kind: str) -> Iterator[Tensor]:
    """Return the masks our methods draw, in the order in which PEFT prunes."""
    for module in (name for name, _ in model.base_model.model.named_children()):
        d_out, d_in = SHAPES[module]
        inputs = stack(model, module)
        shapes = {"A": (4, d_in), "B": (4, d_out)}
        if kind.endswith("_svd"):
            shapes = {"delta/0": (d_out, d_in)}
        for part, shape in shapes.items():
            for t in range(len(ADAPTERS)):
                bits = inputs.bits(seed, part, t)
                mask = draw_kept(bits, density, math.prod(shape)).view(shape).bool()
                # PEFT holds B, and an embedding's delta, the other way round.
                yield mask.T if part == "B" or (part != "A" and module == "words") else mask


def feed(monkeypatch: pytest.MonkeyPatch, drawn: Iterator[Tensor]) -> None:
    def random_pruning(tensor: Tensor, density: float, rescale: bool) -> Tensor:
        kept = tensor * next(drawn)
        return kept / density if rescale else kept

    monkeypatch.setattr(merge_utils, "random_pruning", random_pruning)


CASES = [(name, {"density": d}) for name in METHODS for d in (0.01, 0.3, 0.55, 1.0)]
FREQUENCY = [(name, {"density": 0.55, "elect": "frequency"}) for name in ("ties", "dare-ties")]


@pytest.mark.parametrize(("name", "settings"), CASES + FREQUENCY)
def test_factors_are_pefts(
    name: str, settings: dict[str, Any], model: peft.PeftModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = masks(model, settings["density"], 3, METHODS[name])
    feed(monkeypatch, drawn)
    add_weighted(model, METHODS[name], **_peft_settings(settings))
    seed = {"seed": 3} if name.startswith("dare") else {}
    for module in SHAPES:
        result = ours(model, name, module, **settings, **seed)
        assert isinstance(result, Factors)
        A, B = factors(model, module, "merged")
        torch.testing.assert_close(result.A, A)
        torch.testing.assert_close(result.B, B)
    if name.startswith("dare") and settings["density"] < 1:
        assert next(drawn, None) is None


@pytest.mark.parametrize(("name", "settings"), CASES + FREQUENCY)
def test_deltas_are_pefts(
    name: str, settings: dict[str, Any], model: peft.PeftModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a rank that loses nothing, PEFT's decomposition is the merged delta itself."""
    drawn = masks(model, settings["density"], 3, f"{METHODS[name]}_svd")
    feed(monkeypatch, drawn)
    add_weighted(model, f"{METHODS[name]}_svd", svd_rank=9, **_peft_settings(settings))
    seed = {"seed": 3} if name.startswith("dare") else {}
    for module in SHAPES:
        result = ours(model, name, module, space="delta", **settings, **seed)
        assert isinstance(result, Dense)
        A, B = factors(model, module, "merged")
        torch.testing.assert_close(B @ A, result.delta, atol=1e-4, rtol=1e-4)
    if name.startswith("dare") and settings["density"] < 1:
        assert next(drawn, None) is None


@pytest.mark.parametrize("adapter", list(ADAPTERS))
def test_a_module_that_one_adapter_lacks_is_a_zero_update(adapter: str) -> None:
    """PEFT leaves the adapter out there; where entries are counted, zeros count for nothing."""
    g = torch.Generator().manual_seed(1)
    taus = [torch.randn(4, 10, generator=g) for _ in ADAPTERS]
    lacking = list(ADAPTERS).index(adapter)
    present = [t for t in range(3) if t != lacking]
    weights = torch.tensor([WEIGHTS[t] for t in present])
    expected = merge_utils.ties([taus[t] for t in present], weights, 0.4)
    updates = [
        Factors(torch.zeros(0, 10), torch.zeros(4, 0))
        if t == lacking
        else Factors(tau, torch.eye(4))
        for t, tau in enumerate(taus)
    ]
    result = methods.get("ties")(Stack.of(updates, list(WEIGHTS)), density=0.4, space="delta")
    assert isinstance(result, Dense)
    torch.testing.assert_close(result.delta, expected)


def _peft_settings(settings: dict[str, Any]) -> dict[str, Any]:
    words = {"elect": "majority_sign_method"}
    return {words.get(name, name): value for name, value in settings.items()}
