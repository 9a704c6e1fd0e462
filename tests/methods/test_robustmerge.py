"""RobustMerge against the released arithmetic, the formula written slowly, and worked numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from factories.adapters import factors, stack
from robustmerge import methods
from robustmerge.errors import MergeError
from robustmerge.factors import Factors, Noted, Stack

GOLDEN = Path(__file__).parents[1] / "golden"
ABLATION = "robustmerge-ablation"


def merge(stacked: Stack, *, name: str = "robustmerge", **parameters: object) -> Factors:
    method = methods.get(name)
    result = method(stacked, **method.configure(parameters))
    assert isinstance(result, Noted)
    assert isinstance(result.update, Factors)
    return result.update


@pytest.mark.parametrize(("case", "tasks", "tolerance"), [("case-a", 2, 1e-6), ("case-c", 3, 1e-3)])
def test_equals_the_released_arithmetic(case: str, tasks: int, tolerance: float) -> None:
    official = load_file(GOLDEN / case / "official.safetensors")
    folders = [GOLDEN / case / f"task{t}" for t in range(tasks)]
    inputs = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    config = json.loads((folders[0] / "adapter_config.json").read_text())
    scaling = config["lora_alpha"] / config["r"]
    names = [name for name in official if "lora_A" in name]
    assert names
    for a in names:
        b = a.replace("lora_A", "lora_B")
        merged = merge(Stack.of([Factors(x[a].float(), scaling * x[b].float()) for x in inputs]))
        expected = scaling * official[b].double() @ official[a].double()
        got = merged.B.double() @ merged.A.double()
        assert (got - expected).norm() <= tolerance * expected.norm()


def slow_robustmerge(
    A: list[torch.Tensor], B: list[torch.Tensor], density: float, clamp: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the released loop, entry by entry, for equal ranks; gains 1."""

    def prune(x: torch.Tensor) -> torch.Tensor:
        ranked = sorted(x.abs().flatten().tolist())
        threshold = ranked[int(len(ranked) * (1 - density)) - 1]
        return torch.tensor([[v if abs(v) >= threshold else 0 for v in row] for row in x.tolist()])

    pruned_A, pruned_B = [prune(a) for a in A], [prune(b) for b in B]
    scales = []
    for full, kept in zip(A, pruned_A, strict=True):
        s = [
            sum(map(abs, f)) / sum(map(abs, k))
            for f, k in zip(full.tolist(), kept.tolist(), strict=True)
        ]
        floor = sorted(s)[int(len(s) * clamp)]
        scales.append(torch.tensor([max(v, floor) for v in s]))
    total = sum(scales)
    merged_B = sum(b * (s / total) for b, s in zip(pruned_B, scales, strict=True))
    assert isinstance(merged_B, torch.Tensor)
    return torch.stack(pruned_A).sum(0), merged_B


@pytest.mark.parametrize(("density", "clamp"), [(0.2, 0.8), (0.5, 0.5), (0.35, 0.0)])
def test_equals_the_formula_written_slowly(density: float, clamp: float) -> None:
    stacked = stack(d_out=30, d_in=25, ranks=(6, 6, 6))
    A, B = slow_robustmerge(
        [f.A for f in stacked.factors], [f.B for f in stacked.factors], density, clamp
    )
    merged = merge(stacked, density=density, clamp=clamp, gain_A=1, gain_B=1)
    torch.testing.assert_close(merged.A, A)
    torch.testing.assert_close(merged.B, B)


def worked() -> Stack:
    A1 = torch.tensor([[4, 1, 2], [3, 1, 0.5]])
    A2 = torch.tensor([[1, 5, 2], [2, 0.5, 6]])
    B1 = torch.tensor([[2.0, 1], [-1, 4]])
    B2 = torch.tensor([[1, -3], [2, 0.5]])
    return Stack.of([Factors(A1, B1), Factors(A2, B2)])


