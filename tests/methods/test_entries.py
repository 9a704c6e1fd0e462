"""Vectors of entries: what they contain, and how much memory they take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from make import factors, stack
from robustmerge import methods
from robustmerge.factors import Dense, Factors, Stack
from robustmerge.methods.entrywise import _entries
from robustmerge.methods.entrywise._entries import merge_entries, view_of


def test_deltas_come_in_bands_that_make_up_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_entries, "_BAND", 35)  # 3 rows of 10
    given = stack(d_out=8, ranks=(2, 0, 3), dtype=torch.float64)
    (vector,) = view_of(given, "delta").entries
    bands = list(vector.blocks())
    assert [b.x.shape[1] for b in bands] == [3, 3, 2]
    assert len({b.name for b in bands}) == 3
    whole = torch.cat([b.x for b in bands], dim=1)
    torch.testing.assert_close(whole, torch.stack([f.dense() for f in given.factors]))
    torch.testing.assert_close(vector.merged(lambda block: block.x[2]), given.factors[2].dense())


def test_a_row_longer_than_a_band_is_a_band(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_entries, "_BAND", 4)
    assert len(list(view_of(stack(d_out=3), "delta").entries[0].blocks())) == 3


@pytest.mark.parametrize("folded", [False, True])
def test_factors_and_weights_make_up_the_weighted_update(folded: bool) -> None:
    """Each adapter alone: its entries times its weights, multiplied out."""
    weights, scalings = (2.0, -0.5, 0.25), (4.0, 0.5, -3.0)
    given = replace(stack(ranks=(3, 2, 4), weights=weights, dtype=torch.float64), scalings=scalings)
    A, B = view_of(given, "factor", folded=folded).entries
    (a,), (b,) = A.blocks(), B.blocks()
    for t, f in enumerate(given.factors):
        alone = (B.weights[t] * b.x[t]).T @ (A.weights[t] * a.x[t])
        torch.testing.assert_close(alone, weights[t] * f.dense())
        whole = b.x[t].T @ a.x[t] * (1 if folded else scalings[t])
        torch.testing.assert_close(whole, f.dense())


def test_unfolded_entries_are_those_of_the_files() -> None:
    file = factors(6, 5, 3, seed=1, dtype=torch.float64)
    given = Stack.of([Factors(file.A, file.B * 8)], [-2.0], scalings=(8.0,))
    A, B = view_of(given, "factor").entries
    torch.testing.assert_close(next(A.blocks()).x[0], file.A)
    torch.testing.assert_close(next(B.blocks()).x[0].T, file.B)
    assert A.weights.tolist() == [-4.0]
    assert B.weights.tolist() == [4.0]


def test_an_adapter_of_scaling_zero_is_a_zero_update() -> None:
    zero, other = Factors(torch.ones(2, 5), torch.zeros(6, 2)), factors(6, 5, 2, seed=1)
    given = Stack.of([zero, other], scalings=(0.0, 1.0))
    merged = merge_entries(given, "factor", lambda e: lambda block: e.total(block.x))
    assert isinstance(merged, Factors)
    torch.testing.assert_close(merged.dense(), other.dense())


def test_adapters_of_several_types_merge_in_the_widest() -> None:
    given = Stack.of([factors(6, 5, 2, seed=1), factors(6, 5, 2, seed=2, dtype=torch.float64)])
    for space in ("factor", "delta"):
        merged = methods.get("ties")(given, space=space)
        assert (merged.A if isinstance(merged, Factors) else merged.delta).dtype == torch.float64


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
}


@pytest.mark.parametrize(("name", "settings"), [(n, s) for n, all in FLAVORS.items() for s in all])
def test_no_delta_is_held_but_the_merged_one(
    name: str, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All else is a band of every adapter, or a histogram of 16 bits."""
    monkeypatch.setattr(_entries, "_BAND", 1 << 12)
    given = stack(d_out=700, d_in=500, ranks=(4, 4, 4))
    method = methods.get(name)
    parameters = method.configure({"space": "delta", **settings})
    with Allocations(max(len(given) * (1 << 12) * 8, 8 << 16)) as seen:
        found = method.survey(lambda: iter([given]), [parameters]) if method.survey else None
        merged = method(given, **parameters, **({"surveyed": found} if found else {}))
    assert isinstance(merged, Dense)
    assert set(seen.large) == {merged.delta.data_ptr()}
