"""Modules that a walk does not solve, merged by DRIFT: from the adapters alone.

These are vision tower, connector, embeddings and head, and modules in blocks that do not get every
token, such as the experts of a mixture. DRIFT looks at all modules first, for the adapters' sizes
and starts, which is done when the first such module is asked for, and not at all if none is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TypeVar

from .. import methods
from ..engine.job import ModuleJob
from ..factors import Factors, Stack, noted
from ..linalg import fit
from .solve import Solution

R = TypeVar("R")


class MergeElsewhere:
    """Merges single modules of the adapters."""

    def __init__(
        self,
        jobs: Sequence[ModuleJob],
        stack_of: Callable[[ModuleJob], Stack],
        rank: int,
        round_factors: Callable[[Factors], Factors],
    ) -> None:
        """Take note of where the updates are; nothing is read yet.

        Args:
            jobs: All modules of the merge.
            stack_of: Reads the updates of one.
            rank: The output's rank.
            round_factors: Rounds factors to the type in which they are written.
        """
        self._jobs = {job.name: job for job in jobs}
        self._stack_of, self._rank, self._round = stack_of, rank, round_factors
        self._method = methods.get("drift")
        self._parameters = self._method.configure({})

    def __call__(self, name: str) -> Solution:
        """Merge a module.

        Args:
            name: Its canonical name.
        """
        stack = self._stack(self._jobs[name])
        result = noted(self._method(stack, **self._parameters, surveyed=self._surveyed))
        factors, kept = fit(result.update, self._rank)
        return Solution(self._round(factors), kept)

    @cached_property
    def _surveyed(self) -> object:
        survey = self._method.survey
        assert survey is not None
        return survey(self._each, [self._parameters])

    def _each(self, work: Callable[[Stack], R]) -> Iterator[R]:
        return (work(self._stack(job)) for job in self._jobs.values())

    def _stack(self, job: ModuleJob) -> Stack:
        """Read a module's updates; weights say how much an adapter counts, 1 on average."""
        stack = self._stack_of(job)
        return stack.reweighted(tuple(len(stack) * share for share in stack.share()))
