"""Names: what wraps a model is left out, old names load wherever they loaded, wrong ones fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, LlamaModel, PreTrainedModel

import robustmerge
from factories import renamed_families as renamed
from factories.adapters import LLM, adapter, deltas
from factories.bases import text_only
from factories.checkpoints import base
from factories.families import attach, build, save_adapter
from robustmerge import MergeError
from robustmerge.adapter.reader import Adapter
from robustmerge.checks.check import CheckReport, check
from robustmerge.checks.contents import Contents
from robustmerge.checks.findings import CheckStatus
from robustmerge.checks.summary import summarize
from robustmerge.engine.obstacles import find_obstacles
from robustmerge.live.landing import try_landing
from robustmerge.peft import landed

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."


def _rename(folder: Path, rule: Callable[[str], str]) -> Path:
    tensors = load_file(folder / WEIGHTS)
    save_file({rule(name): tensor for name, tensor in tensors.items()}, folder / WEIGHTS)
    return folder


WRAPPERS: dict[str, Callable[[str], str]] = {
    "torch.compile, in front": lambda n: f"_orig_mod.{n}",
    "torch.compile, below PEFT": lambda n: n.replace(PREFIX, f"{PREFIX}_orig_mod."),
    "torch.compile, every block": lambda n: n.replace(".self_attn", "._orig_mod.self_attn"),
    "torch.compile, every layer": lambda n: n.replace(".lora_", "._orig_mod.lora_"),
    "DDP": lambda n: f"module.{n}",
    "DDP below PEFT": lambda n: n.replace(PREFIX, f"{PREFIX}module."),
    "DDP of torch.compile": lambda n: f"module._orig_mod.{n}",
    "FSDP": lambda n: n.replace(".layers.0", ".layers.0._fsdp_wrapped_module"),
    "FSDP, before torch 2.0": lambda n: n.replace(".layers.0", ".layers.0._fpw_module"),
    "FSDP, in front": lambda n: f"_fsdp_wrapped_module.{n}",
    "activation checkpointing": lambda n: n.replace(".mlp", "._checkpoint_wrapped_module.mlp"),
    "Lightning Fabric": lambda n: f"_forward_module.{n}",
    "PEFT in PEFT": lambda n: f"{PREFIX}{n}",
    "TRL's value head": lambda n: f"pretrained_model.{n}",
    "three at once": lambda n: f"module._orig_mod.{PREFIX}{n.replace('.mlp', '._orig_mod.mlp')}",
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_of_training_tools_are_left_out(
    wrap: Callable[[str], str], tmp_path: Path
) -> None:
    """Merged with its wrapper, a result loads nothing; one clean adapter made 12 modules of 6."""
    clean = adapter(tmp_path / "clean", seed=1)
    wrapped = _rename(adapter(tmp_path / "wrapped", seed=1), wrap)
    assert check(wrapped, runtimes=["peft"]).holds is False
    for folder in (clean, wrapped):
        robustmerge.merge([folder], tmp_path / f"m-{folder.name}")
    same = [(tmp_path / f"m-{n}" / WEIGHTS).read_bytes() for n in ("clean", "wrapped")]
    assert same[0] == same[1]
    report = robustmerge.merge([clean, wrapped], tmp_path / "both")
    assert len(report.modules) == len(LLM)
    assert any("wrappers of training tools" in warning for warning in report.warnings)
    with closing(Contents.open(wrapped)) as contents:
        assert any("wrappers" in text for text in summarize(contents).unusual)
    assert find_obstacles([str(clean), str(wrapped)]) == ()


def test_patterns_of_rank_and_alpha_lose_the_wrapper_too(tmp_path: Path) -> None:
    name = "model.language_model.layers.0.mlp.down_proj"
    folder = adapter(
        tmp_path / "a",
        ranks={name: 2},
        rank_pattern={f"_orig_mod.{name}": 2},
        alpha_pattern={f"_orig_mod\\.{name}": 6},
    )
    _rename(folder, lambda n: n.replace(PREFIX, f"{PREFIX}_orig_mod."))
    assert Adapter(folder).modules[name].scaling == 3


UNKNOWN = {
    "a private wrapper": lambda n: n.replace(PREFIX, f"{PREFIX}_wrapped."),
    "in a block": lambda n: n.replace(".mlp", "._offload_module.mlp"),
    "before PEFT": lambda n: f"policy.{n}",
    "before PEFT, two levels": lambda n: f"trainer.actor.{n}",
}


@pytest.mark.parametrize("wrap", UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_wrapper_is_refused(wrap: Callable[[str], str], tmp_path: Path) -> None:
    folder = _rename(adapter(tmp_path / "a"), wrap)
    with pytest.raises(MergeError, match="a wrapper that no rule here knows"):
        robustmerge.merge([folder], tmp_path / "m")
    with closing(Contents.open(folder)) as contents:
        assert "a wrapper that no rule here knows" in summarize(contents).refusals[0]


def test_the_same_modules_behind_another_front_are_not_merged_as_others(tmp_path: Path) -> None:
    pair = [adapter(tmp_path / "a"), adapter(tmp_path / "b")]
    _rename(pair[1], lambda n: n.replace(PREFIX, f"{PREFIX}actor."))
    with pytest.raises(MergeError, match=r"'actor\.' stands in front of them") as caught:
        robustmerge.merge(pair, tmp_path / "m")
    assert "--missing" not in caught.value.hint
    assert not [o for o in find_obstacles([str(p) for p in pair]) if o.option]


@pytest.mark.parametrize("front", ["actor.", "student.net.", "thinker."])
def test_names_that_the_base_has_not_are_refused(front: str, tmp_path: Path) -> None:
    base(tmp_path / "base")
    folder = _rename(adapter(tmp_path / "a"), lambda n: n.replace(PREFIX, PREFIX + front))
    with pytest.raises(MergeError, match="6 of 6 modules are not in the base"):
        robustmerge.merge([folder], tmp_path / "m", base=tmp_path / "base")


def test_names_come_from_a_text_only_base(tmp_path: Path) -> None:
    text_only().save_pretrained(tmp_path / "base")
    shapes = {n.replace("model.", "model.language_model.", 1): s for n, s in _LLAMA.items()}
    folder = adapter(tmp_path / "a", modules=shapes)
    robustmerge.merge([folder], tmp_path / "m", base=tmp_path / "base")
    landed(attach(text_only(), tmp_path / "m"), tmp_path / "m")


def test_names_of_another_kind_of_model_are_not_the_bases_fault(tmp_path: Path) -> None:
    text_only().save_pretrained(tmp_path / "base")
    shapes = {n.replace("model.", "model.language_model.", 1): s for n, s in _LLAMA.items()}
    folder = adapter(tmp_path / "a", modules=shapes)
    report = check(folder, str(tmp_path / "base"), ["peft"])
    assert not report.holds
    advice = _line(report, "tensors").advice
    assert "under other names" in advice
    assert f"--base {tmp_path / 'base'}" in advice


_LLAMA = {f"model.layers.{n}.self_attn.q_proj": (64, 64) for n in range(2)}


@pytest.mark.parametrize("generation", renamed.GENERATIONS)
@pytest.mark.parametrize("family", renamed.FAMILIES)
def test_the_result_loads_as_much_as_its_input(
    family: str, generation: str, tmp_path: Path
) -> None:
    """Gemma3, PaliGemma, Mistral3: a merge with old names loaded nothing; mllama lost 9 of 13."""
    folder = renamed.save_adapter(family, tmp_path / "a", generation)
    robustmerge.merge([folder], tmp_path / "own", method="task-arithmetic")
    robustmerge.merge([folder], tmp_path / "hf", method="task-arithmetic", layout="hf")
    inputs = renamed.landing(family, folder)
    assert renamed.landing(family, tmp_path / "own") == inputs
    assert renamed.landing(family, tmp_path / "hf") == (inputs[1], inputs[1])
    assert set(load_file(tmp_path / "own" / WEIGHTS)) == set(load_file(folder / WEIGHTS))


@pytest.mark.parametrize("generation", renamed.GENERATIONS)
@pytest.mark.parametrize("family", renamed.FAMILIES)
def test_check_fails_if_and_only_if_a_tensor_would_not_land(
    family: str, generation: str, tmp_path: Path
) -> None:
    """Mllama's old names: 4 of 13 modules loaded, and `check --base` said ok on every line."""
    build(family).save_pretrained(tmp_path / "base")
    folder = renamed.save_adapter(family, tmp_path / "a", generation)
    whole = renamed.landing(family, folder)
    report = check(folder, str(tmp_path / "base"), ["peft"], try_landing)
    assert report.holds is (whole[0] == whole[1])
    tried = _line(report, "tried")
    assert tried.verdict is (CheckStatus.OK if whole[0] == whole[1] else CheckStatus.FAILS)
    assert not [x for x in report.lines if "base model" in x.finding.advice]


