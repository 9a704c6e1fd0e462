"""A base, two adapters and questions; and an engine that echoes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench_factories.echo_engine import Echo
from bench_factories.question_files import fill
from robustmerge_bench.paper.answering import run as running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fill(tmp_path / "data", ("scienceqa", "vqav2", "imagenet-r"), n=11)
    (tmp_path / "base").mkdir()
    settings = {"model_type": "llava", "text_config": {"model_type": "llama"}}
    (tmp_path / "base" / "config.json").write_text(json.dumps(settings))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text("{}")
        (tmp_path / name / "adapter_model.safetensors").write_text(name)
    return tmp_path


@pytest.fixture
def use_engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Echo], Echo]:
    def put(engine: Echo) -> Echo:
        monkeypatch.setattr(running, "open_engine", lambda *_: engine)
        return engine

    return put
