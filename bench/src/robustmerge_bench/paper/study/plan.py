"""What there is to do for every model: merge, answer, score; and what of it is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from robustmerge.errors import MergeError

from ...jobs.hashes import FileHashes
from ..data.pictures import digest, questions_at
from ..score import Protocol
from ..tasks import PaperTask
from .file import Study, narrowed
from .folder import StudyFolder
from .limited import LimitedFiles
from .models import StudyModel, models
from .tools import StudyTools


@dataclass(frozen=True)
class TaskFiles:
    """A task's files and the hashes of their contents.

    Attributes:
        files: Where they are.
        questions: Hash of the questions.
        references: Hash of the references; empty without.
    """

    files: LimitedFiles
    questions: str
    references: str


@dataclass(frozen=True)
class ModelWork:
    """A model and what is to be done for it.

    Attributes:
        model: The model.
        merge: It has yet to be merged.
        answer: Tasks that it has yet to answer.
        score: Scores that have yet to be computed.
    """

    model: StudyModel
    merge: bool
    answer: tuple[PaperTask, ...]
    score: tuple[tuple[PaperTask, Protocol], ...]

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.merge or self.answer or self.score)


@dataclass(frozen=True)
class StudyPlan:
    """A study and its state.

    Attributes:
        study: The study.
        folder: Its folder.
        data: The folder that holds all tasks.
        files: Every task's files; those of tasks that are not to be run may be missing.
        models: The models of all contenders; those that are not to be run may be missing.
        labels: Which contenders are to be run.
        tasks: On which tasks.
        tools: How to do it.
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
        """The models that are to be run."""
        return tuple(
            model
            for model in self.models
            if model.contender.label in self.labels
            and any(t.name in self.tasks for t in model.tasks)
        )

    def work(self, model: StudyModel) -> ModelWork:
        """What is to be done for a model, as its folder is now."""
        tasks = tuple(task for task in model.tasks if task.name in self.tasks)
        asked = tuple(task for task in tasks if not self.is_answered(model, task))
        scores = tuple(
            (task, protocol)
            for task in tasks
            for protocol in self.study.protocols
            if task in asked or not self.is_scored(model, task, protocol)
        )
        merge = model.contender.recipe is not None and bool(asked)
        return ModelWork(model, merge and not self.folder.is_merged(model), asked, scores)

    def is_answered(self, model: StudyModel, task: PaperTask) -> bool:
        """Whether a model has answered all questions of a task."""
        return self.folder.is_answered(model, task, self.files[task.name].questions)

    def score(self, model: StudyModel, task: PaperTask, protocol: Protocol) -> Path:
        """The file of a score, for which there must be answers."""
        files = self.files[task.name]
        return self.folder.score(model, task, protocol, files.questions, files.references)

    def is_scored(self, model: StudyModel, task: PaperTask, protocol: Protocol) -> bool:
        """Whether the score is there, with all that can be computed now."""
        path = self.score(model, task, protocol)
        return path.is_file() and self.tools.complete(task, path)

    def scores(self) -> dict[str, dict[str, dict[str, str]]]:
        """The files of all scores there are, from the study's folder, by label, task, protocol."""
        found: dict[str, dict[str, dict[str, str]]] = {}
        for model in self.models:
            of_label = found.setdefault(model.contender.label, {})
            for task in (task for task in model.tasks if self.is_answered(model, task)):
                paths = {p: self.score(model, task, p) for p in self.study.protocols}
                there = {p: path for p, path in paths.items() if path.is_file()}
                of_label[task.name] = {
                    p: path.relative_to(self.folder.out).as_posix() for p, path in there.items()
                }
        return found


def make_plan(
    study: Study, out: Path, tools: StudyTools, only: Sequence[str] = (), *, whole: bool = True
) -> StudyPlan:
    """Find everything that a study needs.

    Args:
        study: The study.
        out: Its folder.
        tools: How to find adapters and data.
        only: Labels and tasks to leave it at; everything unless given.
        whole: Every adapter must be there; otherwise contenders without theirs have no models.

    Raises:
        MergeError: Data or adapters of what is to be run are not there.
    """
    contenders, tasks = narrowed(study, only)
    if study.data is None:
        raise MergeError(
            "the study names no data",
            where=str(study.file),
            hint="--data FOLDER is the folder that holds all tasks; or data: folder in the file",
        )
    folder = StudyFolder.at(out)
    files = {}
    for task in study.tasks:
        with _needed(task in tasks):
            files[task.name] = _files(task, tools.find(study.data, task), folder.hashes)
    found: list[StudyModel] = []
    there = [task for task in study.tasks if task.name in files]
    base = folder.hashes.base(study.base)
    for each in study.contenders:
        with _needed(whole and each in contenders):
            found += models(study, each, there, tools.asked, base, folder.hashes, tools.locate)
    labels, names = {each.label for each in contenders}, {task.name for task in tasks}
    return StudyPlan(
        study,
        folder,
        study.data,
        files,
        tuple(found),
        frozenset(labels),
        frozenset(names),
        tools,
    )


@contextmanager
def _needed(needed: bool) -> Iterator[None]:
    """What is not to be run now may be missing."""
    try:
        yield
    except MergeError:
        if needed:
            raise


def _files(task: PaperTask, found: LimitedFiles, hashes: FileHashes) -> TaskFiles:
    path = found.questions
    pictures = path.is_dir()
    questions = digest(path, questions_at(path, task)) if pictures else hashes.file(path)
    return TaskFiles(found, questions, hashes.data(found.references))
