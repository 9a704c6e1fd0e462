"""Options of the verbs that may run on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import MergeError
from .optional import needing

if TYPE_CHECKING:
    from ..cluster import RayEngine


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Where jobs run.

    Attributes:
        on: ray for the cluster that RAY_ADDRESS names, or one of this machine; ray://auto for the
            one that this machine belongs to; ray://HOST:PORT. Processes of this machine unless
            given. docs/cluster.md has more.
        cpus_per_job: Cores that a job on a cluster takes.
        gpus_per_job: GPUs that it takes, or a share of one.
        memory_per_job: GiB that are set aside for it.
    """

    on: str | None = None
    cpus_per_job: int = 1
    gpus_per_job: float = 0.0
    memory_per_job: float = 0.0

    def engine(self) -> RayEngine | None:
        """Return what runs jobs on the cluster; None where they run here.

        Raises:
            MergeError: no such cluster, needs below zero, or no Ray.
        """
        if self.on is None:
            return None
        from ..cluster import JobNeeds, RayEngine

        if self.cpus_per_job < 1 or min(self.gpus_per_job, self.memory_per_job) < 0:
            raise MergeError(
                "a job takes at least one core, and nothing below zero",
                where="--cpus-per-job, --gpus-per-job, --memory-per-job",
                hint="leave them out for one core",
            )
        needs = JobNeeds(cpus=self.cpus_per_job, gpus=self.gpus_per_job, memory=self.memory_per_job)
        engine = RayEngine.parse(self.on, needs)
        with needing("a cluster", "robustmerge[ray]"):
            import ray  # noqa: F401
        return engine


HERE = ClusterOptions()
"""No cluster."""
