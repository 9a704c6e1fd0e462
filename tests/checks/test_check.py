"""Adapters against their base on disk, and their settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from factories.adapters import adapter
from factories.families import FAMILIES, build, save_adapter
from robustmerge.adapter.tensor_files import BESIDE
from robustmerge.checks.check import CheckReport, check
from robustmerge.checks.findings import CheckStatus, Finding
from robustmerge.errors import MergeError

OK, NOTE, FAILS = CheckStatus.OK, CheckStatus.NOTE, CheckStatus.FAILS


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Folders of the tiny models as transformers saves them, made when first asked for."""
    root = tmp_path_factory.mktemp("bases")

    def of(family: str) -> str:
        if not (root / family).exists():
            build(family).save_pretrained(root / family)
        return str(root / family)

    return of


Bases = Callable[[str], str]


def base(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype = torch.float32
) -> str:
    """A checkpoint of zeros."""
    folder.mkdir()
    tensors = {name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    return str(folder)


def finding(checked: CheckReport, subject: str, name: str) -> Finding:
    (result,) = [x.finding for x in checked.lines if (x.subject, x.check) == (subject, name)]
    return result


def edit(folder: Path, **settings: Any) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder


@pytest.mark.parametrize("targets", ["language", "all-linear"])
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_of_all_families_fit_their_base(
    family: str, targets: str, bases: Bases, tmp_path: Path
) -> None:
    folder = save_adapter(family, tmp_path, seed=1, targets=targets)
    checked = check(folder, bases(family))
    tensors = len(load_file(folder / "adapter_model.safetensors"))
    assert checked.holds
    assert all(x.finding.verdict is OK for x in checked.lines if x.subject in ("base", "peft"))
    assert finding(checked, "base", "tensors").text.startswith(f"all {tensors} tensors have")
    assert finding(checked, "base", "family").text == f"the base is {family}, as the adapter's is"
    assert checked.modules * 2 == tensors


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"targets": ["embed_tokens", "lm_head"]}, 6),
        ({"modules_to_save": ["multi_modal_projector"]}, 32),
        ({"modules_to_save": ["norm"]}, 37),
        ({"trainable_token_indices": [3, 5]}, 29),
        ({"use_dora": True}, 42),
        ({"bias": "all"}, 48),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Setting .save_embedding_layers. to .True.")
def test_what_is_no_factor_has_its_place_too(
    options: dict[str, Any], count: int, bases: Bases, tmp_path: Path
) -> None:
    checked = check(save_adapter("llava", tmp_path, seed=1, **options), bases("llava"))
    assert finding(checked, "base", "tensors").text == (
        f"all {count} tensors have a place in it, of the right shape"
    )


@pytest.mark.parametrize("other", ["idefics3", "qwen2_vl"])
def test_another_family_fails_in_clear_words(other: str, bases: Bases, tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path, seed=1, targets="all-linear")
    checked = check(folder, bases(other))
    assert not checked.holds
    family, tensors = finding(checked, "base", "family"), finding(checked, "base", "tensors")
    assert family.text == f"the base is {other}, the adapter's is llava (from the settings)"
    assert family.verdict is FAILS
    assert "of 56 tensors do not fit" in tensors.text
    assert "there is no model." in tensors.text
    assert other == "qwen2_vl" or "; the nearest is model.text_model." in tensors.text
    assert "the adapter was trained on" in tensors.advice
    more = {x.check for x in checked.lines if x.subject == "base"} - {"family", "tensors"}
    assert not more if other == "idefics3" else more  # nothing fits, so there is no more to say


def test_families_of_one_language_model_are_told_apart(bases: Bases, tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path, seed=1)
    sure = check(folder, bases("llava_next"))
    assert finding(sure, "base", "tensors").verdict is OK
    assert finding(sure, "base", "family").verdict is FAILS
    guessed = check(edit(folder, auto_mapping=None), bases("llava_next"))
    assert finding(guessed, "base", "family").verdict is NOTE
    assert guessed.holds


def test_another_size_fails_with_both_shapes(bases: Bases, tmp_path: Path) -> None:
    name = "model.language_model.layers.0.self_attn.q_proj"
    checked = check(adapter(tmp_path, modules={name: (64, 48)}), bases("llava"))
    assert finding(checked, "base", "tensors").text.endswith(
        f"base_model.model.{name}.lora_A.weight [4, 48] does not go with {name}.weight [64, 64]"
    )


EMBEDDING = "model.language_model.embed_tokens"


