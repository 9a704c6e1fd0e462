"""Settings, recipes and records that are no text, no JSON or no YAML of one meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from factories.adapters import adapter, trio
from factories.checkpoints import base
from faults.refuse import command, tree
from field.test_crashes import write_statistics

RECIPE = "adapters: [a, b]\nmethod: ties\noutput: m\n"
BOMB = "x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
YAML = {
    "UTF-16": RECIPE.encode("utf-16"),
    "UTF-16 without its mark": RECIPE.encode("utf-16-le"),
    "UTF-32": RECIPE.encode("utf-32"),
    "Latin-1": (RECIPE + "# \u00e9\n").encode("latin-1"),
    "deep": (RECIPE + "parameters: " + "{a: " * 3000 + "1" + "}" * 3000).encode(),
    "aliases of aliases": (BOMB + RECIPE).encode(),
    "aliases in a value": (BOMB + RECIPE + "parameters: *x9\n").encode(),
    "an alias of itself": b"&x\nadapters: [a, b]\noutput: m\nparameters: *x\n",
    "a key twice": (RECIPE + "method: mean\n").encode(),
    "not a number": (RECIPE + "scale: .nan\n").encode(),
    "an infinite weight": (RECIPE + "weights: [.inf, 1]\n").encode(),
    "a parameter that is no number": (RECIPE + "parameters: {density: .nan}\n").encode(),
    "a long number": (RECIPE + "seed: " + "9" * 5000 + "\n").encode(),
    "a long hexadecimal number": (RECIPE + "seed: 0x" + "f" * 9000 + "\n").encode(),
    "a long rank": (RECIPE + "rank: " + "9" * 400 + "\n").encode(),
    "a long parameter": (RECIPE + "parameters: {density: " + "9" * 400 + "}\n").encode(),
    "a long hexadecimal weight": (RECIPE + "weights: [0x" + "f" * 9000 + ", 1]\n").encode(),
    "a long hexadecimal parameter": f"{RECIPE}parameters: {{density: 0x{'f' * 9000}}}".encode(),
    "a constructor": (RECIPE + "x: !!python/object/apply:os.getcwd []\n").encode(),
    "zeros": b"\0" * 50,
    "nothing": b"",
    "two documents": (RECIPE + "---\n" + RECIPE).encode(),
    "half a character": b'adapters: [a, b]\noutput: "m\\ud800"\n',
}


def damaged(good: str) -> Iterator[tuple[str, bytes]]:
    """Write a JSON object in ways that are not JSON, or not of one meaning."""
    start, first = good.rstrip()[:-1], json.dumps(next(iter(json.loads(good))))
    yield "UTF-16", good.encode("utf-16")
    yield "UTF-16 without its mark", good.encode("utf-16-le")
    yield "Latin-1", good.replace("{", '{"k\u00e9y": 1, ', 1).encode("latin-1")
    yield "deep", f'{start}, "x": {"[" * 10_000}{"]" * 10_000}}}'.encode()
    yield "deep and unfinished", b"[" * 100_000
    yield "not a number", f'{start}, "x": NaN}}'.encode()
    yield "an infinite number", f'{start}, "x": [-Infinity]}}'.encode()
    yield "more than any number", f'{start}, "x": 1e999}}'.encode()
    yield "a long number", f'{start}, "x": {"9" * 5000}}}'.encode()
    yield "a key twice", f"{start}, {first}: 1}}".encode()
    yield "zeros", b"\0" * 100
    yield "nothing", b""
    yield "a list", b"[]"
    yield "half of it", good.encode()[: len(good) // 2]


KINDS = [kind for kind, _ in damaged('{"a": 1}')]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(path: Path, content: bytes, *lines: str) -> None:
    """Write a file and run commands, each of which must name it and leave nothing."""
    path.write_bytes(content)
    before = tree(Path())
    for line in lines:
        code, errors = command(*line.split())
        assert (code, tree(Path()) == before) == (1, True), f"{line}\n{errors}"
        assert str(path) in errors
        assert "hint: " in errors


@pytest.mark.parametrize("kind", KINDS)
def test_settings(kind: str) -> None:
    path = adapter(Path("a")) / "adapter_config.json"
    adapter(Path("b"), seed=1)
    content = dict(damaged(path.read_text()))[kind]
    refused(path, content, "merge a b -o m", "resize a -o m --rank 2", "convert a -o m")


@pytest.mark.parametrize("field", ["base_model_name_or_path", "revision", "task_type"])
@pytest.mark.parametrize("value", [-1, [[]], {"a": 1}, True, 1e308])
def test_settings_that_are_no_text(field: str, value: object) -> None:
    path = adapter(Path("a"), **{field: value}) / "adapter_config.json"
    code, errors = command("merge", "a", "-o", "m")
    assert code == 1
    assert f"{field} = " in errors
    assert "is not text" in errors
    assert str(path) in errors


@pytest.mark.parametrize("kind", KINDS)
def test_statistics(kind: str) -> None:
    source = adapter(Path("a"))
    path = write_statistics(Path("stats"), source, 1.0) / "statistics.json"
    content = dict(damaged(path.read_text()))[kind]
    refused(path, content, "merge a -m regmean-rows --data stats -o m")


@pytest.mark.parametrize("name", ["added_tokens.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("kind", [k for k in KINDS if "number" not in k])
def test_tokenizers(kind: str, name: str) -> None:
    import torch

    extras = {"model.language_model.embed_tokens.weight": torch.ones(20, 16)}
    for folder in ("a", "b"):
        adapter(Path(folder), extras=extras, modules_to_save=["embed_tokens"])
    Path("b", name).write_text('{"added_tokens": []}')
    path = Path("a", name)
    refused(path, dict(damaged('{"added_tokens": []}'))[kind], "merge a b -o m")


@pytest.mark.parametrize("kind", ["UTF-16", "deep", "a key twice", "nothing", "half of it"])
def test_settings_of_the_base(kind: str) -> None:
    adapter(Path("a"))
    path = base(Path("base")) / "config.json"
    content = dict(damaged(path.read_text()))[kind]
    refused(path, content, "export a --base base --format full -o m")


@pytest.mark.parametrize("kind", YAML)
def test_recipes(kind: str) -> None:
    trio(Path())
    path = Path("recipe.yaml")
    path.write_bytes(YAML[kind])
    before = tree(Path())
    code, errors = command("merge", path)
    assert (code, tree(Path()) == before) == (1, True), errors
    assert "hint: " in errors


def test_a_mark_in_front_of_utf8_is_no_damage() -> None:
    trio(Path())
    Path("recipe.yaml").write_bytes(b"\xef\xbb\xbf" + RECIPE.encode())
    path = Path("a/adapter_config.json")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert command("merge", "recipe.yaml")[0] == 0
