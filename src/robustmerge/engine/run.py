"""Carry out a plan: modules in parallel, tensors streamed to disk in a fixed order.

Every batch of modules is computed by one thread on its own, so the bytes do not depend on the
number of workers. Memory: a few modules' factors per worker, whatever the number of modules and
adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..adapter.precision import fit_float16
from ..adapter.reader import Adapter
from ..adapter.writer import round_to_dtype
from ..errors import MergeError
from ..factors import Dense, EachModule, Factors, Stack, Update, noted
from ..linalg import concat, fit_together, norm, rank_for_energy
from ..scale_rules import Sizes, find_scale_rule
from ..steps import Measure
from ..steps.input_metric import InputMetric
from ..steps.scale import measure
from ..threads import (
    Progress,
    count_cores,
    hand_back_freed_memory,
    limit_threads,
    parse_device,
    run_side_by_side,
)
from .job import JobBatch, ModuleJob, batches
from .plan import MergePlan

T = TypeVar("T")
R = TypeVar("R")


_LITTLE = 1e-3
"""Share of an adapter's norm that a merge of it alone may change without a word: rounding."""
_NOTHING = (
    "the merged update is zero in every module, so that the result answers as the base does: look "
    "at scale, weights and the method's parameters"
)
_ALONE = "the method changes a single adapter; -m task-arithmetic passes one on as it is"


