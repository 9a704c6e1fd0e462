"""A merge that is to be judged, as a user writes it: steps, method and parameters.

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

What = Literal["fisher", "gram"]

_HINT = "such as ties:density=0.3,space=delta, or norms+tsv-m+svc with steps around the method"


@dataclass(frozen=True)
class Contender:
    """A method with its parameters and the steps around it.

    Attributes:
        method: Name of the method.
        given: Its parameters where they were given, by name.
        balance: Steps before it.
        calibrate: Steps after it.
    """

    method: str
    given: tuple[tuple[str, Any], ...] = ()
    balance: tuple[str, ...] = ()
    calibrate: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What it is called in results: as the user would write it."""
        own = ",".join(f"{name}={value}" for name, value in self.given)
        return "+".join((*self.balance, self.method + (f":{own}" if own else ""), *self.calibrate))

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters of the method with their values."""
        return methods.get(self.method).configure(dict(self.given))

    @property
    def statistics(self) -> tuple[What, ...]:
        """What the method has to know of the experts' tasks, as `robustmerge collect` calls it."""
        needs = methods.get(self.method).needs
        return tuple(sorted({"fisher" if n.startswith("fisher") else "gram" for n in needs}))

    @classmethod
    def parse(cls, text: str) -> Contender:
        """Read one.

        Raises:
            MergeError: There is no such method, step or parameter.
        """
        parts = text.split("+")
        place = _place_of_method(parts, text)
        name, _, rest = parts[place].partition(":")
        found = methods.get(name)
        values = found.configure(_pairs(rest, text))
        given = tuple((key, values[key]) for key in sorted(_pairs(rest, text)))
        return cls(name, given, tuple(parts[:place]), tuple(parts[place + 1 :]))


def every() -> tuple[Contender, ...]:
    """Every method at its defaults."""
    return tuple(Contender(method.name) for method in methods.every())


def split(text: str) -> list[str]:
    """Contenders separated by commas; a comma may also go on with a method's parameters."""
    found: list[str] = []
    for piece in filter(None, (part.strip() for part in text.split(","))):
        before, equals, _ = piece.partition("=")
        if found and equals and ":" not in before:
            found[-1] += f",{piece}"
        else:
            found.append(piece)
    return found


def parse_all(texts: Iterable[str]) -> tuple[Contender, ...]:
    """Read several; one that is named twice counts once.

    Raises:
        MergeError: As `Contender.parse`.
    """
    return tuple(dict.fromkeys(Contender.parse(one) for text in texts for one in split(text)))


def _place_of_method(parts: list[str], text: str) -> int:
    """Which part is the method: the one with balance steps before it and calibrate steps after."""
    names = [part.partition(":")[0] for part in parts]
    known = {method.name for method in methods.every()}
    stages = {
        stage: {step.name for step in steps.every() if step.stage == stage}
        for stage in ("balance", "calibrate")
    }
    for place, name in enumerate(names):
        around = (
            set(names[:place]) <= stages["balance"],
            set(names[place + 1 :]) <= stages["calibrate"],
        )
        if name in known and all(around):
            for part in parts[:place]:
                steps.parse(part, "balance")
            for part in parts[place + 1 :]:
                steps.parse(part, "calibrate")
            return place
    everything = known | stages["balance"] | stages["calibrate"]
    for name in names:
        if name not in everything:
            kind = "method" if len(names) == 1 else "method or step"
            raise unknown(kind, name, known if len(names) == 1 else everything)
    raise MergeError(
        f"{text!r} is not a method with steps around it", where="--methods", hint=_HINT
    )


def _pairs(text: str, whole: str) -> Mapping[str, str]:
    pairs = {}
    for pair in filter(None, text.split(",")):
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise MergeError(f"{pair!r} is not name=value", where=f"--methods {whole}", hint=_HINT)
        pairs[name.strip().replace("-", "_")] = value.strip()
    return pairs
