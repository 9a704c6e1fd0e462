"""A run that is repeated, changed, or pointed at the wrong folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench_factories.answer_runs import FEW, answer_tasks
from bench_factories.echo_engine import Echo
from bench_factories.question_files import fill
from robustmerge import MergeError
from robustmerge.files import read_json
from robustmerge_bench.paper.answering import record, run as running
from robustmerge_bench.paper.answering.options import AnsweringOptions
from robustmerge_bench.paper.answering.questions import read_prompts
from robustmerge_bench.paper.data.predictions import read_predictions
from robustmerge_bench.paper.tasks import TASKS

KEYS = ["question_id", "prompt", "text", "answer_id", "model_id", "metadata"]


def unchecked(**values: object) -> AnsweringOptions:
    """Return options with values that only a caller without type checks can give."""
    options = AnsweringOptions()
    for name, value in values.items():
        object.__setattr__(options, name, value)
    return options


def test_what_is_written(root: Path, use_engine: Callable[[Echo], Echo]) -> None:
    use_engine(Echo())
    seen: list[tuple[str, int, int]] = []
    files = answer_tasks(
        root, "scienceqa,imagenet-r", progress=lambda *reported: seen.append(reported)
    )
    assert files == [root / "out" / "scienceqa.jsonl", root / "out" / "imagenet-r.jsonl"]
    lines = [json.loads(line) for line in files[0].read_text().splitlines()]
    assert [list(line) for line in lines] == [KEYS] * 11
    assert [line["question_id"] for line in lines] == [str(100 + n) for n in range(11)]
    assert lines[0]["prompt"].startswith("<image>\nWhat is number 0?")
    assert lines[1]["prompt"].startswith("What is number 1 or so?")
    assert lines[0]["text"] == "What is number 0?\nAn\u2028crop|True"
    assert lines[1]["text"].endswith("\u2028crop|False")
    assert {line["model_id"] for line in lines} == {"one"}
    others = [json.loads(line) for line in files[1].read_text().splitlines()]
    assert [line["question_id"] for line in others] == [n // 2 for n in range(11)]
    assert len({line["answer_id"] for line in [*lines, *others]}) == 22
    assert {len(line["answer_id"]) for line in lines} == {22}
    assert [one.text for one in read_predictions(files[0])] == [line["text"] for line in lines]
    assert seen[:2] == [("scienceqa", 0, 11), ("imagenet-r", 0, 11)]
    assert seen[2:5] == [("scienceqa", n, 11) for n in (4, 8, 11)]


def test_the_record(root: Path, use_engine: Callable[[Echo], Echo]) -> None:
    use_engine(Echo())
    answer_tasks(root, "vqav2")
    record = json.loads((root / "out" / "run.json").read_text())
    assert record["base"] == str(root / "base")
    assert record["adapter"]["source"] == str(root / "one")
    assert record["adapter"]["files"].keys() == {"adapter_model.safetensors", "adapter_config.json"}
    assert record["settings"]["prompt"] == "vicuna"
    assert record["settings"]["dtype"] == "float32"
    assert record["questions"]["vqav2"]["n"] == 11
    assert record["facts"] == {"device": "echo"}
    answer_tasks(root, "scienceqa")
    both = json.loads((root / "out" / "run.json").read_text())
    assert both["questions"] == {**record["questions"], "scienceqa": both["questions"]["scienceqa"]}
    assert sorted(path.name for path in (root / "out").iterdir()) == [
        "run.json",
        "scienceqa.jsonl",
        "vqav2.jsonl",
    ]


def test_going_on_gives_the_same_bytes_in_the_same_windows(
    root: Path, use_engine: Callable[[Echo], Echo]
) -> None:
    whole = use_engine(Echo())
    (file,) = answer_tasks(root)
    wanted = file.read_bytes()
    for cut in [0, 1, *range(150, len(wanted), 90), len(wanted) - 1]:
        file.write_bytes(wanted[:cut])
        engine = use_engine(Echo())
        answer_tasks(root)
        assert file.read_bytes() == wanted
        lines = wanted[:cut].count(b"\n")
        assert engine.windows == whole.windows[lines // 4 :]


def test_an_interrupt_leaves_whole_windows(root: Path, use_engine: Callable[[Echo], Echo]) -> None:
    use_engine(Echo())
    (file,) = answer_tasks(root)
    wanted = file.read_bytes()
    for stop in range(3):
        file.unlink(missing_ok=True)
        use_engine(Echo(stop))
        with pytest.raises(KeyboardInterrupt):
            answer_tasks(root)
        existing = file.read_bytes() if file.exists() else b""
        assert existing == b"".join(wanted.splitlines(keepends=True)[: 4 * stop])
        use_engine(Echo())
        answer_tasks(root)
        assert file.read_bytes() == wanted


def test_what_is_finished_needs_no_model(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "open_engine", lambda *_: Echo())
    (file,) = answer_tasks(root)
    before = file.stat()
    monkeypatch.setattr(running, "open_engine", lambda *_: pytest.fail("loaded"))
    assert answer_tasks(root) == [file]
    assert file.stat().st_mtime_ns == before.st_mtime_ns


def renamed(root: Path) -> dict[str, Any]:
    (root / "one").rename(root / "elsewhere")
    return {"adapter": str(root / "elsewhere")}


def other_base(root: Path) -> dict[str, Any]:
    (root / "other").mkdir()
    (root / "other/config.json").write_text((root / "base/config.json").read_text())
    return {"base": root / "other"}


def other_weights(root: Path) -> dict[str, Any]:
    (root / "one" / "adapter_model.safetensors").write_text("trained on")
    return {}


def other_questions(root: Path) -> dict[str, Any]:
    fill(root / "data", ("vqav2",), n=12)
    return {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_base, ["base: ", "base there", "other now"]),
        (lambda root: {"adapter": str(root / "two")}, ["one there", "two now"]),
        (lambda root: {"adapter": None}, ["one there", "none now"]),
        (other_weights, ["its files have changed"]),
        (other_questions, ["vqav2.sha256: ", "vqav2.n: 11 there, 12 now"]),
        (lambda _: {"options": replace(FEW, limit=5)}, ["settings.limit: none there, 5 now"]),
        (
            lambda _: {"options": replace(FEW, prompt="chat-template")},
            ["settings.prompt: vicuna there, chat-template now"],
        ),
        (
            lambda _: {"options": replace(FEW, dtype="bfloat16")},
            ["settings.dtype: float32 there, bfloat16 now"],
        ),
        (lambda _: {"options": AnsweringOptions()}, ["max_new_tokens: 3 there, none now"]),
    ],
)
def test_a_folder_of_another_run_is_refused(
    root: Path,
    use_engine: Callable[[Echo], Echo],
    change: Callable[[Path], dict[str, Any]],
    message: list[str],
) -> None:
    use_engine(Echo())
    (file,) = answer_tasks(root)
    before = file.read_bytes(), (root / "out" / "run.json").read_bytes()
    with pytest.raises(MergeError, match="answers of another run") as caught:
        answer_tasks(root, **change(root))
    for part in message:
        assert part in str(caught.value)
    assert (file.read_bytes(), (root / "out" / "run.json").read_bytes()) == before


@pytest.mark.parametrize(
    "change", [renamed, lambda _: {"options": replace(FEW, batch=7, device="cpu:0")}]
)
def test_what_does_not_matter_may_change(
    root: Path, use_engine: Callable[[Echo], Echo], change: Callable[[Path], dict[str, Any]]
) -> None:
    use_engine(Echo())
    (file,) = answer_tasks(root)
    wanted = file.read_bytes()
    file.write_bytes(wanted[:700])
    answer_tasks(root, **change(root))
    assert [json.loads(x)["text"] for x in file.read_bytes().splitlines()] == [
        json.loads(x)["text"] for x in wanted.splitlines()
    ]


def test_a_folder_of_a_base_with_a_relative_path_is_the_same(
    root: Path, use_engine: Callable[[Echo], Echo], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_engine(Echo())
    answer_tasks(root)
    monkeypatch.chdir(root)
    record.rebase(root / "out", "base")
    assert read_json(root / "out" / "run.json")["base"] == str(root / "base")
    answer_tasks(root, "scienceqa", base="base")
    record.rebase(root / "out", "owner/base")  # on the Hub
    assert read_json(root / "out" / "run.json")["base"] == "owner/base"


def test_a_model_that_fails_to_load_leaves_no_record(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise MergeError("no such model")

    monkeypatch.setattr(running, "open_engine", fail)
    with pytest.raises(MergeError, match="no such model"):
        answer_tasks(root)
    monkeypatch.setattr(running, "open_engine", lambda *_: Echo())
    answer_tasks(root, options=replace(FEW, dtype="bfloat16"))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda lines: [lines[1], lines[0], *lines[2:]], "not the answer to question '100'"),
        (lambda lines: lines[:2] + lines[3:], "not the answer to question '102'"),
        (lambda lines: [*lines, lines[0]], "12 answers to 11 questions"),
        (lambda lines: [lines[0].replace("What", "Why"), *lines[1:]], "not the answer"),
        (lambda lines: ["{\n", *lines[1:]], "not JSON"),
        (lambda lines: ['{"question_id": "100"}\n', *lines[1:]], "no text"),
    ],
)
def test_a_file_that_was_changed_by_hand(
    root: Path,
    use_engine: Callable[[Echo], Echo],
    spoil: Callable[[list[str]], list[str]],
    problem: str,
) -> None:
    use_engine(Echo())
    (file,) = answer_tasks(root)
    spoiled = "".join(spoil(file.read_text().splitlines(keepends=True)))
    file.write_text(spoiled)
    with pytest.raises(MergeError, match=problem) as caught:
        answer_tasks(root)
    assert str(file) in str(caught.value)
    assert file.read_text() == spoiled


def test_answers_without_a_record_are_left_alone(
    root: Path, use_engine: Callable[[Echo], Echo]
) -> None:
    use_engine(Echo())
    (root / "out").mkdir()
    (root / "out" / "vqav2.jsonl").write_text("mine\n")
    with pytest.raises(MergeError, match=r"holds vqav2\.jsonl, but no run\.json"):
        answer_tasks(root)
    assert (root / "out" / "vqav2.jsonl").read_text() == "mine\n"


def test_the_first_questions_only(root: Path, use_engine: Callable[[Echo], Echo]) -> None:
    engine = use_engine(Echo())
    (file,) = answer_tasks(root, options=replace(FEW, limit=5))
    assert len(read_predictions(file)) == 5
    assert engine.windows == [["100", "101", "102", "103"], ["104"]]


def edit(root: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    path = root / "data/instructions/VQAv2/val.json"
    records = json.loads(path.read_text())
    change(records)
    path.write_text(json.dumps(records))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[4].update(question_id="102"), ["two questions have the id '102'", "record 5"]),
        (lambda r: r[6].pop("image"), ["without an image", "record 7", "question 106"]),
        (lambda r: r[3].update(image="no/such.png"), ["no image no/such.png", "record 4"]),
        (lambda r: r[2].pop("text"), ["no text", "record 3"]),
        (lambda r: r[1].update(text="<image>\nWhat?"), ["holds <image>", "record 2"]),
        (lambda r: r[1].update(image=7), ["image is 7", "record 2"]),
        (lambda r: r.clear(), ["no questions", "val.json"]),
    ],
)
def test_bad_questions_are_found_before_a_model_is_loaded(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[list[dict[str, Any]]], object],
    message: list[str],
) -> None:
    monkeypatch.setattr(running, "open_engine", lambda *_: pytest.fail("loaded"))
    edit(root, change)
    with pytest.raises(MergeError) as caught:
        answer_tasks(root)
    for part in message:
        assert part in str(caught.value)
    assert not (root / "out").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (AnsweringOptions(batch=0), "0 is less than 1"),
        (AnsweringOptions(limit=-1), "-1 is less than 1"),
        (AnsweringOptions(engine="server"), "has a --url"),
        (AnsweringOptions(url="http://localhost:1/v1"), "has a --url"),
        (AnsweringOptions(engine="server", url="http://localhost:1/v1"), "several models"),
        (unchecked(dtype="float8"), "unknown dtype"),
        (
            AnsweringOptions(
                engine="server", url="http://localhost:1/v1", model="m", prompt="vicuna"
            ),
            "its own chat template",
        ),
    ],
)
def test_options_that_make_no_sense(root: Path, options: AnsweringOptions, problem: str) -> None:
    with pytest.raises(MergeError, match=problem):
        answer_tasks(root, options=options)


def test_types_by_device_and_family() -> None:
    assert AnsweringOptions(device="cpu").dtype_for(llava_15=True) == "float32"
    assert AnsweringOptions(device="cuda:1").dtype_for(llava_15=True) == "float16"
    assert AnsweringOptions(device="cuda").dtype_for(llava_15=False) == "bfloat16"
    assert AnsweringOptions(device="cuda", dtype="float32").dtype_for(llava_15=False) == "float32"


def test_general_benchmarks_come_by_the_same_path(
    root: Path, use_engine: Callable[[Echo], Echo]
) -> None:
    fill(root / "data", ("pope", "mme"), n=5, layout="eval")
    use_engine(Echo())
    pope, mme = answer_tasks(root, "pope,mme")
    assert len(read_predictions(pope)) == 5
    assert [one.id for one in read_predictions(mme)] == [0, 0, 1, 1, 2]


def test_questions_say_what_their_task_says(root: Path) -> None:
    paper = read_prompts(root / "data", TASKS["scienceqa"], AnsweringOptions())
    assert {one.max_new_tokens for one in paper.questions} == {1024}
    assert {one.framing for one in paper.questions} == {"crop"}
    assert (
        read_prompts(root / "data", TASKS["imagenet-r"], AnsweringOptions()).questions[0].framing
        == "pad"
    )