@dataclass(frozen=True)
class MergedModule:
    """One module's result.

    Attributes:
        job: The module and its settings.
        factors: The merged update at the output's rank.
        scale: What the merged update was multiplied by.
        energy: Share of the merged update's energy kept at that rank.
        notes: Remarks of the method.
    """

    job: ModuleJob
    factors: Factors
    scale: float
    energy: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class RunFacts:
    """What a run reports beyond its modules.

    Attributes:
        record: For merge.json, under the method's name; plain data.
        lines: What is printed, by name.
        warnings: What a careful user should know.
    """

    record: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class MergeRun:
    """A plan being carried out on a device by some workers."""

    def __init__(self, plan: MergePlan, *, device: str = "cpu", workers: int | None = None) -> None:
        """Check the device; nothing is read yet.

        Raises:
            MergeError: a device that does not exist, or no workers
        """
        if workers is not None and workers < 1:
            raise MergeError(
                f"{workers} workers cannot work", where="--workers", hint="--workers 1 or more"
            )
        self.plan = plan
        self.device = parse_device(device)
        self.workers = workers or count_cores()
        self._surveyed: dict[str, object] = {}
        self._surveyed_by_steps: dict[int, dict[str, float]] = {}  # by the calibrate step's number
        self._metric: InputMetric | None = None
        self._factors_of_rules: dict[str, float] = {}
        self._cancelling: set[str] = set()
        self._nonzero: set[int] = set()
        self._changes = False

    def survey(self, progress: Progress) -> None:
        """Take the first passes over all modules, where method, steps or scale rule need any."""
        self._survey_updates(progress)
        self._survey_merged(progress)
        self._survey_inputs(progress)
        self._survey_sizes(progress)

    def _survey_updates(self, progress: Progress) -> None:
        survey = self.plan.method.survey
        if survey is None:
            return
        parameters = [dict(job.parameters) for job in self.plan.jobs]
        with limit_threads():
            result = survey(self._pass(progress, balanced=True), parameters)
        hand_back_freed_memory()
        if result is not None:
            self._surveyed = {"surveyed": result}

    def _survey_merged(self, progress: Progress) -> None:
        for number, step in enumerate(self.plan.calibrate):
            if (measure_merged := step.step.measure) is None:
                continue

            def measured(
                job: ModuleJob, before: int = number, of: Measure = measure_merged
            ) -> tuple[str, float]:
                stack = self._balanced(job, self.stack(job))
                update, _ = self._merge([job], [stack], before)[0]
                return job.name, of(update, stack)

            table = dict(self._each(measured, self.plan.jobs, progress))
            self._surveyed_by_steps[number] = table

    def _survey_inputs(self, progress: Progress) -> None:
        rules = {job.scale for job in self.plan.jobs if isinstance(job.scale, str)}
        if any(find_scale_rule(rule).of_inputs for rule in rules):
            with limit_threads():
                self._metric = InputMetric.of(self._pass(progress, balanced=False))
            hand_back_freed_memory()

    def _pass(self, progress: Progress, *, balanced: bool) -> EachModule:
        """Return a pass over all modules' updates, as the method sees them or as they are."""

        def each(work: Callable[[Stack], R]) -> Iterator[R]:
            def on(job: ModuleJob) -> R:
                stack = self.stack(job)
                return work(self._balanced(job, stack) if balanced else stack)

            return self._each(on, self.plan.jobs, progress)

        return each

    def _survey_sizes(self, progress: Progress) -> None:
        jobs = [job for job in self.plan.jobs if isinstance(job.scale, str)]
        if not jobs or self.plan.factor_per_module:
            return

        def sizes_of(job: ModuleJob) -> tuple[str, Sizes]:
            return str(job.scale), self._sizes(job)

        sizes: dict[str, Sizes] = {}
        for rule, size in self._each(sizes_of, jobs, progress):
            sizes[rule] = sizes[rule] + size if rule in sizes else size
        self._factors_of_rules = {rule: size.factor(rule) for rule, size in sizes.items()}
        self._cancelling = {rule for rule, size in sizes.items() if size.cancels}

    def sizes(self, progress: Progress) -> Sizes:
        """Return the sizes of the whole model at scale 1, after the survey; takes a pass."""
        first, *others = self._each(self._sizes, self.plan.jobs, progress)
        return sum(others, start=first)

    def _sizes(self, job: ModuleJob) -> Sizes:
        stack = self.stack(job)
        update, _ = self._merge([job], [self._balanced(job, stack)])[0]
        return measure(update, stack, self._metric)

    def rank(self, progress: Progress) -> int:
        """Return the output's uniform rank; a rank by energy takes a pass of its own."""
        planned, energy = self.plan.rank, self.plan.energy
        if planned is not None:
            return planned
        assert energy is not None

        def needed(batch: JobBatch) -> int:
            pairs = zip(batch.jobs, self._updates(batch), strict=True)
            return max(rank_for_energy(u, energy, job.full_rank) for job, (u, _, _) in pairs)

        return max(self._each_batch(needed, progress))

    def modules(self, rank: int, progress: Progress) -> Iterator[MergedModule]:
        """Merge every module, in the plan's order and in the type of the output."""

        def merge(batch: JobBatch) -> list[MergedModule]:
            updates = self._updates(batch)
            fitted = fit_together([update for update, _, _ in updates], rank)
            rows = zip(batch.jobs, fitted, updates, strict=True)
            return [
                self.stored(MergedModule(job, factors, scale, energy, notes))
                for job, (factors, energy), (_, scale, notes) in rows
            ]

        for merged in self._each_batch(merge, progress):
            if not self._changes:
                self._changes = any(m.factors.A.any() and m.factors.B.any() for m in merged)
            yield from merged

    def stored(self, merged: MergedModule) -> MergedModule:
        """Return a module in the output's type, with a remark on what float16 loses.

        Raises:
            MergeError: a value that does not fit, or nearly all of the update is lost
        """
        job, dtype, remark = merged.job, self.plan.dtype, ""
        try:
            factors = merged.factors
            if dtype == "F16":
                factors, remark = fit_float16(factors)
            A, B = (round_to_dtype(side, dtype, job.name) for side in (factors.A, factors.B))
        except MergeError as error:
            raise MergeError(error.problem, where=job.name, hint=error.hint) from None
        notes = (*merged.notes, remark) if remark else merged.notes
        return replace(merged, factors=Factors(A, B), notes=notes)

    def facts(self) -> RunFacts:
        """Return what a finished run has to report beyond its modules."""
        nothing = () if self._changes or not self._nonzero else (_NOTHING,)
        return RunFacts(warnings=(*self.zero_notes(), *nothing))

    def zero_notes(self) -> tuple[str, ...]:
        """Name the adapters whose update was zero in every module that was read."""
        return tuple(
            f"{adapter.label} changes nothing: its update is zero in every module. It counts as an "
            "adapter all the same, so that a mean shrinks the others; leave it out, or use "
            "another checkpoint"
            for number, adapter in enumerate(self.plan.adapters)
            if number not in self._nonzero
        )

    def stack(self, job: ModuleJob) -> Stack:
        """Read one module's updates."""
        factors = tuple(self._factors(adapter, job) for adapter in self.plan.adapters)
        for number, update in enumerate(factors):
            if number not in self._nonzero and update.A.any() and update.B.any():
                self._nonzero.add(number)
        modules = [a.modules.get(job.name) for a in self.plan.adapters]
        scalings = tuple(m.scaling if m else 1.0 for m in modules)
        return Stack(job.name, factors, job.weights, scalings, self._data(job))

    def _data(self, job: ModuleJob) -> tuple[Mapping[str, Tensor], ...]:
        if self.plan.data is None:
            return ()
        tables = self.plan.data.module(job.name, job.shape)
        return tuple({k: v.to(self.device) for k, v in table.items()} for table in tables)

    def _factors(self, adapter: Adapter, job: ModuleJob) -> Factors:
        if job.name not in adapter.modules:
            return Factors(
                torch.zeros(0, job.shape[1], device=self.device),
                torch.zeros(job.shape[0], 0, device=self.device),
            )
        factors = adapter.factors(job.name)
        if self.device.type == "cpu":
            return factors
        return Factors(factors.A.to(self.device), factors.B.to(self.device))

    def _updates(self, batch: JobBatch) -> list[tuple[Update, float, tuple[str, ...]]]:
        """Return the merged and scaled updates, the factors, and remarks of the method."""
        jobs, stacks = batch.jobs, [self.stack(job) for job in batch.jobs]
        balanced = [self._balanced(job, stack) for job, stack in zip(jobs, stacks, strict=True)]
        merged: dict[int, tuple[Update, tuple[str, ...]]] = {}
        for numbers in batch.alike:
            results = self._merge([jobs[n] for n in numbers], [balanced[n] for n in numbers])
            merged |= zip(numbers, results, strict=True)
        return [self._scaled(job, stacks[n], *merged[n]) for n, job in enumerate(jobs)]

    def _scaled(
        self, job: ModuleJob, stack: Stack, update: Update, notes: tuple[str, ...]
    ) -> tuple[Update, float, tuple[str, ...]]:
        """Return a module's update as large as the recipe says, the factor, and remarks."""
        rule = job.scale
        cancels = rule in self._cancelling
        if not isinstance(rule, str):
            scale = rule
        elif rule in self._factors_of_rules:
            scale = self._factors_of_rules[rule]
        else:
            sizes = measure(update, stack, self._metric)
            scale, cancels = sizes.factor(rule), sizes.cancels
        if cancels:
            notes = (*notes, f"the updates cancel; what rounding leaves is not scaled by {rule}")
        if len(stack) == 1 and _differs(update.scaled(scale if rule is not scale else 1.0), stack):
            notes = (*notes, _ALONE)
        return update.scaled(scale), scale, notes

    def _balanced(self, job: ModuleJob, stack: Stack) -> Stack:
        """Return one module's updates as the method sees them."""
        for step in self.plan.balance:
            stack = step.balance(stack, job.depth)
        return stack

    def _merge(
        self, jobs: Sequence[ModuleJob], stacks: Sequence[Stack], steps: int | None = None
    ) -> list[tuple[Update, tuple[str, ...]]]:
        """Merge and calibrate modules of one kind, without scaling them.

        Args:
            jobs: The modules.
            stacks: Their balanced updates.
            steps: How many calibrate steps are taken, all where not given.
        """
        parameters = {**jobs[0].parameters, **self._surveyed}
        results = map(noted, self.plan.method.together(stacks, **parameters))
        rows = zip(jobs, stacks, results, strict=True)
        return [
            (self._calibrated(job, stack, result.update, steps), result.notes)
            for job, stack, result in rows
        ]

    def _calibrated(
        self, job: ModuleJob, stack: Stack, update: Update, steps: int | None
    ) -> Update:
        """Take the first so many calibrate steps."""
        if update.shape != job.shape:
            raise MergeError(
                f"method {self.plan.method.name} gave an update of shape {list(update.shape)}",
                where=f"{job.name}, whose shape is {list(job.shape)}",
                hint="robustmerge.testing.check_method tests a method",
            )
        for number, step in enumerate(self.plan.calibrate[:steps]):
            surveyed = self._surveyed_by_steps.get(number)
            update = step.calibrate(update, stack, job.depth, surveyed)
        return update

    def _each_batch(self, work: Callable[[JobBatch], R], progress: Progress) -> Iterator[R]:
        items = batches(self.plan.jobs)
        done = list(accumulate(len(batch.jobs) for batch in items))
        return self._each(work, items, lambda n, _: progress(done[n - 1], done[-1]))

    def _each(self, work: Callable[[T], R], items: Iterable[T], progress: Progress) -> Iterator[R]:
        return run_side_by_side(work, list(items), self.workers, progress)


def _differs(update: Update, stack: Stack) -> bool:
    """Return whether a merge of one adapter is another update than it was, beyond rounding."""
    alone = concat(stack)
    if isinstance(update, Dense):
        difference: Update = Dense(update.delta - alone.dense())
    else:
        merged = update if isinstance(update, Factors) else update.factors()
        A, B = (
            torch.cat([merged.A, alone.A.to(merged.A)]),
            torch.cat([merged.B, -alone.B.to(merged.B)], dim=1),
        )
        difference = Factors(A, B)
    return norm(difference) > _LITTLE * norm(alone)