def _line(report: CheckReport, name: str) -> robustmerge.checks.findings.Finding:
    return next(x.finding for x in report.lines if x.check == name)


@pytest.mark.parametrize("generation", ["457", "old"])
def test_target_modules_name_modules_of_every_generation(generation: str, tmp_path: Path) -> None:
    """A merge of LLaVA with its tower loaded 10 of 10 on one generation and 6 on the other."""
    folder = renamed.save_adapter("llava", tmp_path / "a", generation)
    robustmerge.merge([folder], tmp_path / "m")
    targets = json.loads((tmp_path / "m" / "adapter_config.json").read_text())["target_modules"]
    for other in ("now", "457", generation):
        wanted = {
            renamed.name_in(other, "llava", Adapter(folder).modules[name].name)
            for name in Adapter(folder).modules
        }
        assert wanted <= set(targets)


QWENS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


@pytest.mark.parametrize("family", [*QWENS, "smolvlm"])
def test_a_layout_that_no_model_had_is_refused(family: str, tmp_path: Path) -> None:
    """Nobody reads hf-old on Qwen's: PEFT, vLLM and transformers drop every tensor."""
    folder = save_adapter(family, tmp_path / "a", seed=1)
    with pytest.raises(MergeError, match="was ever named in the layout hf-old") as caught:
        robustmerge.merge([folder], tmp_path / "m", layout="hf-old")
    assert "--layout " in caught.value.hint
    robustmerge.merge([folder], tmp_path / "m", layout="hf")