def embedding(vocabulary: int, hidden: int) -> dict[str, Tensor]:
    return {
        f"{EMBEDDING}.lora_embedding_A": torch.ones(2, vocabulary),
        f"{EMBEDDING}.lora_embedding_B": torch.ones(hidden, 2),
    }


@pytest.mark.parametrize(
    ("extras", "wrong"),
    [
        (embedding(310, 64), 0),
        (embedding(64, 310), 2),
        ({f"{EMBEDDING}.token_adapter.trainable_tokens_delta": torch.ones(3, 64)}, 0),
        ({f"{EMBEDDING}.token_adapter.trainable_tokens_delta": torch.ones(3, 63)}, 1),
        ({f"{EMBEDDING}.token_adapter.trainable_tokens_delta": torch.ones(311, 64)}, 1),
        ({f"{EMBEDDING}.base_layer.weight": torch.ones(310, 64)}, 0),
        ({f"{EMBEDDING}.base_layer.weight": torch.ones(64, 310)}, 1),
        ({"model.multi_modal_projector.linear_1.weight": torch.ones(64, 32)}, 0),
        ({"model.multi_modal_projector.linear_1.weight": torch.ones(32, 64)}, 1),
        ({"model.multi_modal_projector.linear_9.weight": torch.ones(64, 32)}, 1),
        ({"model.language_model.norm.lora_magnitude_vector": torch.ones(64)}, 0),
        ({"model.language_model.norm.lora_magnitude_vector": torch.ones(65)}, 1),
    ],
    ids=lambda value: next(iter(value)).rpartition(".")[2] if isinstance(value, dict) else "",
)
def test_each_kind_of_tensor_has_its_shape(
    extras: dict[str, Tensor], wrong: int, bases: Bases, tmp_path: Path
) -> None:
    item = {"model.language_model.layers.0.self_attn.q_proj": (64, 64)}
    folder = adapter(tmp_path, modules=item, extras=extras)
    result = finding(check(folder, bases("llava")), "base", "tensors")
    assert result.verdict is (FAILS if wrong else OK)
    assert result.text.startswith(f"{wrong or 'all'} {'of ' if wrong else ''}{2 + len(extras)}")


def test_a_tied_head_has_the_shape_of_the_embeddings(tmp_path: Path) -> None:
    tied = base(
        tmp_path / "base", {"model.embed_tokens.weight": (30, 8), "visual.x.weight": (2, 2)}
    )
    head = {"lm_head": (30, 8)}
    right = adapter(tmp_path / "right", modules=head)
    assert finding(check(right, tied), "base", "tensors").verdict is OK
    wrong = adapter(tmp_path / "wrong", modules={"lm_head": (8, 30)})
    assert finding(check(wrong, tied), "base", "tensors").verdict is FAILS
    assert finding(check(right, tied), "base", "target_modules").verdict is OK


def test_a_head_that_is_nowhere_is_not_selected(tmp_path: Path) -> None:
    name = "model.language_model.layers.0.mlp.up_proj"
    headless = base(tmp_path / "base", {f"{name}.weight": (8, 8)})
    folder = adapter(tmp_path / "a", modules={name: (8, 8)}, target_modules=["up_proj", "lm_head"])
    assert finding(check(folder, headless), "base", "target_modules").verdict is OK


def test_transposed_weights_need_the_setting(tmp_path: Path) -> None:
    transposed = base(tmp_path / "base", {"h.0.attn.c_attn.weight": (8, 24)})
    modules = {"h.0.attn.c_attn": (24, 8)}
    declared = adapter(tmp_path / "declared", modules=modules, fan_in_fan_out=True)
    assert finding(check(declared, transposed), "base", "tensors").verdict is OK
    silent = adapter(tmp_path / "silent", modules=modules)
    assert finding(check(silent, transposed), "base", "tensors").verdict is FAILS
    plain = base(tmp_path / "plain", {"h.0.attn.c_attn.weight": (24, 8)})  # PEFT resets it there
    assert finding(check(declared, plain), "base", "tensors").verdict is OK


