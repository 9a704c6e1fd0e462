"""The vision tower and the connector are walked before the language model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import robustmerge
from factories.adapters import deltas
from factories.bases import lines, llava, qwen, write_image
from factories.families import FAMILIES, _quiet, attach, build, inputs, save_adapter, text_inputs
from robustmerge.collect.encode import SampleEncoder
from robustmerge.collect.load import load_processor
from robustmerge.collect.model import adapted_layers
from robustmerge.collect.samples import Samples
from robustmerge.prompted.answers import AnsweredTask, continued, greedy
from robustmerge.prompted.blocks import LanguageBlocks
from robustmerge.prompted.early import early_modules, early_stacks, early_weights
from robustmerge.prompted.stream import Stream
from robustmerge.prompted.switch import SwitchedModel
from robustmerge.prompted.taps import Outputs, Tap
from robustmerge.prompted.unfinished import Unfinished
from robustmerge.prompted.weights import fisher

CPU = torch.device("cpu")
WEIGHTS = "adapter_model.safetensors"
COLORS = {"unlike": ((200, 30, 30), (30, 30, 200)), "alike": ((200, 30, 30), (200, 30, 30))}
TOWER = r".*(vision_tower|multi_modal_projector).*(proj|fc\d|linear_\d)"


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with _quiet():
        yield


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA, two adapters on all of it, one on the language model, samples of each."""
    root = tmp_path_factory.mktemp("early")
    llava(root / "base")
    for n, name in enumerate(("one", "two", "words"), 1):
        targets = "language" if name == "words" else "all-linear"
        save_adapter("llava", root / name, seed=n, rank=2 + n % 2, targets=targets)
        samples(root, name, n, 12)
    return root


def samples(
    root: Path, name: str, seed: int, count: int, color: tuple[int, int, int] | None = None
) -> Path:
    rows = []
    for k in range(count):
        file = write_image(root / f"{name}{k}.png", 100 * seed + k)
        if color:
            noise = Image.open(file)
            Image.blend(noise, Image.new("RGB", noise.size, color), 0.5).save(file)
        rows.append({"prompt": f"w{50 * seed + k} w6 w7{seed}", "image": f"{name}{k}.png"})
    return lines(root / f"{name}.jsonl", rows)


def merged(root: Path, output: Path, names: Sequence[str] = ("one", "two"), **options: Any) -> Any:
    files = options.pop("files", [root / f"{name}.jsonl" for name in names])
    folders = [root / name for name in names]
    settings = {"longest": 3, "missing": "zero", **options}
    return robustmerge.relay(folders, output, root / "base", files, **settings)


def is_early(name: str) -> bool:
    return "language_model" not in name and "lm_head" not in name


def prepared(family: str, folder: Path) -> tuple[SwitchedModel, LanguageBlocks, AnsweredTask]:
    """A model with an adapter on every linear layer; a prompt with an image and one without."""
    adapter = save_adapter(family, folder, seed=1, targets="all-linear")
    model = attach(build(family), adapter)
    layers = adapted_layers(model, ["default"])
    batches = [inputs(family, model) | {"use_cache": False}]
    if family != "mllama":
        batches.append(text_inputs() | {"use_cache": False})
    prompts = tuple(continued(each, greedy(model, each, 3)) for each in batches)
    blocks = LanguageBlocks(model, list(layers), CPU)
    return SwitchedModel(model, layers, {}), blocks, AnsweredTask("default", prompts, ())


@pytest.mark.parametrize("family", FAMILIES)
def test_stepping_through_a_tower_is_its_pass(family: str, tmp_path: Path) -> None:
    switched, blocks, task = prepared(family, tmp_path)
    layers = switched.layers
    names = early_modules(layers)
    assert set(names) == {name for name in layers if not name.startswith(blocks.stem)}
    stacks = early_stacks(switched, blocks, names)
    assert sorted(name for stack in stacks for name in stack.adapted) == sorted(names)
    assert any(not stack.single for stack in stacks)
    batch = task.fitted[0].inputs
    for stack in stacks:
        if stack.single and "head.attention" in stack.stem:
            continue  # PyTorch's multi-head attention takes its weight, and does not call it
        with torch.no_grad(), Outputs({str(n): m for n, m in enumerate(stack.modules)}) as wanted:
            switched.model(**batch)
        stream = Stream.of([stack.start(batch)])
        for index in range(len(stack)):
            stream.step(stack, index)
        torch.testing.assert_close(
            stream.states[0], wanted.values[str(len(stack) - 1)], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "qwen3_vl"])
