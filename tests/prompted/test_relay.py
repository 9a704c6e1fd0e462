"""RELAY from folders to a folder, and what it promises."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import robustmerge
from factories.adapters import deltas
from factories.bases import adapt, lines, llama, llava, text_only, write_image
from factories.families import _quiet, attach, build, inputs as image_inputs, save_adapter
from robustmerge.cli.app import run
from robustmerge.errors import MergeError
from robustmerge.prompted.keep import on_disk
from robustmerge.prompted.unfinished import Unfinished

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with _quiet():
        yield


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA with two adapters, one with a projector of its own, and samples of both."""
    root = tmp_path_factory.mktemp("relay")
    llava(root / "base")
    projector = {"modules_to_save": ["multi_modal_projector"]}
    for n, name in enumerate(("vqa", "ocr"), 1):
        save_adapter("llava", root / name, seed=n, rank=2 + n, **projector)
        write_image(root / f"{name}.png", n)
        rows = [{"prompt": f"w{n}{k} w6 w7{n}", "image": f"{name}.png"} for k in range(8)]
        lines(root / f"{name}.jsonl", rows)
    return root


def merged(root: Path, output: Path, names: Sequence[str] = ("vqa", "ocr"), **options: Any) -> Any:
    return robustmerge.relay(
        [root / name for name in names],
        output,
        root / "base",
        [root / f"{name}.jsonl" for name in names],
        **{"longest": 4, **options},
    )


def test_one_adapter_comes_back(location: Path, tmp_path: Path) -> None:
    report = merged(location, tmp_path / "out", ["vqa"], ridge=1e-6, rank=3)
    assert report.rank == 3
    model = attach(build("llava"), tmp_path / "out")
    wanted = attach(build("llava"), location / "vqa")
    batch = image_inputs("llava", model)
    with torch.no_grad():
        ours, theirs = model(**batch).logits, wanted(**batch).logits
        base = wanted.get_base_model()
        with wanted.disable_adapter():
            plain = base(**batch).logits
    # On an image and a prompt that the walk has not seen.
    assert (ours - theirs).norm() < 0.6 * (plain - theirs).norm()
    record = json.loads((tmp_path / "out" / "merge.json").read_text())
    (task,) = record["relay"]["tasks"]
    assert (task["prompts"], task["held_out"]) == (7, 1)
    assert task["left"] < 0.4
    assert task["divergence"] > 0


