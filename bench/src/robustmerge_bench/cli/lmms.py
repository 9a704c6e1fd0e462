"""`robustmerge bench lmms-tasks`: where the files are that lmms-eval reads these tasks from."""

from __future__ import annotations


def lmms_tasks() -> None:
    """Print the folder of task files for lmms-eval's --include_path.

    With lmms-eval installed beside this package, and MM_MERGEBENCH naming the folder that holds
    the tasks' data:

    lmms-eval --model robustmerge --model_args base=MODEL,adapter=ADAPTER --batch_size 16
    --include_path "$(robustmerge bench lmms-tasks)" --tasks mm_mergebench

    Groups of tasks: mm_mergebench, mm_mergebench_seen, mm_mergebench_unseen; single ones such as
    mm_mergebench_scienceqa.
    """
    from ..paper.lmms import TASKS

    print(TASKS)
