"""A model of the benchmark with random weights, and one that was trained for seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from bench_factories.short_training import brief
from robustmerge_bench.mini.training import train as training
from robustmerge_bench.mini.training.model import build
from robustmerge_bench.mini.training.processor import make_processor, make_tokenizer
from robustmerge_bench.mini.training.sizes import SIZES
from robustmerge_bench.mini.world.scene import SIDE
from robustmerge_bench.mini.world.sprites import DOTS


@pytest.fixture(scope="session")
def random_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model that knows nothing, in a folder."""
    folder = tmp_path_factory.mktemp("random") / "base"
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    build(SIZES["nano"].shape, tokenizer).save_pretrained(folder)
    make_processor(tokenizer, SIDE, DOTS).save_pretrained(folder)
    return folder


@pytest.fixture
def model(random_base: Path) -> LlavaForConditionalGeneration:
    """The same, in memory."""
    loaded: LlavaForConditionalGeneration = LlavaForConditionalGeneration.from_pretrained(
        random_base, dtype=torch.float32, attn_implementation="eager"
    )
    return loaded.eval()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark that went through every stage, in seconds."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "nano", brief())
        training.train(root, size="nano", workers=1)
        training.train(root, size="nano", workers=1, frozen=True)
    return root