def test_many_samples_give_the_adapter_itself(tmp_path: Path) -> None:
    """Where the samples span all inputs and the ridge is nothing, outputs are equal."""
    llama(tmp_path / "base")
    settings = {"r": 3, "target_modules": ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"]}
    adapt(text_only(), {"one": settings}, tmp_path)
    rows = [
        {"text": " ".join(f"w{(7 * k + 11 * j * j) % 290 + 3}" for j in range(9))}
        for k in range(24)
    ]
    lines(tmp_path / "one.jsonl", rows)
    merged(
        tmp_path,
        tmp_path / "out",
        ["one"],
        ridge=1e-9,
        prompts=24,
        token_weights="masses",
        longest=6,
    )
    for name, delta in deltas(tmp_path / "one").items():
        ours = deltas(tmp_path / "out")[name]
        assert (ours - delta).norm() < 0.05 * delta.norm(), name


@pytest.mark.parametrize("token_weights", ["fisher", "masses"])
def test_the_same_bytes_again_and_after_a_stop(
    location: Path, tmp_path: Path, token_weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"token_weights": token_weights, "prompts": 3, "held_out": 1}
    report = merged(location, tmp_path / "one", **options)
    assert report.rank == 4

    def stop(self: Unfinished, index: int, solutions: Any) -> None:
        keep(self, index, solutions)
        raise KeyboardInterrupt

    keep = Unfinished.keep_block
    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "keep_block", stop)
        for _ in range(2):  # each time one block more
            with pytest.raises(KeyboardInterrupt):
                merged(location, tmp_path / "two", work=tmp_path / "work", **options)
    assert not (tmp_path / "two").exists()
    kept = sorted(file.name for file in (tmp_path / "work").iterdir())
    assert {"answers-1.json", "weights-2.safetensors", "block-0.safetensors"} <= set(kept)
    merged(location, tmp_path / "two", work=tmp_path / "work", **options)
    for file in (WEIGHTS, "adapter_config.json", "merge.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    with pytest.raises(MergeError, match="another merge"):
        merged(location, tmp_path / "two", work=tmp_path / "work", **options, seed=1, force=True)


def test_activations_on_disk_give_the_same_bytes(
    location: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"prompts": 3, "held_out": 1}
    merged(location, tmp_path / "host", **options)
    sizes = []

    def counted(name: str, **more: Any) -> torch.Tensor:
        sizes.append(Path(name).stat().st_size)
        return read(name, **more)

    read = torch.from_file
    monkeypatch.setattr(torch, "from_file", counted)
    options |= {"activations": "disk", "work": tmp_path / "work"}
    merged(location, tmp_path / "disk", **options)
    assert len(sizes) > 30
    assert min(sizes) > 0
    assert not list((tmp_path / "work").glob("states-*"))
    host, disk = ((tmp_path / name / WEIGHTS).read_bytes() for name in ("host", "disk"))
    assert host == disk


def test_activations_on_disk_need_a_folder_with_room(
    location: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MergeError) as error:
        merged(location, tmp_path / "out", activations="disk")
    assert "--work" in (error.value.hint or "")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "from_file", full)
    with pytest.raises(MergeError, match="No space left"):
        on_disk(tmp_path)(torch.ones(2))
    assert not list(tmp_path.glob("states-*"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_states_on_disk_are_the_states(dtype: torch.dtype, tmp_path: Path) -> None:
    states = torch.randn(2, 3, 4).to(dtype).transpose(0, 1)
    kept = on_disk(tmp_path)(states)
    assert kept.dtype == dtype
    assert torch.equal(kept, states)
    assert not list(tmp_path.iterdir())
    assert torch.equal(on_disk(tmp_path)(states[:0]), states[:0])


def test_the_command(location: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapters = [str(location / name) for name in ("vqa", "ocr")]
    files = [str(location / f"{name}.jsonl") for name in ("vqa", "ocr")]
    more = ["--set", "longest=4", "--set", "prompts=3", "--set", "offload=true", "-o"]
    base = ["--base", str(location / "base")]
    arguments = ["merge", *adapters, "-m", "relay", *base, "--samples", *files]
    assert run([*arguments, *more, str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "of it left on held-out prompts" in " ".join(printed.out.split())
    whole = merged(location, tmp_path / "py", prompts=3)
    assert (tmp_path / "py" / WEIGHTS).read_bytes() == (tmp_path / "out" / WEIGHTS).read_bytes()
    assert whole.facts.record["tasks"][0]["adapter"] == adapters[0]
    assert run(["methods", "relay"]) == 0
    assert "token_weights" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"base": None}, "--base"),
        ({"samples": []}, "--samples"),
        ({"scale": "norm-matched"}, "scale rule"),
        ({"balance": "norms"}, "steps"),
        ({"rank": "energy:0.9"}, "energy"),
    ],
)
def test_what_does_not_go_together(location: Path, options: dict[str, Any], where: str) -> None:
    usual = {"base": location / "base", "samples": [location / "vqa.jsonl"], "method": "relay"}
    with pytest.raises(MergeError) as error:
        robustmerge.merge([location / "vqa"], location / "no", **usual | options)
    assert where in str(error.value)
    assert error.value.hint
    assert not (location / "no").exists()


def test_other_samples_than_its_own_are_noticed(location: Path, tmp_path: Path) -> None:
    """Two adapters with one file cannot be told apart."""
    (tmp_path / "same.jsonl").write_text((location / "vqa.jsonl").read_text())
    report = robustmerge.relay(
        [location / "vqa", location / "ocr"],
        tmp_path / "out",
        location / "base",
        [location / "vqa.jsonl"] * 2,
        longest=2,
        prompts=4,
        token_weights="masses",
    )
    assert any("cannot be told apart" in warning for warning in report.warnings)


def test_a_prompt_of_another_task_is_named(location: Path, tmp_path: Path) -> None:
    own, other = ((location / f"{n}.jsonl").read_text().splitlines() for n in ("vqa", "ocr"))
    images = {"image": str(next(location.rglob("*.png")))}
    first = [{**json.loads(own[0]), **images, "prompt": f"w5 w{n % 3 + 5}"} for n in range(8)]
    second = [{**json.loads(other[0]), **images, "prompt": f"w30 w{n % 3 + 30}"} for n in range(8)]
    lines(tmp_path / "vqa.jsonl", [*first[:4], second[0], *first[4:]])
    lines(tmp_path / "ocr.jsonl", second)
    report = robustmerge.relay(
        [location / "vqa", location / "ocr"],
        tmp_path / "out",
        location / "base",
        [tmp_path / "vqa.jsonl", tmp_path / "ocr.jsonl"],
        longest=2,
        token_weights="masses",
    )
    named = [warning for warning in report.warnings if "resemble" in warning]
    assert len(named) == 1, report.warnings
    assert f"1 of 9 prompts of {location / 'vqa'}" in named[0]
    assert f"{tmp_path / 'vqa.jsonl'}, line 5." in named[0]


EXHAUSTED = {
    "base": ("robustmerge.prompted.relay.load_model", "base"),
    "answers": ("robustmerge.prompted.session.answer_task", "answers of adapter 1"),
    "weights": ("robustmerge.prompted.session.fisher", "token weights of adapter 1"),
    "sums": ("robustmerge.prompted.walk.Regression", ".layers.0."),
    "walk": ("robustmerge.prompted.walk.Walk._step", ".layers.0"),
}


@pytest.mark.parametrize("stage", EXHAUSTED)
def test_an_exhausted_memory_is_named_with_ways_out(
    stage: str, location: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, where = EXHAUSTED[stage]
    with monkeypatch.context() as patched:
        patched.setattr(function, lambda *_, **__: torch.empty(1 << 58))
        with pytest.raises(MergeError) as error:
            merged(location, tmp_path / "out")
    assert where in (error.value.where or "")
    assert f"tried to allocate {4 << 58} bytes" in error.value.problem
    assert not (tmp_path / "out").exists()
    ways = dict(re.findall(r"--set (\w+)=(\w+)", error.value.hint or ""))
    assert ways == {
        "precision": "bfloat16",
        "token_weights": "masses",
        "prompts": "4",
    }
    if stage == "base":
        files = [str(location / name) for name in ("vqa", "ocr")]
        samples = [f"{file}.jsonl" for file in files]
        command = ["merge", *files, "-o", str(tmp_path / "out"), "--method", "relay"]
        command += ["--base", str(location / "base"), "--samples", *samples]
        settings = [f"{name}={value}" for name, value in (ways | {"longest": "4"}).items()]
        assert run([*command, *(word for each in settings for word in ("--set", each))]) == 0


def test_ways_out_that_are_taken_are_not_named(
    location: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {"precision": "bfloat16", "token_weights": "masses", "prompts": 1}
    monkeypatch.setattr("robustmerge.prompted.walk.Regression", lambda *_: torch.empty(1 << 58))
    with pytest.raises(MergeError) as error:
        merged(location, tmp_path / "out", **taken)
    assert error.value.hint == "smaller images need less, or take a machine with more"


def test_what_the_walk_does_not_solve_is_merged_by_drift(location: Path, tmp_path: Path) -> None:
    names = ["one", "two"]
    for n, name in enumerate(names):
        targets = ["q_proj", "linear_1", "lm_head"]
        save_adapter("llava", tmp_path / name, seed=n, targets=targets)
    report = robustmerge.relay(
        [tmp_path / name for name in names],
        tmp_path / "out",
        location / "base",
        [location / "vqa.jsonl", location / "ocr.jsonl"],
        weights=[1.0, 3.0],
        longest=2,
        prompts=2,
        token_weights="masses",
    )
    by_drift = {m.name for m in report.modules if "merged by drift" in " ".join(m.notes)}
    assert by_drift == {"lm_head"}
    folders = [tmp_path / name for name in names]
    robustmerge.merge(folders, tmp_path / "drift", method="drift", weights=[0.5, 1.5])
    ours, theirs = deltas(tmp_path / "out"), deltas(tmp_path / "drift")
    for name in by_drift:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-5)
    assert by_drift < ours.keys() == theirs.keys()