def test_fisher_is_that_of_the_whole_model(family: str, tmp_path: Path) -> None:
    switched, blocks, task = prepared(family, tmp_path)
    model, layers = switched.model, switched.layers
    stacks = early_stacks(switched, blocks, early_modules(layers))
    with switched.borrowed():
        switched.adapter("default")
        starts = [blocks.start(prompt.inputs) for prompt in task.fitted]
        _, gradients = fisher(
            switched, blocks, task, 2, draws=2, seed=7, starts=starts, done=lambda: None
        )
        ours = early_weights(switched, blocks, task, stacks, gradients)
    assert ours.keys() == set(early_modules(layers))
    model.requires_grad_(True)
    prompt = task.fitted[0]
    with Outputs({name: layers[name] for name in ours}) as outputs:
        logits = model(**prompt.inputs).logits[0, prompt.positions]
    drawn = torch.randn(2, *logits.shape, generator=torch.Generator().manual_seed(7))
    drawn -= drawn.mean(-1, keepdim=True)
    for name, y in outputs.values.items():
        rows = [torch.autograd.grad((r * logits).sum(), y, retain_graph=True)[0] for r in drawn]
        squares = sum(g.square().sum(-1).flatten() for g in rows)
        assert isinstance(squares, Tensor)
        if not squares.any():  # what is added after the last block gets to no answer
            squares = torch.ones_like(squares)
        torch.testing.assert_close(ours[name][0], squares / squares.sum(), rtol=1e-3, atol=1e-6)
        assert len(ours[name][1]) == 0  # the prompt without an image


def test_tokens_count_alike_without_gradients(tmp_path: Path) -> None:
    switched, blocks, task = prepared("llava", tmp_path)
    stacks = early_stacks(switched, blocks, early_modules(switched.layers))
    again = AnsweredTask("default", (*task.fitted, task.fitted[0]), ())
    weights = early_weights(switched, blocks, again, stacks, [])
    assert weights.keys() == set(early_modules(switched.layers))
    for name, rows in weights.items():
        tokens = 4 if "projector" in name else 5  # with that of the class
        assert [row.tolist() for row in rows] == [
            pytest.approx([1 / (2 * tokens)] * count) for count in (tokens, 0, tokens)
        ]


def test_modules_that_run_more_than_once_are_left_out(tmp_path: Path) -> None:
    switched, blocks, task = prepared("llava", tmp_path)
    stacks = early_stacks(switched, blocks, early_modules(switched.layers))
    twice = next(name for name in switched.layers if name.endswith("linear_2"))
    layer = switched.layers[twice]
    projector = switched.model.get_base_model().model.multi_modal_projector
    projector.register_forward_hook(lambda module, args, output: layer(output))
    weights = early_weights(switched, blocks, task, stacks, [])
    assert set(early_modules(switched.layers)) - set(weights) == {twice}


@pytest.mark.parametrize(("family", "count"), [("llava", 24), ("qwen2_vl", 36)])
def test_many_samples_give_the_adapter_itself(family: str, count: int, tmp_path: Path) -> None:
    """Where the samples span all inputs and the ridge is nothing: on another image, too."""
    {"llava": llava, "qwen2_vl": qwen}[family](tmp_path / "base")
    targets = r".*(vision_tower|visual\.\w*er|visual\.blocks|projector).*"
    targets += r"(proj|qkv|fc\d|linear_\d|mlp\.[02])"
    save_adapter(family, tmp_path / "one", seed=1, rank=3, targets=targets)
    samples(tmp_path, "one", 1, count)
    options = {"ridge": 1e-10, "prompts": count, "held_out": 0, "token_weights": "masses"}
    report = merged(tmp_path, tmp_path / "out", ["one"], longest=1, **options)
    assert not any(module.notes for module in report.modules)
    assert all(is_early(module.name) for module in report.modules)
    wanted, ours = (attach(build(family), tmp_path / name) for name in ("one", "out"))
    batch = inputs(family, ours)
    with torch.no_grad():
        theirs = wanted(**batch).logits
        change = (build(family)(**batch).logits - theirs).norm()
        assert (ours(**batch).logits - theirs).norm() < 0.02 * change


def test_two_adapters_by_the_dense_definition(location: Path, tmp_path: Path) -> None:
    """The first modules of the tower, whose inputs are the same in every model."""
    report = merged(location, tmp_path / "out", token_weights="masses", weights=[1.0, 3.0], rank=3)
    assert not any(module.notes for module in report.modules)
    model = build("llava")
    encoder = SampleEncoder(load_processor(str(location / "base")), torch.float32)
    name = "model.vision_tower.encoder.layers.0.self_attn.v_proj"
    module = model.get_submodule(name)
    S, P = 0.0, 0.0
    for adapter, share in (("one", 0.5), ("two", 1.5)):
        delta = deltas(location / adapter)[name].double()
        rows = []
        for sample in Samples.read(location / f"{adapter}.jsonl", 10).samples:
            with torch.no_grad(), Tap({name: module}, [name], whole=True) as tap:
                model(**encoder(sample))
            rows.append(tap.inputs[name][0])
        X = torch.cat(rows).double()  # [tokens, d_in]
        S = S + share / len(X) * X.T @ X
        P = P + share / len(X) * delta @ X.T @ X
    assert isinstance(S, Tensor)
    ridge = max(1e-3, 0.03 / 10) * S.trace() / len(S)
    S = S + ridge * torch.eye(len(S))
    M = P @ S.inverse()
    U = torch.linalg.eigh(M @ S @ M.T)[1][:, -3:]
    torch.testing.assert_close(
        deltas(tmp_path / "out")[name].double(), U @ U.T @ M, rtol=1e-3, atol=1e-4
    )


