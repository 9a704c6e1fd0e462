"""Cosines, row spaces and norms, against the same computed slowly and densely."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from factories.adapters import LLM, adapter, deltas
from robustmerge.adapter.reader import Adapter
from robustmerge.checks.compare import (
    FactorSimilarity,
    compare_factors,
    measure_norm,
    spread_evenly,
)
from robustmerge.errors import MergeError

WIDE = {f"model.language_model.layers.{n}.self_attn.q_proj": (32, 400) for n in range(3)}


Make = Callable[[int], Tensor]
"""The A of a module, by the module's number."""


@pytest.fixture
def load() -> Iterator[Callable[[Path], Adapter]]:
    """Open adapters that are closed when the test ends."""
    opened: list[Adapter] = []

    def open_one(folder: Path) -> Adapter:
        opened.append(Adapter(folder))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


Load = Callable[[Path], Adapter]


def write(folder: Path, make: Make) -> Path:
    path = adapter(folder, modules=WIDE) / "adapter_model.safetensors"
    tensors = load_file(path)
    for i, name in enumerate(n for n in tensors if "lora_A" in n):
        tensors[name] = make(i).float().contiguous()
    save_file(tensors, path)
    return folder


def random(seed: int, rank: int = 4) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rank, 400, generator=g, dtype=torch.float64)


@pytest.fixture
def compare_starts(tmp_path: Path, load: Load) -> Callable[[Sequence[Make]], FactorSimilarity]:
    """Compare adapters with these A's."""

    def compare(makers: Sequence[Make]) -> FactorSimilarity:
        folders = [write(tmp_path / str(i), make) for i, make in enumerate(makers)]
        result = compare_factors([load(folder) for folder in folders])
        assert result is not None
        return result

    return compare


Group = Callable[[Sequence[Make]], FactorSimilarity]


def drifted(by: float, seed: int) -> Make:
    return lambda i: random(i) + by * random(100 * seed + i)


def rotated(i: int) -> Tensor:
    return torch.linalg.qr(random(50 + i)[:, :4]).Q @ random(i)


def test_shared_initialization(compare_starts: Group) -> None:
    result = compare_starts([drifted(0.3, 1), drifted(0.3, 2), drifted(0.3, 3)])
    assert result.verdict == "shared"
    assert [(p.first, p.second) for p in result.pairs] == [(0, 1), (0, 2), (1, 2)]
    for pair in result.pairs:
        assert pair.cosine == pytest.approx(1 / 1.09, abs=0.03)


def test_independent_initializations(compare_starts: Group) -> None:
    result = compare_starts([random, lambda i: random(10 + i)])
    assert result.verdict == "independent"
    assert result.pairs[0].chance == pytest.approx(math.sqrt(4 / 400))
    assert result.pairs[0].row_spaces == pytest.approx(result.pairs[0].chance, rel=0.3)


def test_other_coordinates_of_the_same_rows(compare_starts: Group) -> None:
    result = compare_starts([random, rotated])
    assert result.verdict == "rotated"
    assert result.pairs[0].row_spaces == pytest.approx(1)
    assert abs(result.pairs[0].cosine or 0) < 0.5


def test_between_the_thresholds_it_is_unclear(compare_starts: Group) -> None:
    assert compare_starts([random, drifted(3, 1)]).verdict == "unclear"


def test_a_stranger_among_relatives(compare_starts: Group) -> None:
    result = compare_starts([drifted(0.3, 1), drifted(0.3, 2), lambda i: random(10 + i)])
    assert result.verdict == "mixed"
    assert [p.verdict for p in result.pairs] == ["shared", "independent", "independent"]


