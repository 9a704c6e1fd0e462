"""Several processes train what one process trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from robustmerge_bench.paper.training.conversations import Source

ROOT = Path(__file__).parents[4]


def trained(launcher: list[str], base: Path, source: Source, out: Path) -> subprocess.Popen[str]:
    arguments = ["--base", base, "--conversations", source.path, "-o", out, "--dropout", "0"]
    more = ["--batch", "4", "--epochs", "3", "--learning-rate", "0.003", "--device", "cpu"]
    command = [sys.executable, *launcher, "-m", "robustmerge", "bench", "train", *arguments, *more]
    return subprocess.Popen(
        [str(part) for part in command],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_processes_train_what_one_does(llava: Path, source: Source, tmp_path: Path) -> None:
    """With texts among the images, and a last portion that has to be filled up."""
    many = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    both = [
        trained(launcher, llava, source, tmp_path / name)
        for name, launcher in (("one", []), ("two", many))
    ]
    for process in both:
        printed, told = process.communicate(timeout=300)
        assert process.returncode == 0, told
        assert printed.count("written to") == 1
        assert told.count("step 6 of 6") == 1
    one, two = (load_file(tmp_path / n / "adapter_model.safetensors") for n in ("one", "two"))
    assert one.keys() == two.keys()
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5
    assert max(float(one[name].abs().max()) for name in one if "lora_B" in name) > 1e-3
    records = [json.loads((tmp_path / n / "training.json").read_text()) for n in ("one", "two")]
    assert [record["processes"] for record in records] == [1, 2]
    assert [record["device_batch"] for record in records] == [4, 2]
    assert records[0]["start_sha256"] == records[1]["start_sha256"]
    for (_, left), (_, right) in zip(records[0]["loss"], records[1]["loss"], strict=True):
        assert left == pytest.approx(right, abs=1e-4)
