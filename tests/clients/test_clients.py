"""The programs themselves: hours at first, since each gets an environment; `make clients`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from clients import matrix
from clients.cases import agrees, is_as_input
from clients.environments import ROOT, python
from robustmerge.adapter.base import Base
from robustmerge.adapter.quantized import dequantized

pytestmark = pytest.mark.clients


def test_peft_loads_what_was_made_as_its_input_and_check_says_so() -> None:
    matrix.run("peft")
    rows = json.loads((ROOT / "work/peft/peft.json").read_text())["rows"]
    assert rows
    for *case, said, seen in rows:
        if case[4] == "as it is" and not seen.startswith("input: "):
            assert is_as_input(seen), (case, seen)
        if said and not seen.startswith("input: "):
            assert agrees(said, seen), (case, said, seen)


def test_check_says_what_llama_cpp_does() -> None:
    matrix.run("llama.cpp")
    rows = json.loads((ROOT / "work/llama.cpp/llama.json").read_text())
    assert rows
    for *case, said, seen in rows:
        assert said == "–" or agrees(said, seen), (case, said, seen)


def test_experts_that_are_modules_compute_what_fused_ones_do() -> None:
    matrix.run("experts")
    rows = json.loads((ROOT / "work/experts/experts.json").read_text())
    assert rows
    for *case, layout, seen in rows:
        assert seen.startswith("as the input") == (layout == "projections"), (case, layout, seen)


def test_check_says_what_vllm_does() -> None:
    matrix.run("vllm")
    rows = json.loads((ROOT / "work/vllm/vllm.json").read_text())
    assert rows
    for *case, said, seen, _, _ in rows:
        assert said == "–" or agrees(said, seen), (case, said, seen)


def test_lmms_eval_gives_what_peft_gives() -> None:
    matrix.run("lmms-eval")
    rows = json.loads((ROOT / "work/lmms-eval/lmms.json").read_text())
    assert rows
    for *case, form, seen in rows:
        assert seen.startswith("as the input") is (form != "the merge"), (case, seen)


def test_quantized_weights_are_what_the_libraries_make_of_them() -> None:
    work = ROOT / "work/quantizers"
    shutil.rmtree(work, ignore_errors=True)
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 192, "vocab_size": 128}
    config = LlamaConfig(**sizes, num_hidden_layers=2, num_attention_heads=4, initializer_range=0.1)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(work / "base")
    client = Path(__file__).with_name("quantizer_client.py")
    command = [str(python("quantizers")), str(client), str(work / "base"), str(work / "out")]
    offline = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    subprocess.run(command, env=offline, check=True)
    files = sorted((work / "out").glob("*.safetensors"))
    assert len(files) == 8
    for file in files:
        base, theirs = Base(str(file.with_suffix(""))), load_file(file)
        ours = dequantized(base)
        assert ours is not None
        assert {ours.base.tensors[name].name for name in ours.weights} == theirs.keys()
        for name in ours.weights:
            ref = ours.base.tensors[name]
            torch.testing.assert_close(ref.read(), theirs[ref.name], rtol=1e-6, atol=1e-7)
        base.close()
