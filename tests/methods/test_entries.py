"""Vectors of entries: what they contain, and how much memory they take."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from peft.utils import merge_utils
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from factories.adapters import factors, stack
from robustmerge import methods
from robustmerge.factors import Dense, Factors, Stack
from robustmerge.methods.entrywise import _entries
from robustmerge.methods.entrywise._entries import Space, merge_entries, view_of
from robustmerge.testing import MethodCase, check_method, random_stack


@pytest.mark.parametrize(
    ("whole_rows", "sizes"),
    [
        (False, {(0, 0): (6, 5), (6, 0): (2, 5), (0, 5): (6, 5), (6, 5): (2, 5)}),
        (True, {(0, 0): (3, 10), (3, 0): (3, 10), (6, 0): (2, 10)}),
    ],
    ids=["tiles", "bands"],
)
def test_deltas_come_in_blocks_that_make_up_the_whole(
    whole_rows: bool, sizes: dict[tuple[int, int], tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_entries, "_BAND", 34)
    monkeypatch.setattr(_entries, "_HEIGHT", 6)
    inputs = stack(d_out=8, ranks=(2, 0, 3), dtype=torch.float64)
    (vector,) = view_of(inputs, "delta", whole_rows=whole_rows).entries
    blocks = [replace(block, x=block.x.clone()) for block in vector.blocks()]
    assert {(b.top, b.left): tuple(b.x.shape[1:]) for b in blocks} == sizes
    assert len({b.name for b in blocks}) == len(sizes)
    whole = torch.stack([f.dense() for f in inputs.factors])
    for b in blocks:
        _, rows, cols = b.x.shape
        own = whole[:, b.top : b.top + rows, b.left : b.left + cols]
        torch.testing.assert_close(b.x, own)
    torch.testing.assert_close(vector.merged(lambda block: block.x[2]), inputs.factors[2].dense())


def test_a_row_longer_than_a_band_is_a_band(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_entries, "_BAND", 4)
    (vector,) = view_of(stack(d_out=3), "delta", whole_rows=True).entries
    assert len(list(vector.blocks())) == 3


@pytest.mark.parametrize("folded", [False, True])
def test_factors_and_weights_make_up_the_weighted_update(folded: bool) -> None:
    """Multiply out each adapter alone: its entries times its weights."""
    weights, scalings = (2.0, -0.5, 0.25), (4.0, 0.5, -3.0)
    inputs = replace(
        stack(ranks=(3, 2, 4), weights=weights, dtype=torch.float64), scalings=scalings
    )
    A, B = view_of(inputs, "factor", folded=folded).entries
    (a,), (b,) = A.blocks(), B.blocks()
    for t, f in enumerate(inputs.factors):
        alone = (B.weights[t] * b.x[t]).T @ (A.weights[t] * a.x[t])
        torch.testing.assert_close(alone, weights[t] * f.dense())
        whole = b.x[t].T @ a.x[t] * (1 if folded else scalings[t])
        torch.testing.assert_close(whole, f.dense())


def test_unfolded_entries_are_those_of_the_files() -> None:
    file = factors(6, 5, 3, seed=1, dtype=torch.float64)
    inputs = Stack.of([Factors(file.A, file.B * 8)], [-2.0], scalings=(8.0,))
    A, B = view_of(inputs, "factor").entries
    torch.testing.assert_close(next(A.blocks()).x[0], file.A)
    torch.testing.assert_close(next(B.blocks()).x[0].T, file.B)
    assert A.weights.tolist() == [-4.0]
    assert B.weights.tolist() == [4.0]


def test_an_adapter_of_scaling_zero_is_a_zero_update() -> None:
    zero, other = Factors(torch.ones(2, 5), torch.zeros(6, 2)), factors(6, 5, 2, seed=1)
    inputs = Stack.of([zero, other], scalings=(0.0, 1.0))
    merged = merge_entries(inputs, "factor", lambda e: lambda block: e.total(block.x))
    assert isinstance(merged, Factors)
    torch.testing.assert_close(merged.dense(), other.dense())


def test_adapters_of_several_types_merge_in_the_widest() -> None:
    inputs = Stack.of([factors(6, 5, 2, seed=1), factors(6, 5, 2, seed=2, dtype=torch.float64)])
    for space in ("factor", "delta"):
        merged = methods.get("ties")(inputs, space=space)
        assert (merged.A if isinstance(merged, Factors) else merged.delta).dtype == torch.float64


def product_of(*rows: tuple[list[float], list[float]]) -> Stack:
    """Adapters of rank 1, each a row of A and a column of B."""
    return Stack.of(
        [Factors(torch.tensor([a]).double(), torch.tensor([b]).double().T) for a, b in rows]
    )


def test_worked_numbers_of_knots() -> None:
    inputs = product_of(([2.0, 0], [1.0, 0]), ([1.0, 1], [1.0, 0]))
    view = view_of(inputs, "knots")
    (block,) = view.entries[0].blocks()
    sign = block.x[0, 0, 0].sign()
    torch.testing.assert_close(sign * block.x, torch.tensor([[[2.0, 0]], [[1, 1]]]).double())
    assert block.x.norm().item() == pytest.approx(2.449, abs=1e-3)  # the singular value
    result = view.update([torch.tensor([[5.0, 7.0]]).double()])
    torch.testing.assert_close(sign * result.dense(), torch.tensor([[5.0, 7], [0, 0]]).double())


def test_worked_numbers_of_the_published_core() -> None:
    inputs = product_of(([1.0, 0, 0], [2.0, 0]), ([1.0, 1, 0], [0.0, 1]))
    (block,) = view_of(inputs, "core-paper").entries[0].blocks()
    expected = torch.tensor([[[1.7013, -1.0515], [0, 0]], [[0, 0], [1.3764, 0.3249]]]).double()
    signs = [torch.tensor(s).double() for s in product((1.0, -1.0), repeat=2)]
    turned = [u[:, None] * expected * v for u in signs for v in signs]
    assert any(torch.allclose(block.x, x, atol=1e-4) for x in turned)


def bases(space: str, inputs: Stack) -> tuple[Tensor, Tensor]:
    """Return the bases of a space by its definition, from full decompositions."""
    deltas = [f.dense() for f in inputs.factors]
    left = torch.cat([f.B for f in inputs.factors] if space == "core-paper" else deltas, dim=1)
    right = torch.cat([f.A for f in inputs.factors] if space == "core-paper" else deltas).T
    result = []
    for X in (left, right):
        U, S, _ = torch.linalg.svd(X)
        result.append(U[:, : int((S > 1e-5).sum())])
    return result[0], torch.eye(inputs.shape[1]).double() if space == "knots" else result[1]


SMALL = ("knots", "core", "core-paper")
PLAIN = [random_stack(30, 25, (3, 0, 4, 3), weights=(1, 2, -0.5, 1))]
TALL = [random_stack(8, 20, (4, 3, 4), weights=(1, 2, -0.5)), random_stack(20, 8, (4, 3, 4))]


@pytest.mark.parametrize("space", SMALL)
@pytest.mark.parametrize("inputs", PLAIN + TALL, ids=["small", "wide", "tall"])
def test_the_sum_is_the_sum_in_every_space(space: Space, inputs: Stack) -> None:
    result = merge_entries(inputs, space, lambda e: lambda block: e.total(block.x))
    expected = sum(w * f.dense() for f, w in zip(inputs.factors, inputs.weights, strict=True))
    torch.testing.assert_close(result.dense(), expected)


@pytest.mark.parametrize("space", SMALL)
@pytest.mark.parametrize("inputs", PLAIN + TALL, ids=["small", "wide", "tall"])
def test_ties_in_a_space_is_ties_in_its_bases(
    space: Space, inputs: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEFT's TIES, in bases from full decompositions; their signs cancel out."""
    monkeypatch.setattr(_entries, "_BAND", 60)
    U, V = bases(space, inputs)
    taus = [(U.T @ f.dense() @ V).contiguous() for f in inputs.factors]
    weights = torch.tensor(inputs.weights).double()
    expected = U @ merge_utils.ties(taus, weights, 0.3) @ V.T
    result = MethodCase.of("ties", {"space": space, "density": 0.3}).merge(inputs)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("space", SMALL)
