"""SGLang's 3-D factors of experts: against the definition, written by hand and read again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import robustmerge
from factories.experts import FAMILIES, seeded, targets, trained
from robustmerge.adapter.reader import Adapter
from robustmerge.cli.app import run
from robustmerge.errors import MergeError
from robustmerge.export import export_adapter

Capture = pytest.CaptureFixture[str]
OWNER = "model.layers.0.mlp.experts"
PREFIX = "base_model.model."
E, H, WIDTH, R = 4, 16, 12, 3
SHAPES = {
    "w1": ((1, R, H), (E, WIDTH, R)),
    "w3": ((1, R, H), (E, WIDTH, R)),
    "w2": ((E, R, WIDTH), (1, H, R)),
}
LAYERS = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}


def write(
    folder: Path,
    seed: int,
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = SHAPES,
    **settings: object,
) -> dict[str, Tensor]:
    """Write an adapter of Qwen3-MoE in SGLang's form; return the updates of every expert."""
    folder.mkdir()
    g = torch.Generator().manual_seed(seed)
    tensors, updates = {}, {}
    for name, (a, b) in shapes.items():
        A, B = torch.randn(a, generator=g), torch.randn(b, generator=g)
        stem = f"{PREFIX}{OWNER}.{name}.lora_"
        tensors |= {f"{stem}A.weight": A, f"{stem}B.weight": B}
        for e, delta in enumerate(2 * (B @ A)):
            updates[f"{OWNER}.{e}.{LAYERS.get(name, name)}"] = delta
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": R, "lora_alpha": 2 * R} | settings
    config |= {"target_modules": ["gate_proj", "up_proj", "down_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return updates


def by_written(folder: Path) -> dict[str, Tensor]:
    adapter = Adapter(folder)
    return {m.written: adapter.factors(n).dense() for n, m in adapter.modules.items()}


def base(folder: Path, family: str = "Qwen3-MoE") -> Path:
    seeded(FAMILIES[family][0]).save_pretrained(str(folder))
    return folder


def same(result: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert result.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(result[name], tensor, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("names", ["w", "proj"])
def test_every_expert_has_its_own_update(tmp_path: Path, names: str) -> None:
    shapes = SHAPES if names == "w" else {LAYERS[n]: s for n, s in SHAPES.items()}
    updates = write(tmp_path / "a", 1, shapes)
    assert len(updates) == 3 * E
    same(by_written(tmp_path / "a"), updates)


def test_both_sides_may_be_of_every_expert(tmp_path: Path) -> None:
    shapes = {n: ((E, *a[1:]), (E, *b[1:])) for n, (a, b) in SHAPES.items()}
    updates = write(tmp_path / "a", 1, shapes)
    same(by_written(tmp_path / "a"), updates)
    assert run(["check", str(tmp_path / "a"), "--for", "sglang"]) == 0


def test_the_exact_sum_is_written_in_that_form_again(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, seed) for seed, name in enumerate("ab"))
    robustmerge.merge(
        [tmp_path / "a", tmp_path / "b"],
        tmp_path / "sum",
        method="task-arithmetic",
        rank="full",
        weights=(1.0, 0.5),
    )
    wanted = {name: one[name] + 0.5 * two[name] for name in one}
    same(by_written(tmp_path / "sum"), wanted)
    model = base(tmp_path / "base")
    robustmerge.convert(tmp_path / "sum", tmp_path / "out", layout="sglang-shared", base=model)
    tensors = load_file(tmp_path / "out/adapter_model.safetensors")
    rank = 2 * R
    shapes = {
        f"{PREFIX}{OWNER}.{name}.lora_{side}.weight": [n, *own]
        for name, a, b in (("w1", 1, E), ("w3", 1, E), ("w2", E, 1))
        for side, n, own in (
            ("A", a, (rank, WIDTH if name == "w2" else H)),
            ("B", b, (H if name == "w2" else WIDTH, rank)),
        )
    }
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == shapes
    same(by_written(tmp_path / "out"), wanted)
    settings = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert settings["target_modules"] == ["down_proj", "gate_proj", "up_proj"]


@pytest.mark.parametrize("layout", ["projections", "experts", "fused", "sglang"])
def test_other_layouts_of_it_are_the_same_sum_with_the_base(tmp_path: Path, layout: str) -> None:
    write(tmp_path / "a", 1)
    model = base(tmp_path / "base")
    robustmerge.convert(tmp_path / "a", tmp_path / "out", layout=layout, base=model)
    for name in ("a", "out"):
        full = tmp_path / f"{name}-full"
        export_adapter(tmp_path / name, full, format="full", base=str(model))
    first, second = (load_file(tmp_path / f"{n}-full/model.safetensors") for n in ("a", "out"))
    before = load_file(model / "model.safetensors")
    same(first, second)
    assert sum(not torch.equal(first[n], before[n]) for n in before) == 3 * E
    with pytest.raises(MergeError, match="in the layout sglang-shared already"):
        robustmerge.convert(tmp_path / "a", tmp_path / "no", layout="sglang-shared", base=model)


def test_a_family_with_transposed_experts_is_turned_on_the_way(tmp_path: Path) -> None:
    updates = write(tmp_path / "a", 1, {"w2": SHAPES["w2"]})
    model = base(tmp_path / "base", "Llama 4")
    robustmerge.convert(tmp_path / "a", tmp_path / "out", layout="experts", base=model)
    result = {
        n.replace("feed_forward", "mlp"): t.T for n, t in by_written(tmp_path / "out").items()
    }
    same(result, updates)


def test_experts_that_differ_in_the_outer_side_are_refused(tmp_path: Path) -> None:
    trained(FAMILIES["Qwen3-MoE"][0], tmp_path / "a", 1, target_parameters=targets("mlp"))
    model = base(tmp_path / "base")
    with pytest.raises(MergeError, match=r"experts 0 and 1 .* differ in A") as caught:
        robustmerge.convert(tmp_path / "a", tmp_path / "out", layout="sglang-shared", base=model)
    assert "--layout sglang" in caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shapes", "match"),
    [
        ({"w1": ((1, R, H), (1, WIDTH, R))}, "does not say how many there are"),
        ({"w1": ((2, R, H), (E, WIDTH, R))}, "the factors of 4 experts"),
        ({"w1": ((1, 5, H), (E, WIDTH, 5))}, "of rank 3"),
    ],
)
def test_shapes_that_do_not_go_together_are_refused(
    tmp_path: Path, shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]], match: str
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    tensors = {
        f"{PREFIX}{OWNER}.{name}.lora_{side}.weight": torch.ones(shape)
        for name, pair in shapes.items()
        for side, shape in zip("AB", pair, strict=True)
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": R, "lora_alpha": R, "target_modules": ["gate_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(MergeError, match=match):
        Adapter(folder)


def test_runtimes_say_whether_they_take_it(tmp_path: Path, capsys: Capture) -> None:
    write(tmp_path / "a", 1)
    assert run(["check", str(tmp_path / "a"), "--for", "sglang"]) == 0
    for runtime in ("peft", "llama.cpp"):
        capsys.readouterr()
        assert run(["check", str(tmp_path / "a"), "--for", runtime]) == 1
        assert "--layout projections" in capsys.readouterr().out
    mixed = {**SHAPES, "w2": ((E, R, WIDTH), (E, H, R))}
    write(tmp_path / "b", 1, mixed)
    assert run(["check", str(tmp_path / "b"), "--for", "sglang"]) == 1
    assert "share other sides" in capsys.readouterr().out
