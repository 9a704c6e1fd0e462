"""`robustmerge methods`: the table of methods, or one method's page."""

from __future__ import annotations

import json as jsonlib
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from ..methods import Method


def methods(
    name: str | None = None, /, *, json: Annotated[bool, Parameter(negative="")] = False
) -> None:
    """List the merge methods, or show one: formula, source, parameters, traits.

    Args:
        name: A method.
        json: Print as JSON.
    """
    from rich.console import Console
    from rich.table import Table

    from ..methods import every, get

    chosen = [get(name)] if name else list(every())
    if json:
        print(jsonlib.dumps([_facts(m) for m in chosen], indent=2))
        return
    console = Console(highlight=False)
    if name is None:
        table = Table("method", "what it does", "source", box=None, pad_edge=False)
        for method in chosen:
            what = method.summary.split(":", 1)[-1].strip()
            table.add_row(method.name, what, method.paper)
        console.print(table)
        console.print("\nrobustmerge methods NAME shows formula, parameters and traits")
        return
    method = chosen[0]
    console.print(method.doc, markup=False)
    if method.parameters:
        console.print()
        table = Table("parameter", "default", "values", "meaning", box=None, pad_edge=False)
        for p in method.parameters.values():
            table.add_row(p.name, str(p.default), p.domain, p.doc)
        console.print(table)
    console.print()
    for trait, value in _traits(method).items():
        console.print(f"{trait}: {value}", markup=False)


def _traits(method: Method) -> dict[str, str]:
    gauge = method.gauge_invariant
    return {
        "depends on the updates only": _yes(gauge)
        if isinstance(gauge, bool)
        else "with " + ", ".join(f"{k}={v}" for k, v in gauge),
        "order of adapters matters": _yes(not method.order_invariant),
        "random": _yes(method.stochastic),
        "checked against": method.checked,
    }


def _yes(claim: bool) -> str:
    return "yes" if claim else "no"


def _facts(method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "doc": method.doc,
        "paper": method.paper,
        **_traits(method),
        "parameters": {
            p.name: {"default": p.default, "values": p.domain, "meaning": p.doc}
            for p in method.parameters.values()
        },
    }
