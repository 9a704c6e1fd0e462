"""What lmms-eval finds, reads and calls, held to this package's own run and scores."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from bench_factories import lmms as pretend_lmms
from bench_factories.lmms import Dataset, Request, read_yaml
from bench_factories.question_files import fill
from bench_factories.tiny_models import draw, save
from factories.families import save_adapter
from faults.refuse import refused
from robustmerge.cli.app import run
from robustmerge_bench.metrics import java
from robustmerge_bench.paper.answering.run import answer
from robustmerge_bench.paper.lmms import TASKS as FOLDER, docs, manifest, scores
from robustmerge_bench.paper.scoring import score
from robustmerge_bench.paper.tasks import SEEN, TASKS, UNSEEN

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"
GREEDY = {"max_new_tokens": 5, "temperature": 0.0, "do_sample": False, "until": []}
NAMES = tuple(task.name for task in SEEN + UNSEEN)


@pytest.fixture(autouse=True)
def fake_lmms(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_lmms.install(monkeypatch)
    # METEOR takes half a minute, and is another file's to test.
    monkeypatch.setattr(java, "missing_software", lambda: "Java is not run here")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill(tmp_path / "data", NAMES)
    references(tmp_path / "data")
    monkeypatch.setenv(docs.ROOT, str(tmp_path / "data"))
    return tmp_path / "data"


def references(root: Path) -> None:
    """Right answers of the tasks that have them in files of their own."""
    for task in SEEN + UNSEEN:
        folder = root / "instructions" / task.folders[0]
        if task.kind == "captions":
            content: Any = {
                "images": [{"id": n + 1, "file_name": f"{n}.png"} for n in range(7)],
                "annotations": [
                    {"id": n, "image_id": n + 1, "caption": "a dog" if n == 4 else "an old house"}
                    for n in range(7)
                ],
            }
            (folder / task.references[0]).write_text(json.dumps(content))
        if task.kind == "problems":
            ids = [str(100 + n) for n in range(7)]
            content = {name: {"choices": ["a", "b", "c"], "answer": 1} for name in ids}
            (folder / task.references[0]).write_text(json.dumps(content))
            (folder / "pid_splits.json").write_text(json.dumps({"test": ids}))


def dataset(name: str) -> Dataset:
    """A task's documents, as its YAML file has lmms-eval get them."""
    settings = read_yaml(FOLDER / f"{name.replace('-', '_')}.yaml")
    seed = Dataset.from_list([{"seed": ""}], split=settings["test_split"])
    made: Dataset = called(settings["process_docs"])(seed)
    return made


def called(name: str) -> Any:
    module, _, function = name.rpartition(".")
    return getattr(import_module(module), function)


def test_the_entry_point_leads_to_the_model() -> None:
    line = re.search(
        r'\[project\.entry-points\."lmms_eval\.models"\]\n(\w+) = "(.+)"', PYPROJECT.read_text()
    )
    assert line is not None
    made = EntryPoint(line[1], line[2], "lmms_eval.models").load()()
    assert made == manifest.manifest()
    assert (made.model_id, made.simple_class_path) == ("robustmerge", None)
    model = called(made.chat_class_path)
    assert issubclass(model, pretend_lmms.Lmms)
    assert not model.is_simple


