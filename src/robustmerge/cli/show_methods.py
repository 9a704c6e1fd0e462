"""What `robustmerge methods` prints, and docs/methods.md. Imports torch, so it is imported late."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

from .. import methods, steps
from ..errors import unknown
from ..methods import Method
from ..methods._registry import Trait
from ..parameters import Parameter
from ..steps import Step

_FAMILIES = ("robust", "sums", "entrywise", "spectral", "regression", "live")
_STAGES = {
    "balance": "Steps before a merge, `--balance NAME`: they change the updates the method sees.",
    "calibrate": "Steps after a merge, `--calibrate NAME`: they change the merged update.",
}


@dataclass(frozen=True)
class ReferencePage:
    """A method or a step, as it is shown."""

    name: str
    heading: str
    doc: str
    paper: str
    traits: Mapping[str, str]
    parameters: Sequence[Parameter]

    @property
    def what(self) -> str:
        """What it does, in a line."""
        return self.doc.splitlines()[0].split(":", 1)[-1].strip()

    def facts(self) -> dict[str, Any]:
        """Return the page as plain data."""
        return {
            "name": self.name,
            "kind": self.heading,
            "doc": self.doc,
            "paper": self.paper,
            **self.traits,
            "parameters": {
                p.name: {"default": p.default, "values": p.domain, "meaning": p.doc}
                for p in self.parameters
            },
        }


def pages() -> list[ReferencePage]:
    """Return the pages of every method by family, then of the steps."""
    order = {name: number for number, name in enumerate(_FAMILIES)}
    by_family = sorted(
        (*methods.every(), *methods.with_model()),
        key=lambda m: (order.get(m.family, len(order)), m.name),
    )
    return [*map(_of_method, by_family), *map(_of_step, steps.every())]


def find(name: str) -> list[ReferencePage]:
    """Return the pages of this name; a method and a step may share one.

    Raises:
        MergeError: no method or step of this name; the error suggests the nearest
    """
    all_pages = pages()
    matches = [page for page in all_pages if page.name == name]
    if not matches:
        raise unknown("method or step", name, {page.name for page in all_pages})
    return matches


def as_markdown(shown: Sequence[ReferencePage]) -> str:
    """Return the pages in Markdown, with a table of contents if there are several."""
    lines = _head(shown) if len(shown) > 1 else []
    for page in shown:
        lines += ["", f"## {page.name}", "", "```text", page.doc, "```", ""]
        if page.parameters:
            lines += ["| parameter | default | values | meaning |", "| --- | --- | --- | --- |"]
            for p in page.parameters:
                domain = p.domain.replace("|", "\\|")
                lines.append(f"| {p.name} | {_default(p)} | {domain} | {' '.join(p.doc.split())} |")
            lines.append("")
        lines += [f"- {trait}: {value}" for trait, value in page.traits.items()]
    if len(shown) > 1:
        lines += ["", "## What is not here", "", *_left_out()]
    return "\n".join(lines)


def print_table(shown: Sequence[ReferencePage]) -> None:
    """Print names, what they do, and their sources."""
    console = Console(highlight=False)
    for heading, group in groupby(shown, key=lambda page: page.heading):
        table = Table("name", "what it does", "source", box=None, pad_edge=False)
        for page in group:
            table.add_row(page.name, page.what, page.paper)
        console.print(heading, style="bold", markup=False)
        console.print(table, "")
    console.print("robustmerge methods NAME shows formula, parameters and traits")


def print_page(page: ReferencePage) -> None:
    """Print everything about one method or step."""
    console = Console(highlight=False)
    print(page.doc, end="\n\n")
    if page.parameters:
        table = Table("parameter", "default", "values", "meaning", box=None, pad_edge=False)
        for p in page.parameters:
            table.add_row(p.name, _default(p), p.domain, " ".join(p.doc.split()))
        console.print(table)
        print()
    for trait, value in page.traits.items():
        print(f"{trait}: {value}")
    print()


def _head(shown: Sequence[ReferencePage]) -> list[str]:
    lines = [
        "# Merge methods",
        "",
        "Written by `make docs` from the methods themselves. T adapters, one module: update",
        "Δ_t = B_t A_t with every scaling folded into B_t, weights w_t. Scale, rank and type of",
        "the output apply to every method and are not its own. A method is admitted when it passes",
        "the contract (`robustmerge.testing`) and agrees with what its page names under `checked",
        "against`; its traits are tested in both directions.",
    ]
    for heading, group in groupby(shown, key=lambda page: page.heading):
        lines += [
            "",
            f"**{heading}**",
            "",
            "| name | what it does | source |",
            "| --- | --- | --- |",
        ]
        lines += [f"| [{p.name}](#{p.name}) | {p.what} | {p.paper} |" for p in group]
    return lines


def _left_out() -> list[str]:
    page = inspect.cleandoc(methods.__doc__ or "")
    return page.partition("\n\n")[2].splitlines()


def _of_method(method: Method) -> ReferencePage:
    package = sys.modules[method.function.__module__.rpartition(".")[0] or "builtins"]
    own = method.family in _FAMILIES
    traits = {
        "depends on the updates only, not on their factors": _claim(method.gauge_invariant),
        "order of adapters does not matter": _claim(method.order_invariant),
        "twice the updates, twice the merge": _claim(method.scale_equivariant),
        "stable under rounding": _claim(method.stable),
        "random": _claim(method.stochastic),
        "needs data": ", ".join(method.needs)
        or ("the base model and samples" if method.run else "no"),
        **{f"caution, {when}": text for when, text in method.cautions.items()},
        "checked against": method.checked,
    }
    heading = inspect.cleandoc(package.__doc__ or "").splitlines()[0] if own else "Your own."
    parameters = tuple(method.parameters.values())
    return ReferencePage(method.name, heading, method.doc, method.paper, traits, parameters)


def _of_step(step: Step) -> ReferencePage:
    parameters = tuple(step.parameters.values())
    traits = {"checked against": step.checked}
    return ReferencePage(step.name, _STAGES[step.stage], step.doc, step.paper, traits, parameters)


def _claim(trait: Trait) -> str:
    if isinstance(trait, bool):
        return "yes" if trait else "no"
    return "with " + ", ".join(map(str, trait if isinstance(trait, tuple) else (trait,)))


def _default(parameter: Parameter) -> str:
    value = parameter.default
    return str(value).lower() if isinstance(value, bool) else str(value)