def test_worked_example() -> None:
    merged = merge(worked(), density=0.5, clamp=0.5, gain_A=1, gain_B=1)
    assert merged.A.tolist() == [[4, 6, 4], [5, 1, 6]]
    expected = torch.tensor([[1.4961, -1.0157], [0.5118, 1.9843]])
    torch.testing.assert_close(merged.B, expected, atol=5e-5, rtol=0)


def test_gains_multiply_each_factor() -> None:
    first = merge(worked(), gain_A=1, gain_B=1)
    torch.testing.assert_close(merge(worked(), gain_A=3, gain_B=1).A, 3 * first.A)
    torch.testing.assert_close(merge(worked(), gain_A=1, gain_B=5).B, 5 * first.B)
    torch.testing.assert_close(merge(worked()).dense(), 4 * first.dense())


def test_keeps_one_entry_more_than_the_density_says() -> None:
    stacked = Stack.of([factors(50, 40, 5, seed=3)])
    merged = merge(stacked, density=0.2)
    assert int((merged.A != 0).sum()) == 200 - int(200 * 0.8) + 1
    assert int((merged.B != 0).sum()) == 250 - int(250 * 0.8) + 1


def test_density_one_keeps_all() -> None:
    stacked = stack(ranks=(4,))
    merged = merge(stacked, density=1, gain_A=1, gain_B=1)
    torch.testing.assert_close(merged.dense(), stacked.factors[0].dense())


def test_a_direction_pruned_whole_takes_no_part_and_is_reported() -> None:
    A = torch.tensor([[9.0, 8, 7, 6, 5], [0.1, 0.2, 0.3, 0.4, 0.5]])
    other = factors(3, 5, 2, seed=1)
    stacked = Stack.of([Factors(A, torch.ones(3, 2)), other])
    method = methods.get("robustmerge")
    result = method(stacked, **method.configure({"density": 0.2}))
    assert isinstance(result, Noted)
    assert isinstance(result.update, Factors)
    assert result.update.B.isfinite().all()
    assert result.notes == ("pruned whole, no part in the merge: direction 1 of adapter 1",)
    alone = method(Stack.of([other]), **method.configure({"density": 0.2}))
    assert isinstance(alone, Noted)
    assert isinstance(alone.update, Factors)
    torch.testing.assert_close(result.update.B[:, 1], alone.update.B[:, 1])


def test_unequal_ranks_are_pruned_and_scaled_at_their_own_rank() -> None:
    small, large = factors(20, 30, 2, seed=1), factors(20, 30, 6, seed=2)
    merged = merge(Stack.of([small, large]))
    alone = merge(Stack.of([large]))
    assert merged.rank == 6
    torch.testing.assert_close(merged.B[:, 2:], alone.B[:, 2:])
    torch.testing.assert_close(merged.A[2:], alone.A[2:])


def test_an_adapter_without_the_module_changes_nothing() -> None:
    stacked = stack(ranks=(3, 3))
    absent = Factors(torch.zeros(0, 10), torch.zeros(12, 0))
    merged = merge(Stack.of([*stacked.factors, absent]))
    torch.testing.assert_close(merged.dense(), merge(stacked).dense())


def test_weight_zero_leaves_an_adapter_out() -> None:
    stacked = stack(ranks=(3, 3))
    alone = merge(Stack.of([stacked.factors[0]]))
    torch.testing.assert_close(merge(stacked.reweighted((1.0, 0.0))).dense(), alone.dense())


def test_weights_multiply_the_update() -> None:
    stacked = stack(ranks=(3, 3))
    first = merge(stacked).dense()
    torch.testing.assert_close(merge(stacked.reweighted((2.0, 2.0))).dense(), 2 * first)
    torch.testing.assert_close(merge(stacked.reweighted((-1.0, -1.0))).dense(), -first)


def ablate(stacked: Stack, **parameters: object) -> Factors:
    return merge(stacked, name=ABLATION, **parameters)


