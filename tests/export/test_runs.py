"""What transformers makes of an export: the model that PEFT would have made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from factories import experts
from factories.bases import llama, llava, text_only
from factories.families import FAMILIES, attach, build, logits, save_adapter, text_inputs
from robustmerge.checks.runtimes import version_note
from robustmerge.export import export_adapter


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()


def load(folder: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(folder).eval()


def make_model_and_adapter(family: str, root: Path, shard: str = "1GB", **options: Any) -> None:
    build(family).save_pretrained(root / "base", max_shard_size=shard)
    save_adapter(family, root / "a", seed=1, **options)


def export(root: Path, kind: str, **options: Any) -> Path:
    export_adapter(root / "a", root / "out", format=kind, base=str(root / "base"), **options)
    return root / "out"


@pytest.mark.parametrize("shard", ["1GB", "100KB"])
@pytest.mark.parametrize("family", FAMILIES)
def test_full_is_what_merge_and_unload_gives(family: str, shard: str, tmp_path: Path) -> None:
    make_model_and_adapter(family, tmp_path, shard, targets="all-linear")
    got = load(export(tmp_path, "full")).state_dict()
    want = attach(build(family), tmp_path / "a").merge_and_unload().state_dict()
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        torch.testing.assert_close(got[name], tensor, rtol=1e-6, atol=1e-6, msg=name)
    before = build(family).state_dict()
    assert sum(not torch.equal(got[n], t) for n, t in before.items()) > 20
    if shard == "100KB":
        assert len(list((tmp_path / "out").glob("*.safetensors"))) > 3


@pytest.mark.parametrize("family", FAMILIES)
def test_embedded_is_the_base_with_the_adapter(family: str, tmp_path: Path) -> None:
    make_model_and_adapter(family, tmp_path, "100KB", targets="all-linear")
    got = logits(family, load(export(tmp_path, "embedded")))
    want = logits(family, attach(build(family), tmp_path / "a"))
    assert torch.equal(got, want)
    assert (got - logits(family, build(family))).abs().max() > 0.1


@pytest.mark.parametrize("kind", ["embedded", "full"])
def test_projectors_go_along(kind: str, tmp_path: Path) -> None:
    make_model_and_adapter("llava", tmp_path, modules_to_save=["multi_modal_projector"])
    got = logits("llava", load(export(tmp_path, kind)))
    want = logits("llava", attach(build("llava"), tmp_path / "a"))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["embedded", "full"])
def test_a_part_of_a_projector_goes_along(kind: str, tmp_path: Path) -> None:
    make_model_and_adapter("llava", tmp_path)
    name = "model.multi_modal_projector.linear_2.bias"
    save_file({name: torch.full((64,), 0.3)}, tmp_path / "a" / "non_lora.safetensors")
    model = attach(build("llava"), tmp_path / "a")
    model.get_base_model().get_parameter(name).data.fill_(0.3)
    want = logits("llava", model)
    got = load(export(tmp_path, kind))
    torch.testing.assert_close(logits("llava", got), want, rtol=1e-5, atol=1e-4)
    if kind == "embedded":  # nothing is left for a loader to make up
        tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
        projector = [n for n in tensors if "multi_modal_projector" in n]
        assert len(projector) == 4


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_dora_is_baked(family: str, tmp_path: Path) -> None:
    make_model_and_adapter(family, tmp_path, use_dora=True, targets="all-linear")
    got = logits(family, load(export(tmp_path, "full")))
    want = logits(family, attach(build(family), tmp_path / "a"))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["embedded", "full"])
@pytest.mark.parametrize(
    "options",
    [
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 5}, "rslora": True},
        {"alpha_pattern": {"v_proj": 5}},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 4}},
    ],
    ids=["both", "alpha", "rank"],
)
def test_unequal_ranks_and_scalings_go_along(
    kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    make_model_and_adapter("qwen2_vl", tmp_path, **options)
    got = logits("qwen2_vl", load(export(tmp_path, kind)))
    want = logits("qwen2_vl", attach(build("qwen2_vl"), tmp_path / "a"))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"targets": ["q_proj", "lm_head"]},
        {"targets": ["q_proj", "embed_tokens"]},
        {"targets": ["q_proj"], "modules_to_save": ["embed_tokens"]},
        {"targets": ["q_proj"], "modules_to_save": ["lm_head"]},
    ],
    ids=lambda o: "-".join([*o["targets"][1:], *o.get("modules_to_save", [])]),
)
@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings.*", "ignore:.*embedding.*")
def test_tied_embeddings_compute_what_the_adapter_does(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unmerged model is the measure: PEFT's merging would change both ends of the tie."""
    from factories import families

    monkeypatch.setitem(families._LLAMA, "tie_word_embeddings", True)
    llava_family = families._FAMILIES["llava"]
    tied = {**llava_family.more, "tie_word_embeddings": True}
    monkeypatch.setitem(families._FAMILIES, "llava", replace(llava_family, more=tied))
    model = build("llava")
    assert model.lm_head.weight is model.get_input_embeddings().weight
    make_model_and_adapter("llava", tmp_path, "100KB", **options)
    want = logits("llava", attach(build("llava"), tmp_path / "a"))
    got = logits("llava", load(export(tmp_path, "full")))
    assert (want - logits("llava", model)).abs().max() > 0.1
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["embedded", "full"])
def test_language_models_too(kind: str, tmp_path: Path) -> None:
    from factories.bases import adapt

    llama(tmp_path / "base")
    peft = adapt(text_only(), {"expert": {}}, tmp_path)
    (tmp_path / "expert").rename(tmp_path / "a")
    export(tmp_path, kind)
    got = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        first, second = got(**text_inputs()).logits, peft(**text_inputs()).logits
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["embedded", "full"])
def test_the_processor_goes_along(kind: str, tmp_path: Path) -> None:
    llava(tmp_path / "base")
    save_adapter("llava", tmp_path / "a", seed=1)
    processor = transformers.AutoProcessor.from_pretrained(export(tmp_path, kind))
    assert type(processor).__name__ == "LlavaProcessor"
    assert processor.chat_template