def test_convolutions_and_attention_of_torch(tmp_path: Path) -> None:
    vision = "model.vision_tower"
    shapes = {
        f"{vision}.conv.weight": (16, 3, 4, 4),
        f"{vision}.head.attention.in_proj_weight": (24, 8),
        f"{vision}.head.attention.out_proj.weight": (8, 8),
    }
    extras = {
        f"{vision}.conv.lora_A.weight": torch.ones(2, 3, 4, 4),
        f"{vision}.conv.lora_B.weight": torch.ones(16, 2, 1, 1),
        f"{vision}.head.attention.lora_A.weight": torch.ones(2, 8),
        f"{vision}.head.attention.lora_B.weight": torch.ones(24, 2),
        f"{vision}.head.attention.base_layer.out_proj.lora_A.weight": torch.ones(2, 8),
        f"{vision}.head.attention.base_layer.out_proj.lora_B.weight": torch.ones(8, 2),
    }
    folder = adapter(tmp_path / "a", modules={}, extras=extras, rank=2)
    checked = check(folder, base(tmp_path / "base", shapes))
    assert finding(checked, "base", "tensors").text == (
        "all 6 tensors have a place in it, of the right shape"
    )
    shapes[f"{vision}.conv.weight"] = (16, 3, 2, 2)
    assert not check(folder, base(tmp_path / "other", shapes)).holds


def test_a_quantized_base_has_names_but_no_shapes(tmp_path: Path) -> None:
    name = "model.language_model.layers.0.mlp.up_proj"
    folder = adapter(tmp_path / "a", modules={name: (8, 8)})
    for suffix, kind in (("weight", torch.uint8), ("qweight", torch.int32)):
        packed = base(tmp_path / suffix, {f"{name}.{suffix}": (32, 1)}, kind)
        result = finding(check(folder, packed), "base", "tensors")
        assert result.verdict is NOTE
        assert "2 shapes cannot be compared: the base is quantized" in result.text


def test_a_text_only_base_has_the_old_names(tmp_path: Path) -> None:
    text = base(tmp_path / "base", {"model.layers.0.mlp.up_proj.weight": (8, 8)})
    own = adapter(tmp_path / "own", modules={"model.layers.0.mlp.up_proj": (8, 8)})
    assert all(x.finding.verdict is OK for x in check(own, text, ["peft"]).lines)
    vision = {"model.language_model.layers.0.mlp.up_proj": (8, 8)}
    checked = check(adapter(tmp_path / "other", modules=vision), text)
    assert finding(checked, "base", "tensors").verdict is FAILS


def test_old_names_on_disk_are_the_same_model(bases: Bases, tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path / "a", seed=1, targets="all-linear")
    shutil.copytree(bases("llava"), tmp_path / "new")
    path = tmp_path / "new" / "model.safetensors"
    names = load_file(path)
    assert any(name.startswith("language_model.model.") for name in names)
    new = {n.replace("language_model.model.", "model.language_model."): names[n] for n in names}
    save_file(new, path)
    assert check(folder, str(tmp_path / "new")).holds


