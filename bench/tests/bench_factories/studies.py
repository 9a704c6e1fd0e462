"""Made-up studies: small adapters that are merged for real, answers and scores that are not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from factories import adapters as make
from robustmerge.engine.merge import merge_recipe
from robustmerge.engine.recipe import Recipe
from robustmerge.errors import MergeError
from robustmerge_bench.jobs.run import Outcome
from robustmerge_bench.paper.answering.options import AnsweringOptions
from robustmerge_bench.paper.answering.run import Progress, silent
from robustmerge_bench.paper.score import Protocol, Score
from robustmerge_bench.paper.study.contenders import Kind
from robustmerge_bench.paper.study.file import Study
from robustmerge_bench.paper.study.limited import QuestionFiles
from robustmerge_bench.paper.study.models import StudyModel
from robustmerge_bench.paper.study.plan import StudyPlan, make_plan
from robustmerge_bench.paper.study.published import PublishedRow
from robustmerge_bench.paper.study.record import ListedContender, StudyRecord
from robustmerge_bench.paper.study.run import run
from robustmerge_bench.paper.study.tools import StudyTools
from robustmerge_bench.paper.tasks import TASKS, PaperTask

LABELS = ("zero-shot", "individual", "task-arithmetic", "ties")


@dataclass
class ScriptedTools(StudyTools):
    """Merges for real, and answers and scores without models.

    Attributes:
        calls: Such as "merge ties" and "answer ties vqav2 20", the number being of new answers.
        fail: Tasks that cannot be answered.
        die_after: New answers after which the process is killed.
        determining: The options that determine the answers.
    """

    options: AnsweringOptions = field(default_factory=AnsweringOptions)
    out: Path = Path()
    progress: Progress = silent
    calls: list[str] = field(default_factory=list)
    fail: set[str] = field(default_factory=set)
    die_after: int | None = None
    determining: Mapping[str, Any] = field(default_factory=dict)

    @property
    def asked(self) -> Mapping[str, Any]:
        return self.determining

    def find(self, root: Path, task: PaperTask) -> QuestionFiles:
        return find(root, task)

    def complete(self, task: PaperTask, path: Path) -> bool:
        return True

    def merge(self, recipe: Recipe, output: Path) -> None:
        self.calls.append(f"merge {recipe.method}")
        merge_recipe(recipe, output, workers=1)

    def answer(
        self,
        base: str,
        adapter: str | None,
        tasks: Sequence[PaperTask],
        data: Path,
        out: Path,
        name: str,
    ) -> None:
        folder = Path(adapter) if adapter else None
        seed = hashlib.sha256(
            (folder / "adapter_model.safetensors").read_bytes() if folder else base.encode()
        ).hexdigest()
        for task in tasks:
            if task.name in self.fail:
                raise MergeError("no image a.png", where=f"{task.name}, question 3", hint="find")
            self._answer(task, seed, data, out, name)

    def _answer(self, task: PaperTask, seed: str, data: Path, out: Path, name: str) -> None:
        questions = json.loads(find(data, task).questions.read_text())
        path = out / f"{task.name}.jsonl"
        done = len(path.read_text().splitlines()) if path.is_file() else 0
        self.calls.append(f"answer {name} {task.name} {len(questions) - done}")
        with path.open("a") as file:
            for question in questions[done:]:
                if self.die_after == 0:
                    raise KeyboardInterrupt
                if self.die_after is not None:
                    self.die_after -= 1
                key = f"{seed}{task.name}{question['question_id']}"
                luck = int(hashlib.sha256(key.encode()).hexdigest(), 16) % 100
                text = question["answer"] if luck < 60 else "wrong"
                file.write(
                    json.dumps({"question_id": question["question_id"], "text": text}) + "\n"
                )
                file.flush()

    def score(
        self, task: PaperTask, files: QuestionFiles, answers: Path, protocol: Protocol
    ) -> Score:
        name = answers.parent.name.rpartition("-")[0]
        self.calls.append(f"score {name} {task.name} {protocol}")
        questions = json.loads(files.questions.read_text())
        texts = [json.loads(line)["text"] for line in answers.read_text().splitlines()]
        assert len(texts) == len(questions)
        rows = [[100.0 * (t == q["answer"])] for t, q in zip(texts, questions, strict=True)]
        ids = tuple(q["question_id"] for q in questions)
        return Score(task.name, protocol, "mean", ids, np.array(rows))


def find(root: Path, task: PaperTask) -> QuestionFiles:
    path = root / task.name / "questions.json"
    if not path.is_file():
        raise MergeError(f"no questions of {task.title}", where=str(root), hint="--data")
    return QuestionFiles(path)


def data(root: Path, tasks: Sequence[str], n: int = 20) -> Path:
    """Question files."""
    for name in tasks:
        (root / name).mkdir(parents=True, exist_ok=True)
        questions = [{"question_id": i, "answer": f"{name} {i}"} for i in range(n)]
        (root / name / "questions.json").write_text(json.dumps(questions))
    return root


def adapters(root: Path, tasks: Sequence[str]) -> dict[str, str]:
    """Write one small adapter per task."""
    for i, name in enumerate(tasks):
        make.adapter(root / name, seed=i)
    return {name: f"{root.name}/{name}" for name in tasks}


def write(file: Path, **content: Any) -> Path:
    """Write a study file of two seen tasks and an unseen one, with adapters and data."""
    seen, every = ["vqav2", "rec"], ["vqav2", "rec", "tabmwp"]
    plain: dict[str, Any] = {
        "title": "Made up",
        "base": "owner/base",
        "data": data(file.parent / "data", every).name,
        "adapters": adapters(file.parent / "experts", seen),
        "methods": list(LABELS),
        "tasks": every,
        "protocols": ["official"],
    }
    plain |= content
    present = {name: value for name, value in plain.items() if value is not None}
    file.write_text(yaml.safe_dump(present, sort_keys=False))
    return file


def answers(task: str, values: Sequence[float] | np.ndarray, **more: Any) -> Score:
    """Return a score of these samples, 0 to 100 each."""
    rows = np.asarray(values, float)[:, None]
    return Score(task, "official", "mean", tuple(range(len(rows))), rows, **more)


def record(
    out: Path,
    scores: Mapping[str, Mapping[str, Score]],
    *,
    kinds: Mapping[str, Kind] | None = None,
    tasks: Sequence[str] = ("vqav2", "rec", "tabmwp"),
    published: Sequence[PublishedRow] = (),
    failures: Mapping[str, Mapping[str, str]] | None = None,
    note: str = "",
) -> Path:
    """Write a study's folder as a run leaves it, with these scores by label and task."""
    kinds = kinds or {}
    files: dict[str, dict[str, dict[str, str]]] = {}
    named = []
    for label, of_label in scores.items():
        kind = kinds.get(label, "merge")
        own = [t for t in tasks if kind != "individual" or TASKS[t].group in ("seen", "vision")]
        named.append(ListedContender(label, kind, tuple(own)))
        for task, score in of_label.items():
            name = f"scores/{label}/{task}-{score.protocol}.json"
            score.write(out / name)
            files.setdefault(label, {}).setdefault(task, {})[score.protocol] = name
    StudyRecord(
        "Made up",
        note,
        "owner/base",
        {},
        tuple(TASKS[task] for task in tasks),
        ("official",),
        tuple(named),
        tuple(published),
        files,
        failures or {},
    ).write(out)
    return out


def run_study(file: Path, tools: ScriptedTools, **options: Any) -> Outcome[StudyModel]:
    """Run a study into the folder next to it."""
    return run(plan(file, tools, **options))


def plan(file: Path, tools: ScriptedTools, only: tuple[str, ...] = ()) -> StudyPlan:
    return make_plan(Study.load(file), file.parent / "out", tools, only)


def run_again(file: Path, **options: Any) -> list[str]:
    """Run the study again; return what it does."""
    tools = ScriptedTools(**options)
    run_study(file, tools)
    return tools.calls


def contents(out: Path) -> dict[str, str]:
    """Return all answers and scores, by name."""
    files = [*out.glob("answers/*/*.jsonl"), *out.glob("scores/*/*.json")]
    return {str(path.relative_to(out)): path.read_text() for path in files}
