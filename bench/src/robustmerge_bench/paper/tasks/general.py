"""The general benchmarks of the paper's table 3."""

from __future__ import annotations

from ._task import PaperTask

GENERAL = (
    PaperTask(
        name="pope",
        title="POPE",
        column="POPE",
        group="general",
        kind="pope",
        folders=("pope", "POPE"),
        questions=("llava_pope_test.jsonl",),
        references=("coco",),
        training=(),
    ),
    PaperTask(
        name="mme",
        title="MME",
        column="MME",
        group="general",
        kind="mme",
        folders=("MME", "mme"),
        questions=("llava_mme.jsonl",),
        references=("MME_Benchmark_release_version",),
        training=(),
        repeated_ids=True,  # two questions an image, both under its name
    ),
    PaperTask(
        name="mmbench",
        title="MMBench",
        column="MMBench",
        group="general",
        kind="mmbench",
        folders=("mmbench", "MMBench"),
        questions=("mmbench_dev_20230712.tsv",),
        training=(),
        max_new_tokens=1024,
    ),
)
