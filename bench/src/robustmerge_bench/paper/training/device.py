"""Where a training runs and in which portions: what changes speed and memory, not the result."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from robustmerge.errors import MergeError

from .recipe import AMOUNT, COUNT, DType, check

if TYPE_CHECKING:
    import torch  # imported where it is used: the command line's help reads the options here

MOST = 16  # conversations on a device at once by default; as in LLaVA's script
_READERS = 4  # processes that read images for each GPU by default; as in LLaVA's script


@dataclass(frozen=True)
class DeviceConfig:
    """Where and how a training is computed.

    Attributes:
        device: Where to compute; auto is a GPU where there is one.
        device_batch: Samples that one device takes at once; the rest of a batch is accumulated. By
            default the most up to 16 that divide the batch.
        gradient_checkpointing: Compute activations twice, to hold fewer.
        workers: Processes that read images, for each device; by default 4 with a GPU and none with
            a CPU.
        save_every: Steps between two checkpoints.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    device_batch: int | None = None
    gradient_checkpointing: bool = True
    workers: int | None = None
    save_every: int = 100

    def __post_init__(self) -> None:
        check(self, COUNT, "device_batch", "save_every")
        check(self, AMOUNT, "workers")
        if self.device == "cuda" and not _has_gpu():
            raise MergeError("no CUDA device", where="--device cuda", hint="--device cpu")

    @property
    def readers(self) -> int:
        """Processes that read images, for each device."""
        return self.workers if self.workers is not None else _READERS if self.on_gpu else 0

    @property
    def processes(self) -> int:
        """Number of processes that train together, set by accelerate and torchrun."""
        return int(os.environ.get("WORLD_SIZE", "1"))

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return int(os.environ.get("RANK", "0")) == 0

    @property
    def sharded(self) -> bool:
        """Whether the model is divided among processes, which must then all run the same layers."""
        stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE")
        return os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true") or stage == "3"

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU computes."""
        return self.device != "cpu" and _has_gpu()

    def dtype(self, option: DType) -> torch.dtype:
        """Return the type of the base and of the arithmetic."""
        import torch

        if option == "auto":
            option = "bfloat16" if self.on_gpu and torch.cuda.is_bf16_supported() else "float32"
        return torch.bfloat16 if option == "bfloat16" else torch.float32

    def portion(self, batch: int, most: int = MOST) -> int:
        """Return how many examples one device gets at once.

        The batch is that of a step, on all devices together. `most` is the upper limit where no
        device batch is set.
        """
        count = self.processes
        if batch % count:
            raise MergeError(
                f"a batch of {batch} cannot be divided among {count} processes",
                where="--batch",
                hint=f"--batch {count * max(1, round(batch / count))}",
            )
        share = batch // count
        if self.device_batch is None:
            return max(n for n in range(1, min(share, most) + 1) if share % n == 0)
        if share % self.device_batch:
            raise MergeError(
                f"a device batch of {self.device_batch} does not divide the {share} examples that "
                f"a batch of {batch} has for each of {count} processes",
                where="--device-batch",
                hint="a divisor of that number; the rest is accumulated",
            )
        return self.device_batch


@dataclass(frozen=True)
class ClipDeviceConfig(DeviceConfig):
    """The same for CLIP, which is small.

    Attributes:
        gradient_checkpointing: Compute activations twice, to hold fewer.
        save_every: Steps between two checkpoints.
    """

    gradient_checkpointing: bool = False
    save_every: int = 500


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
