"""The engine for servers, against a small one that speaks the protocol and is not always well."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image

from bench_factories.question_files import fill
from bench_factories.tiny_models import draw, tokenizer
from robustmerge import MergeError
from robustmerge_bench.paper.answering.engine import Request
from robustmerge_bench.paper.answering.engines.server import TEMPLATE, ServerEngine
from robustmerge_bench.paper.answering.options import AnsweringOptions
from robustmerge_bench.paper.answering.prompts import vicuna
from robustmerge_bench.paper.answering.run import answer
from robustmerge_bench.paper.data.predictions import read_predictions
from robustmerge_bench.paper.tasks import select_tasks

LLAVA = {"model_type": "llava", "text_config": {"model_type": "llama"}}
QWEN = {"model_type": "qwen2_vl"}


class Vllm(ThreadingHTTPServer):
    """A server whose answers say what it got."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.trouble: dict[int, str] = {}
        self.requests: list[Mapping[str, Any]] = []
        self.keys: set[str | None] = set()
        self.busy, self.most = 0, 0
        self.gate = threading.Barrier(1)
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Vllm

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        models = [{"id": name, "object": "model"} for name in ("base", "merged")]
        self._say(200, {"object": "list", "data": models} if self.path == "/v1/models" else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(body)
            self.server.keys.add(self.headers["Authorization"])
            trouble = self.server.trouble.get(len(self.server.requests), "")
            self.server.busy += 1
            self.server.most = max(self.server.most, self.server.busy)
        try:
            self.server.gate.wait(10)
            if trouble == "drop":
                self.close_connection = True
                self.connection.close()
            elif trouble:
                self._say(int(trouble), {"error": {"message": f"trouble {trouble}"}})
            else:
                assert self.path == "/v1/chat/completions"
                message = {"role": "assistant", "content": f" {seen(body)}\n"}
                self._say(200, {"id": "x", "choices": [{"index": 0, "message": message}]})
        finally:
            with self.server.lock:
                self.server.busy -= 1

    def _say(self, code: int, content: Mapping[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def seen(body: Mapping[str, Any]) -> str:
    """What a request asks: settings, text, and the image's shape and first color."""
    (message,) = body["messages"]
    assert message["role"] == "user"
    settings = f"{body['model']} {body['temperature']} {body['max_tokens']}"
    if isinstance(message["content"], str):
        return f"{settings} {message['content']!r} none"
    image_file, text = message["content"]
    assert (image_file["type"], text["type"]) == ("image_url", "text")
    head, _, code = image_file["image_url"]["url"].partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(code)))
    assert head == f"data:{Image.MIME[str(image.format)]}"
    return f"{settings} {text['text']!r} {image.size} {image.convert('RGB').getpixel((0, 0))}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vllm]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    made = Vllm()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def engine(
    server: Vllm, settings: Mapping[str, Any] = LLAVA, base: str = ".", **more: Any
) -> ServerEngine:
    arguments = {"model": "merged", "workers": 3} | more
    options = AnsweringOptions(engine="server", url=server.url, **arguments)
    return ServerEngine(base=base, settings=settings, options=options)


def questions(folder: Path, n: int = 5) -> list[Request]:
    result = []
    for number in range(n):
        image = draw(folder / f"{number}.png", number, (60, 40)) if number % 3 != 1 else None
        framing: Any = "pad" if number % 2 else "crop"
        where = f"x.json, record {number}"
        result.append(Request(number, f"What {number}?", image, framing, 7 + number, where))
    return result


def test_what_the_server_is_sent(server: Vllm, tmp_path: Path) -> None:
    request = questions(tmp_path)
    result = engine(server).answer(request)
    colors = {one.id: Image.open(one.image).getpixel((0, 0)) for one in request if one.image}
    assert result == [
        f"merged 0 7 'What 0?' (60, 40) {colors[0]}",
        "merged 0 8 'What 1?' none",
        f"merged 0 9 'What 2?' (60, 40) {colors[2]}",
        "merged 0 10 'What 3?' (60, 60) (122, 116, 104)",  # padded
        "merged 0 11 'What 4?' none",
    ]
    assert server.keys == {"Bearer none"}
    assert "stream" not in server.requests[0]
    assert {one["repetition_penalty"] for one in server.requests} == {1.0}


