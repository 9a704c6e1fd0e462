"""The folder of a study: the paths of everything, and what is done.

    merged/TIES-5d1c…/                        an adapter, as `robustmerge merge` writes it
    answers/TIES-90ab…/vqav2.jsonl            answers of a model
    answers/TIES-90ab…/answers.json           hashes of questions, and of complete answers
    scores/TIES-90ab…/vqav2-official-77e0….json
    study.json                                the study's record, for tables
    hashes.json                               hashes of large files

The digits are of a hash of everything that determines the contents, so that a present name is done
work, and changed inputs have another name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from robustmerge.engine.merge import RECORD
from robustmerge.errors import MergeError
from robustmerge.files import read_json, write_json

from ...jobs.hashes import FileHashes, hash_of
from ..answering.record import forget, rebase
from ..score import Protocol
from ..tasks import PaperTask
from .models import StudyModel

_LOG = "answers.json"
_SHOWN = 12  # digits of a hash in a name: 48 bits


@dataclass(frozen=True)
class StudyFolder:
    """A study's folder, which need not exist."""

    out: Path

    @cached_property
    def hashes(self) -> FileHashes:
        """The hashes of files in it and elsewhere."""
        return FileHashes(self.out / "hashes.json")

    def merged(self, model: StudyModel) -> Path:
        """Return the folder of a merge, present or not."""
        return _of_hash(self.out / "merged", model.name, model.key)

    def is_merged(self, model: StudyModel) -> bool:
        """Return whether the merge is present; it is written whole or not at all."""
        return (self.merged(model) / RECORD).is_file()

    def answers(self, model: StudyModel) -> Path:
        """Return the folder of a model's answers."""
        return _of_hash(self.out / "answers", model.name, model.answers)

    def answers_to(self, model: StudyModel, task: PaperTask) -> Path:
        """Return the file of a model's answers to a task's questions."""
        return self.answers(model) / f"{task.name}.jsonl"

    def is_answered(self, model: StudyModel, task: PaperTask, questions: str) -> bool:
        """Return whether all of these questions are answered, and the answers unchanged since."""
        path = self.answers_to(model, task)
        entry = self._log(model).get(task.name, {})
        if entry.get("questions") != questions or "answers" not in entry or not path.is_file():
            return False
        return bool(entry["answers"] == self.hashes.file(path))

    def begin(self, model: StudyModel, task: PaperTask, questions: str, base: str) -> None:
        """Record the start of answering; answers to other questions are removed.

        `questions` is a hash. `base` is recorded only: its contents determine the folder's name.
        """
        log, path = self._log(model), self.answers_to(model, task)
        if log.get(task.name, {}).get("questions") != questions:
            path.unlink(missing_ok=True)
            forget(self.answers(model), task.name)
        rebase(self.answers(model), base)
        self._write_log(model, {**log, task.name: {"questions": questions}})

    def end(self, model: StudyModel, task: PaperTask, questions: str) -> None:
        """Record that all questions are answered."""
        answers = self.hashes.file(self.answers_to(model, task))
        entry = {"questions": questions, "answers": answers}
        self._write_log(model, {**self._log(model), task.name: entry})

    def score(
        self,
        model: StudyModel,
        task: PaperTask,
        protocol: Protocol,
        questions: str,
        references: str,
    ) -> Path:
        """Return the file of a score, by the contents that it is computed from."""
        answers = self.hashes.file(self.answers_to(model, task))
        key = hash_of([answers, questions, references, protocol])
        folder = self.out / "scores" / self.answers(model).name
        return folder / f"{task.name}-{protocol}-{key[:_SHOWN]}.json"

    def _log(self, model: StudyModel) -> dict[str, Any]:
        path = self.answers(model) / _LOG
        if not path.is_file():
            return {}
        try:
            return read_json(path)
        except MergeError as error:
            raise MergeError(
                f"not the record of answers that was written here: {error.problem}",
                where=str(path),
                hint="remove the folder; the next run answers again",
            ) from None

    def _write_log(self, model: StudyModel, log: dict[str, Any]) -> None:
        path = self.answers(model) / _LOG
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, log)


def _of_hash(folder: Path, name: str, key: str) -> Path:
    """Return the folder of a hash: the present one, under any label, or a new one of this name."""
    present = sorted(folder.glob(f"*-{key[:_SHOWN]}"))
    return present[0] if present else folder / f"{name}-{key[:_SHOWN]}"
