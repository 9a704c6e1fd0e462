"""Jobs on the nodes of a Ray cluster, each with its needs: `--on ray[://ADDRESS]`.

Every node has the packages installed, and sees the folders of inputs and results under the paths
that the command has. A worker process of Ray prepares itself once, with its first job, and keeps
what it loaded. A job whose node or process ends is started again on another, and one whose result
is complete by then is not: results are written whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from platform import node
from secrets import token_hex
from typing import Any, TypeVar

import torch

from .errors import MergeError, few

J = TypeVar("J")
R = TypeVar("R")

_PREFIX = "ray"
_RETRIES = 3
"""Times that a job is started again after its node or process has ended."""
_GIB = 1 << 30

_worker: dict[str, Callable[[Any], Any]] = {}
"""In a worker process its worker by the run's token, once that has been started."""


@dataclass(frozen=True, kw_only=True)
class JobNeeds:
    """What a job takes of a node while it runs.

    Attributes:
        cpus: Cores, which are also torch's threads.
        gpus: GPUs, or a share of one.
        memory: GiB that the scheduler sets aside; 0 for none.
    """

    cpus: int = 1
    gpus: float = 0.0
    memory: float = 0.0

    @property
    def options(self) -> dict[str, Any]:
        """Ray's options of a task."""
        memory = {"memory": round(self.memory * _GIB)} if self.memory else {}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, **memory}


@dataclass(frozen=True)
class RayEngine:
    """Runs jobs on a cluster.

    Attributes:
        address: As Ray has it; None for the variable RAY_ADDRESS, or a cluster of this machine
            alone, which begins and ends with the run.
    """

    address: str | None = None
    needs: JobNeeds = JobNeeds()

    @classmethod
    def parse(cls, text: str, needs: JobNeeds) -> RayEngine:
        """Read --on: ray, ray://auto, or ray://HOST:PORT.

        Raises:
            MergeError: anything else.
        """
        name, mark, rest = text.partition("://")
        if name != _PREFIX or bool(mark) != bool(rest):
            raise MergeError(
                f"{text!r} is no cluster", where="--on", hint="ray, ray://auto or ray://HOST:PORT"
            )
        if rest == "auto":
            return cls("auto", needs)
        return cls(text if rest else None, needs)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Stay connected in the block, for several calls.

        Raises:
            MergeError: no cluster.
        """
        import ray

        connected = self._connect()
        try:
            yield
        finally:
            if connected:
                ray.shutdown()

    def __call__(
        self, jobs: Sequence[J], start: Callable[[], Callable[[J], R]], token: str = ""
    ) -> Iterator[tuple[J, R]]:
        """Yield jobs with their results as they end; an error of a worker ends all.

        Args:
            jobs: The jobs.
            start: Prepares a worker.
            token: The same in calls that may share the workers which earlier ones have prepared.

        Raises:
            MergeError: no cluster, no node with what a job needs, or a job whose process ends
                again and again.
        """
        import ray

        with self.connected():
            self._check(ray.cluster_resources())
            work = ray.remote(_work).options(max_retries=_RETRIES, **self.needs.options)
            common = (token or token_hex(8), str(Path.cwd()), self.needs.cpus, ray.put(start))
            pending = {work.remote(*common, job): job for job in jobs}
            try:
                while pending:
                    for done in ray.wait(list(pending))[0]:
                        job = pending.pop(done)
                        yield job, _result(done, job)
            finally:
                for reference in pending:
                    ray.cancel(reference, force=True)

    def _connect(self) -> bool:
        """Connect to the cluster, unless that is done; return whether it was not."""
        import ray

        if ray.is_initialized():
            return False
        try:
            ray.init(self.address, log_to_driver=False, logging_level="error")
        except Exception as error:  # of several kinds, by where the address leads
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MergeError(
                f"no cluster can be reached: {first}",
                where=f"--on, {self.address or os.environ.get('RAY_ADDRESS', 'this machine')}",
                hint="`ray status` on one of its machines shows whether it runs",
            ) from None
        return True

    def _check(self, resources: Mapping[str, Any]) -> None:
        """Refuse a job that no cluster of these resources can ever run."""
        for name, wanted in (("CPU", self.needs.cpus), ("GPU", self.needs.gpus)):
            present = resources.get(name, 0)
            if wanted > present:
                raise MergeError(
                    f"a job takes {wanted:g} {name}, and the cluster has {present:g}",
                    where="--on",
                    hint="--cpus-per-job, --gpus-per-job",
                )


def _result(reference: Any, job: Any) -> Any:
    """Return a job's result, or raise the error of its worker.

    Raises:
        MergeError: its process ended, and so did those that were started for it again; or a node
            does not have the packages.
    """
    import ray
    from ray.exceptions import (
        NodeDiedError,
        OutOfMemoryError,
        RaySystemError,
        RayTaskError,
        WorkerCrashedError,
    )

    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from None
    except RaySystemError as error:
        raise MergeError(
            f"a node cannot read its job: {str(error).strip().splitlines()[-1]}",
            where="--on",
            hint="every node needs the same Python and packages as this machine",
        ) from None
    except (NodeDiedError, OutOfMemoryError, WorkerCrashedError) as error:
        raise MergeError(
            f"a worker died {_RETRIES + 1} times: {type(error).__name__}",
            where=f"in the job {few([str(getattr(job, 'label', job))])}",
            hint="finished jobs are kept; where memory ran out, --memory-per-job sets more aside",
        ) from None


def _work(token: str, folder: str, threads: int, start: Callable[[], Any], job: Any) -> Any:
    """Do a job in a worker process, in the folder of the command."""
    if token not in _worker:
        if not Path(folder).is_dir():
            raise MergeError(
                "the command's folder is missing on a node of the cluster",
                where=f"{node()}: {folder}",
                hint="start the command in a folder that all nodes share",
            )
        os.chdir(folder)
        torch.set_num_threads(threads)
        _worker.clear()
        _worker[token] = start()
    return _worker[token](job)
