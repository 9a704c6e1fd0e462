"""Sketched second moments against the full matrices, and on a live model against plain hooks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from factories.bases import adapt, text_batch, text_only
from factories.families import build, inputs
from robustmerge import MergeError
from robustmerge.collect.sketch import InputSketch
from robustmerge.peft import collect
from robustmerge.statistic_kinds import SKETCHED


def tokens(n: int, d_in: int, decay: float = 0.0) -> Tensor:
    g = torch.Generator().manual_seed(n + d_in)
    sizes = (1 + torch.arange(d_in)).double() ** -decay
    turn = torch.linalg.qr(torch.randn(d_in, d_in, generator=g).double()).Q
    return torch.randn(n, d_in, generator=g).double() * sizes @ turn


def sketched(X: Tensor, parts: int = 3) -> tuple[Tensor, Tensor, float]:
    sums = InputSketch(X.shape[1], torch.device("cpu"))
    for part in X.chunk(parts):
        sums.add(part)
    made = sums.tensors("m")
    assert made["m.sketch"].shape == (min(SKETCHED, X.shape[1]), X.shape[1])
    return made["m.sketch"].double(), made["m.rest"], float(made["m.tokens"])


@pytest.mark.parametrize("n", [0, 1, 30, 500])
def test_few_inputs_lose_nothing(n: int) -> None:
    X = tokens(n, 40)
    S, rest, count = sketched(X)
    G = X.T @ X
    torch.testing.assert_close(S.T @ S + rest.diag(), G, rtol=1e-4, atol=1e-4 * max(n, 1))
    assert float(rest.max()) <= 1e-4 * max(n, 1)
    assert count == n


@pytest.mark.parametrize(("n", "d_in", "decay"), [(40, 300, 0.0), (900, 300, 1.0), (900, 100, 0.0)])
def test_it_is_near_the_best_of_its_rank_and_nowhere_above(n: int, d_in: int, decay: float) -> None:
    X = tokens(n, d_in, decay)
    G = X.T @ X
    S, rest, _ = sketched(X)
    values = torch.linalg.eigvalsh(G)
    lost = torch.linalg.eigvalsh(G - S.T @ S)
    assert lost[0] > -1e-5 * values[-1]
    assert lost.sum() <= 1.5 * values[:-SKETCHED].sum() + 1e-4 * values.sum()
    torch.testing.assert_close(S.square().sum(0) + rest, G.diagonal(), rtol=1e-4, atol=1e-4)


def test_indices_are_rows_with_a_single_one() -> None:
    ids = torch.tensor([3, 7, 3, 150, 3])
    sums, plain = (InputSketch(200, torch.device("cpu")) for _ in range(2))
    sums.add(ids)
    plain.add(torch.eye(200)[ids])
    for name, tensor in sums.tensors("m").items():
        torch.testing.assert_close(tensor.abs(), plain.tensors("m")[name].abs())


def test_activations_that_are_not_finite_are_refused() -> None:
    sums = InputSketch(5, torch.device("cpu"))
    sums.add(torch.full((2, 5), torch.inf))
    with pytest.raises(MergeError, match="NaN or infinite"):
        sums.tensors("model.layers.0.q_proj")


@pytest.mark.parametrize("family", ["", "llava"])
def test_a_live_model_gives_the_moments_that_gram_sees(family: str) -> None:
    """Compare with gram's: A G Aᵀ, and the mean squares; tiny models have few inputs."""
    base = build(family) if family else text_only()
    settings = {"one": {"r": 3}, "two": {"r": 4, "target_modules": ["q_proj", "up_proj"]}}
    model = adapt(base, settings)
    batches = {
        "one": [text_batch(1), inputs(family, base) if family else text_batch(2)],
        "two": [text_batch(3, 5)],
    }
    for item in collect(model, batches, what=["gram", "inputs"]):
        names = [n.removesuffix(".sketch") for n in item.tensors if n.endswith(".sketch")]
        assert names
        for name in names:
            S, rest = item.tensors[f"{name}.sketch"].double(), item.tensors[f"{name}.rest"]
            squares = item.tensors[f"{name}.squares"]
            torch.testing.assert_close(S.square().sum(0) + rest, squares, rtol=1e-4, atol=1e-4)
            assert torch.equal(item.tensors[f"{name}.tokens"], item.tensors[f"{name}.count"])
