"""Whether an adapter's tensors land in the model that transformers builds here: it is tried.

The model is built from the base's config.json on torch's meta device, so without weights, and PEFT
attaches the adapter as it would to the real one. Rules about names (`checks.peft_rules`) are of one
version of PEFT and of known families; this is of the versions that are installed, for any model.
Takes some seconds, most of them for importing transformers.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..adapter.base import Base
from ..adapter.layout import canonical
from ..checks.contents import Contents
from ..checks.findings import Finding, fails, note, ok
from ..errors import first_line

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def try_landing(contents: Contents) -> Finding | None:
    """Attach an adapter to its base without weights, and count the tensors that land.

    Returns:
        None where it cannot be tried: no base in a folder, one whose config.json describes another
        model than its weights, or no transformers and PEFT.
    """
    base = contents.base
    if base is None or not all(find_spec(name) for name in ("transformers", "peft")):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = _build(base.folder)
        if model is None or not _describes(model, base):
            return None
        return _count(model, contents)


def _build(folder: Path) -> PreTrainedModel | None:
    """Build the model of a folder's settings on the meta device; None where that is impossible."""
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        names = getattr(config, "architectures", None) or [""]
        kinds = (transformers.AutoModelForImageTextToText, transformers.AutoModelForCausalLM)
        with torch.device("meta"):
            if (architecture := getattr(transformers, names[0], None)) is not None:
                built: PreTrainedModel = architecture(config)
                return built
            auto = next(kind for kind in kinds if type(config) in kind._model_mapping)
            headed: PreTrainedModel = auto.from_config(config)
            return headed
    except Exception:  # code of its own, settings of another version: nothing to try
        return None


def _describes(model: PreTrainedModel, base: Base) -> bool:
    """Decide whether a model is the one whose weights the base has."""
    live = {canonical(name): tuple(t.shape) for name, t in model.state_dict().items()}
    shared = [name for name in base.tensors if name in live]
    fits = all(base.tensors[name].spec.shape == live[name] for name in shared)
    return fits and len(shared) > len(live) / 2


def _count(model: PreTrainedModel, contents: Contents) -> Finding:
    import peft
    import transformers

    tried = f"tried with transformers {transformers.__version__} and PEFT {peft.__version__}"
    try:
        lost = _unexpected(peft.PeftModel.from_pretrained(model, str(contents.folder)), contents)
    except Exception as error:  # what PEFT makes of settings and models that do not go together
        return note(f"{tried}, which stopped: {first_line(error)}")
    if lost:
        return fails(
            f"{tried}: {len(lost)} of {len(contents.items)} tensors find no place in the model, "
            f"such as {lost[0]}",
            "merge with --layout hf, and check that",
        )
    return ok(f"{tried}: all {len(contents.items)} tensors find their place in the model")


def _unexpected(attached: PeftModel, contents: Contents) -> list[str]:
    """Load an attached adapter once more, for PEFT to say which tensors it leaves out."""
    mapping = getattr(attached.get_base_model(), "_checkpoint_conversion_mapping", None)
    result = attached.load_adapter(
        str(contents.folder), "default", **({"key_mapping": mapping} if mapping else {})
    )
    return list(result.unexpected_keys)
