"""A merge to evaluate: method, parameters, steps around the method, scale and rank.

A user writes the first three as one text:

    ties
    ties:density=0.3,space=delta
    norms:exponent=1+tsv-m+svc        balance steps, the method, calibrate steps
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from robustmerge import methods, steps
from robustmerge.errors import MergeError, unknown
from robustmerge.parameters import read_settings
from robustmerge.statistic_kinds import KindName, kinds_of

Protocol = Literal["default", "norm-matched", "geometric", "sweep"]
Rank = Literal["input", "full"]

SCALES: Mapping[Protocol, float | str] = {
    "default": 1.0,
    "norm-matched": "norm-matched",
    "geometric": "geometric-middle",
    "sweep": 1.0,
}
"""The merge's scale by protocol; a sweep multiplies the merge of scale 1 afterwards."""

_HINT = "such as ties:density=0.3,space=delta, or norms+tsv-m+svc with steps around the method"


@dataclass(frozen=True)
class Contender:
    """A merge to evaluate; its settings are the parameters that differ from the defaults."""

    method: str
    settings: tuple[tuple[str, Any], ...] = ()
    balance: tuple[str, ...] = ()
    calibrate: tuple[str, ...] = ()
    scale: Protocol = "default"
    rank: Rank = "input"

    @property
    def label(self) -> str:
        """Method, parameters and steps as a user writes them."""
        own = ",".join(f"{name}={value}" for name, value in self.settings)
        return "+".join((*self.balance, self.method + (f":{own}" if own else ""), *self.calibrate))

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters of the method with their values."""
        return methods.get(self.method).configure(dict(self.settings))

    @property
    def statistics(self) -> tuple[KindName, ...]:
        """Statistics that the method needs, by their names in `robustmerge collect`."""
        return tuple(sorted(kinds_of(methods.get(self.method).needs)))

    @property
    def runs_model(self) -> bool:
        """Whether the method runs the base model on samples."""
        return bool(methods.get(self.method).run)

    def unlabeled(self, validation: int) -> int:
        """Return how many items of each seen task the merge is made with, without answers.

        Args:
            validation: How many there are for methods that need statistics.
        """
        if self.runs_model:
            parameters = self.parameters
            return int(parameters["prompts"]) + int(parameters["held_out"])
        return validation if self.statistics else 0

    @classmethod
    def parse(cls, text: str) -> Contender:
        """Read a contender from a text; scale and rank are left at their defaults."""
        parts = text.split("+")
        position = _find_method(parts, text)
        before, after = tuple(parts[:position]), tuple(parts[position + 1 :])
        for part in before:
            steps.parse(part, "balance")
        for part in after:
            steps.parse(part, "calibrate")
        name, _, rest = parts[position].partition(":")
        pairs = filter(None, rest.split(","))
        settings = read_settings(pairs, where=f"--methods {text}", hint=_HINT)
        values = methods.get(name).configure(settings)
        return cls(name, tuple((key, values[key]) for key in sorted(settings)), before, after)


CONTROL = Contender("task-arithmetic", balance=("random-directions",))
"""Updates of the right sizes that mean nothing, summed: what a score owes to size alone."""


def every() -> tuple[Contender, ...]:
    """Return every method that merges from files at its defaults, and the control."""
    return (*(Contender(method.name) for method in methods.every()), CONTROL)


def split(text: str) -> list[str]:
    """Split contenders at commas; a comma may also continue a method's parameters."""
    contenders: list[str] = []
    for piece in filter(None, (part.strip() for part in text.split(","))):
        before, equals, _ = piece.partition("=")
        if contenders and equals and ":" not in before:
            contenders[-1] += f",{piece}"
        else:
            contenders.append(piece)
    return contenders


def parse_all(texts: Iterable[str]) -> tuple[Contender, ...]:
    """Read several contenders; one that is named twice counts once."""
    return tuple(dict.fromkeys(Contender.parse(part) for text in texts for part in split(text)))


def _find_method(parts: list[str], text: str) -> int:
    """Return the position of the method: with balance steps before it and calibrate steps after."""
    names = [part.partition(":")[0] for part in parts]
    known = {method.name for method in (*methods.every(), *methods.with_model())}
    balance = {step.name for step in steps.every() if step.stage == "balance"}
    calibrate = {step.name for step in steps.every() if step.stage == "calibrate"}
    for i, name in enumerate(names):
        if name in known and balance.issuperset(names[:i]) and calibrate.issuperset(names[i + 1 :]):
            return i
    for name in names:
        if name not in known | balance | calibrate:
            if len(names) == 1:
                raise unknown("method", name, known)
            raise unknown("method or step", name, known | balance | calibrate)
    raise MergeError(
        f"{text!r} is not a method with steps around it", where="--methods", hint=_HINT
    )
