"""Adapters of every layout in a base, held to sums of weights made by hand."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import robustmerge
from bench_factories.tiny_models import save
from factories.families import attach, build, inputs, logits, save_adapter
from robustmerge import MergeError
from robustmerge_bench.paper.answering.engines.attach import current_layout, load
from robustmerge_bench.paper.answering.family import settings_of

CPU = torch.device("cpu")
MODULES = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")
SHAPES = {
    "self_attn.q_proj": (64, 64),
    "self_attn.v_proj": (32, 64),
    "mlp.up_proj": (96, 64),
    "mlp.down_proj": (64, 96),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llava", tmp_path_factory.mktemp("base") / "llava")


def original(folder: Path, *, rank: int = 4, alpha: int = 6, projector: bool = True) -> Path:
    """An adapter as the original LLaVA code saves it, in bfloat16."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(4)

    def noise(*shape: int) -> Tensor:
        return (0.3 * torch.randn(shape, generator=generator)).bfloat16()

    factors = {}
    for layer in (0, 1):
        for module in MODULES:
            stem, (rows, columns) = (
                f"base_model.model.model.layers.{layer}.{module}",
                SHAPES[module],
            )
            factors[f"{stem}.lora_A.weight"] = noise(rank, columns)
            factors[f"{stem}.lora_B.weight"] = noise(rows, rank)
    torch.save(factors, folder / "adapter_model.bin")
    whole = {}
    if projector:
        for number, shape in ((0, (64, 32)), (2, (64, 64))):
            stem = f"base_model.model.model.mm_projector.{number}"
            whole |= {f"{stem}.weight": noise(*shape), f"{stem}.bias": noise(shape[0])}
    torch.save(whole, folder / "non_lora_trainables.bin")
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "checkpoints/vicuna",
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.05,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "target_modules": [module.rpartition(".")[2] for module in MODULES],
        "modules_to_save": None,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(
        json.dumps({"model_type": "llava", "mm_projector_type": "mlp2x_gelu"})
    )
    return folder


def by_hand(folder: Path, scaling: float) -> Any:
    """The base of seed 0 with W + scaling · B A in its layers and the file's projector."""
    model = build("llava")
    weights = model.state_dict()
    factors = torch.load(folder / "adapter_model.bin")
    for name, A in factors.items():
        if ".lora_A" in name:
            B = factors[name.replace("lora_A", "lora_B")]
            module = name.removeprefix("base_model.model.model.").removesuffix(".lora_A.weight")
            existing = weights[f"model.language_model.{module}.weight"]
            existing += scaling * B.float() @ A.float()
    for name, tensor in torch.load(folder / "non_lora_trainables.bin").items():
        number, leaf = name.removeprefix("base_model.model.model.mm_projector.").split(".")
        line = {"0": "linear_1", "2": "linear_2"}[number]
        weights[f"model.multi_modal_projector.{line}.{leaf}"].copy_(tensor)
    model.load_state_dict(weights)
    return model


def same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("projector", [True, False], ids=["projector", "frozen"])
def test_an_original_adapter_is_the_sum_of_weights(
    base: Path, tmp_path: Path, projector: bool
) -> None:
    folder = original(tmp_path / "llava-lora", projector=projector)
    wanted = logits("llava", by_hand(folder, 6 / 4))
    result = logits("llava", load(str(base), str(folder), device=CPU, dtype=torch.float32))
    same(result, wanted)
    assert (result - logits("llava", build("llava"))).abs().max() > 1
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.bin",
        "config.json",
        "non_lora_trainables.bin",
    ]


def test_beside_the_weights_in_bfloat16(base: Path, tmp_path: Path) -> None:
    # All three in bfloat16, since versions of torch draw other images in other types.
    def answer(model: Any) -> Tensor:
        with torch.no_grad():
            return model.bfloat16()(**inputs("llava", model)).logits.float()

    folder = original(tmp_path / "llava-lora")
    result = answer(load(str(base), str(folder), device=CPU, dtype=torch.bfloat16))
    wanted, bare = answer(by_hand(folder, 6 / 4)), answer(build("llava"))
    assert (result - wanted).abs().mean() < 0.1 * (bare - wanted).abs().mean()