def test_figures_are_those_of_the_dense_definition(tmp_path: Path, load: Load) -> None:
    adapters = [load(adapter(tmp_path / n, seed=i)) for i, n in enumerate("abc")]
    result = compare_factors(adapters)
    assert result is not None
    for pair, (item, other) in zip(result.pairs, combinations(adapters, 2), strict=True):
        cosines, rows, chances = [], [], []
        for name in LLM:
            a, b = (x.modules[name].A.read().double() for x in (item, other))
            cosines.append(float((a * b).sum() / (a.norm() * b.norm())))
            q, p = (torch.linalg.qr(x.T).Q for x in (a, b))
            rows.append(float(torch.linalg.svdvals(q.T @ p).square().mean().sqrt()))
            chances.append(math.sqrt(4 / a.shape[1]))
        assert pair.cosine == pytest.approx(sum(cosines) / len(LLM))
        assert pair.row_spaces == pytest.approx(sum(rows) / len(LLM))
        assert pair.chance == pytest.approx(sum(chances) / len(LLM))


def test_ranks_that_differ(tmp_path: Path, load: Load) -> None:
    small, large = (load(adapter(tmp_path / str(r), rank=r, modules=WIDE, seed=r)) for r in (2, 8))
    result = compare_factors([small, large])
    assert result is not None
    assert result.pairs[0].cosine is None
    assert result.pairs[0].chance == pytest.approx(math.sqrt(8 / 400))
    assert result.verdict == "independent"


def test_directions_padded_with_zeros_are_no_directions(compare_starts: Group) -> None:
    def padded(i: int) -> Tensor:
        return torch.cat([random(i)[:2], torch.zeros(2, 400)])

    result = compare_starts([random, padded])
    assert result.pairs[0].row_spaces == pytest.approx(1)


def test_a_zero_factor_is_like_nothing(compare_starts: Group) -> None:
    result = compare_starts([random, lambda i: torch.zeros(4, 400)])
    assert result.pairs[0].cosine == 0
    assert result.verdict == "independent"


def test_at_most_a_sample_of_common_modules_is_compared(tmp_path: Path, load: Load) -> None:
    many = {f"model.language_model.layers.{n}.mlp.up_proj": (4, 4) for n in range(30)}
    item = load(adapter(tmp_path / "one", modules=many, rank=1))
    other = load(adapter(tmp_path / "other", modules=many | LLM, rank=1))
    result = compare_factors([item, other])
    assert result is not None
    assert (result.modules, result.of) == (24, 30)


def test_modules_of_other_widths_are_not_compared(tmp_path: Path, load: Load) -> None:
    other = {name: (d_out, d_in + 1) for name, (d_out, d_in) in LLM.items()}
    item = load(adapter(tmp_path / "one"))
    assert compare_factors([item, load(adapter(tmp_path / "other", modules=other))]) is None


def test_a_sample_is_spread_from_end_to_end() -> None:
    assert spread_evenly("abcdefghi", 3) == ["a", "e", "i"]
    assert spread_evenly("abc", 3) == ["a", "b", "c"]


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}])
def test_norm_is_that_of_the_dense_update(
    tmp_path: Path, load: Load, settings: dict[str, bool]
) -> None:
    folder = adapter(tmp_path, rank=3, alpha=5, **settings)
    dense = math.sqrt(sum(float(d.square().sum()) for d in deltas(folder).values()))
    result = measure_norm(load(folder))
    assert result.whole == pytest.approx(dense)
    assert (result.modules, result.zero) == (6, 0)


def test_zero_modules_are_counted(tmp_path: Path, load: Load) -> None:
    path = adapter(tmp_path) / "adapter_model.safetensors"
    tensors = load_file(path)
    first = min(name for name in tensors if "lora_B" in name)
    save_file(tensors | {first: torch.zeros_like(tensors[first])}, path)
    assert measure_norm(load(tmp_path)).zero == 1


def test_nan_is_refused(tmp_path: Path, load: Load) -> None:
    path = adapter(tmp_path) / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors[min(tensors)][0, 0] = torch.nan
    save_file(tensors, path)
    with pytest.raises(MergeError, match="NaN"):
        measure_norm(load(tmp_path))