@pytest.mark.parametrize(
    ("settings", "files", "adds"),
    [
        (LLAVA, {"chat_template.jinja": "{{ bos_token }}"}, True),  # not the one that is served
        (QWEN, {}, True),
        (QWEN, {"chat_template.jinja": "<|im_start|>{{ x }}"}, True),
        (QWEN, {"chat_template.jinja": "{{ bos_token }}{{ x }}"}, False),
        (QWEN, {"chat_template.json": json.dumps({"chat_template": "{{bos_token}}"})}, False),
        (
            QWEN,
            {
                "tokenizer_config.json": json.dumps(
                    {"chat_template": "<s>{{x}}", "bos_token": "<s>"}
                )
            },
            False,
        ),
        (QWEN, {"tokenizer_config.json": json.dumps({"bos_token": {"content": "<s>"}})}, True),
    ],
)
def test_the_token_that_begins_a_text_is_sent_once(
    settings: Mapping[str, Any],
    files: Mapping[str, str],
    adds: bool,
    server: Vllm,
    tmp_path: Path,
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    asked = engine(server, settings, str(tmp_path))
    asked.answer(questions(tmp_path, 1))
    assert server.requests[0]["add_special_tokens"] is adds
    assert asked.facts()["add_special_tokens"] is adds


def test_other_families_get_images_as_they_are(server: Vllm, tmp_path: Path) -> None:
    request = questions(tmp_path)
    assert "(60, 40)" in engine(server, QWEN).answer(request)[3]
    contents = [one["messages"][0]["content"] for one in server.requests]
    sent = [content[0]["image_url"]["url"] for content in contents if len(content) == 2]
    files = {one.image.read_bytes() for one in request if one.image}
    assert {base64.b64decode(url.partition(",")[2]) for url in sent} == files


def test_a_format_no_server_knows_is_sent_as_png(server: Vllm, tmp_path: Path) -> None:
    Image.new("CMYK", (5, 4)).save(tmp_path / "x.tif")
    (result,) = engine(server).answer([Request(0, "What?", tmp_path / "x.tif", "crop", 3, "")])
    assert result == "merged 0 3 'What?' (5, 4) (255, 255, 255)"


def test_dropped_connections_and_a_busy_server(server: Vllm, tmp_path: Path) -> None:
    request = questions(tmp_path, 9)
    wanted = engine(server).answer(request)
    server.requests.clear()
    server.trouble = {1: "drop", 2: "503", 4: "429", 7: "drop", 8: "500"}
    assert engine(server).answer(request) == wanted
    assert len(server.requests) == 9 + 5
    texts = Counter(json.dumps(one["messages"]) for one in server.requests)
    assert len(texts) == 9


def test_several_questions_at_once_and_no_more(server: Vllm, tmp_path: Path) -> None:
    server.gate = threading.Barrier(3)  # goes on when three wait
    made = engine(server)
    made.answer(questions(tmp_path, 6))
    assert server.most == 3
    assert made.window == 12


def test_a_refusal_names_the_question(server: Vllm, tmp_path: Path) -> None:
    server.trouble = {2: "400"}
    with pytest.raises(MergeError, match=r"refuses the question: .*trouble 400") as caught:
        engine(server, workers=1).answer(questions(tmp_path))
    assert "record 1, question 1" in str(caught.value)
    assert server.url in str(caught.value)
    assert len(server.requests) <= 3  # one may have been on its way


def test_a_server_that_never_answers(server: Vllm, tmp_path: Path) -> None:
    made = engine(server, workers=1)
    server.trouble = dict.fromkeys(range(1, 99), "drop")
    with pytest.raises(MergeError, match="does not answer"):
        made.answer(questions(tmp_path, 1))
    assert len(server.requests) == 7


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    options = AnsweringOptions(engine="server", url="http://127.0.0.1:9/v1", model="m")
    with pytest.raises(MergeError, match="does not answer") as caught:
        ServerEngine(base=".", settings=LLAVA, options=options)
    assert "127.0.0.1:9" in str(caught.value)


def test_a_model_the_server_has_not(server: Vllm) -> None:
    with pytest.raises(MergeError, match="unknown model of the server 'merge'") as caught:
        engine(server, model="merge")
    assert "did you mean merged?" in str(caught.value)


def test_a_reply_without_an_answer(
    server: Vllm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        _Handler, "do_POST", lambda self: self._say(200, {"id": "x", "choices": []})
    )
    made = engine(server)
    with pytest.raises(MergeError, match="holds no answer"):
        made.answer(questions(tmp_path, 1))


def test_the_key_of_the_environment(
    server: Vllm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    engine(server).answer(questions(tmp_path, 1))
    assert server.keys == {"Bearer sesame"}


def test_a_run(server: Vllm, tmp_path: Path) -> None:
    """Resumed after a refusal, to the same file as at one go; the base need not be here whole."""
    fill(tmp_path / "data", ("vqav2",), n=9)
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text(json.dumps(LLAVA))
    options = AnsweringOptions(engine="server", url=server.url, model="merged", workers=1)

    def go(out: str) -> Path:
        arguments = (
            str(tmp_path / "base"),
            None,
            select_tasks("vqav2"),
            tmp_path / "data",
            tmp_path / out,
        )
        (file,) = answer(*arguments, options=options)
        return file

    whole = go("whole")
    assert {json.loads(line)["model_id"] for line in whole.read_text().splitlines()} == {"merged"}
    server.requests.clear()
    server.trouble = {6: "400"}
    with pytest.raises(MergeError, match="refuses"):
        go("out")
    assert len(read_predictions(tmp_path / "out/vqav2.jsonl")) == 4
    server.trouble = {}
    assert go("out").read_bytes() == whole.read_bytes()
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["settings"]["prompt"] == "chat-template"
    assert record["settings"]["model"] == "merged"
    assert record["facts"]["versions"] == {"openai": openai.__version__}


@pytest.mark.parametrize("image", [True, False])
def test_the_template_is_the_released_prompt(image: bool) -> None:
    parts = [{"type": "image"}] if image else []
    content = [*parts, {"type": "text", "text": "What?\nOne word."}]
    turns = [{"role": "user", "content": content}]
    words, template = tokenizer("llava"), TEMPLATE.read_text().rstrip("\n")
    result = words.apply_chat_template(
        turns, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    assert result == vicuna("What?\nOne word.", image)
    both = [*turns, {"role": "assistant", "content": "Tub"}]
    result = words.apply_chat_template(both, chat_template=template, tokenize=False)
    assert result == vicuna("What?\nOne word.", image, "Tub")
    plain = [{"role": "user", "content": "<image>\nWhy?"}]  # as servers write it for some templates
    result = words.apply_chat_template(
        plain, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    assert result == vicuna("Why?", True)
