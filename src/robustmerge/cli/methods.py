"""`robustmerge methods`: the table of methods and steps, or one's page."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated

from cyclopts import Parameter


def methods(
    name: str | None = None,
    /,
    *,
    plugin: Annotated[list[str] | None, Parameter(negative="")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    markdown: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """List the merge methods and the steps around them, or show one: formula, source, parameters.

    Args:
        name: A method, or a step before or after the merge.
        plugin: A Python file or module that registers methods of your own.
        json: Print as JSON.
        markdown: Print as Markdown; without a name, the whole catalogue.
    """
    from .. import methods as catalogue
    from . import show_methods

    for source in plugin or ():
        catalogue.load_plugin(source)
    pages = show_methods.find(name) if name else show_methods.pages()
    if json:
        print(jsonlib.dumps([page.facts() for page in pages], indent=2))
    elif markdown:
        print(show_methods.as_markdown(pages))
    elif name is None:
        show_methods.print_table(pages)
    else:
        for page in pages:
            show_methods.print_page(page)
