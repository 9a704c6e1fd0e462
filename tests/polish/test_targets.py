"""Divergences against their dense definition, with all words and with the most likely ones."""

from __future__ import annotations

import torch
from hypothesis import given, strategies as st

from robustmerge.polish.targets import TargetDistribution, find_targets, mean_divergence
from robustmerge.prompted.answers import AnsweredPrompt


def logits(seed: int, positions: int, words: int, size: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(positions, words, generator=generator)


def dense(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """KL of two sets of logits, in float64."""
    p, q = p.double().log_softmax(-1), q.double().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


@given(st.integers(0, 99), st.integers(1, 5), st.integers(2, 40))
def test_all_words_give_the_exact_divergence(seed: int, positions: int, words: int) -> None:
    p, q = logits(seed, positions, words), logits(seed + 1000, positions, words)
    found = TargetDistribution.of(p).divergence(q)
    torch.testing.assert_close(found.double(), dense(p, q), atol=2e-5, rtol=1e-4)


@given(st.integers(0, 99), st.integers(1, 30))
def test_the_likely_words_give_the_divergence_of_joined_words(seed: int, top: int) -> None:
    p, q = logits(seed, 3, 40), logits(seed + 1000, 3, 40)
    target = TargetDistribution.of(p, top)
    found = target.divergence(q).double()
    P, Q = p.double().softmax(-1), q.double().softmax(-1)
    for row in range(3):
        order = P[row].argsort(descending=True)
        kept, others = order[:top], order[top:]
        a = torch.cat([P[row, kept], P[row, others].sum()[None]])
        b = torch.cat([Q[row, kept], Q[row, others].sum()[None]])
        wanted = float((a * (a / b).log()).sum())
        assert abs(float(found[row]) - wanted) < 1e-4 + 1e-3 * wanted
    assert (found <= dense(p, q) + 1e-4).all()  # joining words loses information


def test_gradients_are_those_of_the_dense_divergence() -> None:
    p, q = logits(1, 4, 30), logits(2, 4, 30).requires_grad_()
    TargetDistribution.of(p).divergence(q).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(q.grad, q.detach().softmax(-1) - p.softmax(-1), atol=1e-5, rtol=1e-4)


def test_means_are_over_positions_and_prompts_keep_their_order() -> None:
    rows = [logits(n, n + 1, 20) for n in range(4)]
    prompts = [
        AnsweredPrompt(
            str(n), {"input_ids": torch.zeros(1, 3 + n), "kind": n % 2}, 2, rows[n][:, 0]
        )
        for n in range(4)
    ]
    targets = find_targets(prompts, lambda some: [rows[int(p.where)] for p in some], 8)
    for n, target in enumerate(targets):
        torch.testing.assert_close(target.log_p, rows[n].log_softmax(-1))
    other = [logits(n + 50, n + 1, 20) for n in range(4)]
    found = mean_divergence(prompts, targets, lambda some: [other[int(p.where)] for p in some], 1)
    wanted = torch.cat([dense(p, q) for p, q in zip(rows, other, strict=True)]).mean()
    assert abs(found - float(wanted)) < 1e-5