@pytest.mark.parametrize("clamp", [0, 0.8])
def test_an_ablation_with_nothing_off_is_robustmerge(clamp: float) -> None:
    stacked = stack(d_out=30, d_in=25, ranks=(6, 2, 6)).reweighted((1.0, -0.7, 0.3))
    whole, ablation = merge(stacked, clamp=clamp), ablate(stacked, clamp=clamp)
    assert torch.equal(ablation.A, whole.A)
    assert torch.equal(ablation.B, whole.B)


@pytest.mark.parametrize("name", ["prune", "scaling", "normalize", "scale_from"])
def test_parameters_of_the_ablation_are_found_there(name: str) -> None:
    with pytest.raises(MergeError) as caught:
        methods.get("robustmerge").configure({name: "A"})
    assert ABLATION in caught.value.hint


def test_without_pruning_and_scaling_it_is_a_sum_of_A_and_a_mean_of_B() -> None:
    stacked = stack(ranks=(3, 3, 3))
    merged = ablate(stacked, prune=False, scaling=False, gain_A=1, gain_B=1)
    torch.testing.assert_close(merged.A, stacked.A.sum(0))
    torch.testing.assert_close(merged.B, stacked.B.mean(0))


def test_pruning_without_scaling_gives_plain_means() -> None:
    stacked = stack(d_out=30, d_in=25, ranks=(4, 4))
    merged = ablate(stacked, scaling=False, gain_A=1, gain_B=1)
    single = [ablate(Stack.of([f]), scaling=False, gain_A=1, gain_B=1) for f in stacked.factors]
    torch.testing.assert_close(merged.A, single[0].A + single[1].A)
    torch.testing.assert_close(merged.B, (single[0].B + single[1].B) / 2)


def test_without_normalization_the_scales_themselves_multiply_B() -> None:
    stacked = Stack.of([worked().factors[0]])
    merged = ablate(stacked, density=0.5, clamp=0.5, gain_A=1, gain_B=1, normalize=False)
    torch.testing.assert_close(merged.B, stacked.factors[0].B * 1.125)


def prune_columns(x: torch.Tensor, density: float) -> torch.Tensor:
    """Columns of x pruned, and lifted by what each lost; written for dense test matrices."""
    threshold = x.abs().flatten().kthvalue(int(x.numel() * (1 - density))).values
    kept = x.where(x.abs() >= threshold, 0)
    lost = x.abs().sum(0) / kept.abs().sum(0)
    return kept * lost.where(lost.isfinite(), 0)


def test_individual_scales_of_table_7() -> None:
    stacked = Stack.of([factors(30, 25, 4, seed=5)])
    A, B = stacked.factors[0].A, stacked.factors[0].B
    settings: dict[str, object] = {
        "density": 0.5,
        "clamp": 0,
        "gain_A": 1,
        "gain_B": 1,
        "normalize": False,
    }
    plain = ablate(stacked, scaling=False, **settings)
    own_A = prune_columns(A, 0.5)
    own_B = prune_columns(B.T, 0.5).T
    both = ablate(stacked, scale_from="both", **settings)
    torch.testing.assert_close(both.A, own_A)
    torch.testing.assert_close(both.B, own_B)
    only_A, only_B = (
        ablate(stacked, scale_from="A", **settings),
        ablate(stacked, scale_from="B", **settings),
    )
    torch.testing.assert_close(only_A.A, own_A)
    torch.testing.assert_close(only_A.B, plain.B)
    torch.testing.assert_close(only_B.A, plain.A)
    torch.testing.assert_close(only_B.B, own_B)


def test_individual_scales_normalized_average_to_one() -> None:
    stacked = stack(d_out=30, d_in=25, ranks=(4, 4))
    twice = Stack.of([stacked.factors[0], stacked.factors[0]])
    plain = ablate(twice, density=0.5, scaling=False)
    both = ablate(twice, density=0.5, scale_from="both")
    torch.testing.assert_close(both.dense(), plain.dense())
