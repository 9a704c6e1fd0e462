"""The model card of a merged adapter, with the metadata the Hub reads.

A card is published: paths of this machine stay out of it, and only a name that can be a Hub id and
is no folder here becomes `base_model`. `merge.json` has the sources as they were given.
"""

from __future__ import annotations

import yaml

from ..adapter.source import is_hub_id, public_name
from ..escape import code_span, markdown
from .recipe import Recipe
from .report import MergeReport


def model_card(report: MergeReport) -> str:
    """Return README.md: what was merged and how, and how to load it."""
    plan, recipe, base = report.plan, report.recipe, report.plan.base_name
    metadata = {"library_name": "peft", "tags": ["lora", "merge", "robustmerge"]}
    if is_hub_id(base):
        metadata = {"base_model": base, **metadata}
    rows = "\n".join(
        f"| {markdown(public_name(a.label))} | {w:g} | {max(m.rank for m in a.modules.values())} |"
        for a, w in zip(plan.adapters, recipe.coefficients, strict=True)
    )
    mean, least = report.energy
    return f"""---
{yaml.safe_dump(metadata, sort_keys=False).strip()}
---

{_opening(len(plan.adapters), public_name(base) or "an unnamed base model")} by \
[RobustMerge](https://arxiv.org/abs/2502.17159)'s tool `robustmerge`, {_training(report)}.

| adapter | weight | rank |
| --- | --- | --- |
{rows}

Method `{recipe.method}` ({plan.method.paper}), {_scale(recipe)}, rank {report.rank}, \
{len(report.modules)} modules; {mean:.1%} of the merged updates' energy is kept at that rank \
(least: {least:.1%}). `merge.json` has the full recipe, the hashes of inputs and output, and every \
module's share.

```python
from peft import PeftModel

model = PeftModel.from_pretrained(base_model, "this folder or repository")
```
"""


def _opening(adapters: int, base: str) -> str:
    if adapters == 1:
        return f"# Adapter\n\nMade of one LoRA adapter of {code_span(base)}"
    return f"# Merged adapter\n\n{adapters} LoRA adapters of {code_span(base)} merged into one"


def _training(report: MergeReport) -> str:
    if not report.polished.record:
        return "without training"
    steps = report.polished.record["kept"]
    return f"and polished by {steps} gradient steps towards the adapters' own answers"


def _scale(recipe: Recipe) -> str:
    scale = recipe.scale
    size = (
        f"scale {scale} over the {recipe.scale_over}"
        if isinstance(scale, str)
        else f"scale {scale:g}"
    )
    before = [f"balanced by {step}" for step in recipe.balance]
    after = [f"calibrated by {step}" for step in recipe.calibrate]
    return ", ".join([*before, *after, size])
