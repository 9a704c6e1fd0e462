"""Settings, recipes and tensor names of any kind: done or refused, never anything else."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file

from factories.adapters import adapter
from faults.refuse import merge
from robustmerge import files, outputs
from robustmerge.adapter.config import _PLAIN, _REFUSED
from robustmerge.adapter.reader import Adapter
from robustmerge.engine.recipe import Recipe
from robustmerge.errors import MergeError

RECIPE = """\
adapters: [a, b]
method: task-arithmetic
weights: [1, 0.5]
modules:
- {match: '*.mlp.*', scale: 2.0}
"""
PARTS = (
    *("model", "language_model", "text_model", "visual", "vision_tower", "vision_model", "layers"),
    *("multi_modal_projector", "linear_1", "mm_projector", "0", "2", "lm_head", "norm", "q", ""),
    *("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "weight", "bias", "default"),
    *("modules_to_save", "base_layer", "token_adapter", "trainable_tokens_delta", "base_model"),
)
simple = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
values = st.recursive(
    simple | st.sampled_from(["none", "LORA", 4, 8, "q_proj", "(", "*", "mean", "input"]),
    lambda v: st.lists(v, max_size=2) | st.dictionaries(st.text(max_size=3), v, max_size=2),
    max_leaves=4,
)
fields = st.sampled_from(sorted(_PLAIN | _REFUSED.keys()))
names = st.lists(st.sampled_from(PARTS), min_size=1, max_size=5).map(".".join)
edits = st.lists(
    st.tuples(
        st.integers(0, len(RECIPE)),
        st.integers(0, 4),
        st.sampled_from(["", *"[]{}:,-*&!|>'\"\t\n #?@%0ae", "!!float ", "&x ", "*x", "<<: "]),
    ),
    min_size=1,
    max_size=3,
)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for module in (files, outputs):  # a disk is slow, and not the question
            patch.setattr(module, "flush", lambda path: None)
        adapter(Path(folder) / "a", modules={"model.layers.0.q_proj": (6, 8)})
        yield Path(folder)


def outcome(action: Any) -> str:
    """What an action comes to, which is one of two things."""
    try:
        action()
    except MergeError as error:
        return error.problem
    return "done"


@settings(max_examples=150)
@given(changes=st.dictionaries(fields, values, min_size=1, max_size=2))
def test_any_settings(root: Path, changes: dict[str, Any]) -> None:
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **changes}
    (root / "a" / "adapter_config.json").write_text(json.dumps(config))
    assert outcome(lambda: write(root, ["a"]))


@settings(max_examples=300)
@given(changes=st.dictionaries(st.sampled_from(sorted(vars(Recipe(("a",))))), values, max_size=3))
def test_any_values_in_a_recipe(changes: dict[str, Any]) -> None:
    assert outcome(lambda: Recipe.from_dict({"adapters": ["a"], **changes}, where="it"))


@settings(max_examples=300)
@given(edits=edits)
def test_any_text_in_a_recipe(root: Path, edits: list[tuple[int, int, str]]) -> None:
    text = RECIPE
    for position, removed, added in edits:
        text = text[:position] + added + text[position + removed :]
    (root / "recipe.yaml").write_text(text)
    assert outcome(lambda: Recipe.load(root / "recipe.yaml"))


@settings(max_examples=100)
@given(found=st.lists(names, min_size=1, max_size=3), bare=st.booleans(), data=st.data())
def test_any_names(root: Path, found: list[str], bare: bool, data: st.DataObject) -> None:
    """What is merged has as many modules as were there."""
    prefix = "" if bare else "base_model.model."
    kinds = (("lora_A.weight", "lora_B.weight"), ("lora_embedding_A", "lora_embedding_B"))
    tensors = {}
    for name in found:
        a, b = data.draw(st.sampled_from(kinds))
        tensors |= {
            f"{prefix}{name}.{a}": torch.ones(4, 8),
            f"{prefix}{name}.{b}": torch.ones(6, 4),
        }
    folder = adapter(root / "named")
    save_file(tensors, folder / "adapter_model.safetensors")
    layout = data.draw(st.sampled_from(["hf", "hf-old", "flat", "llava"]))
    if outcome(lambda: write(root, ["named"], layout=layout)) == "done":
        assert len(Adapter(root / "out").modules) == len(Adapter(folder).modules)


def write(root: Path, sources: list[str], **options: Any) -> None:
    options = {"method": "task-arithmetic", "workers": 1, "force": True, **options}
    merge([root / source for source in sources], root / "out", **options)