def test_copies_do_not_need_the_base(tmp_path: Path) -> None:
    make_model_and_adapter("llava", tmp_path)
    want = logits("llava", attach(build("llava"), tmp_path / "a"))
    export(tmp_path, "embedded", copy=True)
    (tmp_path / "base").rename(tmp_path / "gone")
    assert torch.equal(logits("llava", load(tmp_path / "out")), want)
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())


def test_the_closing_advice_is_true(tmp_path: Path) -> None:
    """What the command tells the user to call loads the adapter, whatever the versions here."""
    make_model_and_adapter("llava", tmp_path)
    report = export_adapter(
        tmp_path / "a", tmp_path / "out", format="embedded", base=str(tmp_path / "base")
    )
    want = logits("llava", attach(build("llava"), tmp_path / "a"))
    call, _, condition = report.usage(tmp_path / "out").partition(", ")
    assert condition == "with PEFT installed"
    model = eval(call, {"AutoModelForImageTextToText": AutoModelForImageTextToText})
    assert torch.equal(logits("llava", model.eval()), want)
    later = load(tmp_path / "base")
    later.load_adapter(str(tmp_path / "out"))
    assert torch.equal(logits("llava", later), want)


def test_what_is_noted_about_the_versions_is_true(tmp_path: Path) -> None:
    """transformers' own adapter methods work unless the note says no; PeftModel's always do."""
    make_model_and_adapter("llava", tmp_path)
    model = load(export(tmp_path, "embedded"))
    calls = [
        lambda: model.set_adapter("default"),
        model.disable_adapters,
        lambda: model.save_pretrained(tmp_path / "saved"),
    ]
    for call in calls:
        if version_note():
            with pytest.raises(ValueError, match="version of PEFT"):
                call()
        else:
            call()
    before = logits("llava", build("llava"))
    wrapped = PeftModel.from_pretrained(load(tmp_path / "base"), str(tmp_path / "out")).eval()
    want = logits("llava", attach(build("llava"), tmp_path / "a"))
    assert torch.equal(logits("llava", wrapped), want)
    wrapped.set_adapter("default")
    wrapped.save_pretrained(str(tmp_path / "again"))
    with wrapped.disable_adapter():
        assert torch.equal(logits("llava", wrapped), before)


def test_the_advice_names_the_class_of_a_language_model(tmp_path: Path) -> None:
    from factories.bases import adapt

    llama(tmp_path / "base")
    adapt(text_only(), {"expert": {}}, tmp_path)
    report = export_adapter(
        tmp_path / "expert", tmp_path / "out", format="full", base=str(tmp_path / "base")
    )
    assert report.usage(Path("out")) == "AutoModelForCausalLM.from_pretrained('out')"


@pytest.mark.parametrize("family", experts.FAMILIES)
def test_embedded_has_fused_experts_and_convolutions(family: str, tmp_path: Path) -> None:
    make, parameters = experts.FAMILIES[family]
    linear = ["q_proj", "patch_embed.proj"] if family == "Qwen3-VL-MoE" else ["q_proj"]
    settings = {"target_modules": linear, "target_parameters": parameters}
    experts.trained(make, tmp_path / "a", 1, **settings)
    model: Any = experts.seeded(make)
    model.save_pretrained(tmp_path / "base")
    with torch.no_grad():
        before = model(**experts.batch(family)).logits
        want = attach(model, tmp_path / "a")(**experts.batch(family)).logits
        loaded = type(experts.seeded(make)).from_pretrained(export(tmp_path, "embedded"))
        got = loaded.eval()(**experts.batch(family)).logits
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    assert (want - before).abs().max() > 0.01
