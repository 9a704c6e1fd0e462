"""The verbs of `robustmerge bench`."""

from __future__ import annotations

from cyclopts import App

from .midi import midi
from .mini import mini
from .run import run
from .score import score
from .study import study, table
from .train import train, train_clip

bench = App(name="bench", help="Benchmarks that merges are judged by.")
bench.command(score)
bench.command(run)
bench.command(train)
bench.command(train_clip, name="train-clip")
bench.command(study)
bench.command(table)


@bench.command(name="lmms-tasks")
def lmms_tasks() -> None:
    """Print the folder of task files for lmms-eval's --include_path.

    With lmms-eval installed next to this package, and MM_MERGEBENCH naming the folder that holds
    the tasks' data:

    lmms-eval --model robustmerge --model_args base=MODEL,adapter=ADAPTER --batch_size 16
    --include_path "$(robustmerge bench lmms-tasks)" --tasks mm_mergebench

    Groups of tasks: mm_mergebench, mm_mergebench_seen, mm_mergebench_unseen; single ones such as
    mm_mergebench_scienceqa.
    """
    from ..paper.lmms import TASKS

    print(TASKS)


bench.command(mini)
bench.command(midi)
