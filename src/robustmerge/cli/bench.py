"""`robustmerge bench`: benchmarks that merges are judged by."""

from __future__ import annotations

from cyclopts import App

from .bench_answer import run as answer
from .bench_clip import train as train_clip
from .bench_expert import train as expert
from .bench_gates import gates
from .bench_lmms import lmms_tasks
from .bench_pack import pack
from .bench_run import run
from .bench_score import score
from .bench_study import study
from .bench_study_table import table as study_table
from .bench_table import table
from .bench_train import train

bench = App(name="bench", help="Benchmarks that merges are judged by.")
mini = App(
    name="mini",
    help="The laptop benchmark: a tiny vision-language model, its experts, and merges of them.",
)
mini.command(train)
mini.command(run)
mini.command(table)
mini.command(gates)
mini.command(pack)
bench.command(mini)
bench.command(score)
bench.command(answer, name="run")
bench.command(study)
bench.command(study_table, name="table")
bench.command(expert, name="train")
bench.command(train_clip, name="train-clip")
bench.command(lmms_tasks)
