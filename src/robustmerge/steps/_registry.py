"""Steps: functions on the updates before a merge, or on the merged update after it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from ..depth import Depth
from ..errors import unknown
from ..factors import Stack, Update
from ..parameters import Parameter, configure, read_settings, read_signature

Stage = Literal["balance", "calibrate"]
Measure = Callable[[Update, Stack], float]
Surveyed = Mapping[str, float]
"""A measured number of every module, by its name."""
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Step:
    """A registered step.

    Attributes:
        name: What the user types.
        stage: balance, before the merge, or calibrate, after it.
        function: (stack, *, parameters) -> Stack, or (update, stack, *, parameters) -> Update.
        paper: Its source, one line.
        checked: What the implementation was compared with.
        deep: It takes the module's position in the model, as keyword `depth`.
        measure: What a first pass over all modules takes of every merged update, for a calibrate
            step that looks at the whole model; the numbers by module are its keyword `surveyed`.
        parameters: What the user may set.
    """

    name: str
    stage: Stage
    function: Callable[..., Any]
    paper: str
    checked: str
    deep: bool
    measure: Measure | None
    parameters: Mapping[str, Parameter] = field(repr=False)

    @property
    def doc(self) -> str:
        """The step's page: formula, meaning, source."""
        return inspect.cleandoc(sys.modules[self.function.__module__].__doc__ or "")


@dataclass(frozen=True)
class ConfiguredStep:
    """A step with its parameters."""

    step: Step
    parameters: Mapping[str, Any]

    def balance(self, stack: Stack, depth: Depth) -> Stack:
        """Return the updates that the method sees."""
        balanced: Stack = self.step.function(stack, **self._arguments(depth))
        return balanced

    def calibrate(
        self, update: Update, stack: Stack, depth: Depth, surveyed: Surveyed | None = None
    ) -> Update:
        """Return the merged update, calibrated by the updates as the method saw them.

        Args:
            update: The merged update.
            stack: What it was merged from.
            depth: The module's position in the model.
            surveyed: What the first pass measured, where the step takes one.
        """
        arguments = self._arguments(depth)
        if self.step.measure is not None:
            arguments["surveyed"] = surveyed
        calibrated: Update = self.step.function(update, stack, **arguments)
        return calibrated

    def _arguments(self, depth: Depth) -> dict[str, Any]:
        return {**self.parameters, "depth": depth} if self.step.deep else dict(self.parameters)


_STEPS: dict[str, Step] = {}


def step(
    name: str, *, stage: Stage, paper: str, checked: str, measure: Measure | None = None
) -> Callable[[F], F]:
    """Register a function as the step `name`; `Step` says what the arguments mean."""

    def register(function: F) -> F:
        parameters = read_signature(function, "depth")
        deep = "depth" in inspect.signature(function).parameters
        _STEPS[name] = Step(name, stage, function, paper, checked, deep, measure, parameters)
        return function

    return register


def every() -> tuple[Step, ...]:
    """Return all registered steps: those before the merge first, by name."""
    return tuple(sorted(_STEPS.values(), key=lambda s: (s.stage, s.name)))


def parse(text: str, stage: Stage) -> ConfiguredStep:
    """Read a step such as `norms` or `norms:exponent=0.5,cap=3`.

    Raises:
        MergeError: no step of this name in this stage, or an impossible parameter
    """
    name, _, rest = text.partition(":")
    known = {s.name: s for s in every() if s.stage == stage}
    if name not in known:
        raise unknown(f"step of stage {stage}", name, known)
    settings = read_settings(
        filter(None, rest.split(",")), hint=f"{stage}: such as {name}:name=value,name=value"
    )
    parameters = configure(known[name].parameters, settings, f"step {name!r}")
    return ConfiguredStep(known[name], parameters)
