"""OptMerge against torch's SGD and Adam on the losses that were released."""

from __future__ import annotations

import pytest
import torch

from factories.dense_interference import deltas_of
from robustmerge.errors import MergeError
from robustmerge.testing import MethodCase, random_stack

WUDI = MethodCase.of("wudi", {"solve": "exact"})


def leading(delta: torch.Tensor, k: int) -> torch.Tensor:
    U, S, Vh = torch.linalg.svd(delta, full_matrices=False)
    return U[:, :k] @ torch.diag(S[:k]) @ Vh[:k]


def descend(deltas: torch.Tensor, flavor: str, k: int, steps: int, lr: float) -> torch.Tensor:
    mean = deltas.mean(0)
    cut = torch.stack([leading(d, k) for d in deltas])
    if flavor == "internvl":
        targets = torch.stack([mean + leading(d - mean, k) for d in deltas])
        delta = deltas.sum(0).requires_grad_()
        optimizer: torch.optim.Optimizer = torch.optim.Adam([delta], lr=lr)
    else:
        targets, delta = cut, mean.clone().requires_grad_()
        optimizer = torch.optim.SGD([delta], lr=lr, momentum=0.9)
    inputs = deltas if flavor == "modelcompose" else cut
    for _ in range(steps):
        inner = (delta - targets) @ inputs.mT
        optimizer.zero_grad()
        (inner.square() / deltas.square().sum((1, 2), keepdim=True)).sum().backward()
        optimizer.step()
    return delta.detach()


# k is 9 // 3, which is less than the ranks.
@pytest.mark.parametrize(
    ("flavor", "steps", "lr"),
    [("lora", 300, 1e-4), ("lora", 40, 1e-2), ("modelcompose", 400, 5e-2), ("internvl", 30, 1e-3)],
)
def test_every_flavor_is_the_released_iteration(flavor: str, steps: int, lr: float) -> None:
    stacked = random_stack(12, 9, (5, 4, 4), weights=(1, 0.5, 2))
    expected = descend(deltas_of(stacked), flavor, 3, steps, lr)
    merged = MethodCase.of("optmerge", {"flavor": flavor, "steps": steps, "lr": lr}).merge(stacked)
    torch.testing.assert_close(merged, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("flavor", "steps", "lr"),
    [("lora", 300, 1e-4), ("modelcompose", 400, 5e-2), ("internvl", 300, 1e-5)],
)
def test_each_flavor_has_its_own_steps(flavor: str, steps: int, lr: float) -> None:
    stacked = random_stack(12, 9, (5, 4, 4))
    own = MethodCase.of("optmerge", {"flavor": flavor}).merge(stacked)
    same = MethodCase.of("optmerge", {"flavor": flavor, "steps": steps, "lr": lr}).merge(stacked)
    assert torch.equal(own, same)


def test_many_steps_lead_to_the_minimum_of_wudi_where_nothing_is_cut() -> None:
    stacked = random_stack(60, 50, (2, 3, 2))
    merged = MethodCase.of("optmerge", {"steps": 20_000, "lr": 0.1}).merge(stacked)
    torch.testing.assert_close(merged, WUDI.merge(stacked), atol=1e-8, rtol=1e-8)


def test_steps_that_go_away_from_the_minimum_are_refused() -> None:
    stacked = random_stack(12, 9, (5, 4, 4))
    with pytest.raises(MergeError, match="too large") as caught:
        MethodCase.of("optmerge", {"lr": 50.0}).merge(stacked)
    assert "choose lr below" in caught.value.hint


def test_one_adapter_merges_to_itself() -> None:
    stacked = random_stack(12, 9, (4,))
    torch.testing.assert_close(MethodCase.of("optmerge").merge(stacked), deltas_of(stacked)[0])