def test_knots_and_cores_can_be_trimmed_over_the_whole_model(space: str) -> None:
    check_method("ties", {"space": space, "flavor": "paper"})


@pytest.mark.parametrize(("space", "same"), [("core", True), ("core-paper", False)])
def test_only_the_published_core_depends_on_the_gauge(space: Space, same: bool) -> None:
    """And by much, though only the lengths of columns of B and rows of A have changed."""
    inputs = random_stack()
    other = Stack.of([Factors(f.A * 9, f.B / 9) if f.rank == 3 else f for f in inputs.factors])
    deltas = [MethodCase.of("ties", {"space": space}).merge(s) for s in (inputs, other)]
    apart = float((deltas[0] - deltas[1]).norm() / deltas[0].norm())
    assert apart < 1e-9 if same else apart > 0.1


class Allocations(TorchDispatchMode):
    """Keeps the storage of every tensor that an operation gives and that is larger than a limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.large: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(x, torch.Tensor) and x.untyped_storage().nbytes() > self.limit:
                self.large[x.untyped_storage().data_ptr()] = x.untyped_storage()
        return out


FLAVORS = {
    "ties": ({}, {"flavor": "paper"}, {"flavor": "mergekit"}),
    "dare": ({}, {"flavor": "mergekit"}),
    "dare-ties": ({}, {"flavor": "mergekit"}),
    "magnitude-prune": ({},),
    "pcb": ({}, {"scope": "model"}),
    "della": ({}, {"flavor": "mergekit"}),
    "breadcrumbs": ({}, {"flavor": "mergekit"}),
    "consensus": ({}, {"combine": "ties"}),
    "sce": ({}, {"density": 0.5}),
    "magmax": ({},),
    "emr-unified": ({},),
    "ram": ({}, {"plus": True}),
}


@pytest.mark.parametrize(("name", "settings"), [(n, s) for n, all in FLAVORS.items() for s in all])
def test_no_delta_is_held_but_the_merged_one(
    name: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Allow a band of every adapter, and histograms of 16 bits."""
    monkeypatch.setattr(_entries, "_BAND", 1 << 12)
    inputs = stack(d_out=700, d_in=500, ranks=(4, 4, 4))
    method = methods.get(name)
    parameters = method.configure({"space": "delta", **settings})
    with Allocations(max(len(inputs) * (1 << 12) * 8, 8 << 16)) as seen:
        result = (
            method.survey(lambda work: map(work, [inputs]), [parameters]) if method.survey else None
        )
        merged = method(inputs, **parameters, **({"surveyed": result} if result else {}))
    assert isinstance(merged, Dense)
    assert set(seen.large) == {merged.delta.data_ptr()}