@pytest.mark.parametrize(
    ("family", "layout"),
    [
        ("llava", "hf-old"),
        ("llava_onevision", "hf-old"),
        ("internvl", "hf-old"),
        ("qwen2_vl", "flat"),
        ("qwen2_5_vl", "flat"),
    ],
)
def test_older_layouts(tmp_path: Path, family: str, layout: str) -> None:
    """PEFT alone would measure the bare base for some of these."""
    base = save(family, tmp_path / "base")
    today = save_adapter(family, tmp_path / "today", seed=2)
    older = tmp_path / "older"
    robustmerge.merge([today], older, method="task-arithmetic", layout=layout)
    names = load_file(older / "adapter_model.safetensors")
    assert not any(".model.model.language_model." in name for name in names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
        result = load(str(base), str(older), device=CPU, dtype=torch.float32)
    same(
        logits(family, result),
        logits(family, load(str(base), str(today), device=CPU, dtype=torch.float32)),
    )
    assert (logits(family, result) - logits(family, build(family))).abs().max() > 0.1


@pytest.mark.parametrize("layout", ["hf", "hf-old"])
def test_dora(base: Path, tmp_path: Path, layout: str) -> None:
    today = save_adapter("llava", tmp_path / "today", seed=2, use_dora=True)
    plain = save_adapter("llava", tmp_path / "plain", seed=2)
    arguments = tmp_path / "given"
    options: Any = {"layout": layout, "dora": "mean"}
    robustmerge.merge([today], arguments, method="task-arithmetic", **options)
    result = logits("llava", load(str(base), str(arguments), device=CPU, dtype=torch.float32))
    same(result, logits("llava", attach(build("llava"), today)))
    assert (result - logits("llava", attach(build("llava"), plain))).abs().max() > 0.1


def test_current_layout_is_taken_as_it_is(tmp_path: Path) -> None:
    today = save_adapter("llava", tmp_path / "today", seed=2)
    with current_layout(str(today)) as folder:
        assert folder == today
    with current_layout(str(original(tmp_path / "original"))) as folder:
        assert folder.name == "adapter"
        assert (folder / "adapter_model.safetensors").is_file()
    assert not folder.exists()


@pytest.mark.parametrize("where", ["adapter", "beside"])
def test_parameters_trained_whole(base: Path, tmp_path: Path, where: str) -> None:
    """Those that a merge wrote next to the adapter, which PEFT does not look for."""
    folder = original(tmp_path / "llava-lora")
    robustmerge.merge(
        [folder],
        tmp_path / "merged",
        method="task-arithmetic",
        layout="hf",
        dtype="float32",
        extras_in=where,
    )
    assert (tmp_path / "merged" / "non_lora.safetensors").is_file() == (where == "beside")
    result = load(str(base), str(tmp_path / "merged"), device=CPU, dtype=torch.float32)
    same(logits("llava", result), logits("llava", by_hand(folder, 6 / 4)))


def test_parameters_beside_that_have_no_place(base: Path, tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path / "adapter", seed=1)
    save_file({"model.resampler.weight": torch.ones(3)}, folder / "non_lora.safetensors")
    with pytest.raises(MergeError, match="1 of 1 parameters are not in the model") as caught:
        load(str(base), str(folder), device=CPU, dtype=torch.float32)
    assert "model.resampler.weight" in str(caught.value)


def test_an_adapter_of_another_model_is_never_measured_as_the_bare_base(
    base: Path, tmp_path: Path
) -> None:
    unknown = save_adapter("idefics3", tmp_path / "adapter", seed=1, targets="all-linear")
    warnings.simplefilter("ignore")  # PEFT's, that it knows nothing of these names
    with pytest.raises(MergeError) as caught:
        load(str(base), str(unknown), device=CPU, dtype=torch.float32)
    assert str(unknown) in str(caught.value)
    half = save_adapter("llava", tmp_path / "half", seed=1)
    tensors = load_file(half / "adapter_model.safetensors")
    moved = {name.replace("layers.1.", "layers.7."): t for name, t in tensors.items()}
    save_file(moved, half / "adapter_model.safetensors")
    with pytest.raises(MergeError, match="not in the model"):
        load(str(base), str(half), device=CPU, dtype=torch.float32)


def test_a_base_of_the_original_code_is_refused(tmp_path: Path) -> None:
    settings = {"model_type": "llava", "mm_projector_type": "mlp2x_gelu"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(MergeError, match="original LLaVA code") as caught:
        settings_of(str(tmp_path))
    assert "llava-hf" in str(caught.value)
