"""The work of a study: merge, answer and score every model, as far as that is not done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from robustmerge.errors import MergeError

from ...jobs.hashes import FileHashes
from ..data.read import hash_questions, load_questions
from ..score import Protocol
from ..tasks import PaperTask
from .file import Study
from .folder import StudyFolder
from .limited import QuestionFiles
from .models import StudyModel, models_of
from .tools import StudyTools


@dataclass(frozen=True)
class TaskFiles:
    """A task's files and the hashes of their contents; '' for references that it does not have."""

    files: QuestionFiles
    questions: str
    references: str


@dataclass(frozen=True)
class ModelWork:
    """The work that is left for a model."""

    model: StudyModel
    merge: bool
    answer: tuple[PaperTask, ...]
    score: tuple[tuple[PaperTask, Protocol], ...]

    @property
    def done(self) -> bool:
        """Whether no work is left."""
        return not (self.merge or self.answer or self.score)


@dataclass(frozen=True)
class StudyPlan:
    """A study and its state.

    Attributes:
        files: Files by task; those of tasks that are not run may be missing.
        models: The models of all contenders; those that are not run may be missing.
        labels: Contenders to run.
        tasks: Tasks to run.
    """

    study: Study
    folder: StudyFolder
    data: Path
    files: Mapping[str, TaskFiles]
    models: tuple[StudyModel, ...]
    labels: frozenset[str]
    tasks: frozenset[str]
    tools: StudyTools

    @property
    def chosen(self) -> tuple[StudyModel, ...]:
        """The models to run."""
        return tuple(
            model
            for model in self.models
            if model.contender.label in self.labels
            and any(t.name in self.tasks for t in model.tasks)
        )

    def work(self, model: StudyModel) -> ModelWork:
        """Return the work left for a model, by the present state of its folder."""
        tasks = tuple(task for task in model.tasks if task.name in self.tasks)
        answer = tuple(task for task in tasks if not self.is_answered(model, task))
        scores = tuple(
            (task, protocol)
            for task in tasks
            for protocol in self.study.protocols
            if task in answer or not self.is_scored(model, task, protocol)
        )
        merge = model.contender.recipe is not None and bool(answer)
        return ModelWork(model, merge and not self.folder.is_merged(model), answer, scores)

    def is_answered(self, model: StudyModel, task: PaperTask) -> bool:
        """Return whether a model has answered all questions of a task."""
        return self.folder.is_answered(model, task, self.files[task.name].questions)

    def score(self, model: StudyModel, task: PaperTask, protocol: Protocol) -> Path:
        """Return the file of a score; the answers must be present."""
        files = self.files[task.name]
        return self.folder.score(model, task, protocol, files.questions, files.references)

    def is_scored(self, model: StudyModel, task: PaperTask, protocol: Protocol) -> bool:
        """Return whether the score is present, with all that can be computed now."""
        path = self.score(model, task, protocol)
        return path.is_file() and self.tools.complete(task, path)

    def scores(self) -> dict[str, dict[str, dict[str, str]]]:
        """Return the present score files by label, task and protocol, relative to the folder."""
        scores: dict[str, dict[str, dict[str, str]]] = {}
        for model in self.models:
            of_label = scores.setdefault(model.contender.label, {})
            for task in (task for task in model.tasks if self.is_answered(model, task)):
                paths = {p: self.score(model, task, p) for p in self.study.protocols}
                present = {p: path for p, path in paths.items() if path.is_file()}
                of_label[task.name] = {
                    p: path.relative_to(self.folder.out).as_posix() for p, path in present.items()
                }
        return scores


def make_plan(
    study: Study, out: Path, tools: StudyTools, only: Sequence[str] = (), *, whole: bool = True
) -> StudyPlan:
    """Plan a study: find data and adapters, and hash them.

    `only` names labels and tasks to run; all by default. Data of what is run must be present, and
    adapters, too, unless `whole` is False: then contenders without theirs have no models.
    """
    contenders, tasks = study.select(only)
    if study.data is None:
        raise MergeError(
            "the study names no data",
            where=str(study.file),
            hint="--data FOLDER is the folder that holds all tasks; or data: folder in the file",
        )
    folder = StudyFolder(out)
    files = {}
    for task in study.tasks:
        with _needed(task in tasks):
            files[task.name] = _hash_files(task, tools.find(study.data, task), folder.hashes)
    models: list[StudyModel] = []
    present = [task for task in study.tasks if task.name in files]
    base = folder.hashes.base(study.base)
    for each in study.contenders:
        with _needed(whole and each in contenders):
            models += models_of(
                study, each, present, tools.asked, base, folder.hashes, tools.locate
            )
    labels = frozenset(each.label for each in contenders)
    names = frozenset(task.name for task in tasks)
    return StudyPlan(study, folder, study.data, files, tuple(models), labels, names, tools)


@contextmanager
def _needed(needed: bool) -> Iterator[None]:
    """Let what is not run now be missing."""
    try:
        yield
    except MergeError:
        if needed:
            raise


def _hash_files(task: PaperTask, files: QuestionFiles, hashes: FileHashes) -> TaskFiles:
    path = files.questions
    images = path.is_dir()
    questions = hash_questions(path, load_questions(path, task)) if images else hashes.file(path)
    return TaskFiles(files, questions, hashes.data(files.references))
