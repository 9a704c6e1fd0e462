"""A damaged safetensors file is refused from its header, by name, at once and in little memory."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from factories.adapters import adapter
from faults.refuse import refused, refused_merge
from robustmerge.adapter.reader import Adapter
from robustmerge.adapter.tensors import SafetensorsFile

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PLAIN = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def write(path: Path, header: object, data: int = 8) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(range(data)))
    return path


def cuts(whole: bytes) -> dict[str, tuple[bytes, str]]:
    """Where a file may be cut, or what may be in its place; and what is to be said of it."""
    start = 8 + int.from_bytes(whole[:8], "little")
    header, tensors = f"it announces a header of {start - 8} bytes", "its tensors end at byte"
    return {
        "nothing": (b"", "it has only 0 bytes"),
        "in the length": (whole[:5], "it has only 5 bytes"),
        "after the length": (whole[:8], f"{header} and has 8 bytes in all"),
        "in the header": (whole[: start // 2], header),
        "after the header": (whole[:start], tensors),
        "in the data": (whole[: (start + len(whole)) // 2], tensors),
        "one byte short": (whole[:-1], f"{len(whole)}, the file at {len(whole) - 1}"),
        "one byte long": (whole + b"\0", f"{len(whole)}, the file at {len(whole) + 1}"),
        "only zeros": (bytes(len(whole)), "Expecting value"),
        "a pointer of Git LFS": (POINTER, "it announces a header of"),
        "a web page": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "it announces"),
    }


@pytest.mark.parametrize("location", cuts(bytes(16)))
def test_a_cut_or_foreign_file_is_refused(tmp_path: Path, location: str) -> None:
    good, bad = adapter(tmp_path / "good"), adapter(tmp_path / "bad", seed=1)
    file = bad / "adapter_model.safetensors"
    content, said = cuts(file.read_bytes())[location]
    file.write_bytes(content)
    refused_merge(tmp_path, [good, bad], "not a whole safetensors file", str(file), said)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"a": PLAIN, "b": PLAIN}, "b begins at byte"),
        ({"a": {**PLAIN, "data_offsets": [4, 12]}}, "a begins at byte"),
        ({"a": {**PLAIN, "data_offsets": [8, 0]}}, "has -8 bytes"),
        ({"a": {**PLAIN, "data_offsets": [0, 8, 8]}}, "offsets [0, 8, 8]"),
        ({"a": {**PLAIN, "data_offsets": [-8, 0]}}, "-8 is no size"),
        ({"a": {**PLAIN, "shape": [-2]}}, "-2 is no size"),
        ({"a": {**PLAIN, "shape": [-1, -2]}}, "-1 is no size"),
        ({"a": {**PLAIN, "shape": [2**70]}}, "is no size"),
        ({"a": {**PLAIN, "shape": [2**40, 2**40]}}, "impossible shape"),
        ({"a": {**PLAIN, "shape": [0, 2**40, 2**40]}}, "impossible shape"),
        ({"a": {**PLAIN, "shape": [1] * 65 + [2]}}, "impossible shape"),
        ({"a": {**PLAIN, "shape": [2.0]}}, "the shape [2.0]"),
        ({"a": {**PLAIN, "shape": [True, 2]}}, "the shape [True, 2]"),
        ({"a": {**PLAIN, "shape": {}}}, "the shape {}"),
        ({"a": {**PLAIN, "shape": [3]}}, "a is F32 [3] but has 8 bytes"),
        ({"a": {**PLAIN, "shape": ["x"] * 1000}}, "the shape ['x', 'x'"),
        ({"a": {**PLAIN, "dtype": "F31"}}, "unknown type 'F31'"),
        ({"a": {**PLAIN, "dtype": ["F32"]}}, "unknown type ['F32']"),
        ({"a": {"dtype": "F32", "shape": [2]}}, "the entry of a"),
        ({"a": {**PLAIN, "device": "cuda"}}, "the entry of a"),
        ({"a": [PLAIN]}, "the entry of a"),
        ({"a": PLAIN, "__metadata__": {"format": 1}}, "__metadata__"),
        ({"a": PLAIN, "__metadata__": {"format": "\ud800"}}, "surrogate"),
        ({"a": PLAIN, "__metadata__": {"\ud800": "pt"}}, "surrogate"),
        ({"x" * 1001: PLAIN}, "a name of 1001 characters"),
        ([PLAIN], "not an object"),
        (b'{"a": {}, "a": {}}', "twice"),
        (b'{"a": NaN}', "the entry of a"),
        (b'{"\\ud800": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', "surrogate"),
        (b'{"\xff": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', "decode"),
        (b'{"\xed\xa0\x80": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', "decode"),
        (json.dumps({"a": PLAIN}).encode("utf-16"), "decode"),
        (json.dumps({"a": PLAIN}).encode("utf-16-le"), "Expecting property name"),
        (json.dumps({"a": PLAIN}).encode("utf-8-sig"), "BOM"),
        (b"[" * 100_000, "recursion"),
        (b"", "Expecting value"),
    ],
)
def test_a_damaged_header_is_refused(tmp_path: Path, header: object, said: str) -> None:
    path = write(tmp_path / "x.safetensors", header)
    error = refused(lambda: SafetensorsFile(path), "not a whole safetensors file", said)
    assert error.where == str(path)
    assert len(error.problem) < 300


def test_the_order_of_names_is_free(tmp_path: Path) -> None:
    header = {"b": {**PLAIN, "data_offsets": [8, 16]}, "a": PLAIN}
    path = tmp_path / "x.safetensors"
    text = json.dumps(header).encode()
    numbers = torch.arange(4, dtype=torch.float32)
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers.numpy().tobytes())
    with closing(SafetensorsFile(path)) as file:
        assert torch.equal(file.read("a"), numbers[:2])
        assert torch.equal(file.read("b"), numbers[2:])


@pytest.mark.parametrize("announced", [150_000_000, 2**63, 2**64 - 1])
def test_an_announced_header_is_not_believed(tmp_path: Path, announced: int) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(announced.to_bytes(8, "little"))
        file.truncate(200_000_000)  # all of it a hole
    tracemalloc.start()
    try:
        refused(lambda: SafetensorsFile(path), str(announced))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", ["I8", "F8_E4M3", "BOOL"])
def test_a_type_no_adapter_has_is_refused(tmp_path: Path, dtype: str) -> None:
    folder = adapter(tmp_path / "a")
    name = "base_model.model.layers.0.q_proj.lora_A.weight"
    entry: dict[str, Any] = {"dtype": dtype, "shape": [2, 4], "data_offsets": [0, 8]}
    file = write(folder / "adapter_model.safetensors", {name: entry})
    refused_merge(tmp_path, [folder], f"type {dtype}", f"{file}  {name}", "convert the file")


def test_a_type_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    codes = {f"layers.0.q_proj.lora_{f}.weight": torch.ones(4, 4, dtype=torch.int8) for f in "AB"}
    folder = adapter(tmp_path / "a", modules={}, extras=codes)
    error = refused(lambda: Adapter(folder), "type I8")
    assert "adapter_model.safetensors  base_model.model.layers.0.q_proj.lora_" in error.where


@pytest.mark.parametrize("shape", [(), (3,), (4, 8, 1), (4, 8, 1, 1)], ids=str)
def test_factors_have_two_axes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    name = "base_model.model.conv"
    tensors = {"conv.lora_A.weight": torch.ones(shape), "conv.lora_B.weight": torch.ones(8, 4)}
    folder = adapter(tmp_path / "a", modules={}, extras=tensors)
    refused_merge(tmp_path, [folder], f"factors of shape {list(shape)}", f"{name}.lora_A.weight")