def test_there_is_a_file_for_every_task_and_no_other() -> None:
    found = {path.stem for path in FOLDER.glob("*.yaml")}
    assert found == {name.replace("-", "_") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_what_its_task_says(name: str) -> None:
    task, settings = TASKS[name], read_yaml(FOLDER / f"{name.replace('-', '_')}.yaml")
    split = name.replace("-", "_")
    assert settings["task"] == f"mm_mergebench_{split}"
    assert settings["tag"] == ["mm_mergebench", f"mm_mergebench_{task.group}"]
    assert settings["test_split"] == split
    assert (FOLDER / settings["dataset_kwargs"]["data_files"][split]).is_file()
    given = settings["generation_kwargs"]
    assert given == GREEDY | {"max_new_tokens": task.max_new_tokens}
    metrics = [one["metric"] for one in settings["metric_list"]]
    captions = ["metrics"] if task.kind == "captions" else []
    assert metrics == ["fixed", "official", *captions, "empty"]
    for field in ("process_docs", "doc_to_visual", "doc_to_text", "process_results"):
        assert callable(called(settings[field]))
    for one in settings["metric_list"][:-1]:
        assert called(one["aggregation"]) is getattr(scores, one["metric"])


def test_the_command_prints_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "lmms-tasks"]) == 0
    assert list(Path(capsys.readouterr().out.strip()).glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_documents_are_the_questions(name: str, root: Path) -> None:
    found = dataset(name)
    assert len(found) == 7
    for number, one in enumerate(found):
        asked = docs.request_of(one)
        record = docs.questions_of(TASKS[name])[number]
        assert asked.id == record.id
        assert docs.text(one, {}) == one["text"] == asked.text
        assert (asked.image is None) == (record.image is None) == (one["image"] == "")
        assert len(docs.images(one)) == (record.image is not None)


def test_pictures_are_framed_where_asked_for(root: Path) -> None:
    (vizwiz,) = docs.images(dataset("vizwiz")[0], {"framing": True})
    (rec,) = docs.images(dataset("rec")[0], {"framing": True})
    (plain,) = docs.images(dataset("vizwiz")[0], {"framing": False})
    assert (vizwiz.size, rec.size, plain.size) == ((60, 60), (60, 40), (60, 40))


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_bench_score(
    name: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, documents = TASKS[name], dataset(name)
    said = ["B", "b.", "", "The answer is B.", "a dog", "[0.1,0.2,0.5,0.75]", "a cat"]
    items = [scores.results(one, [text]) for one, text in zip(documents, said, strict=True)]
    prompts = docs.prompts_of(task)
    predictions = tmp_path / "p.jsonl"
    predictions.write_text("".join(prompts.line(n, text, "m") for n, text in enumerate(said)))
    for protocol in ("official", "fixed"):
        want = score(task, prompts.path, predictions, protocol=protocol)
        got = [item[protocol] for item in reversed(items)]  # several processes may mix them up
        assert getattr(scores, protocol)(got) == want.value
    assert [item["empty"] for item in items] == [0, 0, 1, 0, 0, 0, 0]
    if task.kind == "captions":
        assert scores.metrics([item["metrics"] for item in items]) == 6
        monkeypatch.setattr(scores, "_score", lambda *of: replace(want, missing=()))
        assert scores.metrics([item["metrics"] for item in items]) == 7
    else:
        assert "metrics" not in items[0]


def test_the_first_questions_alone(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As lmms-eval's --limit has it: scored over them, but where a script needs all."""
    texts = {
        "iconqa": ["B", "B", "x"],
        "vizwiz": ["an old house"] * 3,
        "scienceqa": ["B", "B", "A"],
    }
    got = {}
    for name, said in texts.items():
        items = [scores.results(o, [t]) for o, t in zip(dataset(name)[:3], said, strict=True)]
        got[name] = [
            getattr(scores, protocol)([item[protocol] for item in items])
            for protocol in ("official", "fixed")
        ]
    assert got["iconqa"] == pytest.approx([200 / 3, 200 / 3])
    assert got["scienceqa"][1] == pytest.approx(200 / 3)
    assert got["vizwiz"][1] > 0
    assert got["vizwiz"][0] != got["vizwiz"][0]
    assert got["scienceqa"][0] != got["scienceqa"][0]
    assert "VizWiz captions: the released script scores all answers or none" in caplog.text


def test_what_is_missing_is_found_before_anything_is_answered(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root / "instructions" / "VizWiz-caption"
    (folder / "val_coco_type.json").unlink()
    refused(lambda: dataset("vizwiz"), "right answers of VizWiz captions")
    monkeypatch.setenv(docs.ROOT, str(root / "gone"))
    refused(lambda: dataset("iconqa"), "$MM_MERGEBENCH is", "gone")
    monkeypatch.delenv(docs.ROOT)
    refused(lambda: dataset("iconqa"), "$MM_MERGEBENCH is not set")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save("llava", folder / "base")
    save("qwen2_vl", folder / "qwen")
    save_adapter("llava", folder / "a", seed=1)
    save_adapter("qwen2_vl", folder / "q", seed=1, targets="all-linear")
    return folder


def loaded(arguments: str, **more: Any) -> Any:
    kind = called("robustmerge_bench.paper.lmms.model.RobustMerge")
    return kind.create_from_arg_string(arguments, {"batch_size": 1, "device": None, **more})


def requests(task: str, documents: Any, messages: Any, **settings: Any) -> list[Request]:
    given = GREEDY | settings
    return [Request(("", messages, dict(given), n, task, "test")) for n in range(len(documents))]


def test_answers_are_those_of_bench_run(root: Path, model: Path, tmp_path: Path) -> None:
    names = ("vizwiz", "rec", "scienceqa")
    files = answer(
        str(model / "base"),
        str(model / "a"),
        [TASKS[n] for n in names],
        root,
        tmp_path / "out",
        options=docs.AnsweringOptions(batch=4, max_new_tokens=5),
    )
    live = loaded(f"base={model / 'base'},adapter={model / 'a'},device=cpu,batch_size=1")
    assert live._engine.window < 7
    asked = []
    for name in names:
        live.task_dict[name] = {"test": dataset(name)}
        asked += requests(name, live.task_dict[name]["test"], None)
    want = [json.loads(line)["text"] for file in files for line in file.read_text().splitlines()]
    got = live.generate_until(asked)
    assert got == want
    assert len(set(got)) > 5
    mixed = sorted(range(len(asked)), key=lambda n: n * 8 % 21)
    assert live.generate_until([asked[n] for n in mixed]) == [want[n] for n in mixed]
    bare = loaded(f"base={model / 'base'},device=cpu", batch_size=4)
    bare.task_dict = live.task_dict
    assert bare._engine.batch == 4
    assert bare.generate_until(asked) != want


def conversation(images: list[Any], text: str) -> list[dict[str, Any]]:
    parts = [{"type": "image", "url": image} for image in images]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def slowly(live: Any, images: list[Image.Image], text: str) -> str:
    """One conversation by the processor and generate, nothing else."""
    inputs = live._chat.processor(text=[text], images=images or None, return_tensors="pt")
    with torch.no_grad():
        made = live._engine.model.generate(**inputs, max_new_tokens=5, do_sample=False)
    tokens = made[0, inputs["input_ids"].shape[1] :]
    return str(live._chat.processor.tokenizer.decode(tokens, skip_special_tokens=True)).strip()


@pytest.mark.parametrize("batch", [1, 4])
def test_other_tasks_are_conversations(batch: int, model: Path, tmp_path: Path) -> None:
    live = loaded(f"base={model / 'qwen'},adapter={model / 'q'},device=cpu,batch_size={batch}")
    paths = [draw(tmp_path / f"{n}.png", n, size) for n, size in enumerate([(60, 40), (40, 60)])]
    one, two = (Image.open(path).convert("RGB") for path in paths)
    turns = [
        conversation([], "And without a picture?"),
        conversation([one], "Which?"),
        conversation([str(paths[1]), one], "Which of these is the larger?"),
        [
            *conversation([two], "This?"),
            *(
                {"role": role, "content": [{"type": "text", "text": text}]}
                for role, text in (("assistant", "No."), ("user", "That?"))
            ),
        ],
    ]
    mark = "<|vision_start|><|image_pad|><|vision_end|>"
    written = [
        ([], "USER: And without a picture? ASSISTANT:"),
        ([one], f"USER: {mark}Which? ASSISTANT:"),
        ([two, one], f"USER: {mark}{mark}Which of these is the larger? ASSISTANT:"),
        ([two], f"USER: {mark}This? ASSISTANT: No. USER: That? ASSISTANT:"),
    ]
    live.task_dict["other"] = {"test": turns}
    got = live.generate_until(requests("other", turns, lambda turns: turns))
    assert got == [slowly(live, images, text) for images, text in written]
    assert len(set(got)) == 4


def test_llava_is_asked_as_it_was_trained(model: Path, tmp_path: Path) -> None:
    live = loaded(f"base={model / 'base'},adapter={model / 'a'},device=cpu")
    path = draw(tmp_path / "x.png", 3, (60, 30))
    turns = [conversation([str(path)], "Which?")]
    turns[0] += [
        {"role": "assistant", "content": [{"type": "text", "text": "No."}]},
        *conversation([], "That?"),
    ]
    live.task_dict["other"] = {"test": turns}
    (got,) = live.generate_until(requests("other", turns, lambda turns: turns))
    image = Image.new("RGB", (60, 60), (122, 116, 104))
    image.paste(Image.open(path), (0, 15))
    system = (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions."
    )
    text = f"{system} USER: <image>\nWhich? ASSISTANT: No.</s> USER: That? ASSISTANT:"
    assert got == slowly(live, [image], text)


def test_an_answer_ends_where_the_task_says(model: Path) -> None:
    live = loaded(f"base={model / 'qwen'},device=cpu")
    turns = [conversation([], "Which?")]
    live.task_dict["other"] = {"test": turns}
    (whole,) = live.generate_until(requests("other", turns, lambda turns: turns))
    (cut,) = live.generate_until(requests("other", turns, lambda turns: turns, until=[whole[2]]))
    assert cut == whole[: whole.index(whole[2])]


def test_every_process_has_its_own_gpu(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "63")
    refused(lambda: loaded(f"base={model / 'base'},device=cuda"), "no device 'cuda:63' here")
    assert loaded(f"base={model / 'base'},device=cpu").device == torch.device("cpu")


def test_refused(model: Path) -> None:
    base = f"base={model / 'base'},device=cpu"
    refused(lambda: loaded(f"{base},adaptor=x"), "unknown argument 'adaptor'", "adapter?")
    refused(lambda: loaded(f"{base},dtype=float23"), "unknown dtype")
    refused(lambda: loaded(base, batch_size="auto"), "'auto' is not a number of questions")
    refused(lambda: loaded(f"{base},adapter={model / 'q'}"), f"where: {model / 'q'}")
    live = loaded(base)
    turns = [conversation([], "Which?"), conversation([], "So?")]
    turns[1][0]["content"][0] = {"type": "video", "url": "x.mp4"}
    live.task_dict["other"] = {"test": turns}
    refused(
        lambda: live.generate_until(requests("other", turns, lambda turns: turns)),
        "a task with video",
    )
    refused(
        lambda: live.generate_until(requests("other", turns, None, temperature=0.7)),
        "greedy",
        "--gen_kwargs",
    )
    refused(lambda: live.loglikelihood([]), "only answers")
    refused(lambda: live.generate_until_multi_round([]), "several rounds")
