"""The option `--polish`: gradient steps after a merge, and their settings.

    300                         steps
    300:rate=2e-4,prompts=64    with settings

Nothing here imports torch, so that the command line can use it.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from ..errors import MergeError, shown, within
from ..parameters import configure, read_settings, read_signature

_HINT = "such as 300, or 300:rate=2e-4,prompts=64"


@dataclass(frozen=True, kw_only=True)
class PolishSettings:
    """How a merge is polished.

    Attributes:
        steps: Gradient steps, fewer where held-out prompts get no better.
        rate: Highest learning rate; 0 stands for the smaller of 0.001 and 0.0064 / rank.
        prompts: Most samples of each file that are fitted, the first ones.
        held_out: Most samples after those, which decide when to stop.
        batch: Prompts of a step, as many of each task.
        longest: Most tokens of an answer.
        precision: The type that the model runs in; the adapter is trained in float32.
        recompute: Compute activations twice rather than keep them: less memory, more time.
    """

    steps: Annotated[int, Interval(ge=1)]
    rate: Annotated[float, Interval(ge=0, le=1)] = 0.0
    prompts: Annotated[int, Interval(ge=1)] = 32
    held_out: Annotated[int, Interval(ge=0)] = 8
    batch: Annotated[int, Interval(ge=1)] = 16
    longest: Annotated[int, Interval(ge=1)] = 128
    precision: Literal["float32", "bfloat16"] = "float32"
    recompute: bool = False

    def rate_at(self, rank: int) -> float:
        """Return the highest learning rate at a rank.

        1e-3 up to rank 6, 2e-4 at rank 32: more directions move the update further in a step.
        """
        return self.rate or min(1e-3, 6.4e-3 / rank)


def parse_polish(text: int | str) -> PolishSettings:
    """Read the option's value.

    Raises:
        MergeError: no number of steps, an unknown setting, or one out of its bounds
    """
    steps, _, rest = str(text).partition(":")
    settings = read_settings(filter(None, rest.split(",")), where="polish", hint=_HINT)
    if "steps" in settings:
        raise MergeError("steps come first", where=f"polish = {shown(text)}", hint=_HINT)
    parameters = read_signature(PolishSettings)
    with within(f"polish = {shown(text)}"):
        return PolishSettings(**configure(parameters, {**settings, "steps": steps}, "polish"))


def read_polish(name: str, value: object) -> int | str:
    """Return the option's value, which is checked."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise MergeError(f"{name} = {shown(value)} is no number of steps", hint=_HINT)
    parse_polish(value)
    return value
