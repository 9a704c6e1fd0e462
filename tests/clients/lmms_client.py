"""Runs in the environment of lmms-eval: its own model classes, on a CPU.

    python lmms_client.py JOB RESULT

JOB is JSON with the name of the class, base, image, question, adapters and folders. The answer, as
the class generates it, and the log-probabilities of the next token are written as JSON: of the bare
base, of the base with each adapter merged in by PEFT, and of each folder that the class is given
instead of the base; or the error in their place.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

LONGEST = 5


def load(name: str, folder: str) -> Any:
    """Make the class's model of a folder."""
    from lmms_eval.models import get_model  # type: ignore[import-not-found]

    return get_model(name, True)(pretrained=folder, device="cpu", device_map="cpu")


def ask(model: Any, image: str, question: str) -> dict[str, Any]:
    """Return what the class generates, and the first token's log-probabilities in that call."""
    import torch
    from lmms_eval.api.instance import Instance  # type: ignore[import-not-found]
    from PIL import Image

    seen: list[Any] = []
    hook = model.model.register_forward_hook(lambda *parts: seen.append(parts[-1].logits))
    model.task_dict = {"task": {"test": {1: Image.open(image).convert("RGB")}}}
    settings = {"max_new_tokens": LONGEST, "until": []}
    arguments = (question, settings, lambda picture: [picture], 1, "task", "test")
    request = Instance(
        request_type="generate_until",
        arguments=arguments,
        idx=0,
        metadata={"task": "task", "doc_id": 1, "repeats": 1},
    )
    (text,) = model.generate_until([request])
    hook.remove()
    first = torch.log_softmax(seen[0][0, -1].float(), -1)
    return {"text": getattr(text, "text", text), "logprobs": first.tolist()}


def with_adapter(name: str, base: str, adapter: str) -> Any:
    """Merge an adapter into the class's model by PEFT: what every folder is compared with."""
    from peft import PeftModel

    model = load(name, base)
    model._model = PeftModel.from_pretrained(model.model, adapter).merge_and_unload().eval()
    return model


def main() -> None:
    """Ask about everything in the job."""
    job = json.loads(Path(sys.argv[1]).read_text())
    name, base = job["class"], job["base"]
    makers = {"": lambda: load(name, base)}
    makers |= {a: lambda a=a: with_adapter(name, base, a) for a in job["adapters"]}  # type: ignore[misc]
    makers |= {f: lambda f=f: load(name, f) for f in job["folders"]}  # type: ignore[misc]
    answers: dict[str, Any] = {}
    for key, make in makers.items():
        try:
            answers[key] = ask(make(), job["image"], job["question"])
        except Exception as error:
            answers[key] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    Path(sys.argv[2]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
