"""What lmms-eval finds through the entry point `lmms_eval.models`; without it nobody calls this."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """How lmms-eval is to call the model, and where its class is."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id="robustmerge",
        chat_class_path="robustmerge_bench.paper.lmms.model.RobustMerge",
    )
