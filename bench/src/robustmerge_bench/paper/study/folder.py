"""The folder of a study: where everything is, and what of it is done.

    merged/TIES-5d1c…/                        an adapter, as `robustmerge merge` writes it
    answers/TIES-90ab…/vqav2.jsonl            what a model answered
    answers/TIES-90ab…/answers.json           to which questions, and whether to all of them
    scores/TIES-90ab…/vqav2-official-77e0….json
    study.json                                what there is, for tables
    hashes.json                               hashes of large files

The digits are of a hash of everything that decides the contents, so that whatever is there under
its name is done, and whatever has changed has another name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustmerge.engine.merge import RECORD
from robustmerge.errors import MergeError, reading
from robustmerge.files import write_json

from ...jobs.hashes import FileHashes, hash_of
from ..answering.record import forget, rebase
from ..score import Protocol
from ..tasks import PaperTask
from .models import StudyModel

_LOG = "answers.json"


@dataclass(frozen=True)
class StudyFolder:
    """A study's folder.

    Attributes:
        out: Where it is.
        hashes: Hashes of files in it and elsewhere.
    """

    out: Path
    hashes: FileHashes

    @classmethod
    def at(cls, out: Path) -> StudyFolder:
        """The folder at this place, which need not be there yet."""
        return cls(out, FileHashes(out / "hashes.json"))

    def merged(self, model: StudyModel) -> Path:
        """Where a merge is, or is to be written."""
        return _of_hash(self.out / "merged", model.merged_name)

    def is_merged(self, model: StudyModel) -> bool:
        """Whether the merge is there; it appears whole or not at all."""
        return (self.merged(model) / RECORD).is_file()

    def answers(self, model: StudyModel) -> Path:
        """The folder of a model's answers."""
        return _of_hash(self.out / "answers", model.answers_name)

    def answered(self, model: StudyModel, task: PaperTask) -> Path:
        """The file of a model's answers to a task's questions."""
        return self.answers(model) / f"{task.name}.jsonl"

    def is_answered(self, model: StudyModel, task: PaperTask, questions: str) -> bool:
        """Whether all of these questions are answered, and the answers as they were then."""
        path = self.answered(model, task)
        entry = self._log(model).get(task.name, {})
        if entry.get("questions") != questions or "answers" not in entry or not path.is_file():
            return False
        return bool(entry["answers"] == self.hashes.file(path))

    def begin(self, model: StudyModel, task: PaperTask, questions: str, base: str) -> None:
        """Note what is going to be answered; answers to other questions are removed.

        Args:
            model: By which model.
            task: Of which task.
            questions: Hash of its questions.
            base: Where the base is, whose contents decide the folder's name.
        """
        log, path = self._log(model), self.answered(model, task)
        if log.get(task.name, {}).get("questions") != questions:
            path.unlink(missing_ok=True)
            forget(self.answers(model), task.name)
        rebase(self.answers(model), base)
        self._write_log(model, {**log, task.name: {"questions": questions}})

    def end(self, model: StudyModel, task: PaperTask, questions: str) -> None:
        """Note that all questions are answered."""
        answers = self.hashes.file(self.answered(model, task))
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
        """The file of a score, by the contents that it is made from."""
        answers = self.hashes.file(self.answered(model, task))
        key = hash_of([answers, questions, references, protocol])
        folder = self.out / "scores" / self.answers(model).name
        return folder / f"{task.name}-{protocol}-{key[:12]}.json"

    def _log(self, model: StudyModel) -> dict[str, Any]:
        path = self.answers(model) / _LOG
        if not path.is_file():
            return {}
        with reading(path):
            text = path.read_text(encoding="utf-8")
        try:
            return dict(json.loads(text))
        except (ValueError, TypeError):
            raise MergeError(
                "not the record of answers that was written here",
                where=str(path),
                hint="remove the folder; the next run asks again",
            ) from None

    def _write_log(self, model: StudyModel, log: dict[str, Any]) -> None:
        path = self.answers(model) / _LOG
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, log)


def _of_hash(folder: Path, name: str) -> Path:
    """The folder whose name ends in the same hash, under whatever label it was made."""
    digits = name.rpartition("-")[2]
    there = sorted(folder.glob(f"*-{digits}"))
    return there[0] if there else folder / name
