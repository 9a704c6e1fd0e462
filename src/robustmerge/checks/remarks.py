"""Remarks on an adapter for a careful user: one small rule for each."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..adapter import layout
from ..adapter.keys import Part
from ..adapter.patterns import matches
from ..adapter.tensor_files import BESIDE, FULLY_TRAINED, NON_LORA
from ..adapter.wrappers import PREFIX, unwrap
from ..errors import MergeError, few
from .contents import Contents
from .peft_rules import entries, lands, saves, selects

Rule = Callable[[Contents], str]


def find_remarks(contents: Contents) -> list[str]:
    """Return every remark that applies."""
    return [remark for rule in _RULES if (remark := rule(contents))]


def _merged(contents: Contents) -> str:
    made = (contents.folder / "merge.json").is_file()
    return "made by robustmerge: it is itself a merge" if made else ""


def _old_names(contents: Contents) -> str:
    loaded = [i for i in contents.items if i.key.part is not Part.BASE]
    lost = [i for i in loaded if not lands(contents, i)]
    if not lost:
        return ""
    count = "none" if len(lost) == len(loaded) else f"{len(loaded) - len(lost)} of {len(loaded)}"
    sure = "would load" if contents.text_only is False else "would load, unless it is text-only,"
    return (
        f"old names: into a model of transformers since 4.52 PEFT {sure} {count} of the tensors, "
        "with only a warning"
    )


def _outside_language(contents: Contents) -> str:
    outside = len(contents.outside_language())
    if not outside:
        return ""
    return f"{outside} modules outside the language model, which most servers leave out"


def _embeddings(contents: Contents) -> str:
    names = [x.name for x in contents.loras if x.A.key.part is Part.EMBEDDING_A]
    names += [x.name for x in contents.loras if x.name == "lm_head"]
    return f"LoRA on the vocabulary: {few(names)}" if names else ""


def _base_copies(contents: Contents) -> str:
    copies = [layout.canonical(i.key.module) for i in contents.of(Part.BASE)]
    return f"carries copies of base weights: {few(copies)}" if copies else ""


def _patterns(contents: Contents) -> str:
    """Remark on patterns: PEFT takes the first that matches, and saves them in another order."""
    loras, remarks = [lora.written for lora in contents.loras], []
    for field in ("rank_pattern", "alpha_pattern"):
        patterns = contents.config.raw.get(field)
        if not patterns or not isinstance(patterns, dict):
            continue
        matched = {name: _matching(patterns, name) for name in loras}
        hit = {pattern for several in matched.values() for pattern in several}
        text = f"{field} of {len(patterns)}"
        if idle := [p for p in patterns if p not in hit]:
            text += f"; no module matches {few([repr(p) for p in idle])}"
        if twice := [name for name, several in matched.items() if len(several) > 1]:
            text += f"; several match {few(twice, 1)}, and the first in the file counts"
        remarks.append(text)
    return "; ".join(remarks)


def _names(contents: Contents) -> str:
    raw = [i.ref.name for i in contents.items]
    remarks = []
    if wrappers := sorted({w for name in raw for w in unwrap(name)[1]}):
        remarks.append(f"wrappers of training tools in names, which are left out: {few(wrappers)}")
    if any(re.search(r"\.lora_[AB]\.(?!weight$)[^.]+\.weight$", name) for name in raw):
        remarks.append("an adapter's name in the keys (such as .default.), as trainers save them")
    if raw and not any(name.startswith(PREFIX) for name in raw):
        remarks.append(f"keys without the prefix {PREFIX}")
    return "; ".join(remarks)


def _initialization(contents: Contents) -> str:
    how = contents.config.raw.get("init_lora_weights", True)
    return "" if isinstance(how, bool) or how is None else f"initialized by {how!r}"


def _modules_to_save(contents: Contents) -> str:
    raw, remarks = contents.config.raw, []
    modules = {i.key.module for i in contents.of(Part.FULL)}
    if loose := [m for m in modules if not any(saves(raw, above) for above in _parents(m))]:
        remarks.append(f"full tensors that modules_to_save does not name: {few(sorted(loose))}")
    for entry in entries(raw, "modules_to_save"):
        if not any(entry in module for module in modules):
            remarks.append(f"modules_to_save names {entry}, of which there is no tensor")
    return "; ".join(remarks)


def _tokens(contents: Contents) -> str:
    rows = sum(i.shape[0] for i in contents.of(Part.TOKENS) if i.shape)
    return f"{rows} rows of the embeddings are fully trained" if rows else ""


def _not_selected(contents: Contents) -> str:
    try:
        lost = [x.name for x in contents.loras if selects(contents.config.raw, x.written) is False]
    except MergeError as error:
        return error.problem
    if not lost:
        return ""
    return f"target_modules does not select {few(lost)}: PEFT leaves them out silently"


def _files(contents: Contents) -> str:
    names = [file.path.name for file in contents.files]
    remarks = []
    if "adapter_model.bin" in names:
        remarks.append("weights in a pickle (.bin)")
    if NON_LORA in names:
        remarks.append(f"fully trained parameters in {NON_LORA}, as the original LLaVA saves them")
    if others := [n for n in names if n in FULLY_TRAINED and n != NON_LORA]:
        remarks.append(f"fully trained parameters in {few(others)}")
    if (contents.folder / BESIDE).is_file():
        remarks.append(f"fully trained parameters next to it in {BESIDE}")
    return "; ".join(remarks)


def _types(contents: Contents) -> str:
    types = {i.ref.spec.dtype for i in contents.items}
    return f"tensors of several types: {', '.join(sorted(types))}" if len(types) > 1 else ""


def _transposed(contents: Contents) -> str:
    return "fan_in_fan_out: the base stores its weights transposed" * bool(
        contents.config.raw.get("fan_in_fan_out")
    )


def _parents(module: str) -> list[str]:
    """Return a module and all modules that it lies in."""
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts) + 1)]


def _matching(patterns: dict[str, object], name: str) -> list[str]:
    matching = []
    for pattern in patterns:
        try:
            if matches(rf"(.*\.)?({pattern})$", name):
                matching.append(pattern)
        except (re.error, OverflowError, RecursionError):  # the reason why the adapter is refused
            continue
    return matching


_RULES: tuple[Rule, ...] = (
    _merged,
    _old_names,
    _outside_language,
    _embeddings,
    _base_copies,
    _tokens,
    _patterns,
    _initialization,
    _modules_to_save,
    _not_selected,
    _names,
    _files,
    _types,
    _transposed,
)