@pytest.mark.parametrize("family", QWENS)
def test_check_knows_that_peft_renames_nothing_for_qwen(family: str, tmp_path: Path) -> None:
    folder = save_adapter(family, tmp_path / "a", seed=1)
    _rename(folder, lambda n: n.replace("model.language_model.", "language_model.model."))
    assert check(folder, runtimes=["peft"]).holds is False
    build(family).save_pretrained(tmp_path / "base")
    report = check(folder, str(tmp_path / "base"), ["peft"], try_landing)
    assert _line(report, "names").verdict is CheckStatus.FAILS
    assert not [x for x in report.lines if "base model" in x.finding.advice]


EXPERTS = ("visual_expert", "connector_mlp", "vision_model_adapter", "visual")


@pytest.mark.parametrize("word", EXPERTS)
def test_language_modules_with_vision_in_their_name_are_not_excluded(
    word: str, tmp_path: Path
) -> None:
    """CogVLM's `visual_expert`: the written pattern excluded all that was merged."""
    shapes = {f"model.language_model.layers.{n}.{word}.q_proj": (8, 6) for n in range(2)}
    robustmerge.merge([adapter(tmp_path / "a", modules=shapes)], tmp_path / "m")
    assert check(tmp_path / "m", runtimes=["peft"]).holds
    raw = json.loads((tmp_path / "m" / "adapter_config.json").read_text())
    assert "exclude_modules" not in raw


HEADLESS = ("qwen2_vl", "llava", "internvl", "smolvlm")


