"""Every command of docs/coming-from.md, run as it is written on files of the names in it."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import peft
import pytest
import torch
import yaml

from derive.test_convert import BLOCKS, trained
from export.test_original import original
from export.test_quantized import quantized_base
from factories.adapters import LLM, adapter
from factories.checkpoints import base, weights
from robustmerge.cli.app import run

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text(encoding="utf-8")
BLOCKS_OF_COMMANDS = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
FOUND = {"check": (0, 1)}
"""Exit codes of commands that report what they find."""
VISION = {"model.vision_tower.encoder.layers.0.mlp.fc1": (6, 6)}
TEXT = {"model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 4}
PROJECTOR = "model.multi_modal_projector.linear_1.weight"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the page names."""
    root = tmp_path_factory.mktemp("page")
    for seed, name in enumerate(("vqa", "ocr", "rec")):
        adapter(root / name, seed=seed, base_model_name_or_path="base")
    adapter(
        root / "big",
        rank=8,
        modules={name: shape for name, shape in LLM.items() if "down_proj" in name},
        base_model_name_or_path="base",
    )
    adapter(root / "vision", modules={**LLM, **VISION}, base_model_name_or_path="base")
    base(root / "base", text_config=TEXT)
    original(root / "original-llava")
    quantized_base(root / "base-nf4", "nf4")
    for seed, name in enumerate(("tuned", "tuned-too")):
        g = torch.Generator().manual_seed(seed)
        moved = {
            key: tensor + 0.1 * torch.randn(tensor.shape, generator=g) if "_proj" in key else tensor
            for key, tensor in weights().items()
        }
        base(root / name, moved)
    (root / "kinds").mkdir()
    trained(root / "kinds", peft.LoHaConfig(r=2, init_weights=False, target_modules=BLOCKS))
    shutil.move(root / "kinds/kind", root / "loha")
    recipe = {
        "adapters": ["vqa", "ocr"],
        "method": "tsv-m",
        "modules": [{"match": "*.mlp.*", "scale": 0.8}],
        "output": "merged",
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return root


@pytest.mark.parametrize("block", BLOCKS_OF_COMMANDS, ids=lambda b: b.split("\n")[0][14:60])
def test_a_block_of_commands_runs(
    block: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in files.iterdir():
        (tmp_path / path.name).symlink_to(path)
    for line in block.splitlines():
        assert line.startswith("$ robustmerge "), line
        verb, *words = shlex.split(line)[2:]
        if "gguf" in words and importlib.util.find_spec("gguf") is None:
            pytest.skip("the package gguf is not installed")
        assert run([verb, *words]) in FOUND.get(verb, (0,)), line


def test_the_page_has_commands_of_every_tool() -> None:
    titles = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    sections = PAGE.split("\n## ")[1:]
    assert len(titles) == 6
    assert all("```console" in section for section in sections)
