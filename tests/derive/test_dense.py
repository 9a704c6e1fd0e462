"""Leading directions of dense matrices against the dense SVD, and the rules that choose ranks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from robustmerge import krylov
from robustmerge.derive.dense import decompose, energy_of
from robustmerge.derive.ranks import (
    CUTS,
    Energy,
    MarchenkoPastur,
    Number,
    SingularValues,
    parse_rank,
)
from robustmerge.errors import MergeError


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def decaying(m: int, n: int, power: float) -> Tensor:
    k = min(m, n)
    U, V = torch.linalg.qr(draw(m, k)).Q, torch.linalg.qr(draw(n, k, seed=1)).Q
    return U * torch.arange(1, k + 1).float() ** -power @ V.T


MATRICES = {
    "noise": draw(640, 900),
    "tall noise": draw(900, 640),
    "slow decay": decaying(640, 700, 0.5),
    "fast decay": decaying(640, 700, 2),
    "rank 5": draw(640, 5) @ draw(5, 700, seed=1),
    "one value": torch.eye(640, 700),
    "small": draw(40, 30),
}


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("rank", [1, 20])
def test_leading_directions_hold_what_the_dense_svd_says(name: str, rank: int) -> None:
    D = MATRICES[name]
    S = torch.linalg.svdvals(D.double())
    decomposed, chosen = decompose(D, Number(rank))
    assert chosen == rank
    factors, kept = decomposed.cut(rank)
    share = float(S[:rank].square().sum() / S.square().sum())
    assert kept == pytest.approx(share, abs=1e-6)
    # What is left is what the best approximation leaves: the factors are that update.
    left = float((D.double() - factors.B.double() @ factors.A.double()).square().sum())
    assert left / float(S.square().sum()) == pytest.approx(1 - share, abs=2e-6)
    assert energy_of(D) == pytest.approx(float(S.square().sum()), rel=1e-9)


@pytest.mark.parametrize("name", ["noise", "tall noise", "slow decay", "fast decay", "rank 5"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_rank_by_energy_is_the_smallest(name: str, share: float) -> None:
    held = torch.linalg.svdvals(MATRICES[name].double()).square().cumsum(0)
    _, rank = decompose(MATRICES[name], Energy(share))
    assert rank == int((held < share * held[-1]).sum()) + 1


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("shape", [(300, 400), (700, 560)])
@pytest.mark.parametrize("rank", [0, 1, 40])
def test_cuts_find_the_directions_above_noise(cut: str, shape: tuple[int, int], rank: int) -> None:
    m, n = shape
    noise = 0.01 * draw(m, n, seed=2)
    signal = torch.linalg.qr(draw(m, rank)).Q @ torch.linalg.qr(draw(n, rank, seed=1)).Q.T
    _, chosen = decompose(noise + signal, parse_rank(cut))
    assert chosen == rank


def test_gavish_donoho_is_the_table() -> None:
    """Square matrices: 2.858 in the paper's text, 2.86 by its approximation."""
    S = torch.tensor([3.0, 2.87, 2.85, 1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    spectrum = SingularValues(S, float(S.square().sum()), (7, 7))
    assert parse_rank("gavish-donoho").choose(spectrum) == 2


def test_directions_that_rounding_lost_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A basis that is not orthonormal claims energy that its directions do not hold."""
    monkeypatch.setattr(krylov, "_outside", lambda basis, block: torch.linalg.qr(block).Q)
    D = MATRICES["slow decay"]
    S = torch.linalg.svdvals(D.double()).square()
    _, kept = decompose(D, Number(20))[0].cut(20)
    assert kept == pytest.approx(float(S[:20].sum() / S.sum()), abs=1e-6)


def test_noise_has_no_directions_and_the_law_is_one_percent() -> None:
    counts = [MarchenkoPastur().choose(spectrum(seed)) for seed in range(100)]
    assert sum(map(bool, counts)) <= 4


def spectrum(seed: int) -> SingularValues:
    S = torch.linalg.svdvals(draw(60, 90, seed=seed).double())
    return SingularValues(S, float(S.square().sum()), (60, 90))


@pytest.mark.parametrize("rank", [0, -1, "half", "energy:0", "energy:1.5", "energy:x", True, "1.5"])
def test_other_ranks_are_refused(rank: int | str) -> None:
    with pytest.raises(MergeError) as caught:
        parse_rank(rank)
    assert "marchenko-pastur" in caught.value.hint