def _headless(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModel.from_config(build(family).config)
    return model.eval()


@pytest.mark.filterwarnings("ignore:Found missing adapter keys:UserWarning")
@pytest.mark.parametrize("family", [*HEADLESS, "llama"])
def test_adapters_of_models_without_a_head_load_again(family: str, tmp_path: Path) -> None:
    model = LlamaModel(text_only().config) if family == "llama" else _headless(family)
    tensors, generator = {}, torch.Generator().manual_seed(1)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name.endswith(("q_proj", "fc2", "qkv")):
            d_out, d_in = module.weight.shape
            tensors[f"{PREFIX}{name}.lora_A.weight"] = torch.randn(2, d_in, generator=generator)
            tensors[f"{PREFIX}{name}.lora_B.weight"] = torch.randn(d_out, 2, generator=generator)
    folder = adapter(tmp_path / "a", rank=2, target_modules="all-linear", task_type=None)
    save_file(tensors, folder / WEIGHTS)
    landed(attach(model, folder), folder)
    robustmerge.merge([folder], tmp_path / "m", method="task-arithmetic")
    assert set(load_file(tmp_path / "m" / WEIGHTS)) == set(tensors)
    again = LlamaModel(text_only().config) if family == "llama" else _headless(family)
    landed(attach(again, tmp_path / "m"), tmp_path / "m")


def test_another_base_is_blamed_only_if_nothing_fits(tmp_path: Path) -> None:
    base(tmp_path / "base")
    other = {f"model.language_model.layers.{n}.self_attn.q_proj": (9, 7) for n in range(3)}
    advice = {}
    for name, shapes in {"none": other, "some": {**LLM, "model.extra.layer": (4, 4)}}.items():
        folder = adapter(tmp_path / name, modules=shapes)
        report = check(folder, str(tmp_path / "base"), ["peft"])
        advice[name] = _line(report, "tensors").advice
    assert "name the base model" in advice["none"]
    assert "the right base" in advice["some"]


def test_values_are_those_of_the_wrapped_adapter(tmp_path: Path) -> None:
    clean = adapter(tmp_path / "clean", seed=4)
    wrapped = _rename(adapter(tmp_path / "wrapped", seed=4), WRAPPERS["three at once"])
    robustmerge.merge([wrapped], tmp_path / "m", method="task-arithmetic", rank="full")
    merged, wanted = deltas(tmp_path / "m"), deltas(clean)
    assert all(torch.allclose(merged[n], wanted[n], atol=1e-5) for n in LLM)


NORMS = ("gemma3", "internvl", "llava")


@pytest.mark.parametrize("family", NORMS)
@pytest.mark.parametrize("left_out", [(), ("*layers.1*norm*",)])
def test_norms_that_an_entry_selects_by_its_last_letters(
    family: str, left_out: tuple[str, ...], tmp_path: Path
) -> None:
    """`modules_to_save: [norm]` is mm_soft_emb_norm, too; the merge named the whole projector.

    PEFT looked for the projector's other tensors then, and raised a KeyError.
    """
    model = build(family)
    tensors, generator = {}, torch.Generator().manual_seed(1)
    for name, module in model.named_modules():
        if name.endswith("norm"):
            for leaf, parameter in module.named_parameters(recurse=False):
                tensors[f"{PREFIX}{name}.{leaf}"] = torch.randn(
                    parameter.shape, generator=generator
                )
        if name.endswith("down_proj"):
            d_out, d_in = module.weight.shape  # type: ignore[union-attr, misc]
            tensors[f"{PREFIX}{name}.lora_A.weight"] = torch.randn(2, d_in, generator=generator)
            tensors[f"{PREFIX}{name}.lora_B.weight"] = torch.randn(d_out, 2, generator=generator)
    folder = adapter(tmp_path / "a", rank=2, target_modules=["down_proj"], modules_to_save=["norm"])
    save_file(tensors, folder / WEIGHTS)
    options = {"leave_out": left_out} if left_out else {}
    robustmerge.merge([folder], tmp_path / "m", method="task-arithmetic", **options)  # type: ignore[arg-type]
    settings = json.loads((tmp_path / "m" / "adapter_config.json").read_text())
    assert (settings["modules_to_save"] == ["norm"]) is not bool(left_out)
    loaded = attach(model, tmp_path / "m")
    held = load_file(tmp_path / "m" / WEIGHTS)
    saved = {n: p for n, p in loaded.named_parameters() if ".modules_to_save." in n}
    for name, tensor in held.items():
        if ".lora_" not in name:
            module, _, leaf = name.rpartition(".")
            assert saved[f"{module}.modules_to_save.default.{leaf}"].equal(tensor)
    assert len(saved) == sum(".lora_" not in name for name in held)
