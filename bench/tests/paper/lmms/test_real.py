"""lmms-eval itself, in an environment of its own, on a tiny model: its answers are ours."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import robustmerge
import robustmerge_bench
from bench_factories.question_files import fill
from bench_factories.tiny_models import save
from factories.families import save_adapter
from robustmerge_bench.paper.answering.options import AnsweringOptions
from robustmerge_bench.paper.answering.run import answer
from robustmerge_bench.paper.data.find import find
from robustmerge_bench.paper.lmms import TASKS as FOLDER
from robustmerge_bench.paper.scoring import score
from robustmerge_bench.paper.tasks import TASKS

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"
WITHOUT_THEIRS = ["lmms-eval==0.7.3"]
NEEDED = [
    *("loguru", "datasets", "evaluate", "sacrebleu", "pytablewriter", "jsonlines", "tenacity"),
    *("python-dotenv", "numexpr", "scikit-learn"),
]
NAMES = ("iconqa", "rec", "imagenet-r", "aokvqa")
OTHER = """
task: other
dataset_path: json
dataset_kwargs: {data_files: {test: other.jsonl}}
test_split: test
output_type: generate_until
doc_to_visual: !function other.pictures
doc_to_text: text
doc_to_target: text
generation_kwargs: {max_new_tokens: 5, until: []}
process_results: !function other.results
metric_list: [{metric: found, aggregation: mean, higher_is_better: true}]
"""
FUNCTIONS = """
from PIL import Image
def pictures(doc):
    return [Image.open(doc["image"])]
def results(doc, answers):
    return {"found": 1.0}
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has lmms-eval, and beside it what this one has."""
    folder = tmp_path_factory.mktemp("lmms") / "venv"
    venv.create(folder, with_pip=True)
    made = folder / "bin" / "python"
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(subprocess.check_output([made, "-c", asked], text=True).strip())
    (own / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for options in (["--no-deps", *WITHOUT_THEIRS], NEEDED):
        install = [made, "-m", "pip", "install", "-q", *options]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    _register(own)
    return made


def _register(own: Path) -> None:
    """Make the entry point known, as an installation of this tree would."""
    line = re.search(r'entry-points\."(.+)"\]\n(.+)', PYPROJECT.read_text())
    assert line is not None
    folder = own / "of_this_tree-0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: of-this-tree\nVersion: 0\n")
    (folder / "entry_points.txt").write_text(f"[{line[1]}]\n{line[2].replace(chr(34), '')}\n")


@pytest.mark.slow
def test_lmms_eval_gives_our_answers_and_scores(python: Path, tmp_path: Path) -> None:
    root = fill(tmp_path / "data", NAMES)
    base = save("llava", tmp_path / "base")
    adapter = save_adapter("llava", tmp_path / "a", seed=1)
    tasks = [TASKS[name] for name in NAMES]
    options = AnsweringOptions(batch=4, max_new_tokens=5)
    files = answer(str(base), str(adapter), tasks, root, tmp_path / "ours", options=options)
    ours = {
        name: [json.loads(line)["text"] for line in file.read_text().splitlines()]
        for name, file in zip(NAMES, files, strict=True)
    }
    for name in NAMES:  # so that some are right
        path = find(root, TASKS[name]).questions
        records = json.loads(path.read_text())
        for record, text in zip(records[::2], ours[name][::2], strict=True):
            record["answer"] = text
        path.write_text(json.dumps(records))
    _write_other(tmp_path / "others", root)
    asked = ",".join([f"mm_mergebench_{name.replace('-', '_')}" for name in NAMES] + ["other"])
    _run(python, tmp_path, asked)

    (file,) = (tmp_path / "theirs").rglob("*results.json")
    found = json.loads(file.read_text())["results"]
    for name, predictions in zip(NAMES, files, strict=True):
        theirs = _samples(tmp_path, f"mm_mergebench_{name.replace('-', '_')}")
        assert theirs == ours[name]
        assert len(set(theirs)) > 1
        values = found[f"mm_mergebench_{name.replace('-', '_')}"]
        for protocol in ("official", "fixed"):
            want = score(
                TASKS[name], find(root, TASKS[name]).questions, predictions, protocol=protocol
            )
            assert values[f"{protocol},none"] == want.value
        assert name != "iconqa" or values["fixed,none"] > 50
    assert _samples(tmp_path, "other") == ours["iconqa"]  # whose script pads, as LLaVA is trained


def _write_other(folder: Path, root: Path) -> None:
    """IconQA's questions as a task that knows nothing of this package."""
    folder.mkdir()
    questions = json.loads(find(root, TASKS["iconqa"]).questions.read_text())
    rows = [
        {"text": q["text"], "image": str(root / "datasets" / q["image"].removeprefix("./"))}
        for q in questions
    ]
    (folder / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "other.yaml").write_text(OTHER)
    (folder / "other.py").write_text(FUNCTIONS)


def _run(python: Path, root: Path, tasks: str) -> None:
    # Two folders of tasks: lmms-eval takes one, so ours are copied to the other's.
    for path in FOLDER.iterdir():
        (root / "others" / path.name).write_text(path.read_text())
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"), "1")
    places = {"HF_HOME": str(root / "hf"), "MM_MERGEBENCH": str(root / "data")}
    packages = [str(Path(p.__file__).parents[1]) for p in (robustmerge, robustmerge_bench)]
    source = {"PYTHONPATH": os.pathsep.join(packages), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [
            *(python, "-m", "lmms_eval", "--model", "robustmerge"),
            *("--model_args", "base=base,adapter=a,device=cpu,batch_size=4"),
            *("--tasks", tasks, "--include_path", "others", "--gen_kwargs", "max_new_tokens=5"),
            *("--output_path", "theirs", "--log_samples"),
        ],
        cwd=root,
        env=kept | offline | places | source,
        capture_output=True,
        text=True,
        check=False,
    )
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def _samples(root: Path, task: str) -> list[str]:
    """The answers that lmms-eval recorded, in the order of the questions."""
    (file,) = (root / "theirs").rglob(f"*samples_{task}.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [row["filtered_resps"] for row in sorted(rows, key=lambda row: row["doc_id"])]
