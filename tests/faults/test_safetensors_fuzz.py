"""Whatever a header says: it is refused, or it means what the safetensors library takes it for."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors
from hypothesis import given, settings, strategies as st

from robustmerge.adapter.header import read_header
from robustmerge.errors import MergeError

Meaning = dict[str, tuple[str, list[int], bytes]]

DATA = bytes(range(24))
PLAIN = {
    "__metadata__": {"format": "pt"},
    "a.lora_A": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
    "a.lora_B": {"dtype": "BF16", "shape": [8], "data_offsets": [8, 24]},
}
TEXT = json.dumps(PLAIN).encode()
sizes = st.sampled_from([-1, 0, 1, 2, 3, 4, 8, 16, 24, 2**31, 2**63 - 1, 2**63, 2**64 - 1, 2**64])
scalars = sizes | st.none() | st.booleans() | st.floats() | st.text(max_size=3)
dtypes = st.sampled_from(["F32", "BF16", "F64", "I8", "F4", "F6_E2M3", "C64", "F8_E4M3", "BOOL"])
entries = st.fixed_dictionaries(
    {
        "dtype": dtypes | scalars,
        "shape": st.lists(sizes, max_size=3) | scalars,
        "data_offsets": st.lists(sizes, min_size=2, max_size=2) | scalars,
    },
    optional={"more": scalars},
)
headers = st.dictionaries(
    st.sampled_from(["a", "b", "__metadata__", "", "ä", "\ud800", "a\n"]),
    entries | st.dictionaries(st.text(max_size=2), scalars, max_size=2) | scalars,
    max_size=3,
)
edits = st.lists(
    st.tuples(
        st.integers(0, len(TEXT)),
        st.integers(0, 3),
        st.sampled_from(
            [b"", b"0", b"-", b"9", b'"', b"{", b"]", b",", b" ", b"\\", b"\xff", b"\0"]
        ),
    ),
    min_size=1,
    max_size=3,
)


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "x.safetensors"


def ours(path: Path, whole: bytes) -> Meaning | None:
    path.write_bytes(whole)
    with path.open("rb") as file:
        try:
            entries = read_header(file, path)
        except MergeError:
            return None
    return {n: (e.dtype, list(e.shape), whole[e.begin : e.end]) for n, e in entries.items()}


def read_by_safetensors(whole: bytes) -> Meaning | None:
    try:
        result = safetensors.deserialize(whole)
    except safetensors.SafetensorError:
        return None
    return {n: (str(t["dtype"]), list(t["shape"]), bytes(t["data"])) for n, t in result}


def same(path: Path, text: bytes, length: int | None = None) -> bool:
    """Whether the header is accepted; if it is, then for what it is."""
    length = len(text) if length is None else length
    whole = length.to_bytes(8, "little") + text + DATA
    mine = ours(path, whole)
    if mine is not None:
        assert mine == read_by_safetensors(whole)
    return mine is not None


def test_a_good_header_is_accepted(path: Path) -> None:
    assert same(path, TEXT)
    assert same(path, b" \n" + TEXT + b"   ")


@settings(max_examples=250)
@given(edits=edits)
def test_edited_bytes(path: Path, edits: list[tuple[int, int, bytes]]) -> None:
    text = TEXT
    for position, removed, added in edits:
        text = text[:position] + added + text[position + removed :]
    same(path, text)


@settings(max_examples=100)
@given(length=st.integers(0, 2 * len(TEXT)) | st.integers(0, 2**64 - 1))
def test_a_wrong_length(path: Path, length: int) -> None:
    assert same(path, TEXT, length) == (length == len(TEXT))


@settings(max_examples=250)
@given(header=headers)
def test_invented_headers(path: Path, header: dict[str, Any]) -> None:
    same(path, json.dumps(header).encode())


@settings(max_examples=250)
@given(
    shapes=st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=3),
    dtype=dtypes,
    shift=st.integers(-1, 1) | st.just(0),
    order=st.randoms(use_true_random=False),
)
def test_nearly_good_headers(
    path: Path, shapes: list[list[int]], dtype: str, shift: int, order: Any
) -> None:
    bits = {"F64": 64, "C64": 64, "F32": 32, "BF16": 16, "F6_E2M3": 6, "F4": 4}.get(dtype, 8)
    position, header = 0, []
    for i, shape in enumerate(shapes):
        product = 1
        for n in shape:
            product *= n
        end = position + product * bits // 8
        header.append((f"t{i}", {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}))
        position = end + (shift if i else 0)
    order.shuffle(header)
    text = json.dumps(dict(header)).encode()
    whole = len(text).to_bytes(8, "little") + text + bytes(max(position, 0))
    mine, other = ours(path, whole), read_by_safetensors(whole)
    assert (mine is None) == (other is None)
    assert mine is None or mine == other


@settings(max_examples=100)
@given(text=st.binary(max_size=60))
def test_noise(path: Path, text: bytes) -> None:
    same(path, text)
    same(path, b'{"a":' + text + b"}")


def test_deep_and_long_headers_end(path: Path) -> None:
    for text in (b'{"a":' * 50_000, b"[" * 50_000 + b"]" * 50_000, b'{"a":' + b"9" * 50_000 + b"}"):
        assert not same(path, text)
