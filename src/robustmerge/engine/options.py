"""The options of a merge: each one's type, default, choices and meaning, in one place.

The command line takes these fields as its flags (cyclopts reads types, choices and the docstring),
a YAML recipe as its keys, Python and live merging as keywords. To add an option, add a field here,
use it, and add the keyword to the signature in api.py. Nothing here imports torch.

Annotations are no strings here: cyclopts looks their names up in the module of a subclass.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache, partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cyclopts import Parameter, Token

from ..errors import MergeError, unknown
from ..scale_rules import scale_rules
from .polishing import read_polish
from .values import (
    read_names,
    read_numbers,
    read_path,
    read_paths,
    read_plain,
    read_rank,
    read_scale,
    read_steps,
)

ScaleOver = Literal["model", "module"]
DType = Literal["float32", "float16", "bfloat16"]
Missing = Literal["refuse", "zero", "drop"]
Layout = Literal["hf", "hf-old", "flat", "llava"]
ExtrasPolicy = Literal["mean", "sum"]
ExtrasIn = Literal["adapter", "beside"]
Dora = Literal["refuse", "mean"]

DEFAULT_METHOD = "drift"
"""From files alone, with nothing to tune: first on the laptop benchmark (docs/ours.md); on the
second world behind TSV-M or ACE on seen tasks, and ahead on unseen ones (docs/midibench.md)."""

Reader = Callable[[str, object], object]
"""Takes a field's name and a value; returns the value in the field's type or raises MergeError."""


@dataclass(frozen=True)
class Read:
    """Says in a field's `Annotated` by what its values are read, where the type does not say it."""

    reader: Reader


def _text(_: object, tokens: Sequence[Token]) -> str:
    """Return the command line's text as it is, even if it is a number."""
    return tokens[-1].value


def _split_numbers(_: object, tokens: Sequence[Token]) -> tuple[float, ...]:
    """Return the numbers of a text such as 1,1,0.5."""
    text = ",".join(token.value for token in tokens)
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise MergeError(
            f"weights {text!r} are not numbers", where="--weights", hint="such as --weights 1,1,0.5"
        ) from None


_RULES = ", ".join(rule.name for rule in scale_rules())
_SEVERAL = Parameter(negative="", show_default=False)  # given several times; no --empty-NAME
_FLAG = Parameter(negative="")  # no flag --no-NAME


