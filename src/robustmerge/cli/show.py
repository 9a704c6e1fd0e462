"""`robustmerge show`: what adapters are, and whether they can be merged."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


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
    from . import show_adapters

    return show_adapters.run(sources, as_json=json)
