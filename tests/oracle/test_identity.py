"""One adapter in, the same update out, as PEFT's own forward pass sees it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import robustmerge
from factories.families import FAMILIES, LANGUAGE, attach, build, logits, not_landed, save_adapter
from robustmerge.peft import landed

PREFIX = "base_model.model."
WEIGHTS = "adapter_model.safetensors"
NEUTRAL: Mapping[str, Mapping[str, Any]] = {
    "task-arithmetic": {},
    "average": {},
    "robustmerge": {"density": 1, "gain_A": 1, "gain_B": 1},
}
PATTERNS = {
    "rank_pattern": {"q_proj": 2, r"layers.1.mlp.\w+_proj": 7},
    "alpha_pattern": {"v_proj": 1, r".*layers.0.self_attn.q_proj": 24},
}
EMBEDDING = LANGUAGE + r"|.*\.embed_tokens"
CASES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "rslora": {"rslora": True},
    "alpha": {"alpha": 3},
    "rank-pattern": {"rank_pattern": PATTERNS["rank_pattern"]},
    "alpha-pattern": {"alpha_pattern": PATTERNS["alpha_pattern"]},
    "patterns-rslora": {"rslora": True, **PATTERNS},
    "embedding": {"targets": EMBEDDING},
    "embedding-rslora": {"targets": EMBEDDING, "rslora": True, "alpha": 3},
    "all-linear": {"targets": "all-linear", "alpha": 3},
    "projector-saved": {"modules_to_save": ["multi_modal_projector"]},
    "lm-head": {"targets": r".*lm_head|.*\.[qv]_proj", "alpha": 3},
    "one-layer": {"layers_to_transform": [1], "targets": ["q_proj", "up_proj"]},
}
pytestmark = pytest.mark.filterwarnings(
    "ignore:Setting `save_embedding_layers` to `True`:UserWarning"
)


@pytest.fixture(scope="module")
def base() -> Tensor:
    """The logits without any adapter."""
    return logits("llava", build("llava"))


def outputs(folder: Path, family: str = "llava") -> Tensor:
    """Return the logits with an adapter that PEFT loads, every tensor of it."""
    model = attach(build(family), folder)
    landed(model, folder)
    return logits(family, model)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Tensor]]:
    """The adapter of a case and its logits, made once."""

    @cache
    def make(case: str) -> tuple[Path, Tensor]:
        folder = save_adapter("llava", tmp_path_factory.mktemp(case), seed=1, **CASES[case])
        return folder, outputs(folder)

    return make


def assert_same(before: Tensor, merged: Path, base: Tensor, within: float = 1e-5) -> None:
    """Return the merged adapter gives these logits, up to a share of what it changes."""
    change = (before - base).abs().max()
    assert change > 0.5
    assert (outputs(merged) - before).abs().max() < within * change


@pytest.mark.parametrize("method", NEUTRAL)
@pytest.mark.parametrize("case", CASES)
def test_one_adapter_comes_out_as_it_went_in(
    case: str,
    method: str,
    original: Callable[[str], tuple[Path, Tensor]],
    base: Tensor,
    tmp_path: Path,
) -> None:
    folder, before = original(case)
    robustmerge.merge([folder], tmp_path / "out", method=method, **NEUTRAL[method])
    assert_same(before, tmp_path / "out", base)


@pytest.mark.parametrize("adapter", ["default", "vqa"])
def test_adapter_names_in_the_keys(adapter: str, base: Tensor, tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path / "in", seed=1, rslora=True, targets=EMBEDDING)
    named = rewritten(folder, tmp_path / "named", {})
    tensors = load_file(named / WEIGHTS)
    save_file({with_name(key, adapter): tensors[key] for key in tensors}, named / WEIGHTS)
    robustmerge.merge([named], tmp_path / "out", method="task-arithmetic")
    assert_same(outputs(folder), tmp_path / "out", base)


def test_bin_file(base: Tensor, tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path / "in", seed=1, alpha=3, rslora=True)
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()
    robustmerge.merge([folder], tmp_path / "out", method="task-arithmetic")
    assert (tmp_path / "out" / WEIGHTS).is_file()
    assert_same(outputs(folder), tmp_path / "out", base)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("method", NEUTRAL)
def test_half_precision(method: str, dtype: str, base: Tensor, tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path / "in", seed=1, rank=5, alpha=7)
    half: torch.dtype = getattr(torch, dtype)
    save_file({k: t.to(half) for k, t in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS)
    before = outputs(folder)
    for name, kept, within in [
        ("same", None, 4 * torch.finfo(half).eps),
        ("full", "float32", 1e-5),
    ]:
        out = tmp_path / name
        robustmerge.merge([folder], out, method=method, dtype=kept, **NEUTRAL[method])
        assert {t.dtype for t in load_file(out / WEIGHTS).values()} == {
            half if kept is None else torch.float32
        }
        assert_same(before, out, base, within)


@pytest.mark.parametrize("rank", ["input", "full", 9])
def test_weight_zero_leaves_the_other_adapter(
    rank: int | str, base: Tensor, tmp_path: Path
) -> None:
    first = save_adapter("llava", tmp_path / "a", seed=1, rank=3, alpha=5, rslora=True)
    second = save_adapter("llava", tmp_path / "b", seed=2, rank=8, alpha=4, targets="all-linear")
    before = outputs(first)
    for i, (adapters, weights) in enumerate(
        [([first, second], [1.0, 0.0]), ([second, first], [0.0, 1.0])]
    ):
        out = tmp_path / f"out{i}"
        robustmerge.merge(
            adapters, out, method="task-arithmetic", weights=weights, rank=rank, missing="zero"
        )
        assert_same(before, out, base)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family: str, tmp_path: Path) -> None:
    folder = save_adapter(family, tmp_path / "in", seed=1, alpha=3, rslora=True)
    robustmerge.merge([folder], tmp_path / "out", method="task-arithmetic")
    model = attach(build(family), tmp_path / "out")
    assert not_landed(model, tmp_path / "out") == []
    before = outputs(folder, family)
    assert (before - logits(family, build(family))).abs().max() > 0.1
    torch.testing.assert_close(logits(family, model), before, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_merges_with_vision_and_projector(family: str, tmp_path: Path) -> None:
    folders = [
        save_adapter(family, tmp_path / str(n), seed=n, rank=2 + n, targets="all-linear")
        for n in range(3)
    ]
    robustmerge.merge(folders, tmp_path / "out")
    model = attach(build(family), tmp_path / "out")
    landed(model, tmp_path / "out")
    assert not_landed(model, tmp_path / "out") == []
    assert (logits(family, model) - logits(family, build(family))).abs().max() > 0.1


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
def test_adapters_on_tied_embeddings(tmp_path: Path) -> None:
    settings = {"targets": ["embed_tokens", "q_proj"], "ensure_weight_tying": True, "rslora": True}
    folders = [save_adapter("internvl", tmp_path / str(n), seed=n, **settings) for n in (1, 2)]
    assert [
        key for key in load_file(folders[0] / WEIGHTS) if key.startswith(f"{PREFIX}lm_head.lora")
    ]
    robustmerge.merge(folders[:1], tmp_path / "one", method="task-arithmetic")
    before, after = (outputs(folder, "internvl") for folder in (folders[0], tmp_path / "one"))
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)
    # Pruning treats A and B differently, so the head's update is no longer the embedding's.
    robustmerge.merge(folders, tmp_path / "two", method="robustmerge")
    landed(attach(build("internvl"), tmp_path / "two"), tmp_path / "two")


OLD_LLAVA = {
    "model.language_model.": "model.",
    "model.vision_tower.": "model.vision_tower.vision_tower.vision_model.",
    "model.multi_modal_projector.linear_1.": "model.mm_projector.0.",
    "model.multi_modal_projector.linear_2.": "model.mm_projector.2.",
}
OLD_KEYS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "hf-old": (
        "llava",
        {
            "model.language_model.": "language_model.model.",
            "model.vision_tower.": "vision_tower.vision_model.",
            "model.multi_modal_projector.": "multi_modal_projector.",
            "lm_head.": "language_model.lm_head.",
        },
    ),
    "flat": ("qwen2_vl", {"model.language_model.": "model.", "model.visual.": "visual."}),
    "llava": ("llava", OLD_LLAVA),
}


@pytest.mark.parametrize("targets", ["all-linear", r".*lm_head|.*language_model.*\.\w+_proj"])
@pytest.mark.parametrize("layout", OLD_KEYS)
def test_old_layouts(layout: str, targets: str, tmp_path: Path) -> None:
    family, table = OLD_KEYS[layout]
    settings = {"targets": targets, **PATTERNS, "rslora": True}
    folder = save_adapter(family, tmp_path / "new", seed=1, **settings)
    old = rewritten(folder, tmp_path / "old", table)
    assert set(load_file(old / WEIGHTS)) != set(load_file(folder / WEIGHTS))
    robustmerge.merge([old], tmp_path / "out", method="task-arithmetic", layout="hf")
    assert set(load_file(tmp_path / "out" / WEIGHTS)) == set(load_file(folder / WEIGHTS))
    before, after = outputs(folder, family), outputs(tmp_path / "out", family)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)
    # And back: what is written in the old layout are the names it was rewritten to by hand.
    robustmerge.merge([folder], tmp_path / "back", method="task-arithmetic", layout=layout)
    assert lora_keys(tmp_path / "back") == lora_keys(old)


def test_tower_names_of_earlier_transformers(tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path / "new", seed=1, targets="all-linear")
    table = {"model.vision_tower.": "model.vision_tower.vision_model."}
    old = rewritten(folder, tmp_path / "old", table)
    robustmerge.merge([old], tmp_path / "kept", method="task-arithmetic")
    robustmerge.merge([old], tmp_path / "hf", method="task-arithmetic", layout="hf")
    assert lora_keys(tmp_path / "kept") == lora_keys(old) != lora_keys(folder)
    assert lora_keys(tmp_path / "hf") == lora_keys(folder)


def test_original_llava_folder_with_its_projector(base: Tensor, tmp_path: Path) -> None:
    saved = ["multi_modal_projector"]
    folder = save_adapter("llava", tmp_path / "new", seed=1, modules_to_save=saved)
    old = rewritten(folder, tmp_path / "old", OLD_LLAVA)
    settings = json.loads((old / "adapter_config.json").read_text())
    (old / "adapter_config.json").write_text(json.dumps(settings | {"modules_to_save": None}))
    tensors = load_file(old / WEIGHTS)
    projector = {k: t for k, t in tensors.items() if ".mm_projector." in k}
    assert len(projector) == 4
    save_file({k: t for k, t in tensors.items() if k not in projector}, old / WEIGHTS)
    torch.save(projector, old / "non_lora_trainables.bin")
    robustmerge.merge([old], tmp_path / "out", method="task-arithmetic", layout="hf")
    assert_same(outputs(folder), tmp_path / "out", base)


def rewritten(folder: Path, target: Path, table: Mapping[str, str]) -> Path:
    """Return a copy of an adapter whose modules are named by another table of beginnings."""
    target.mkdir()
    (target / "adapter_config.json").write_text((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / WEIGHTS)
    save_file(
        {PREFIX + renamed(k.removeprefix(PREFIX), table): tensors[k] for k in tensors},
        target / WEIGHTS,
    )
    return target


def renamed(name: str, table: Mapping[str, str]) -> str:
    old = next((old for old in table if name.startswith(old)), "")
    return table.get(old, "") + name.removeprefix(old)


def with_name(key: str, adapter: str) -> str:
    """Return the key as it stands in a trained state, where adapters have names."""
    for part in ("lora_embedding_A", "lora_embedding_B", "lora_A", "lora_B"):
        key = key.replace(f".{part}", f".{part}.{adapter}")
    return key


def lora_keys(folder: Path) -> set[str]:
    """Return the names of the factors, without PEFT's copies of the base weights of lm_head."""
    return {key for key in load_file(folder / WEIGHTS) if ".lora_" in key}
