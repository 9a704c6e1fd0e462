"""What is written is what the safetensors library reads, and the folder is whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given as cases, strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from robustmerge.adapter.tensors import DTYPES, SafetensorsFile, TensorSpec
from robustmerge.adapter.writer import SafetensorsWriter
from robustmerge.errors import MergeError
from robustmerge.escape import has_control

NAMES = {dtype: name for name, dtype in DTYPES.items()}
tensors = st.dictionaries(
    st.text(
        st.characters(codec="utf-8").filter(lambda c: not has_control(c)), min_size=1, max_size=20
    ),
    st.tuples(
        st.sampled_from(list(DTYPES.values())),
        st.lists(st.integers(0, 5), max_size=3).map(tuple),
    ),
    max_size=6,
)


def make(shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]]) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return {n: torch.randn(shape, generator=g).to(d) for n, (d, shape) in shapes.items()}


@cases(tensors)
def test_the_library_reads_what_is_written(
    tmp_path_factory: pytest.TempPathFactory,
    shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]],
) -> None:
    made = make(shapes)
    path = tmp_path_factory.mktemp("w") / "x.safetensors"
    specs = {n: TensorSpec(NAMES[t.dtype], tuple(t.shape)) for n, t in made.items()}
    writer = SafetensorsWriter(path, specs)
    for name in reversed(made):
        writer.write(name, made[name].double())
    writer.close()
    loaded = load_file(path)
    assert loaded.keys() == made.keys() - {"__metadata__"}
    for name, tensor in loaded.items():
        assert tensor.dtype == made[name].dtype
        assert torch.equal(tensor, made[name])


@cases(tensors)
def test_what_the_library_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]],
) -> None:
    made = make({n: s for n, s in shapes.items() if n != "__metadata__"})
    path = tmp_path_factory.mktemp("r") / "x.safetensors"
    save_file(made, path, metadata={"format": "pt"})
    file = SafetensorsFile(path)
    assert {n: s.shape for n, s in file.specs.items()} == {
        n: tuple(t.shape) for n, t in made.items()
    }
    for name, tensor in made.items():
        assert torch.equal(file.read(name).to(tensor.dtype), tensor)
    file.close()


def test_the_format_is_announced(tmp_path: Path) -> None:
    SafetensorsWriter(tmp_path / "x.safetensors", {}).close()
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_every_announced_tensor_must_be_written(tmp_path: Path) -> None:
    writer = SafetensorsWriter(tmp_path / "x.safetensors", {"a": TensorSpec("F32", (1,))})
    with pytest.raises(ValueError, match="never written"):
        writer.close()


def test_a_tensor_of_another_shape_is_not_written(tmp_path: Path) -> None:
    writer = SafetensorsWriter(tmp_path / "x.safetensors", {"a": TensorSpec("F32", (2, 3))})
    with pytest.raises(ValueError, match="is not"):
        writer.write("a", torch.zeros(3, 2))
    writer.abandon()


def test_values_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    writer = SafetensorsWriter(tmp_path / "x.safetensors", {"a": TensorSpec("F16", (2,))})
    with pytest.raises(MergeError, match=r"reach 1e\+06, which F16 cannot hold"):
        writer.write("a", torch.tensor([1.0, 1e6]))
    writer.write("a", torch.tensor([1.0, 6e4]))
    writer.close()


def test_tensors_read_stay_as_they_were_when_more_are_read(tmp_path: Path) -> None:
    """The buffer they pass through is used again."""
    made = {"a": torch.randn(50), "b": torch.randn(50)}
    save_file(made, tmp_path / "x.safetensors")
    file = SafetensorsFile(tmp_path / "x.safetensors")
    first = file.read("a")
    file.read("b")
    assert torch.equal(first, made["a"])
    file.close()
