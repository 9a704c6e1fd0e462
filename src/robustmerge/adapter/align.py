"""Which modules several adapters share, and every way in which they cannot be merged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import permutations
from typing import Literal

from ..errors import MergeError, few
from .config import FILE
from .promises import is_rows
from .reader import Adapter

Missing = Literal["refuse", "zero", "drop"]


def check_same_base(adapters: Sequence[Adapter]) -> None:
    """Check that all adapters name one base model.

    Raises:
        MergeError: the adapters name different base models.
    """
    if len({a.config.base for a in adapters}) > 1:
        raise MergeError(
            "adapters disagree on the base model",
            where="\n".join(f"{a.label}/{FILE}   {a.config.base or '(none)'}" for a in adapters),
            hint="adapters merge only on the model they were trained on; --same-base if these are "
            "names of the same model",
        )
    revisions = [str(a.config.raw.get("revision") or "main") for a in adapters]
    if len(set(revisions)) > 1:
        raise MergeError(
            "adapters disagree on the revision of the base model",
            where="\n".join(
                f"{a.label}/{FILE}   {a.config.base}@{revision}"
                for a, revision in zip(adapters, revisions, strict=True)
            ),
            hint="adapters merge only on the weights they were trained on; --same-base if these "
            "revisions have the same weights",
        )


def check_one_way(adapters: Sequence[Adapter], modules: Sequence[str]) -> None:
    """Check that no weight is changed by LoRA in one adapter and trained fully in another.

    The result would have both, and a model loads one of them.

    Raises:
        MergeError: a weight is.
    """
    for name in modules:
        trained = [a.label for a in adapters if f"{name}.weight" in a.extras]
        if trained:
            low_rank = [a.label for a in adapters if name in a.modules]
            raise MergeError(
                f"{name} is changed by LoRA in one adapter and trained fully in another",
                where="\n".join(
                    [*(f"{a}   LoRA" for a in low_rank), *(f"{a}   fully" for a in trained)]
                ),
                hint="--missing drop leaves both out of the result; or train it in one way",
            )


def select_modules(adapters: Sequence[Adapter], missing: Missing) -> list[str]:
    """Return the canonical names of the modules to merge, in natural order.

    Args:
        adapters: The adapters.
        missing: What to do with a module that is missing in some adapters: refuse, treat it as a
            zero update there, or drop it from the result.

    Raises:
        MergeError: a module is missing in an adapter (under "refuse"), or differs in shape or kind.
    """
    names = _shared([(a.label, a.modules) for a in adapters], missing, "modules")
    for name in names:
        values = [(a, a.modules[name]) for a in adapters if name in a.modules]
        _same(name, [(a.label, list(m.shape)) for a, m in values], "shape")
        _same(name, [(a.label, m.part.value) for a, m in values], "kind")
    return names


def select_extras(adapters: Sequence[Adapter], missing: Missing) -> list[str]:
    """Return the canonical names of the fully trained parameters that go into the result.

    Raises:
        MergeError: a parameter is missing in an adapter (under "refuse"), or shapes differ.
    """
    names = _shared([(a.label, a.extras) for a in adapters], missing, "fully trained tensors")
    for name in names:
        shapes = [(a.label, list(a.extras[name].spec.shape)) for a in adapters if name in a.extras]
        if is_rows(name):  # which rows, the settings say
            shapes = [(label, shape[1:]) for label, shape in shapes]
        _same(name, shapes, "shape")
    return names


def check_distinct(written: Mapping[str, str], layout: str) -> None:
    """Check that no two canonical names are written as one.

    Raises:
        MergeError: two are, which happens with names of unknown models only.
    """
    seen: dict[str, str] = {}
    for name, as_written in written.items():
        if as_written in seen:
            raise MergeError(
                f"two modules are both {as_written} in the layout {layout}",
                where=f"{seen[as_written]}\n{name}",
                hint="--layout hf keeps them apart",
            )
        seen[as_written] = name


def check_same_setting(adapters: Sequence[Adapter], field: str) -> object:
    """Return a setting that all adapters must share; missing, false and empty are the same.

    Raises:
        MergeError: the adapters differ in it.
    """
    values = [(f"{a.label}/{FILE}", a.config.raw.get(field) or None) for a in adapters]
    _same(field, values, "value")
    return adapters[0].config.raw.get(field)


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sorting key that puts layer 10 after layer 9."""
    # No model has layers of more digits, and int() has a limit of its own.
    parts = name.split(".")
    return tuple((int(p), "") if p.isdecimal() and len(p) < 10 else (-1, p) for p in parts)


def _shared(
    tables: list[tuple[str, Mapping[str, object]]], missing: Missing, what: str
) -> list[str]:
    union = sorted({name for _, table in tables for name in table}, key=natural_key)
    absent = {
        label: gone for label, table in tables if (gone := [n for n in union if n not in table])
    }
    if not absent or missing == "zero":
        return union
    if missing == "drop":
        common = [n for n in union if all(n in table for _, table in tables)]
        if not common and what == "modules":
            raise MergeError(
                "the adapters have no module in common",
                where=_lines(absent, union),
                hint="--missing zero merges them side by side, if they are of one model at all",
            )
        return common
    if front := _other_front([set(table) for _, table in tables]):
        raise MergeError(
            f"the same {what} have other names in one adapter: {front!r} stands in front of them",
            where=_lines(absent, union),
            hint="something wrapped the model; save the adapter from the model itself, or rename "
            "the tensors",
        )
    raise MergeError(
        f"not all adapters have the same {what}",
        where=_lines(absent, union),
        hint="--missing zero treats them as no update, --missing drop leaves them out",
    )


def _other_front(tables: Sequence[Collection[str]]) -> str:
    """Return what stands in front of all names of one table and of none of another, or ''."""
    for table, other in permutations(tables, 2):
        name = next(iter(sorted(set(other) - set(table))), "")
        longer = [n for n in table if name and n.endswith(f".{name}")]
        front = longer[0].removesuffix(name) if longer else ""
        if front and all(f"{front}{n}" in table for n in other):
            return front
    return ""


def _lines(absent: Mapping[str, list[str]], union: list[str]) -> str:
    return "\n".join(
        f"{label}: {len(gone)} of {len(union)} missing: {few(gone)}"
        for label, gone in absent.items()
    )


def _same(name: str, values: Iterable[tuple[str, object]], what: str) -> None:
    values = list(values)
    if any(value != values[0][1] for _, value in values):
        raise MergeError(
            f"adapters disagree on the {what} of {name}",
            where="\n".join(f"{label}   {value}" for label, value in values),
            hint="they were trained on different models or with different settings",
        )
