"""The merge methods, one file each, in families. A new method is one file there.

What is not here, because it does not give one adapter that serves every task at no cost:

- per-task masks or scales at inference: EMR-Merging, TALL masks (of both the part that all tasks
  share is here: `emr-unified`, `consensus`), Twin-Merging, SMILE, routers and mixtures of experts.
  They keep an adapter, or a part of one, per task.
- coefficients learned on labels or on the test inputs: LoraHub, LoRA-Soups CAT, AdaMerging, TARA,
  NSC, Expert Merging, ENMP, evolutionary search. They are training, or need every adapter in memory
  with the model, for up to 500 steps on unlabeled samples (TARA, NSC); weights found that way can
  be given to `task-arithmetic`, and `output-fit` finds some without steps.
- methods that need the base weights: OrthoMerge, LARV (a factor for every layer, from the effective
  ranks of base and update and how far they commute), PACT (each update without what lies in the
  base's leading subspace). The base is never loaded here.
- SA-Merging: its saliency is the gradient of SynFlow's product of positive weights along a chain of
  layers, which attention is not. To implement it would be to invent it.
- two-model or layer-stacking tricks: SLERP (`karcher` is its form for any number), nearswap,
  arcee_fusion, passthrough, ZipLoRA, K-LoRA.
- methods that are another one here: SSR-Merge, LOT Merging and Chain of Merges are `regmean-rows`,
  whose page says with which settings. STF asks that every adapter's features come out on its own
  right directions; as far as these are independent, that is what `wudi` solves.
- methods of which code or formulas were not to be had, or not read: FroM, ResMerge, RESM, CORAM,
  TC-LoRA, TaDA, SVD+CUR, OT-TIES, GeoMerge and other means on the LoRA manifold.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import walk_packages

from ._plugins import load_plugin
from ._registry import Method, When, every, get, method, names, with_model

__all__ = ["Method", "When", "every", "get", "load_plugin", "method", "names", "with_model"]

# A file without an underscore is a method, a folder a family: importing them registers all.
for _module in walk_packages(__path__, f"{__name__}."):
    if not _module.name.rpartition(".")[2].startswith("_"):
        import_module(_module.name)
