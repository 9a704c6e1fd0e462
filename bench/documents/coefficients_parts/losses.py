"""What two published methods minimize on prompts without answers.

    NSC    mean over tasks t, modules and tokens of √(1 - yᵀ (A_t A_tᵀ)⁻¹ y / ‖x‖²),  y = A_t x
           the share of a module's input in the merged model that lies outside of the rows of A_t
    TARA   α log Σ_t exp(ρ (H_t - z_t) / α)
           a soft maximum over tasks of how much less certain the merged model is than the adapter

NSC is arXiv:2603.26317, TARA is arXiv:2603.26299.
"""

from __future__ import annotations

from torch import Tensor

_SMALLEST = 1e-8  # the root has no gradient at zero


def outside(x: Tensor, basis: Tensor) -> Tensor:
    """Return the share of every input that lies outside of a space, 0 to 1, as a ratio of norms.

    Args:
        x: Inputs [row, token, d_in].
        basis: Orthonormal columns that span a space for each row [row, d_in, rank].

    Returns:
        Shares [row, token].
    """
    x = x.float()
    inside = (x @ basis).square().sum(-1)  # yᵀ (A Aᵀ)⁻¹ y, where the columns span the rows of A
    whole = x.square().sum(-1).clamp_min(_SMALLEST)
    return (1 - inside / whole).clamp_min(_SMALLEST).sqrt()


def mean_over_tokens(values: Tensor, counted: Tensor) -> Tensor:
    """Return the mean over rows of each row's mean [row, token] over the tokens that count."""
    weights = counted.to(values)
    return ((values * weights).sum(-1) / weights.sum(-1)).mean()


def entropy(logits: Tensor) -> Tensor:
    """Return the entropies in nats of distributions by their logits [row, vocabulary]."""
    log_p = logits.float().log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def soft_maximum(gaps: Tensor, preference: float, alpha: float = 1.0) -> Tensor:
    """Return α log Σ exp(ρ gap / α) over the gaps [task], with one preference ρ for all tasks."""
    return alpha * (preference * gaps / alpha).logsumexp(0)
