"""As much of lmms-eval 0.7.3 and of `datasets` as the plug-in touches, in their place."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml


class Lmms:
    """What a model of lmms-eval is made from."""

    is_simple = True

    def __init__(self) -> None:
        self.rank = 0
        self.task_dict: dict[str, Any] = {}


@dataclass(frozen=True)
class ModelManifest:
    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


class Dataset(list[dict[str, Any]]):
    """Rows with a split, of which every field has one type."""

    split = ""

    @classmethod
    def from_list(cls, rows: list[dict[str, Any]], split: str) -> Dataset:
        made = cls(rows)
        made.split = split
        for name in rows[0]:
            assert len({type(row[name]) for row in rows}) == 1, name
        return made


@dataclass(frozen=True)
class Request:
    args: tuple[Any, ...]


def arguments(text: str) -> dict[str, Any]:
    pairs = (part.split("=", 1) for part in text.split(",") if part)
    return {name: int(value) if value.isdigit() else value for name, value in pairs}


def install(patch: pytest.MonkeyPatch) -> None:
    """Put the stand-ins where the plug-in imports from, until the test is over."""
    parts: dict[str, dict[str, Any]] = {
        "lmms_eval": {},
        "lmms_eval.api": {},
        "lmms_eval.api.model": {"lmms": Lmms},
        "lmms_eval.utils": {"simple_parse_args_string": arguments},
        "lmms_eval.models": {},
        "lmms_eval.models.registry_v2": {"ModelManifest": ModelManifest},
        "datasets": {"Dataset": Dataset},
    }
    for name, content in parts.items():
        module = ModuleType(name)
        vars(module).update(content)
        patch.setitem(sys.modules, name, module)
    patch.delitem(sys.modules, "robustmerge_bench.paper.lmms.model", raising=False)


def read_yaml(path: Path) -> dict[str, Any]:
    """A task file with all that it includes; functions stay names."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    content: dict[str, Any] = yaml.load(path.read_text(), Loader)
    if "include" in content:
        return read_yaml(path.parent / content.pop("include")) | content
    return content
