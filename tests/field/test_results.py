"""Numbers that are no training result, or not enough of one: refused, or said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from factories.adapters import LLM, adapter, deltas, trio
from factories.checkpoints import base
from faults.refuse import command, merge, refused, refused_merge
from field.test_crashes import write_statistics
from robustmerge.adapter.precision import suit_float16
from robustmerge.api import diagnose
from robustmerge.diagnosis.verdict import make_verdict
from robustmerge.engine.recipe import Recipe
from robustmerge.factors import Factors

Q = "model.language_model.layers.0.self_attn.q_proj"


def size(updates: dict[str, torch.Tensor]) -> float:
    return float(torch.cat([delta.flatten() for delta in updates.values()]).norm())


@pytest.mark.parametrize("shape", [(0,), (0, 16), (20, 0)])
@pytest.mark.parametrize("name", ["lm_head.weight", "model.multi_modal_projector.linear_1.bias"])
def test_an_empty_tensor(tmp_path: Path, shape: tuple[int, ...], name: str) -> None:
    """Kind D: what ZeRO-3 leaves of a parameter in modules_to_save merged through."""
    extras = {name: torch.zeros(shape)}
    sources = [adapter(tmp_path / n, seed=i, extras=extras) for i, n in enumerate("ab")]
    refused_merge(tmp_path, sources, "an empty tensor", "ZeRO-3", name)


def zero(folder: Path, *, part: str = "lora_B", **options: Any) -> Path:
    """Write an adapter of which one factor is zero everywhere."""
    adapter(folder, **options)
    file = folder / "adapter_model.safetensors"
    tensors = {n: t * (part not in n) for n, t in load_file(file).items()}
    save_file(tensors, file)
    return folder


@pytest.mark.parametrize("part", ["lora_A", "lora_B"])
@pytest.mark.parametrize("method", ["task-arithmetic", "robustmerge", "ties"])
def test_a_zero_adapter(tmp_path: Path, part: str, method: str) -> None:
    first, second, _ = trio(tmp_path / "in")
    third = zero(tmp_path / "none", part=part)
    for sources in ([first, second, third], [third, first]):
        report = merge(sources, tmp_path / "out", method=method, force=True)
        (note,) = (w for w in report.warnings if "changes nothing" in w)
        assert note.startswith(str(third))
        verdict = make_verdict(diagnose(list(map(str, sources))))
        assert verdict[0].code == "zero_updates"
        assert "none" in verdict[0].text
    assert not any("changes nothing" in w for w in merge([first], tmp_path / "one").warnings)
    assert not any(s.code == "zero_updates" for s in make_verdict(diagnose([first, second])))


@pytest.mark.parametrize("options", [{"scale": 0.0}, {"weights": [0.0, 0.0]}])
def test_a_merge_that_is_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    """Kind F: scale or all weights were zero, and nothing was said of it."""
    sources = trio(tmp_path / "in")[:2]
    report = merge(sources, tmp_path / "out", method="task-arithmetic", **options)
    assert any("zero in every module" in warning for warning in report.warnings)
    usual = merge(sources, tmp_path / "usual", method="task-arithmetic")
    assert not any("zero in every module" in warning for warning in usual.warnings)


def test_adapters_of_two_tasks(tmp_path: Path) -> None:
    """Kind F: a classifier's adapter and a language model's were one without a word."""
    sources = [
        adapter(tmp_path / "a", seed=1, task_type="SEQ_CLS"),
        adapter(tmp_path / "b", seed=2, task_type="CAUSAL_LM"),
    ]
    (note,) = (w for w in merge(sources, tmp_path / "out").warnings if "task types" in w)
    assert "SEQ_CLS, CAUSAL_LM" in note
    settings = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert settings["task_type"] == "SEQ_CLS"
    assert not any("task types" in w for w in merge(sources[:1], tmp_path / "one").warnings)


def test_a_single_adapter_that_a_method_changes(tmp_path: Path) -> None:
    """Kind D: one adapter through the default method came out changed by twice its norm."""
    source = adapter(tmp_path / "a")
    before = deltas(source)
    for method, options, changed in (
        ("robustmerge", {}, True),
        ("task-arithmetic", {}, False),
        ("task-arithmetic", {"scale": 0.5, "weights": [2.0]}, False),
        ("task-arithmetic", {"scale": "norm-matched"}, False),
        ("average", {}, False),
        ("ties", {"parameters": {"density": 1.0}}, False),
        ("dare", {"parameters": {"density": 0.5}}, True),
    ):
        report = merge(
            [source], tmp_path / "out", method=method, force=True, rank="full", **options
        )
        assert any("changes a single adapter" in w for w in report.warnings) == changed, method
        if not changed:
            after = deltas(tmp_path / "out")
            assert size({n: after[n] - before[n] for n in before}) < 1e-5 * size(before)


@pytest.mark.parametrize("over", ["model", "module"])
@pytest.mark.parametrize("rule", ["norm-matched", "geometric-middle", "mean"])
def test_updates_that_cancel(tmp_path: Path, rule: str, over: str) -> None:
    """Kind D: with X and -X a rule blew rounding up to the size of X; right is 0."""
    first = adapter(tmp_path / "a")
    opposite = adapter(tmp_path / "b")
    file = opposite / "adapter_model.safetensors"
    mix = torch.randn(4, 4, generator=torch.Generator().manual_seed(1)).double()
    tensors = {
        name: (mix @ t.double() if "lora_A" in name else -t.double() @ mix.inverse()).float()
        for name, t in load_file(file).items()
    }
    save_file(tensors, file)
    report = merge(
        [first, opposite], tmp_path / "out", method="task-arithmetic", scale=rule, scale_over=over
    )
    assert size(deltas(tmp_path / "out")) < 1e-5 * size(deltas(first))
    assert any("the updates cancel" in w for w in report.warnings)


@pytest.mark.parametrize(("alpha", "rank", "entry"), [(1, 64, 2e-4), (1, 8, 1e-5), (0.01, 4, 1e-3)])
def test_scalings_that_float16_has_no_room_for(
    tmp_path: Path, alpha: float, rank: int, entry: float
) -> None:
    """Kind D: alpha 1, rank 64 and B of 2e-4 lost 1.7 % in float16, which itself loses 0.03 %."""
    folder = adapter(tmp_path / "a", rank=rank, alpha=alpha)
    file = folder / "adapter_model.safetensors"
    tensors = {n: (t * (entry if "lora_B" in n else 1)).half() for n, t in load_file(file).items()}
    save_file(tensors, file)
    before = deltas(folder)
    report = merge([folder], tmp_path / "out", method="task-arithmetic")
    after = deltas(tmp_path / "out")
    assert report.plan.dtype == "F16"
    assert size({n: after[n] - before[n] for n in before}) < 6e-4 * size(before)
    assert not any("float16" in w for w in report.warnings)


def test_updates_too_small_for_float16(tmp_path: Path) -> None:
    sources = trio(tmp_path / "in")
    options: dict[str, Any] = {"method": "task-arithmetic", "dtype": "float16"}
    refused_merge(tmp_path, sources, "float16 loses", "--dtype float32", scale=1e-16, **options)
    report = merge(sources, tmp_path / "small", scale=3e-13, **options)
    assert any("float16 loses more than 1 %" in w for w in report.warnings)
    # The advice, taken literally.
    merge(sources, tmp_path / "wide", scale=1e-16, method="task-arithmetic", dtype="float32")


def test_factors_that_float16_holds_stay_as_they_are() -> None:
    g = torch.Generator().manual_seed(0)
    factors = Factors(torch.randn(8, 64, generator=g), torch.randn(32, 8, generator=g) * 0.01)
    assert suit_float16(factors)[0] is factors
    none = Factors(torch.zeros(4, 8), torch.zeros(6, 4))
    assert suit_float16(none) == (none, 0.0)
    tiny = Factors(torch.randn(8, 64, generator=g), torch.randn(32, 8, generator=g) * 1e-6)
    suited, loss = suit_float16(tiny)
    assert torch.equal(suited.dense().double(), tiny.dense().double())  # powers of two
    assert loss < 5e-4
    assert suit_float16(Factors(torch.full((1, 2), 1e6), torch.ones(2, 1)))[0].A.max() == 1e6


@pytest.mark.parametrize("revisions", [("a1", "b2"), (None, "b2"), ("main", "v2")])
def test_revisions_that_differ(tmp_path: Path, revisions: tuple[str | None, str]) -> None:
    sources = [
        adapter(tmp_path / n, seed=i, revision=revision)
        for i, (n, revision) in enumerate(zip("ab", revisions, strict=True))
    ]
    refused_merge(tmp_path, sources, "disagree on the revision", f"tiny/base@{revisions[1]}")
    assert merge(sources, tmp_path / "out", same_base=True).rank == 4


def test_revisions_that_are_the_same(tmp_path: Path) -> None:
    sources = [
        adapter(tmp_path / n, seed=i, revision=revision)
        for i, (n, revision) in enumerate((("a", None), ("b", "main")))
    ]
    assert merge(sources, tmp_path / "out").rank == 4


@pytest.mark.parametrize("recorded", [True, False])
def test_statistics_that_changed(tmp_path: Path, recorded: bool) -> None:
    source = adapter(tmp_path / "a")
    stats = write_statistics(tmp_path / "stats", source, 1.0)
    record = json.loads((stats / "statistics.json").read_text())
    if recorded:
        record["adapters"][0]["sha256"] = "0" * 64
    (stats / "statistics.json").write_text(json.dumps(record))
    arguments = ["merge", source, "-m", "regmean-rows", "--data", stats, "-o", tmp_path / "out"]
    code, errors = command(*arguments)
    assert ("another SHA-256" in errors) == recorded
    assert code == int(recorded)


@pytest.mark.parametrize("leaf", ["lm_head", "model.language_model.embed_tokens", Q])
def test_lora_in_one_and_trained_fully_in_the_other(tmp_path: Path, leaf: str) -> None:
    """Kind D: both were written, and PEFT's output was off by 72-85 %."""
    shape = LLM.get(leaf, (20, 16))
    model = base(tmp_path / "base")
    rest = {name: s for name, s in LLM.items() if name != leaf}
    first = adapter(tmp_path / "a", modules={**rest, leaf: shape})
    second = adapter(
        tmp_path / "b",
        modules=rest,
        extras={f"{leaf}.weight": torch.ones(shape)},
        modules_to_save=[leaf.rpartition(".")[2]],
    )
    for sources in ([first, second], [second, first]):
        refused_merge(
            tmp_path,
            sources,
            "changed by LoRA in one",
            "--missing drop",
            missing="zero",
            base=str(model),
        )
    merge([first, second], tmp_path / "out", missing="drop")  # the advice
    written = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert not any(leaf in name for name in written)


