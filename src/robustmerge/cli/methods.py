"""`robustmerge methods`: the table of methods, or one method's page."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from ..methods import Method
    from ..methods._parameters import Parameter as Declared
    from ..methods._registry import Trait


def methods(
    name: str | None = None,
    /,
    *,
    json: Annotated[bool, Parameter(negative="")] = False,
    markdown: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """List the merge methods, or show one: formula, source, parameters, traits.

    Args:
        name: A method.
        json: Print as JSON.
        markdown: Print as Markdown; without a name, the whole catalogue.
    """
    from ..methods import every, get

    chosen = [get(name)] if name else list(every())
    if json:
        print(jsonlib.dumps([_facts(m) for m in chosen], indent=2))
    elif markdown:
        print(catalogue(chosen))
    elif name is None:
        _print_table(chosen)
    else:
        _print_page(chosen[0])


def catalogue(methods: Sequence[Method]) -> str:
    """The methods' pages in Markdown."""
    lines = [
        "# Merge methods",
        "",
        "Written by `make docs` from the methods themselves. T adapters, one module: update",
        "Δ_t = B_t A_t with every scaling folded into B_t, weights w_t. Scale, rank and type of",
        "the output apply to every method and are not its own.",
        "",
        "| method | what it does | source |",
        "| --- | --- | --- |",
        *(f"| [{m.name}](#{m.name}) | {_what(m)} | {m.paper} |" for m in methods),
    ]
    for method in methods:
        lines += ["", f"## {method.name}", "", "```text", method.doc, "```", ""]
        if method.parameters:
            lines += ["| parameter | default | values | meaning |", "| --- | --- | --- | --- |"]
            for p in method.parameters.values():
                domain = p.domain.replace("|", "\\|")
                lines.append(f"| {p.name} | {_default(p)} | {domain} | {' '.join(p.doc.split())} |")
            lines.append("")
        lines += [f"- {trait}: {value}" for trait, value in _traits(method).items()]
    return "\n".join(lines)


def _print_table(methods: Sequence[Method]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("method", "what it does", "source", box=None, pad_edge=False)
    for method in methods:
        table.add_row(method.name, _what(method), method.paper)
    console.print(table)
    console.print("\nrobustmerge methods NAME shows formula, parameters and traits")


def _print_page(method: Method) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    print(method.doc, end="\n\n")
    if method.parameters:
        table = Table("parameter", "default", "values", "meaning", box=None, pad_edge=False)
        for p in method.parameters.values():
            table.add_row(p.name, _default(p), p.domain, " ".join(p.doc.split()))
        console.print(table)
        print()
    for trait, value in _traits(method).items():
        print(f"{trait}: {value}")


def _what(method: Method) -> str:
    return method.summary.split(":", 1)[-1].strip()


def _traits(method: Method) -> dict[str, str]:
    return {
        "depends on the updates only, not on their factors": _claim(method.gauge_invariant),
        "order of adapters does not matter": _claim(method.order_invariant),
        "twice the updates, twice the merge": _claim(method.scale_equivariant),
        "stable under rounding": _claim(method.stable),
        "random": _claim(method.stochastic),
        "needs data": ", ".join(method.needs) or "no",
        **{f"caution, {when}": text for when, text in method.cautions.items()},
        "checked against": method.checked,
    }


def _claim(trait: Trait) -> str:
    if isinstance(trait, bool):
        return "yes" if trait else "no"
    return "with " + ", ".join(map(str, trait if isinstance(trait, tuple) else (trait,)))


def _default(parameter: Declared) -> str:
    value = parameter.default
    return str(value).lower() if isinstance(value, bool) else str(value)


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
