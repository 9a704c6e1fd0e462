"""The same inputs give the same bytes, however many work and however the files are written."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from factories.adapters import adapter, deltas
from faults.refuse import merge, tree
from robustmerge import methods

MODULES = {
    f"model.language_model.layers.{n}.{leaf}": shape
    for n in range(3)
    for leaf, shape in {"q_proj": (24, 16), "v_proj": (12, 16), "down_proj": (16, 40)}.items()
}
EXTRAS = {"model.multi_modal_projector.linear_1.weight": torch.arange(6.0).view(2, 3)}
METHODS = [method.name for method in methods.every() if not method.needs]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("in")
    arguments: dict[str, Any] = {"modules": MODULES, "extras": EXTRAS}
    ranks = {name: 3 for name in MODULES if "v_proj" in name}
    last = adapter(root / "c", seed=2, ranks=ranks, rank_pattern={"v_proj": 3}, **arguments)
    return [
        adapter(root / "a", **arguments),
        adapter(root / "b", seed=1, alpha=4, **arguments),
        last,
    ]


@pytest.mark.parametrize("method", METHODS)
def test_any_number_of_workers(tmp_path: Path, sources: list[Path], method: str) -> None:
    for workers in (1, 2, 5):
        merge(sources, tmp_path / str(workers), method=method, workers=workers)
    first, second, five = (tree(tmp_path / str(workers)) for workers in (1, 2, 5))
    assert len(first) == 4
    assert first == second
    assert first == five


@pytest.mark.parametrize("rank", ["energy:0.9", "full", 2])
def test_any_number_of_workers_at_any_rank(tmp_path: Path, sources: list[Path], rank: Any) -> None:
    for workers in (1, 5):
        options = {"method": "task-arithmetic", "rank": rank, "workers": workers}
        merge(sources, tmp_path / str(workers), **options)
    assert tree(tmp_path / "1") == tree(tmp_path / "5")


def shuffled(folder: Path, source: Path, seed: int) -> Path:
    """The same adapter with its tensors, in the header and in the data, in another order."""
    folder.mkdir(parents=True)
    tensors = load_file(source / "adapter_model.safetensors")
    names, header, data = sorted(tensors), {}, b""
    random.Random(seed).shuffle(names)
    for name in names:
        start, data = len(data), data + tensors[name].numpy().tobytes()
        entry = {"shape": list(tensors[name].shape), "data_offsets": [start, len(data)]}
        header[name] = {"dtype": "F32", **entry}
    random.Random(seed + 1).shuffle(names)
    text = json.dumps({name: header[name] for name in names}).encode()
    whole = len(text).to_bytes(8, "little") + text + data
    (folder / "adapter_model.safetensors").write_bytes(whole)
    config = (source / "adapter_config.json").read_text()
    (folder / "adapter_config.json").write_text(config)
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_any_order_of_tensors(tmp_path: Path, sources: list[Path], method: str) -> None:
    mixed = [shuffled(tmp_path / "in" / s.name, s, seed=i) for i, s in enumerate(sources)]
    for name, arguments in [("plain", sources), ("mixed", mixed)]:
        merge(arguments, tmp_path / name, method=method)
    plain, other = tree(tmp_path / "plain"), tree(tmp_path / "mixed")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert plain[name] == other[name]
    reports = [json.loads(result["merge.json"])["modules"] for result in (plain, other)]
    assert list(reports[0].items()) == list(reports[1].items())


@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 2.0]])
@pytest.mark.parametrize(
    ("method", "parameters"),
    [("robustmerge", {}), ("robustmerge-ablation", {"scale_from": "both"})],
)
def test_any_order_of_adapters(
    tmp_path: Path,
    sources: list[Path],
    weights: list[float] | None,
    method: str,
    parameters: Any,
) -> None:
    result = []
    for order in ([0, 1, 2], [2, 0, 1], [1, 0, 2]):
        mine = [weights[i] for i in order] if weights else None
        output = tmp_path / "".join(map(str, order))
        arguments = [sources[i] for i in order]
        merge(arguments, output, method=method, weights=mine, parameters=parameters)
        result.append(deltas(output))
    for other in result[1:]:
        assert result[0].keys() == other.keys()
        for name, delta in result[0].items():
            assert delta.abs().max() > 0
            assert torch.allclose(delta, other[name], rtol=1e-5, atol=1e-5)


def test_a_copy_elsewhere(tmp_path: Path, sources: list[Path]) -> None:
    """Time and place leave no trace."""
    for name in ("one", "deep/other"):
        merge(sources, tmp_path / name)
    assert tree(tmp_path / "one") == tree(tmp_path / "deep" / "other")