@dataclass(frozen=True, kw_only=True)
class MergeOptions:
    """Options of a merge.

    Attributes:
        method: Merge method; `robustmerge methods` lists them.
        weights: One coefficient per adapter, such as 1,1,0.5; 1 each unless given.
        scale: One factor on every merged update, or the rule that determines it.
        scale_over: Whether a rule determines one factor for the model, or one for every module.
        balance: A step before the merge, as name or name:parameter=value,parameter=value; may be
            given several times.
        calibrate: A step after the merge, likewise.
        rank: Rank of the result: input (the largest of the inputs), full (sum of ranks), a number,
            or energy:0.99.
        dtype: Type of the result; that of the inputs unless given.
        seed: Seed of random methods.
        missing: Modules that are missing in some adapters: refuse, count as zero, or drop.
        base: The base model, a folder or Hub id: named in the result, and read for fully
            trained parameters.
        same_base: The adapters' different base names mean the same model.
        leave_out: Modules and fully trained parameters to leave out, as a shell pattern of their
            names such as '*vision_tower*'; may be given several times. What that loses is shown.
        accept_settings: A setting that this version does not know, and that changes nothing the
            adapter computes; may be given several times.
        layout: How modules are named in the result; as in the first adapter unless given.
        extras: Fully trained parameters: mean, or sum of changes to the base.
        extras_in: Write those into the adapter, or to a file next to it.
        dora: DoRA adapters: refuse, or merge their updates and take the mean of their magnitudes.
        plugins: A Python file or module that registers methods of your own; may be given several
            times.
        data: Folder that `robustmerge collect` wrote, for methods that need statistics.
        samples: One file of JSON lines per adapter, for methods that run the base model: "prompt"
            or "text", optional "image" or "images" and "answer".
        polish: Gradient steps after the merge, such as 300, which need --base and --samples; with
            settings as in 300:rate=2e-4,prompts=64.
    """

    method: Annotated[str, Parameter(name=["--method", "-m"])] = DEFAULT_METHOD
    weights: Annotated[
        tuple[float, ...] | None,
        Read(read_numbers),
        Parameter(converter=_split_numbers, negative=""),
    ] = None
    scale: Annotated[
        float | str,
        Read(read_scale),
        Parameter(
            help=f"One factor on every merged update, or the rule that determines it: {_RULES}."
        ),
    ] = 1.0
    scale_over: ScaleOver = "model"
    balance: Annotated[tuple[str, ...], Read(read_steps), _SEVERAL] = ()
    calibrate: Annotated[tuple[str, ...], Read(read_steps), _SEVERAL] = ()
    rank: Annotated[int | str, Read(read_rank), Parameter(converter=_text)] = "input"
    dtype: DType | None = None
    seed: int = 0
    missing: Missing = "refuse"
    base: Annotated[str | None, Read(read_path)] = None
    same_base: Annotated[bool, _FLAG] = False
    leave_out: Annotated[
        tuple[str, ...],
        Read(read_names),
        Parameter(name="--leave-out", negative="", show_default=False),
    ] = ()
    accept_settings: Annotated[
        tuple[str, ...],
        Read(read_names),
        Parameter(name="--accept-setting", negative="", show_default=False),
    ] = ()
    layout: Layout | None = None
    extras: ExtrasPolicy = "mean"
    extras_in: ExtrasIn = "adapter"
    dora: Dora = "refuse"
    plugins: Annotated[
        tuple[str, ...],
        Read(read_paths),
        Parameter(name="--plugin", negative="", show_default=False),
    ] = ()
    data: Annotated[str | None, Read(read_path)] = None
    samples: Annotated[
        tuple[str, ...],
        Read(read_paths),
        Parameter(negative="", show_default=False, consume_multiple=True),
    ] = ()
    polish: Annotated[int | str | None, Read(read_polish), Parameter(converter=_text)] = None

    def __post_init__(self) -> None:
        """Check every value."""
        check_fields(self)

    @property
    def energy(self) -> float | None:
        """The share of energy to keep, where the rank is given by energy."""
        rank = str(self.rank)
        return float(rank.removeprefix("energy:")) if rank.startswith("energy:") else None


def read_fields(record_type: type, values: Mapping[str, Any], owner: str = "") -> dict[str, Any]:
    """Return a value for every field of a dataclass, in the field's type.

    Lists become tuples and paths text. None stands for "not given".

    Args:
        record_type: The dataclass.
        values: Values by field, where they are given.
        owner: What they belong to, for messages.

    Raises:
        MergeError: a value of another type or out of bounds, or a missing one without a default
    """
    result = {}
    for field in fields(record_type):
        value = values.get(field.name)
        if value is None and field.default_factory is not MISSING:
            value = field.default_factory()
        elif value is None and field.default is not MISSING:
            value = field.default
        if value is not None or field.default is MISSING:
            name = f"{field.name} of {owner}" if owner else field.name
            value = _readers(record_type)[field.name](name, value)
        result[field.name] = value
    return result


def check_fields(record: Any, owner: str = "") -> None:
    """Check the values of a new dataclass, which may be frozen, and bring them to their types."""
    for name, value in read_fields(record.__class__, vars(record), owner).items():
        object.__setattr__(record, name, value)


@cache
def _readers(record_type: type) -> Mapping[str, Reader]:
    """Return the reader of every field of a dataclass."""
    hints = get_type_hints(record_type, include_extras=True)
    return {field.name: _reader(hints[field.name]) for field in fields(record_type)}


def _reader(hint: Any) -> Reader:
    """Return the reader of a field, from its `Read` or else from its type."""
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        for note in notes:
            if isinstance(note, Read):
                return note.reader
    union = get_origin(hint) in (Union, UnionType)
    kinds = [kind for kind in (get_args(hint) if union else (hint,)) if kind is not NoneType]
    if get_origin(kinds[0]) is Literal:
        return partial(_read_choice, get_args(kinds[0]))
    return lambda name, value: read_plain(name, value, *kinds)


def _read_choice(choices: Sequence[str], name: str, value: object) -> object:
    """Return one of a few words."""
    if read_plain(name, value, str) not in choices:
        raise unknown(name, str(value), choices)
    return value
