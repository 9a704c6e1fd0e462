"""The folder that a training leaves: adapter, training.json and model card."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import accelerate
import peft
import torch
import transformers

from robustmerge.files import expand_user, read_json, write_json
from robustmerge.outputs import ResultKind, list_files, whole_folder

from .trainer import ExpertTrainer

FILE = "training.json"
FORMAT = 1
KIND = ResultKind("a trained adapter", FILE)


def versions() -> dict[str, str]:
    """Return the versions that a training depends on."""
    libraries = (torch, transformers, peft, accelerate)
    return {
        "python": platform.python_version(),
        **{library.__name__: library.__version__ for library in libraries},
    }


def write_adapter(
    trainer: ExpertTrainer, target: Path, record: Mapping[str, Any], card: str, *, force: bool
) -> None:
    """Write the adapter's folder whole or not at all; every process takes part."""
    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is not None:  # otherwise each process would save its own part
        plugin.set_state_dict_type("FULL_STATE_DICT")
    main = trainer.is_world_process_zero()
    inputs = [base] if (base := expand_user(record["base"])).is_dir() else []
    whole = whole_folder(target, KIND, inputs, force=force) if main else nullcontext(target)
    with whole as folder:
        trainer.save_model(str(folder))
        if main:
            (folder / "training_args.bin").unlink(missing_ok=True)
            (folder / "README.md").write_text(card, encoding="utf-8")
            settings = read_json(folder / "adapter_config.json")
            if isinstance(settings["target_modules"], list):
                # PEFT keeps a set, whose order differs from process to process.
                settings["target_modules"].sort()
                write_json(folder / "adapter_config.json", settings)
            write_json(folder / FILE, {**record, "files": list_files(folder)})


def model_card(record: Mapping[str, Any], description: str, *tags: str) -> str:
    """Return a model card with tags beyond those of every adapter."""
    return f"""---
base_model: {json.dumps(record["base"], ensure_ascii=False)}
library_name: peft
tags: [{", ".join(("lora", "robustmerge", *tags))}]
---

# {record["task"]}

{description} All settings are in {FILE}.
"""