TWICE = {
    "method": "adapters: [a]\nmethod: ties\nmethod: dare\n",
    "weights": "adapters: [a, b]\nweights: [1, 2]\nweights: [2, 1]\n",
    "nested": "adapters: [a]\nmethod: ties\nparameters: {density: 0.1, density: 0.9}\n",
    "override": "adapters: [a]\nmodules:\n- {match: '*', scale: 1, scale: 2}\n",
    "quoted": 'adapters: [a]\nscale: 1\n"scale": 2\n',
    "json": '{"adapters": ["a"], "scale": 1, "scale": 2}',
}


@pytest.mark.parametrize("kind", TWICE)
def test_a_key_twice_in_a_recipe(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(TWICE[kind])
    refused(lambda: Recipe.load(file), "occurs twice", "recipe.yaml", "line")


@pytest.mark.parametrize("line", ['"r": 8', '"lora_alpha": 999', '"peft_type": "LORA"'])
def test_a_key_twice_in_settings(tmp_path: Path, line: str) -> None:
    folder = adapter(tmp_path / "a")
    file = folder / "adapter_config.json"
    file.write_text(f"{{{line}, {file.read_text().strip()[1:]}")
    refused_merge(tmp_path, [folder], "occurs twice", "adapter_config.json")


@pytest.mark.parametrize("start", ["my_init", "pizza", ["gaussian"], {"a": 1}, 2])
def test_an_unknown_initialization(tmp_path: Path, start: object) -> None:
    folder = adapter(tmp_path / "a", init_lora_weights=start)
    refused_merge(tmp_path, [folder], "no initialization that is known here")
    merge([folder], tmp_path / "out", accept_settings=["init_lora_weights"])  # the advice


@pytest.mark.parametrize("start", [True, False, None, "gaussian", "orthogonal", "eva"])
def test_known_initializations(tmp_path: Path, start: object) -> None:
    report = merge([adapter(tmp_path / "a", init_lora_weights=start)], tmp_path / "out")
    assert report.modules
    assert not any("initialization" in warning for warning in report.warnings)


def test_a_later_override_without_a_scale_keeps_the_earlier_one(tmp_path: Path) -> None:
    """A second pattern that sets parameters only reset the scale to the recipe's."""
    sources = trio(tmp_path / "in")
    modules = [{"match": "*.q_proj", "scale": 3.0}, {"match": "*layers.0*", "weights": [1, 1, 2]}]
    report = merge(sources, tmp_path / "out", method="task-arithmetic", scale=0.5, modules=modules)
    scales = {module.name: module.scale for module in report.modules}
    assert scales[Q] == scales[Q.replace("0", "1")] == 3.0
    assert scales[Q.replace("q_proj", "v_proj")] == 0.5
