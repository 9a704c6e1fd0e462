"""Measures that run a model: likelihood of answers, agreement with adapters, a server's answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
import torch
from peft import PeftModel

from factories.bases import TEMPLATE, adapt, lines, llama, text_only
from robustmerge.engine.recipe import Recipe
from robustmerge.errors import MergeError
from robustmerge.tuning.answers import AnswerObjective
from robustmerge.tuning.measures import make_objective
from robustmerge.tuning.objective import Objective, ObjectiveSetup
from robustmerge.tuning.scaled import MergeStore

NAMES = ("vqa", "ocr")
CHAT = TEMPLATE.replace("IMAGE ", "")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, two adapters of it, and a file of samples for each."""
    root = tmp_path_factory.mktemp("models")
    llama(root / "base", CHAT)
    adapt(text_only(), {name: {"r": 2} for name in NAMES}, root)
    for name, first in zip(NAMES, (20, 60), strict=True):
        lines(
            root / f"{name}.jsonl",
            [
                {"prompt": f"w{first + n} w{first + 2 * n}", "answer": f"w{40 + n} w41"}
                for n in range(5)
            ],
        )
    return root


def make(root: Path, text: str, **options: Any) -> Objective:
    recipe = Recipe(
        tuple(str(root / name) for name in NAMES),
        base=str(root / "base"),
        samples=tuple(str(root / f"{name}.jsonl") for name in NAMES),
    )
    return make_objective(text, ObjectiveSetup(recipe, **options))


def test_likelihood_is_that_of_the_model_with_the_adapter(root: Path) -> None:
    measured = make(root, "likelihood")
    scores = dict(measured.scores(root / "vqa", "tuning"))
    model = PeftModel.from_pretrained(text_only(), str(root / "vqa")).eval()
    total = 0.0
    for n in range(4):  # <s> w9 prompt w8 answer w4
        tokens = [1, 9, 20 + n, 20 + 2 * n, 8, 40 + n, 41, 4]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokens])).logits[0].log_softmax(-1)
        total += sum(float(logits[i - 1, tokens[i]]) for i in range(5, 8)) / 3
    assert scores["vqa"] == pytest.approx(total / 4, rel=1e-4)
    assert dict(measured.scores(root / "vqa", "tuning")) == scores
    assert dict(measured.scores(root / "ocr", "tuning")) != scores
    assert dict(measured.scores(root / "vqa", "held-out")).keys() == set(NAMES)


def test_an_adapter_agrees_with_itself_and_a_merge_less(root: Path) -> None:
    measured = make(root, "agreement:longest=4")
    own = dict(measured.scores(root / "vqa", "tuning"))
    assert own["vqa"] == pytest.approx(0, abs=1e-6)
    assert own["ocr"] < -1e-3
    recipe = Recipe((str(root / "vqa"), str(root / "ocr")), method="average", rank="full")
    with closing(MergeStore(root)) as store, store.merged(recipe) as merged:
        between = dict(measured.scores(merged, "tuning"))
    assert own["vqa"] > between["vqa"]
    assert between["ocr"] > own["ocr"]


@pytest.mark.parametrize(
    ("text", "options", "problem"),
    [
        ("likelihood:longest=x", {}, "impossible settings"),
        ("likelihood:length=3", {}, "unknown setting"),
        ("likelihood", {"server": "http://localhost:1"}, "does not show"),
        ("likelihood", {"held_out": 1.0}, "no share"),
    ],
)
def test_impossible_settings_are_refused(
    root: Path, text: str, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(MergeError, match=problem):
        make(root, text, **options)


def test_agreement_takes_one_file_per_adapter(root: Path) -> None:
    recipe = Recipe(("a", "b"), base="base", samples=(str(root / "vqa.jsonl"),))
    with pytest.raises(MergeError, match="1 files of samples for 2 adapters"):
        make_objective("agreement", ObjectiveSetup(recipe))


# --- Servers --------------------------------------------------------------------------------------


class Vllm(BaseHTTPRequestHandler):
    """A server that answers with the name of the loaded folder."""

    loaded: ClassVar[dict[str, str]] = {}
    calls: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.calls.append(self.path)
        reply: Any = {}
        if self.path == "/v1/load_lora_adapter":
            self.loaded[content["lora_name"]] = content["lora_path"]
        elif self.path == "/v1/unload_lora_adapter":
            del self.loaded[content["lora_name"]]
        elif "refuse" in content["messages"][0]["content"]:
            self.send_error(400, "no")
            return
        else:
            text = Path(self.loaded[content["model"]]).name
            reply = {"choices": [{"message": {"content": text}}]}
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    Vllm.loaded, Vllm.calls = {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Vllm) as running:
        thread = Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def exact(answer: str, references: tuple[str, ...]) -> float:
    return 100.0 * (answer in references)


def on_server(tmp_path: Path, server: str, prompt: str = "which?") -> AnswerObjective:
    answers = ["a", "b", "a", "a", "a"]
    file = lines(tmp_path / "t.jsonl", [{"prompt": prompt, "answer": x} for x in answers])
    setup = ObjectiveSetup(Recipe(("a",), samples=(str(file),)), server=server)
    return AnswerObjective("exact", exact, setup)


def test_a_server_loads_the_adapter_and_answers(tmp_path: Path, server: str) -> None:
    measured = on_server(tmp_path, server)
    assert dict(measured.scores(tmp_path / "a", "tuning")) == {"t": 75.0}
    assert Vllm.calls[0] == "/v1/load_lora_adapter"
    assert Vllm.calls[-1] == "/v1/unload_lora_adapter"
    assert not Vllm.loaded


def test_what_a_server_refuses_is_named_and_the_adapter_unloaded(
    tmp_path: Path, server: str
) -> None:
    measured = on_server(tmp_path, server, "refuse")
    with pytest.raises(MergeError, match="the server refuses: 400"):
        list(measured.scores(tmp_path / "a", "tuning"))
    assert not Vllm.loaded
    for url, problem in (("localhost:8000", "no URL"), ("http://127.0.0.1:1", "no reply")):
        with pytest.raises(MergeError, match=problem):
            list(on_server(tmp_path, url).scores(tmp_path / "a", "tuning"))
