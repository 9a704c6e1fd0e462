"""The verbs of `robustmerge bench`."""

from __future__ import annotations

from cyclopts import App

from .lmms import lmms_tasks
from .mini.app import mini
from .run import run
from .score import score
from .study import study
from .table import table
from .train import train
from .train_clip import train as train_clip

bench = App(name="bench", help="Benchmarks that merges are judged by.")
bench.command(score)
bench.command(run)
bench.command(train)
bench.command(train_clip, name="train-clip")
bench.command(study)
bench.command(table)
bench.command(lmms_tasks, name="lmms-tasks")
bench.command(mini)