def lefts(root: Path, output: Path, rank: str) -> list[float]:
    report = merged(root, output, rank=rank)
    return [task["left"] for task in report.facts.record["tasks"]]


@pytest.mark.parametrize(
    ("images", "seed", "rank", "count"),
    [
        ("unlike", 0, "input", 16),
        *(
            pytest.param(images, seed, rank, 40, marks=pytest.mark.slow)
            for images in COLORS
            for seed in (0, 1)
            for rank in ("input", "full")
        ),
    ],
)
def test_what_is_left_next_to_drift(
    images: str,
    seed: int,
    rank: str,
    count: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Less where tasks have images of their own, on prompts that were held out.

    Random adapters on a random model. Where images are alike, neither is always ahead.
    """
    llava(tmp_path / "base")
    for n, name in enumerate(("one", "two")):
        save_adapter("llava", tmp_path / name, seed=2 * seed + n + 1, targets="all-linear")
        samples(tmp_path, name, 2 * seed + n + 1, count, COLORS[images][n])
    walked = lefts(tmp_path, tmp_path / "walked", rank)
    monkeypatch.setattr("robustmerge.prompted.session.early_modules", lambda layers: ())
    by_drift = lefts(tmp_path, tmp_path / "drift", rank)
    print(images, seed, rank, walked, by_drift)
    if images == "unlike":
        assert all(ours < theirs for ours, theirs in zip(walked, by_drift, strict=True))


@pytest.mark.parametrize("token_weights", ["fisher", "masses"])
def test_the_same_bytes_after_a_stop(
    location: Path, tmp_path: Path, token_weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"token_weights": token_weights, "prompts": 2, "held_out": 1}
    merged(location, tmp_path / "one", **options)
    keep = Unfinished.keep_block

    def stop(self: Unfinished, index: int, solutions: Any) -> None:
        known = self.block(index)
        keep(self, index, solutions)
        if known is None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "keep_block", stop)
        for _ in range(3):  # within the tower, after it, and within the connector
            with pytest.raises(KeyboardInterrupt):
                merged(location, tmp_path / "two", work=tmp_path / "work", **options)
    kept = {file.name for file in (tmp_path / "work").glob("block-*")}
    assert kept == {f"block-{n}.safetensors" for n in range(3)}
    merged(location, tmp_path / "two", work=tmp_path / "work", **options)
    for file in (WEIGHTS, "adapter_config.json", "merge.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_order_of_adapters_does_not_matter(location: Path, tmp_path: Path) -> None:
    options = {"token_weights": "masses", "prompts": 4}
    merged(location, tmp_path / "one", **options)
    merged(location, tmp_path / "two", ["two", "one"], **options)
    ours, theirs = deltas(tmp_path / "one"), deltas(tmp_path / "two")
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-4)


def test_next_to_an_adapter_without_modules_there(location: Path, tmp_path: Path) -> None:
    """The tower is asked for the base's own output on that adapter's images."""
    report = merged(location, tmp_path / "out", ["one", "words"])
    assert not any(module.notes for module in report.modules)
    ours, one = deltas(tmp_path / "out"), deltas(location / "one")
    assert ours.keys() == one.keys()
    assert all(bool(ours[name].norm() > 0) for name in filter(is_early, ours))


def test_prompts_without_images(location: Path, tmp_path: Path) -> None:
    """Samples with images decide; where there are none, DRIFT does."""
    text = lines(tmp_path / "text.jsonl", [{"prompt": f"w4{k} w9 w11{k}"} for k in range(6)])
    some = merged(location, tmp_path / "some", files=[location / "one.jsonl", text], prompts=3)
    assert not any(module.notes for module in some.modules)
    none = merged(location, tmp_path / "none", files=[text, text], prompts=3)
    by_drift = {module.name for module in none.modules if module.notes}
    assert by_drift == set(filter(is_early, deltas(location / "one")))


def test_adapters_on_the_tower_alone(location: Path, tmp_path: Path) -> None:
    for n, name in enumerate(("a", "b"), 1):
        save_adapter("llava", tmp_path / name, seed=n, targets=TOWER)
    report = robustmerge.relay(
        [tmp_path / "a", tmp_path / "b"],
        tmp_path / "out",
        location / "base",
        [location / "one.jsonl", location / "two.jsonl"],
        longest=2,
    )
    assert {module.name for module in report.modules} == set(deltas(tmp_path / "a"))
    assert not any(module.notes for module in report.modules)
