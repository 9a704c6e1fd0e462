r"""DRIFT: two-sided least squares on inputs estimated from how far each A has moved.

    minimize Σ_t tr(L_t (X - D_t) G_t (X - D_t)^T)       over X, of the rank that is asked for
    D_t = w_t Δ_t (g / n_t)^equalize                      n_t = ‖Δ_t‖ over all modules, g their
                                                          geometric mean
    L_t = crosstalk I + (1 - crosstalk) P_t               P_t: projector on Δ_t's output directions
    G_t = C_t + ridge I / q                               C_t: second moments of task t's inputs

An error in what adapter t writes, on t's inputs, counts 1; what others write into other
directions on t's inputs counts `crosstalk`. What a merge loses is less peace from the others than
the adapters' own strength (docs/ours.md). One-sided regressions (RegMean, WUDI, ACE) count both
alike, and so come out too small or in need of a factor. Here the size comes out of the problem.

C_t is read off A: a row of A moves by sums of the inputs it is trained on, so what training added
to it shows them better than the update's rows, in which the beginning of A counts as much. Where
adapters share their start, their mean A stands for it; otherwise PEFT's distribution does
(`start`: what the files show, or what is assumed of all adapters). The start of an adapter whose A
was written in other coordinates, as by a singular value decomposition, is unknown: the result is
not a function of the updates alone. Then its rows stand for drift, which a remark says.

Weights multiply the targets D_t. One adapter is returned as it is; one that is zero or has weight 0
takes no part, nor does one in a module that it does not have. Up to four adapters keep their
norms, and two count each other's crosstalk for a sixth: few do each other little harm. Where each
has a start of A of its own, more than four are merged at

    caution^k, k = 1 + max(0, log2(64 r / d_in))          r: the adapters' mean rank in a module

of the solution's size: their inputs are known less well, and a merge that is too large, as it
easily is where ranks are a large share of the inputs, can lose a task altogether.

At a lower rank the minimum is that over updates of the rank, by alternating exact solutions, which
keeps what a cut by singular values loses (`cut`).

Cost: O((d_out + d_in) R^2) for the sum of ranks R, R^3 per step of conjugate gradients, of which
about 15 are needed, and 10 rounds of R^2 r for a fit of rank r. A first pass over all modules takes
norms and inner products, and another the inputs of modules that share a residual stream: queries,
keys, values, gate and up. Of any other module, an expert of fused ones included, nothing is kept.

Source: own; docs/ours.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, log2
from statistics import fmean
from typing import Annotated, Any

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...basis import Basis
from ...factors import Factors, Lifted, Noted, Result, Stack
from ...linalg import common_bases, compact_svd, concat
from ...quadratic import Quadratic
from .._registry import Cut, When, method
from ..entrywise._survey import check_surveyed
from ._proxies import ModelSurvey, Proxy, survey
from ._starts import AssumedStart, Kind, Starts

_FEW = 4
"""Adapters up to which none suffered from the largest, and no merge was too large."""
_PAIR = 1 / 6
"""Of `crosstalk` for two adapters: the sum of two at full strength loses next to nothing."""
_SHARE = 1 / 64
"""Of a module's inputs that an adapter's rank is before merges of guessed starts become smaller:
0.85, its square and its cube are near the best sizes at ranks 4, 8 and 16 of 256 inputs."""


@method(
    "drift",
    paper="own",
    checked="the dense normal equations",
    gauge_invariant=When("start", "unknown"),
    survey=survey,
    many=True,
)
def drift(
    stacks: Sequence[Stack],
    *,
    crosstalk: Annotated[float, Interval(gt=0, le=1)] = 0.3,
    ridge: Annotated[float, Interval(gt=0)] = 0.1,
    own: Annotated[float, Interval(ge=0)] = 0.2,
    equalize: Annotated[float, Interval(ge=0)] = 1.0,
    caution: Annotated[float, Interval(gt=0, le=1)] = 0.85,
    proxy: Proxy = "drift",
    pool: bool = True,
    start: AssumedStart = "auto",
    cut: Cut = "objective",
    surveyed: ModelSurvey | None = None,
) -> list[Result]:
    """Merge by two-sided least squares on drift.

    Args:
        stacks: The updates of each module.
        crosstalk: What an error counts in output directions that the task does not write.
        ridge: Weight of inputs that no drift shows, next to 1 for those it shows.
        own: Weight of the update's own rows among the inputs, where A has a start of its own.
        equalize: How far the norms of eight adapters or more are made equal: 0 not at all, 1 to
            equal norms. Four or fewer keep theirs, and those between in part.
        caution: Factor on the merge of more than four adapters that each have a start of A of
            their own, whose inputs are known less well; taken once more for every doubling of
            the ranks beyond a 64th of the inputs.
        proxy: Inputs read off the drift of A, off the updates' rows, or all alike.
        pool: Take together the drift of modules that read the same input.
        start: How A began: found in the files, or assumed of all adapters.
        cut: At a lower rank, the least objective or the most energy.
        surveyed: The first pass over all modules.
    """
    check_surveyed(stacks[0], surveyed, True, "drift")
    assert surveyed is not None
    settings = {"crosstalk": crosstalk, "ridge": ridge, "own": own, "proxy": proxy}
    settings |= {"equalize": equalize, "caution": caution}
    posed = [pose_problem(stack, surveyed, settings) for stack in stacks]
    remarks, problems = _remarks(surveyed.starts), [problem for problem in posed if problem]
    if not problems:
        return [Noted(concat(stack), remarks) for stack in stacks]
    wanted = torch.stack([problem.wanted for problem in problems])
    X = Quadratic.stack([problem.measure for problem in problems]).minimum(wanted)
    by_energy = cut == "energy"
    return [
        Noted(Lifted(problem.B, M, problem.A, None if by_energy else problem.measure), remarks)
        for problem, M in zip(problems, X, strict=True)
    ]


@dataclass(frozen=True)
class DriftProblem:
    """The least-squares problem of one module: the minimum of measure(X) - 2 <wanted, X>.

    Attributes:
        B: Basis of output directions.
        A: Basis of input directions.
        measure: Σ_t tr(L_t X G_t X^T) of a core X.
        wanted: Σ_t L_t D_t G_t.
    """

    B: Basis
    A: Basis
    measure: Quadratic
    wanted: Float[Tensor, "p q"]


def pose_problem(
    stack: Stack, surveyed: ModelSurvey, settings: Mapping[str, Any]
) -> DriftProblem | None:
    """Return the problem of one module; None where fewer than two adapters take part.

    Args:
        stack: The module's updates.
        surveyed: The first pass over all modules.
        settings: The method's parameters, of which `pool`, `start` and `cut` have no part in it.
    """
    norms = surveyed.starts.norms
    parts = [
        t
        for t, (f, w) in enumerate(zip(stack.factors, stack.weights, strict=True))
        if w and f.rank and norms[t]
    ]
    if len(parts) < 2:
        return None
    B, A, inside = common_bases(stack.factors)
    inputs = surveyed.inputs_of(stack, A, inside)
    C = inputs.moments(settings["own"])[parts]
    C = C if settings["proxy"] != "none" else torch.zeros_like(C)
    G = C + settings["ridge"] / inputs.width * torch.eye(C.shape[-1]).to(C)
    taking = [n for n, w in zip(norms, stack.weights, strict=True) if n and w]
    share = fmean(stack.factors[t].rank for t in parts) / stack.shape[1]
    size = _size(surveyed.starts, len(taking), share, settings["caution"])
    mean, power = fmean(map(log, taking)), settings["equalize"] * _share_equal(len(taking))
    by = [size * stack.weights[t] * exp(power * (mean - log(norms[t]))) for t in parts]
    targets = torch.stack([inside[t].dense() * b for t, b in zip(parts, by, strict=True)])
    crosstalk = settings["crosstalk"] * (_PAIR if len(taking) == 2 else 1)
    P = _directions([inside[t] for t in parts])
    measure = Quadratic(crosstalk * G.sum(0), P, (1 - crosstalk) * G)
    # L_t D_t = D_t, as D_t has no other output directions.
    return DriftProblem(B, A, measure, (targets @ G).sum(0))


def _share_equal(tasks: int) -> float:
    """Return how far norms are made equal: 0 for few adapters, 1 for twice as many."""
    return min(max(tasks - _FEW, 0) / _FEW, 1.0)


def _size(starts: Starts, tasks: int, share: float, caution: float) -> float:
    """Return the factor on all targets, where ranks are such a share of the inputs."""
    guessed = sum(kind != "shared" for kind in starts.kinds) / len(starts.kinds)
    power = 1 + max(0.0, log2(share / _SHARE))
    return float(caution ** (guessed * power)) if tasks > _FEW else 1.0


def _directions(inside: Sequence[Factors]) -> Float[Tensor, "task p r"]:
    """Return each update's output directions, padded with zeros."""
    width = max(f.rank for f in inside)
    directions = []
    for f in inside:
        R = torch.linalg.qr(f.A.T, mode="r").R
        U = compact_svd(f.B @ R.T)[0]
        directions.append(torch.nn.functional.pad(U, (0, width - U.shape[1])))
    return torch.stack(directions)


def _remarks(starts: Starts) -> tuple[str, ...]:
    """Say how the adapters' A began, and what does not fit what is known of starts."""
    if len(starts.kinds) == 1:
        return ()
    counts = Counter(starts.kinds)
    texts: dict[Kind, str] = {
        "shared": "{} share their start of A",
        "independent": "{} have a start of their own",
        "unknown": "{} have an A that PEFT does not begin with, or that went through a singular "
        "value decomposition; the rows of A stand for its drift",
    }
    parts = [text.format(counts[kind]) for kind, text in texts.items() if counts[kind]]
    return (f"of {len(starts.kinds)} adapters, " + "; ".join(parts),)