class Hub:
    """The Hub as the client shows it: headers from a folder, and a cache that may hold files."""

    def __init__(self, folder: str, cache: Path | None, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.cache = folder, cache
        self.asked: list[object] = []
        patch.setattr(huggingface_hub, "get_safetensors_metadata", self.metadata)
        patch.setattr(huggingface_hub, "snapshot_download", self.snapshot)

    def metadata(self, repo: str) -> object:
        self.asked.append("headers")
        with safe_open(Path(self.folder, "model.safetensors"), "pt") as file:
            views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            tensors = {
                n: SimpleNamespace(dtype=v.get_dtype(), shape=v.get_shape())
                for n, v in views.items()
            }
        return SimpleNamespace(files_metadata={"x.safetensors": SimpleNamespace(tensors=tensors)})

    def snapshot(self, repo: str, **options: object) -> str:
        if options.get("local_files_only"):
            if self.cache is None:
                raise FileNotFoundError(repo)
            return str(self.cache)
        self.asked.append(options["allow_patterns"])
        return self.folder


def test_of_a_base_on_the_hub_only_headers_are_fetched(
    bases: Bases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_adapter("llava", tmp_path, seed=1)
    hub = Hub(bases("llava"), None, monkeypatch)
    checked = check(folder, "someone/llava")
    assert hub.asked == ["headers", ["config.json"]]
    assert finding(checked, "base", "tensors").text.startswith("all 28 tensors")
    assert finding(checked, "base", "family").text == "the base is llava, as the adapter's is"


def test_a_base_that_was_downloaded_before_is_read_where_it_is(
    bases: Bases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_adapter("llava", tmp_path / "a", seed=1)
    hub = Hub(bases("llava"), Path(bases("llava")), monkeypatch)
    assert check(folder, "someone/llava").holds
    assert hub.asked == []
    partial = tmp_path / "partial"
    partial.mkdir()
    index = {"weight_map": {"x": "model-1-of-2.safetensors"}}
    (partial / "model.safetensors.index.json").write_text(json.dumps(index))
    hub = Hub(bases("llava"), partial, monkeypatch)
    assert check(folder, "someone/llava").holds
    assert "headers" in hub.asked


def test_a_base_that_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(str(tmp_path), None, monkeypatch)
    with pytest.raises(MergeError, match="headers cannot be fetched from the Hub: No such file"):
        check(adapter(tmp_path / "a"), "someone/nothing")
    with pytest.raises(MergeError, match="not a Hub id"):
        check(adapter(tmp_path / "a"), "some/where/else")


def test_settings_that_leave_out_a_module(bases: Bases, tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path, seed=1)
    edit(folder, target_modules=["q_proj", "v_proj"])
    result = finding(check(folder), "settings", "target_modules")
    assert result.verdict is FAILS
    assert "leaves out 10 of 14 modules" in result.text
    edit(folder, target_modules=["self_attn.*"])
    assert "all" not in finding(check(folder), "settings", "target_modules").text
    edit(folder, target_modules="*")
    assert "no regular expression" in finding(check(folder), "settings", "target_modules").text
    edit(folder, target_modules=None)
    assert finding(check(folder), "settings", "target_modules").verdict is NOTE


def test_settings_that_select_more_than_there_is(bases: Bases, tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path, seed=1)
    leaves = [f"{x}_proj" for x in ("q", "k", "v", "o", "gate", "up", "down")]
    edit(folder, target_modules=leaves)
    result = finding(check(folder, bases("llava")), "base", "target_modules")
    assert result.verdict is NOTE
    assert "also selects 6 modules" in result.text  # q, k and v in two blocks of the tower
    edit(folder, exclude_modules=".*vision_tower.*")
    checked = check(folder, bases("llava"))
    assert finding(checked, "base", "target_modules").verdict is OK
    edit(folder, target_modules=[*leaves, "norm"])
    result = finding(check(folder, bases("llava")), "base", "target_modules")
    assert result.verdict is FAILS
    assert result.text.endswith("takes no LoRA: model.language_model.norm")


def test_modules_to_save_must_be_whole(bases: Bases, tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path, seed=1, modules_to_save=["multi_modal_projector"])
    result = finding(check(folder, bases("llava")), "base", "modules_to_save")
    assert result == Finding(OK, "modules_to_save is complete: 4 parameters")
    path = folder / "adapter_model.safetensors"
    tensors = {n: t for n, t in load_file(path).items() if not n.endswith("linear_2.bias")}
    save_file(tensors, path)
    checked = check(folder, bases("llava"))
    result = finding(checked, "base", "modules_to_save")
    assert "needs 1 parameters that are not here" in result.text
    assert not checked.holds


def test_parameters_beside_the_adapter_are_checked_too(bases: Bases, tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path, seed=1)
    name = "model.multi_modal_projector.linear_1.weight"
    save_file({name: torch.ones(64, 32)}, folder / BESIDE)
    assert "all 29" in finding(check(folder, bases("llava")), "base", "tensors").text
    save_file({name: torch.ones(64, 33)}, folder / BESIDE)
    assert "1 of 29" in finding(check(folder, bases("llava")), "base", "tensors").text


def test_only_what_is_asked_for_counts(tmp_path: Path) -> None:
    folder = adapter(tmp_path, rank=600)
    everything = check(folder)
    assert everything.holds
    assert {x.subject for x in everything.lines if not x.counts} == {"vllm", "sglang", "llama.cpp"}
    assert check(folder, runtimes=["peft", "sglang"]).holds
    requests = check(folder, runtimes=["vllm"])
    assert not requests.holds
    assert "peft" not in {x.subject for x in requests.lines}


def test_a_refused_adapter_fails_and_is_checked_on(tmp_path: Path) -> None:
    checked = check(save_adapter("llava", tmp_path, seed=1, use_dora=True))
    result = finding(checked, "adapter", "reading")
    assert result.verdict is FAILS
    assert "use_dora is set" in result.text
    assert finding(checked, "vllm", "plain LoRA").verdict is FAILS
    assert (checked.modules, checked.ranks) == (14, (4,))


def test_what_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="no such folder"):
        check(tmp_path / "nowhere")
    with pytest.raises(MergeError, match="unknown runtime 'vlm'"):
        check(folder := adapter(tmp_path / "a"), runtimes=["vlm"])
    with pytest.raises(MergeError, match=r"neither model\.safetensors"):
        check(folder, str(tmp_path))
