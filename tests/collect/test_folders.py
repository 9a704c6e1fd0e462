"""From base, adapters and samples to statistics, and on to a merge, as a user does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import robustmerge
from factories.adapters import adapter, deltas, trio
from factories.bases import TEMPLATE, lines, llama, llava, qwen, write_image
from factories.families import build, save_adapter
from factories.statistics_methods import register
from faults.refuse import command, refused, tree
from robustmerge.cli.app import run
from robustmerge.collect.encode import EncodedSamples, SampleEncoder
from robustmerge.collect.folders import collect_folders
from robustmerge.collect.load import load_processor
from robustmerge.collect.samples import Samples
from robustmerge.collect.write import save
from robustmerge.files import sha256
from robustmerge.peft import collect

Capture = pytest.CaptureFixture[str]
LAYER = "model.language_model.layers.1.self_attn.q_proj"


def collected(location: Path, output: Path, **options: Any) -> dict[str, Any]:
    adapters = [location / "vqa", location / "ocr"]
    files = [location / "vqa.jsonl", location / "ocr.jsonl"]
    return collect_folders(adapters, location / "base", files, output, **options)


def test_the_command_and_the_merge_after_it(
    location: Path,
    arguments: list[str],
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register(monkeypatch)
    stats, out = str(tmp_path / "stats"), str(tmp_path / "out")
    assert run([*arguments, "--what", "gram", "-o", stats]) == 0
    said = capsys.readouterr().out
    assert "2 samples" in said
    assert f"--method regmean-rows --data {stats}" in said
    adapters = [str(location / "ocr"), str(location / "vqa")]  # the other way around
    assert run(["merge", *adapters, "-m", "regmean-rows", "--data", stats, "-o", out]) == 0
    merge = json.loads((tmp_path / "out" / "merge.json").read_text())
    assert merge["recipe"]["data"] == stats
    assert merge["data"] == {"sha256": sha256(tmp_path / "stats" / "statistics.json")}
    python = robustmerge.merge(adapters, tmp_path / "py", method="regmean-rows", data=stats)
    assert tree(tmp_path / "py").keys() == tree(tmp_path / "out").keys()
    weights = "adapter_model.safetensors"
    assert (tmp_path / "py" / weights).read_bytes() == (tmp_path / "out" / weights).read_bytes()
    assert python.warnings == ()
    # By hand, from the file: the stand-in weighs the updates by their own activity.
    parts = []
    for n, name in ((1, "vqa"), (2, "ocr")):
        result = load_file(tmp_path / "stats" / f"{n}-{name}.safetensors")
        own = slice(0, 3) if n == 1 else slice(3, 5)
        energy = result[f"{LAYER}.gram"][own, own].trace()
        parts.append(energy / (result[f"{LAYER}.squares"].sum() + result[f"{LAYER}.count"] + 1))
    first, second = deltas(location / "vqa")[LAYER], deltas(location / "ocr")[LAYER]
    U, S, Vh = torch.linalg.svd(parts[0] * first + parts[1] * second)
    wanted = (U[:, :3] * S[:3]) @ Vh[:3]
    torch.testing.assert_close(deltas(tmp_path / "out")[LAYER], wanted, rtol=1e-4, atol=1e-5)


def test_what_the_command_collects_is_what_a_live_model_gives(
    location: Path, tmp_path: Path
) -> None:
    """The same numbers, from adapters attached by hand and inputs made by hand."""
    from factories.families import attach

    collected(location, tmp_path / "stats", what=["gram", "fisher"], seed=3, limit=2)
    model = attach(build("llava"), location / "vqa")
    model.load_adapter(str(location / "ocr"), "ocr")
    encoder = SampleEncoder(load_processor(str(location / "base")), torch.float32)
    batches = {
        name: EncodedSamples(Samples.read(location / f"{file}.jsonl", 2).samples, encoder)
        for name, file in (("default", "vqa"), ("ocr", "ocr"))
    }
    result = collect(model, batches, what=["gram", "fisher"], seed=3)
    for n, (item, name) in enumerate(zip(result, ("vqa", "ocr"), strict=True), 1):
        stored = load_file(tmp_path / "stats" / f"{n}-{name}.safetensors")
        assert stored.keys() == item.tensors.keys()
        assert all(torch.equal(stored[k], v) for k, v in item.tensors.items())
    save(result, [location / "vqa", location / "ocr"], tmp_path / "live")
    for path in (tmp_path / "live").glob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "stats" / path.name).read_bytes()


def test_how_samples_are_written(location: Path) -> None:
    """Template, image tokens, beginning and end, and which tokens are the answer."""
    encoder = SampleEncoder(load_processor(str(location / "base")), torch.float64)
    answered, plain, _ = Samples.read(location / "ocr.jsonl", 9).samples
    batch = encoder(answered)
    words = [1, 9, 300, 300, 300, 300, 5, 6, 8, 11, 12, 4]
    assert batch["input_ids"].tolist() == [words]
    assert batch["labels"].tolist() == [[-100] * 9 + words[9:]]
    assert batch["pixel_values"].dtype == torch.float64
    assert encoder(plain)["input_ids"].tolist() == [[1, 9, 20, 21, 22, 23, 8]]
    assert "labels" not in encoder(plain)
    _, text = Samples.read(location / "vqa.jsonl", 9).samples
    assert encoder(text)["input_ids"].tolist() == [[1, 7, 8, 9]]


def test_without_a_chat_template(location: Path, tmp_path: Path) -> None:
    llava(tmp_path / "base", template=False)
    encoder = SampleEncoder(load_processor(str(tmp_path / "base")), torch.float32)
    first, _ = Samples.read(location / "vqa.jsonl", 9).samples
    assert encoder(first)["input_ids"].tolist() == [[1, 300, 300, 300, 300, 5, 6]]


def test_a_language_model(location: Path, tmp_path: Path) -> None:
    lines(tmp_path / "s.jsonl", [{"prompt": "w5 w6", "answer": "w7"}, {"text": "w5"}])
    adapters = [location / "left", location / "right"]
    files = [tmp_path / "s.jsonl"] * 2
    stats = tmp_path / "stats"
    record = collect_folders(adapters, location / "text", files, stats, what=["gram", "fisher"])
    assert [e["tokens"] for e in record["adapters"]] == [7, 7]  # <s> w5 w6 w7 </s>, <s> w5
    assert record["what"] == ["gram", "fisher"]
    assert load_file(stats / "1-left.safetensors")[f"{LAYER}.gram"].shape == (5, 5)


def test_answers_without_an_image_processor(tmp_path: Path) -> None:
    samples = [{"prompt": "w5", "answer": "w6"}, {"prompt": "<s>w5 ", "answer": "w6"}]
    lines(tmp_path / "s.jsonl", samples)
    read = Samples.read(tmp_path / "s.jsonl", 9).samples
    plain = SampleEncoder(load_processor(str(llama(tmp_path / "plain"))), torch.float32)
    for sample in read:  # the beginning is written once
        assert plain(sample)["input_ids"].tolist() == [[1, 5, 6, 2]]
        assert plain(sample)["labels"].tolist() == [[-100, -100, 6, 2]]
    chat = SampleEncoder(load_processor(str(llama(tmp_path / "chat", TEMPLATE))), torch.float32)
    assert chat(read[0])["input_ids"].tolist() == [[1, 9, 5, 8, 6, 4]]
    assert chat(read[0])["labels"].tolist() == [[-100] * 4 + [6, 4]]


def test_a_processor_that_wants_torchvision(tmp_path: Path) -> None:
    qwen(tmp_path / "base")
    write_image(tmp_path / "x.png", 1, 56)
    lines(tmp_path / "s.jsonl", [{"prompt": "w5", "image": "x.png"}])
    save_adapter("qwen2_vl", tmp_path / "a", seed=1)
    record = collect_folders(
        [tmp_path / "a"], tmp_path / "base", [tmp_path / "s.jsonl"], tmp_path / "stats"
    )
    # <s> w9, the marks around 2 x 2 merged patches, w5 w8
    assert record["adapters"][0]["tokens"] == 2 + 6 + 2


def test_the_command_collects_what_regmean_needs(
    location: Path, arguments: list[str], tmp_path: Path, capsys: Capture
) -> None:
    stats, out = str(tmp_path / "stats"), str(tmp_path / "out")
    assert run([*arguments, "-o", stats]) == 0
    assert f"--method regmean --data {stats}" in capsys.readouterr().out
    adapters = [str(location / "vqa"), str(location / "ocr")]
    assert run(["merge", *adapters, "-m", "regmean", "--data", stats, "-o", out]) == 0


def test_through_merged_layers(
    location: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch)
    own = collected(location, tmp_path / "own", what=["gram"], limit=1)
    merged = collected(location, tmp_path / "merged", limit=1, through="merged")
    assert (own["through"], merged["through"]) == ("own", "merged")
    first, second = (load_file(tmp_path / n / "1-vqa.safetensors") for n in ("own", "merged"))
    below = LAYER.replace("layers.1", "layers.0")
    assert torch.equal(first[f"{below}.gram"], second[f"{below}.gram"])
    assert not torch.allclose(first[f"{LAYER}.gram"], second[f"{LAYER}.gram"], rtol=1e-2)


def test_several_kinds_and_a_record_as_json(
    arguments: list[str], tmp_path: Path, capsys: Capture
) -> None:
    stats = str(tmp_path / "stats")
    more = ["--what", "fisher", "gram", "--limit", "1", "--json", "-o", stats]
    assert run([*arguments, *more]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["what"] == ["gram", "fisher"]
    assert (printed["output_folder"], printed["limit"]) == (stats, 1)
    stored = json.loads((tmp_path / "stats" / "statistics.json").read_text())
    assert {k: v for k, v in printed.items() if k != "output_folder"} == stored


def test_the_same_bytes_again(location: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        collected(location, tmp_path / name, what=["fisher"], limit=1)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_in_bfloat16(location: Path, tmp_path: Path) -> None:
    collected(location, tmp_path / "half", what=["gram"], limit=2, dtype="bfloat16")
    collected(location, tmp_path / "full", what=["gram"], limit=2)
    first, second = (load_file(tmp_path / n / "1-vqa.safetensors") for n in ("half", "full"))
    gram = second[f"{LAYER}.gram"]
    assert 0 < (first[f"{LAYER}.gram"] - gram).norm() < 0.05 * gram.norm()


# Recipes and methods


def test_a_recipe_names_the_folder(
    location: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, "fisher")
    collected(location, tmp_path / "stats", what=["fisher"], limit=1)
    content = {"adapters": [str(location / n) for n in ("vqa", "ocr")], "method": "fisher"}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content | {"data": "stats", "output": "out"}))
    monkeypatch.chdir("/")
    assert run(["merge", str(tmp_path / "r.yaml")]) == 0
    assert (tmp_path / "out" / "merge.json").is_file()


def test_a_method_that_needs_data_and_gets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch)
    code, said = command("merge", *trio(tmp_path), "-m", "regmean", "-o", tmp_path / "out")
    assert code == 1
    for part in ("robustmerge collect", str(tmp_path / "a"), "--what inputs", "--data"):
        assert part in said
    assert not (tmp_path / "out").exists()


def test_data_for_a_method_without_needs(tmp_path: Path) -> None:
    inputs_ = {"method": "average", "data": tmp_path / "nowhere"}
    report = robustmerge.merge(trio(tmp_path), tmp_path / "out", **inputs_)
    assert any("needs no data" in warning for warning in report.warnings)
    assert "data" not in {k for k in report.record() if k != "recipe"}


def test_the_output_must_not_replace_the_statistics(
    location: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch)
    above = adapter(tmp_path / "above")
    collected(location, above / "stats", limit=1)
    adapters = [str(location / "vqa"), str(location / "ocr")]
    refused(
        lambda: robustmerge.merge(
            adapters, above, method="regmean", data=above / "stats", force=True
        ),
        "would replace an input",
    )


def test_a_live_merge_refuses_such_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    from factories.live_models import PLAIN, state, tiny
    from robustmerge.peft import add_merged_adapter

    register(monkeypatch)
    model = tiny(PLAIN)
    before = state(model)["held"]
    refused(lambda: add_merged_adapter(model, ["one"], "m", method="regmean"), "needs statistics")
    assert state(model)["held"] == before
