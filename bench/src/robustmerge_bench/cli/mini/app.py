"""The verbs of `robustmerge bench mini`."""

from __future__ import annotations

from cyclopts import App

from .gates import gates
from .pack import pack
from .run import run
from .table import table
from .train import train

mini = App(
    name="mini",
    help="The laptop benchmark: a tiny vision-language model, its experts, and merges of them.",
)
mini.command(train)
mini.command(run)
mini.command(table)
mini.command(gates)
mini.command(pack)
