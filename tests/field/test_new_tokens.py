"""New tokens in several adapters: rows are compared by their tokens, united, and carried on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import robustmerge
from factories.adapters import adapter
from factories.checkpoints import HIDDEN, VOCABULARY, base
from robustmerge import MergeError
from robustmerge.checks.check import check

WEIGHTS = "adapter_model.safetensors"
EMBED = "model.language_model.embed_tokens"
SIZE = VOCABULARY + 4


def _tokenizer(folder: Path, new: Mapping[str, int]) -> None:
    """Save a tokenizer with these tokens in these rows."""
    words = {f"w{n}": n for n in range(VOCABULARY)}
    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, "w0")))
    for row in range(VOCABULARY, max(new.values(), default=0) + 1):
        text = next((t for t, r in new.items() if r == row), f"<unused{row}>")
        made.add_tokens([text], special_tokens=True)
    made.save_pretrained(folder)


def _rows(seed: int, n: int = SIZE) -> Tensor:
    return torch.randn(n, HIDDEN, generator=torch.Generator().manual_seed(seed))


def _whole(folder: Path, seed: int, new: Mapping[str, int] | None = None) -> Path:
    """An adapter with embeddings of SIZE rows, and perhaps a tokenizer."""
    extras = {f"{EMBED}.weight": _rows(seed)}
    adapter(folder, seed=seed, extras=extras, modules_to_save=["embed_tokens"])
    if new is not None:
        _tokenizer(folder, new)
    return folder


def _single(folder: Path, seed: int, rows: Any, new: Mapping[str, int] | None = None) -> Path:
    """An adapter with single rows."""
    n = len(rows if isinstance(rows, list) else rows["embed_tokens"])
    extras = {f"{EMBED}.token_adapter.trainable_tokens_delta": _rows(seed, n)}
    adapter(folder, seed=seed, extras=extras, trainable_token_indices=rows)
    if new is not None:
        _tokenizer(folder, new)
    return folder


POINT, BOX = {"<point>": 20}, {"<box>": 20}


@pytest.mark.parametrize("make", [_whole, lambda f, s, n: _single(f, s, [20], n)])
def test_two_new_tokens_in_one_row_are_not_averaged(make: Any, tmp_path: Path) -> None:
    """`<point>` and `<box>` in row 128: averaged, and "merge yes, as they are"."""
    pair = [make(tmp_path / "a", 1, POINT), make(tmp_path / "b", 2, BOX)]
    with pytest.raises(MergeError, match="row 20 is '<point>' and '<box>'") as caught:
        robustmerge.merge(pair, tmp_path / "m")
    assert "--leave-out" in caught.value.hint
    left = ("*embed_tokens*", "*lm_head*")  # what the hint advises
    robustmerge.merge(pair, tmp_path / "m", leave_out=left)
    assert "trainable_token_indices" not in (tmp_path / "m/adapter_config.json").read_text()
    assert check(tmp_path / "m", runtimes=["peft"]).holds


@pytest.mark.parametrize("name", ["added_tokens.json", "tokenizer_config.json"])
def test_tokens_of_slow_tokenizers_are_compared(name: str, tmp_path: Path) -> None:
    pair = [_whole(tmp_path / n, s) for s, n in enumerate("ab")]
    for folder, token in zip(pair, ("<point>", "<box>"), strict=True):
        decoder = {"added_tokens_decoder": {"20": {"content": token}}}
        content = {token: 20} if name == "added_tokens.json" else decoder
        (folder / name).write_text(json.dumps(content))
    with pytest.raises(MergeError, match="row 20"):
        robustmerge.merge(pair, tmp_path / "m")


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    pair = [_whole(tmp_path / n, s, POINT) for s, n in enumerate("ab")]
    text = (pair[1] / "tokenizer.json").read_text()
    (pair[1] / "tokenizer.json").write_text(text.replace('"w7"', '"v7"'))
    with pytest.raises(MergeError, match="row 7 is 'w7' and 'v7'"):
        robustmerge.merge(pair, tmp_path / "m")


@pytest.mark.parametrize("make", [_whole, lambda f, s, n: _single(f, s, [20], n)])
def test_the_tokenizer_goes_with_the_result(make: Any, tmp_path: Path) -> None:
    pair = [make(tmp_path / n, s, POINT) for s, n in enumerate("ab")]
    robustmerge.merge(pair, tmp_path / "m")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "m")
    assert loaded.convert_tokens_to_ids("<point>") == 20
    files = json.loads((tmp_path / "m" / "merge.json").read_text())["output"]["sha256"]
    assert "tokenizer.json" in files
    assert check(tmp_path / "m", runtimes=["peft"]).holds


def test_without_changed_rows_there_is_no_tokenizer(tmp_path: Path) -> None:
    pair = [adapter(tmp_path / n, seed=s) for s, n in enumerate("ab")]
    for folder, token in zip(pair, (POINT, BOX), strict=True):
        _tokenizer(folder, token)
    robustmerge.merge(pair, tmp_path / "m")
    names = {path.name for path in (tmp_path / "m").iterdir()}
    assert names == {"README.md", "adapter_config.json", WEIGHTS, "merge.json"}


def test_rows_of_tokens_that_one_adapter_has_are_its_own(tmp_path: Path) -> None:
    """`<point>` in row 20 of one, `<box>` in row 21 of the other: both whole, none averaged."""
    first = _whole(tmp_path / "a", 1, {"<point>": 20})
    second = _whole(tmp_path / "b", 2, {"<point>": 20, "<box>": 21})
    robustmerge.merge([first, second], tmp_path / "m")
    merged = load_file(tmp_path / "m" / WEIGHTS)[f"base_model.model.{EMBED}.weight"]
    mean = (_rows(1) + _rows(2)) / 2
    torch.testing.assert_close(merged[:21], mean[:21])
    torch.testing.assert_close(merged[21], _rows(2)[21])
    torch.testing.assert_close(merged[22:], mean[22:])


@pytest.mark.parametrize("table", [False, True])
def test_single_rows_are_united(table: bool, tmp_path: Path) -> None:
    rows = [[20, 21], [22, 21]]
    settings: list[Any] = [{"embed_tokens": r} for r in rows] if table else rows
    pair = [
        _single(tmp_path / n, s, r) for s, (n, r) in enumerate(zip("ab", settings, strict=True))
    ]
    report = robustmerge.merge(pair, tmp_path / "m", weights=[1.0, 3.0])
    key = f"base_model.model.{EMBED}.token_adapter.trainable_tokens_delta"
    merged = load_file(tmp_path / "m" / WEIGHTS)[key]
    a, b = _rows(0, 2), _rows(1, 2)
    torch.testing.assert_close(merged, torch.stack([a[0], (a[1] + 3 * b[1]) / 4, b[0]]))
    raw = json.loads((tmp_path / "m" / "adapter_config.json").read_text())
    wanted = [20, 21, 22]
    assert raw["trainable_token_indices"] == ({"embed_tokens": wanted} if table else wanted)
    assert any("has no tokenizer" in warning for warning in report.warnings)
    assert check(tmp_path / "m", runtimes=["peft"]).holds


def test_the_tokenizers_are_united_too(tmp_path: Path) -> None:
    first = _single(tmp_path / "a", 1, [20])
    second = _single(tmp_path / "b", 2, [21])
    _tokenizer(first, {"<point>": 20})
    entries = {"21": {"content": "<box>", "special": True}}
    (second / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": entries}))
    robustmerge.merge([first, second], tmp_path / "m")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "m")
    assert [loaded.convert_tokens_to_ids(t) for t in ("<point>", "<box>")] == [20, 21]


def test_an_adapter_without_rows_of_its_own_changes_none(tmp_path: Path) -> None:
    pair = [_single(tmp_path / "a", 1, [20, 21]), adapter(tmp_path / "b", seed=2)]
    with pytest.raises(MergeError, match="not all adapters have the same fully trained"):
        robustmerge.merge(pair, tmp_path / "m")
    robustmerge.merge(pair, tmp_path / "m", missing="zero")
    key = f"base_model.model.{EMBED}.token_adapter.trainable_tokens_delta"
    torch.testing.assert_close(load_file(tmp_path / "m" / WEIGHTS)[key], _rows(1, 2))


def test_a_sum_of_rows_is_refused(tmp_path: Path) -> None:
    pair = [_single(tmp_path / n, s, [20]) for s, n in enumerate("ab")]
    base(tmp_path / "base")
    with pytest.raises(MergeError, match="rows of their own"):
        robustmerge.merge(pair, tmp_path / "m", extras="sum", base=tmp_path / "base")


def test_grown_embeddings_merge_with_their_base(tmp_path: Path) -> None:
    pair = [_whole(tmp_path / n, s, POINT) for s, n in enumerate("ab")]
    base(tmp_path / "base")
    robustmerge.merge(pair, tmp_path / "m", base=tmp_path / "base")
    merged = load_file(tmp_path / "m" / WEIGHTS)[f"base_model.model.{EMBED}.weight"]
    torch.testing.assert_close(merged, (_rows(0) + _rows(1)) / 2)
    with pytest.raises(MergeError, match=f"has {SIZE} rows, the base {VOCABULARY}") as caught:
        robustmerge.merge(pair, tmp_path / "s", base=tmp_path / "base", extras="sum")
    assert f"resize_token_embeddings({SIZE})" in caught.value.hint
