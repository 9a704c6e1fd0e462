"""A merge to evaluate: method, parameters, steps around the method, scale and rank.

A user writes the first three as one text:

    ties
    ties:density=0.3,space=delta
    norms:exponent=1+tsv-m+svc        balance steps, the method, calibrate steps
    relay+polish:steps=100            gradient steps after all that
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from robustmerge import methods, steps
from robustmerge.engine.data import check_fitted
from robustmerge.engine.polishing import PolishSettings, parse_polish
from robustmerge.engine.recipe import Recipe
from robustmerge.errors import MergeError, unknown, within
from robustmerge.parameters import read_settings
from robustmerge.statistic_kinds import KindName, kinds_of

Protocol = Literal["default", "norm-matched", "geometric", "kept", "metric", "sweep"]
Rank = Literal["input", "full"]

SCALES: Mapping[Protocol, float | str] = {
    "default": 1.0,
    "norm-matched": "norm-matched",
    "geometric": "geometric-middle",
    "kept": "kept",
    "metric": "metric",
    "sweep": 1.0,
}
"""The merge's scale by protocol; a sweep multiplies the merge of scale 1 afterwards."""

_POLISH, _STEPS = "polish", "300"
"""The part of a text that stands for gradient steps, and how many there are unless it says."""

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
    polish: str = ""

    @property
    def label(self) -> str:
        """Method, parameters and steps as a user writes them."""
        own = ",".join(f"{name}={value}" for name, value in self.settings)
        method = self.method + (f":{own}" if own else "")
        last = (f"{_POLISH}:steps={self.polish.replace(':', ',')}",) if self.polish else ()
        return "+".join((*self.balance, method, *self.calibrate, *last))

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters of the method with their values."""
        return methods.get(self.method).configure(dict(self.settings))

    @property
    def options(self) -> dict[str, Any]:
        """What `robustmerge.merge` is called with, but for the method's parameters."""
        return {
            "method": self.method,
            "balance": self.balance,
            "calibrate": self.calibrate,
            "scale": SCALES[self.scale],
            "rank": self.rank,
            "polish": self.polish or None,
        }

    def check(self) -> None:
        """Check that the method takes these steps and this scale, before any model is examined.

        Raises:
            MergeError: the method fits its merge to the model, and takes no steps or scale rules
        """
        recipe = Recipe(adapters=("any",), **self.options)  # a recipe has at least one
        with within(f"{self.label}, --scale {self.scale}"):
            check_fitted(recipe, methods.get(self.method))

    @property
    def statistics(self) -> tuple[KindName, ...]:
        """Statistics that the method needs, by their names in `robustmerge collect`."""
        return tuple(sorted(kinds_of(methods.get(self.method).needs)))

    @property
    def polishing(self) -> PolishSettings | None:
        """All settings of the gradient steps after the merge, if there are any."""
        return parse_polish(self.polish) if self.polish else None

    @property
    def runs_model(self) -> bool:
        """Whether the merge runs the base model on samples."""
        return bool(methods.get(self.method).run or self.polish)

    def unlabeled(self, validation: int) -> int:
        """Return how many items of each seen task the merge is made with, without answers.

        Args:
            validation: How many there are for methods that need statistics.
        """
        counts = [validation if self.statistics else 0]
        if methods.get(self.method).run:
            counts.append(int(self.parameters["prompts"]) + int(self.parameters["held_out"]))
        if polishing := self.polishing:
            counts.append(polishing.prompts + polishing.held_out)
        return max(counts)

    @classmethod
    def parse(cls, text: str) -> Contender:
        """Read a contender from a text; scale and rank are left at their defaults."""
        parts = text.split("+")
        polish = _read_polish(parts.pop(), text) if parts[-1].startswith(_POLISH) else ""
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
        own = tuple((key, values[key]) for key in sorted(settings))
        return cls(name, own, before, after, polish=polish)


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


def _read_polish(part: str, text: str) -> str:
    """Return a part such as polish:steps=100,rate=0.001 as the option of a merge has it."""
    name, _, rest = part.partition(":")
    if name != _POLISH:
        raise unknown("step", name, [_POLISH])
    pairs = filter(None, rest.split(","))
    settings = read_settings(pairs, where=f"--methods {text}", hint=_HINT)
    count = settings.pop("steps", _STEPS)
    values = parse_polish(f"{count}:" + ",".join(f"{k}={v}" for k, v in settings.items()))
    own = ",".join(f"{key}={getattr(values, key)}" for key in sorted(settings))
    return f"{values.steps}:{own}" if own else str(values.steps)


def _find_method(parts: list[str], text: str) -> int:
    """Return the position of the method: with balance steps before it and calibrate steps after."""
    names = [part.partition(":")[0] for part in parts]
    known = set(methods.names())
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
