"""Jobs that note on which node of a cluster they ran; light, since every worker imports this."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from robustmerge.errors import MergeError
from robustmerge_bench.jobs.run import Worker


@dataclass(frozen=True)
class Note:
    """Writes the id of its node into a file, after a while."""

    label: str


def is_done(job: Note, out: Path) -> bool:
    return (out / job.label).exists()


def start(out: Path) -> Worker[Note]:
    return partial(write, out)


def write(out: Path, job: Note) -> Mapping[str, str]:
    import ray

    if job.label.startswith("bad"):
        return {"": "a reason"}
    if job.label.startswith("refused"):
        raise MergeError("a refusal", where="here")
    if job.label.startswith("dies"):
        os._exit(1)
    with (out / "starts").open("a") as log:
        log.write(f"{job.label} {ray.get_runtime_context().get_node_id()}\n")
    time.sleep(3)
    (out / job.label).write_text(ray.get_runtime_context().get_node_id())
    return {}
