"""The training of any expert: from data and recipe, past a checkpoint, to an adapter's folder."""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar
from warnings import catch_warnings, filterwarnings

import torch
from peft import PeftModel

from robustmerge import __version__
from robustmerge.errors import MergeError, first_line
from robustmerge.files import alone_in, expand_user
from robustmerge.outputs import check_target

from ...quiet import quiet
from .checkpoints import CheckpointMarker, checkpoint_folder, prepare
from .device import DeviceConfig
from .expert import LORA, hash_A
from .progress import ProgressReporter, Report, losses
from .recipe import ExpertRecipe
from .record import FORMAT, KIND, versions, write_adapter
from .trainer import ExpertTrainer, arguments

Recipe = TypeVar("Recipe", bound=ExpertRecipe)


def check_output(output: str | Path, base: str, *, force: bool) -> Path:
    """Return the folder to write, which is refused where it holds something else."""
    target, home = expand_user(output), expand_user(base)
    inputs = [home] if home.is_dir() else []
    check_target(target, KIND, inputs, force=force)
    return target


class ExpertTraining(ABC, Generic[Recipe]):
    """The training of an expert. Subclasses load the model and encode the examples.

    Attributes:
        unit: The examples' name in the record.
        task: Name of the task, or of several.
        rows: The order of the examples.
        files: For the record: the files of each task, with hashes.
        portion: Examples that one device gets at once.
    """

    unit: str

    def __init__(
        self,
        base: str,
        task: str,
        recipe: Recipe,
        device: DeviceConfig,
        counts: Sequence[int],
        files: Sequence[Mapping[str, Any]],
    ) -> None:
        self.base, self.task, self.recipe, self.device = base, task, recipe, device
        self.rows, self.files = recipe.rows(counts), files
        recipe.check_steps(len(self.rows))

    @property
    def portion(self) -> int:
        """Examples that one device gets at once."""
        return self.device.portion(self.recipe.batch)

    def choices(self) -> Mapping[str, Any]:
        """Return what the recipe leaves to the model, as it turned out."""
        return {}

    def trainer_arguments(self) -> Mapping[str, Any]:
        """Return arguments of the Trainer that depend on the model."""
        return {}

    @abstractmethod
    def load(self, device: torch.device) -> PeftModel:
        """Load the base with an untrained adapter."""

    @abstractmethod
    def trainer_options(self, portion: int) -> Mapping[str, Any]:
        """Return examples, collator and loss for a loaded model.

        The portion is the number of examples that all devices get at once.
        """

    @abstractmethod
    def card(self, record: Mapping[str, Any]) -> str:
        """Return the model card."""

    def run(self, target: Path, *, restart: bool, force: bool, report: Report) -> dict[str, Any]:
        """Train, write the adapter's folder, remove the checkpoints, and return the record.

        Every process takes part.

        With `restart` an earlier training is discarded instead of resumed; with `force` an adapter
        in the folder is replaced. The main process reports every step that is logged.

        The record is the content of training.json.

        Raises:
            MergeError: An earlier training has other settings, the device is out of memory, the
                loss is not finite, the folder cannot be written, or another run trains in it.
        """
        checkpoints = checkpoint_folder(target)
        with ExitStack() as stack, quiet(), _ignored_warnings(), _failures():
            args = arguments(
                self.recipe,
                self.device,
                checkpoints,
                len(self.rows),
                portion=self.portion,
                **self.trainer_arguments(),
            )
            settings = self._settings()
            with args.main_process_first(local=False):
                if args.process_index == 0:
                    checkpoints.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(alone_in(checkpoints))
                restart = restart and args.process_index == 0
                last = prepare(checkpoints, settings, restart=restart)
            expert = self.load(args.device)
            record = self._record(settings, expert)
            trainer = ExpertTrainer(
                model=expert,
                args=args,
                callbacks=[CheckpointMarker(), ProgressReporter(report)],
                **self.trainer_options(self.portion * self.device.processes),
            )
            trainer.train(resume_from_checkpoint=str(last) if last else None)
            record["loss"] = losses(trainer.state)
            write_adapter(trainer, target, record, self.card(record), force=force)
            if trainer.is_world_process_zero():
                shutil.rmtree(checkpoints)
        return record

    def _settings(self) -> dict[str, Any]:
        """Return everything that decides the result, as JSON."""
        settings = {
            "task": self.task,
            "base": self.base,
            "recipe": {
                **asdict(self.recipe),  # type: ignore[call-overload]  # every recipe is a dataclass
                "alpha": self.recipe.alpha,
                **self.choices(),
                "dtype": str(self.device.dtype(self.recipe.dtype)).removeprefix("torch."),
            },
            "data": list(self.files),
            "processes": self.device.processes,
            "device_batch": self.portion,
        }
        plain: dict[str, Any] = json.loads(json.dumps(settings, default=dict))
        return plain

    def _record(self, settings: Mapping[str, Any], expert: PeftModel) -> dict[str, Any]:
        """Return the record of a training before it begins."""
        trained = [(name, p.numel()) for name, p in expert.named_parameters() if p.requires_grad]
        lora = sum(count for name, count in trained if LORA in name)
        others = sum(count for _, count in trained) - lora
        return {
            "format": FORMAT,
            "robustmerge": __version__,
            **settings,
            f"{self.unit}_seen": len(self.rows),
            "steps": self.recipe.count_steps(len(self.rows)),
            "parameters": {"lora": lora}
            | ({"projector": others} if "projector" in settings["recipe"] else {}),
            "start_sha256": hash_A(expert),
            "versions": versions(),
        }


@contextmanager
def _ignored_warnings() -> Iterator[None]:
    with catch_warnings():
        filterwarnings("ignore", category=FutureWarning)  # of the libraries' calls to each other
        # PEFT asks the Hub whether the vocabulary has grown, which it never has here.
        filterwarnings("ignore", message="Could not find a config file")
        yield


@contextmanager
def _failures() -> Iterator[None]:
    """Turn failures of the libraries into errors that a user can fix."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise MergeError(
            f"the device is out of memory: {first_line(error)}",
            where="training",
            hint="a smaller --device-batch with the same --batch, or several devices; except for "
            "dropout, the result is the same",
        ) from None
    except MergeError as error:
        if "DataLoader worker" not in error.problem:
            raise
        # A worker's error arrives as the text of its traceback.
        problem, _, rest = error.problem.rpartition(f"{MergeError.__name__}: ")[2].partition("\n")
        raise MergeError(problem, where=rest.replace("where:", "").strip()) from None
