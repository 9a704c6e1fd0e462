"""The entry point `lmms_eval.models`; a file of its own, which only lmms-eval imports."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """Return the model's name in lmms-eval, and the path of its class."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id="robustmerge",
        chat_class_path="robustmerge_bench.paper.lmms.model.RobustMerge",
    )
