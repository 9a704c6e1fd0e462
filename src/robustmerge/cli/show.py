"""`robustmerge show`: what adapters are, and whether they can be merged."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from ..adapter import layout
from ..errors import few
from .rows import LabeledRow, listed, print_rows

if TYPE_CHECKING:  # it imports torch
    from ..checks.summary import AdapterSummary, TowerSummary

_LAYOUTS = {
    layout.HF: "hf",
    layout.HF_OLD: "hf-old, as before transformers 4.52",
    layout.FLAT: "flat, as before transformers 4.52 or in a text-only model",
    layout.LLAVA: "llava, as in the original LLaVA code",
}


def show(
    sources: Annotated[list[str], Parameter(consume_multiple=True)],
    /,
    *,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show what is in adapters; of several, also how they go together.

    For several: whether they can be merged as they are, whether their A's share an initialization,
    and whether their updates are of like size. Exit code 1 if an adapter cannot be merged.

    Args:
        sources: Adapter folders or Hub ids owner/name[@revision][:subfolder].
        json: Print as JSON.
    """
    from ..checks.contents import Contents
    from ..checks.summary import summarize
    from . import show_together

    contents = [Contents.open(source) for source in sources]
    try:
        facts = [summarize(each) for each in contents]
        together = show_together.compare(contents, facts) if len(facts) > 1 else None
    finally:
        for each in contents:
            each.close()
    if json:
        record = {"adapters": [asdict(each) for each in facts]}
        print(json_format.dumps(record | (together.record() if together else {}), indent=2))
    else:
        console = Console(highlight=False, emoji=False)
        for title, rows in _blocks(facts):
            console.print(title, style="bold", markup=False, soft_wrap=True)
            print_rows(console, rows)
            console.print()
        if together is not None:
            together.print(console)
    return 1 if any(each.refusals for each in facts) else 0


def _blocks(facts: list[AdapterSummary]) -> list[tuple[str, list[LabeledRow]]]:
    """Make one block for each adapter; of several, a block of common rows goes first."""
    every = [_rows(each) for each in facts]
    remarks = [each.unusual for each in facts]
    common: dict[str, str] = {}
    shared: list[str] = []
    blocks = []
    if len(facts) > 1:
        common = {k: v for k, v in every[0].items() if all(v == rows.get(k) for rows in every)}
        shared = [r for r in remarks[0] if all(r in other for other in remarks)]
        blocks.append(("in common", [*_given(common), *listed("remarks", shared)]))
    for each, rows, own in zip(facts, every, remarks, strict=True):
        blocks.append(
            (
                each.label,
                [
                    *_given({k: v for k, v in rows.items() if k not in common}),
                    *listed("remarks", [r for r in own if r not in shared]),
                    *listed("refused", each.refusals, "red"),
                ],
            )
        )
    return [(title, rows) for title, rows in blocks if rows]


def _given(rows: Mapping[str, str]) -> list[LabeledRow]:
    return [LabeledRow(name, value) for name, value in rows.items() if value]


def _rows(facts: AdapterSummary) -> dict[str, str]:
    if not facts.layout and not facts.base:  # neither settings nor tensors could be read
        return {}
    return {
        "base": facts.base or "(it names none)",
        "family": facts.family,
        "layout": _LAYOUTS.get(facts.layout, ""),
        "modules": "\n".join(_tower(part, tower) for part, tower in facts.towers.items()),
        "rank": _counted(facts.ranks),
        "scaling": _counted(facts.scalings),
        "extras": _extras(facts.extras),
        "type": _counted(facts.dtypes),
        "size": _size(facts.bytes),
        "norm": "" if facts.norm is None else f"{facts.norm:.4g}",
    }


def _tower(part: str, tower: TowerSummary) -> str:
    blocks = f" in {tower.blocks} blocks" if tower.blocks else ""
    return f"{tower.modules} {part}{blocks}: {' '.join(tower.leaves)}"


def _counted(counts: Mapping[str, int] | Mapping[int, int]) -> str:
    """Write the values; of several, with how many there are of each."""
    if len(counts) == 1:
        return str(next(iter(counts)))
    shown = [f"{value} ({count}×)" for value, count in counts.items()]
    return few(shown, 4)


def _extras(extras: Mapping[str, tuple[int, ...]]) -> str:
    shown = [f"{name} {list(shape)}" for name, shape in extras.items()]
    if len(shown) > 4:
        shown = [*shown[:4], f"… and {len(shown) - 4} more"]
    return "\n".join(shown)


def _size(count: int) -> str:
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{count} bytes"
