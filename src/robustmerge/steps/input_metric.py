"""DRIFT's measure of errors, with which the rule `metric` judges the merges of other methods.

    wanted      Σ_t tr(L_t D_t G_t Δ^T)
    answered    Σ_t tr(L_t Δ G_t Δ^T)

c Δ is nearest to what the adapters want at c = wanted / answered, both summed over modules. What of
Δ reads inputs that no adapter reads counts nothing; what it writes where no adapter writes counts
as any other crosstalk.

Cost: DRIFT's first pass, and O((d_out + d_in) R^2) per module for the sum of ranks R, for dense
updates O(d_out d_in R).
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import methods
from ..factors import Dense, EachModule, Lifted, Stack, Update
from ..methods.regression._proxies import ModelSurvey, survey
from ..methods.regression.drift import pose_problem


@dataclass(frozen=True)
class InputMetric:
    """The measure in all modules of a merge.

    Attributes:
        surveyed: What DRIFT's first pass saw.
    """

    surveyed: ModelSurvey

    @classmethod
    def of(cls, each: EachModule) -> InputMetric:
        """Take the first pass.

        Args:
            each: A pass over the adapters' updates, not balanced.
        """
        return cls(survey(each, [methods.get("drift").configure({})]))

    def sizes(self, update: Update, stack: Stack) -> tuple[float, float]:
        """Return `wanted` and `answered` of one module's merged update."""
        settings = methods.get("drift").configure({"caution": 1.0})
        problem = pose_problem(stack, self.surveyed, settings)
        if problem is None:
            return 0.0, 0.0
        Q = problem.A.Q
        if isinstance(update, Dense):
            X = update.delta.double() @ Q  # [d_out, q]
        else:
            f = update.factors() if isinstance(update, Lifted) else update
            X = f.B.double() @ (f.A.double() @ Q)
        inside = problem.B.Q.T @ X  # [p, q]
        outside = X.T @ X - inside.T @ inside
        answered = problem.measure(inside) + float((problem.measure.E * outside).sum())
        return float((problem.wanted * inside).sum()), answered
