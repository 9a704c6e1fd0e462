"""Situations in which `merge` gives advice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from factories.adapters import LLM, adapter, older_merge
from factories.checkpoints import HIDDEN, VOCABULARY, base, weights
from field.following import pair, situation

EMBED = "model.language_model.embed_tokens"
PROJECTOR = {"model.multi_modal_projector.linear_1.weight": torch.ones(6, 6)}
HEAD = {"lm_head.weight": torch.ones(VOCABULARY, HIDDEN)}


# --- Adapters that do not go together -------------------------------------------------------------


@situation("--same-base if these are names of the same model")
def other_base() -> tuple[str, ...]:
    pair(base_model_name_or_path="other/name")
    return "merge a b -o m", "merge a b -o m --same-base"


@situation("--same-base if these revisions have the same weights")
def other_revision() -> tuple[str, ...]:
    pair(revision="v2")
    return "merge a b -o m", "merge a b -o m --same-base"


@situation("--missing drop leaves both out of the result")
def trained_in_two_ways() -> tuple[str, ...]:
    adapter(Path("a"), modules=LLM | {"lm_head": (VOCABULARY, HIDDEN)})
    adapter(Path("b"), seed=1, extras=HEAD, modules_to_save=["lm_head"])
    base(Path("base"))
    return (
        "merge a b -o m --missing zero --base base",
        "merge a b -o m --missing drop --base base",
    )


@situation("--missing zero merges them side by side")
def nothing_in_common() -> tuple[str, ...]:
    names = list(LLM)
    adapter(Path("a"), modules={n: LLM[n] for n in names[:3]})
    adapter(Path("b"), modules={n: LLM[n] for n in names[3:]})
    return "merge a b -o m --missing drop", "merge a b -o m --missing zero"


@situation("--missing zero treats them as no update, --missing drop leaves them out")
def other_modules() -> tuple[str, ...]:
    pair(modules=dict(list(LLM.items())[:4]))
    return "merge a b -o m", "merge a b -o m --missing zero", "merge a b -o m --missing drop"


@situation("or none for the adapters' own names")
def layout_of_no_family() -> tuple[str, ...]:
    adapter(Path("a"))
    base(Path("base"), model_type="smolvlm")
    return "merge a -o m --layout hf-old --base base", "merge a -o m --layout hf --base base"


@situation("--leave-out '*embed_tokens*' --leave-out '*lm_head*'")
def other_tokens_in_a_row() -> tuple[str, ...]:
    for seed, (name, token) in enumerate({"a": "<point>", "b": "<box>"}.items()):
        rows = {f"{EMBED}.weight": torch.randn(VOCABULARY + 1, HIDDEN)}
        adapter(Path(name), seed=seed, extras=rows, modules_to_save=["embed_tokens"])
        Path(name, "added_tokens.json").write_text(json.dumps({token: VOCABULARY}))
    left = "--leave-out '*embed_tokens*' --leave-out '*lm_head*'"
    return "merge a b -o m", f"merge a b -o m {left}"


# --- Settings -------------------------------------------------------------------------------------


@situation("where the trainer's documentation says that this one does not")
def unknown_start() -> tuple[str, ...]:
    adapter(Path("a"), init_lora_weights="novel")
    return "merge a -o m", "merge a -o m --accept-setting init_lora_weights"


@situation("where a newer PEFT has it: merge with --accept-setting task_type")
def unknown_task() -> tuple[str, ...]:
    adapter(Path("a"), task_type="VISION_2_SEQ")
    return "merge a -o m", "merge a -o m --accept-setting task_type"


@situation("where the trainer's documentation says that they do not")
def unknown_setting() -> tuple[str, ...]:
    adapter(Path("a"), novel=3)
    return (
        "merge a -o m",
        "merge a -o m --accept-setting novel",
        "merge a -o m --accept-setting novel -m task-arithmetic",
    )


@situation("merging with --leave-out '")
def no_convolution() -> tuple[str, ...]:
    name = "model.visual.patch_embed.proj"
    factors = {f"{name}.lora_A.weight": torch.ones(4, 3, 2, 2)}
    adapter(Path("a"), extras=factors | {f"{name}.lora_B.weight": torch.ones(8, 4, 2, 2)})
    return "merge a -o m", f"merge a -o m --leave-out '{name}'"


@situation("if the merge may do without, give a copy of the folder without")
def unread_file() -> tuple[str, ...]:
    adapter(Path("a"))
    shutil.copytree("a", "copy")
    save_file({"x": torch.ones(2)}, "a/other.safetensors")
    return "merge a -o m", "merge copy -o m"


# --- Numbers and types ----------------------------------------------------------------------------


def scaled(factor: float) -> None:
    """An adapter with one B of this size."""
    adapter(Path("a"), alpha=4 * factor)


@situation("--dtype float32 or bfloat16; in a merge, a larger --scale does, too")
def too_small_for_float16() -> tuple[str, ...]:
    scaled(1e-16)
    merge = "merge a -o m -m task-arithmetic --dtype"
    return (
        f"{merge} float16",
        f"{merge} float32",
        f"{merge} bfloat16",
        f"{merge} float16 --scale 1e13",
    )


@situation("--dtype float32 or bfloat16, which hold values this small")
def extra_too_small_for_float16() -> tuple[str, ...]:
    adapter(Path("a"), extras={name: 1e-9 * t for name, t in PROJECTOR.items()})
    merge = "merge a -o m -m task-arithmetic --dtype"
    return f"{merge} float16", f"{merge} float32", f"{merge} bfloat16"


@situation("--dtype float32 or bfloat16; in a merge, a smaller --scale does, too")
def too_large_for_float16() -> tuple[str, ...]:
    scaled(1e6)
    merge = "merge a -o m -m task-arithmetic --dtype"
    return (
        f"{merge} float16",
        f"{merge} float32",
        f"{merge} bfloat16",
        f"{merge} float16 --scale 1e-5",
    )


# --- Fully trained parameters ---------------------------------------------------------------------


@situation("--extras mean takes each row from the adapters that train it")
def sum_of_rows() -> tuple[str, ...]:
    rows = {f"{EMBED}.token_adapter.trainable_tokens_delta": torch.ones(1, HIDDEN)}
    adapter(Path("a"), extras=rows, trainable_token_indices=[3])
    base(Path("base"))
    return (
        "merge a -o m --extras sum --base base",
        "merge a -o m --extras mean --base base",
    )


@situation("--base MODEL; or --extras mean with --missing drop")
def change_of_no_base() -> tuple[str, ...]:
    pair(extras=PROJECTOR)
    base(Path("base"))
    return (
        "merge a b -o m --missing zero",
        "merge a b -o m --missing zero --base base",
        "merge a b -o m --extras mean --missing drop",
    )


@situation("other weights, or --extras sum with --base")
def weights_of_sum_zero() -> tuple[str, ...]:
    adapter(Path("a"), extras=PROJECTOR)
    adapter(Path("b"), seed=1, extras=PROJECTOR)
    base(Path("base"))
    merge = "merge a b -o m -m task-arithmetic --weights"
    return (f"{merge} 1,-1", f"{merge} 1,1", f"{merge} 1,-1 --extras sum --base base")


@situation("--extras-in beside writes such tensors to a file of their own")
def bare_parameter() -> tuple[str, ...]:
    adapter(Path("a"), extras={"model.image_newline": torch.ones(HIDDEN)})
    return "merge a -o m", "merge a -o m --extras-in beside"


@situation("--extras mean; or save the base after")
def grown_rows() -> tuple[str, ...]:
    rows = {f"{EMBED}.weight": torch.ones(VOCABULARY + 2, HIDDEN)}
    adapter(Path("a"), extras=rows, modules_to_save=["embed_tokens"])
    base(Path("base"))
    base(Path("grown"), weights() | rows)
    return (
        "merge a -o m --extras sum --base base",
        "merge a -o m --extras mean --base base",
        "merge a -o m --extras sum --base grown",
    )


# --- Options --------------------------------------------------------------------------------------


@situation("such as --set density=0.3")
def no_value() -> tuple[str, ...]:
    pair()
    return "merge a b -o m -m ties --set density", "merge a b -o m -m ties --set density=0.3"


@situation("such as --weights 1,1,0.5")
def no_numbers() -> tuple[str, ...]:
    pair()
    adapter(Path("c"), seed=2)
    return "merge a b c -o m --weights x", "merge a b c -o m --weights 1,1,0.5"


@situation("weights from 0 on, such as --weights 1,1,0.5")
def weights_of_divergences() -> tuple[str, ...]:
    pair()
    adapter(Path("c"), seed=2)
    base(Path("base"))
    Path("s.jsonl").write_text('{"prompt": "x"}\n')
    merge = "merge a b c -o m --base base --samples s.jsonl s.jsonl s.jsonl --polish 3 --dry-run"
    return f"{merge} --weights 1,1,-1", f"{merge} --weights 1,1,0.5"


@situation("--workers 1 or more")
def no_workers() -> tuple[str, ...]:
    pair()
    return "merge a b -o m --workers 0", "merge a b -o m --workers 1"


@situation("--device cpu, or another")
def no_device() -> tuple[str, ...]:
    pair()
    return "merge a b -o m --device cuda:99", "merge a b -o m --device cpu"


@situation("read them; then --plugin FILE on the command runs one in a dry run, too")
def plugin_in_a_dry_run() -> tuple[str, ...]:
    pair()
    Path("p.py").write_text(
        "from robustmerge.methods import method\n"
        "from robustmerge.linalg import concat\n"
        '@method("own", paper="x", gauge_invariant=True, checked="x")\n'
        "def own(stack):\n"
        '    """Add."""\n'
        "    return concat(stack.reweighted(stack.weights))\n"
    )
    Path("r.yaml").write_text("adapters: [a, b]\nmethod: own\nplugins: [p.py]\noutput: m\n")
    return "merge r.yaml --dry-run", "merge r.yaml --dry-run --plugin p.py"


@situation("--base MODEL, the folder or Hub id that the adapters were trained on")
def model_that_runs() -> tuple[str, ...]:
    pair()
    base(Path("base"))
    Path("s.jsonl").write_text('{"prompt": "x"}\n')
    merge = "merge a b -o m --samples s.jsonl s.jsonl --polish 3 --dry-run"
    return merge, f"{merge} --base base"


@situation("leave --polish out")
def polished_dora() -> tuple[str, ...]:
    pair()
    base(Path("base"))
    Path("s.jsonl").write_text('{"prompt": "x"}\n')
    merge = "merge a b -o m --base base --dora mean --samples s.jsonl s.jsonl"
    return f"{merge} --polish 3", merge


# --- What is there already ------------------------------------------------------------------------


@situation("choose another folder, or --force to replace ")
def older_result() -> tuple[str, ...]:
    pair()
    older_merge(Path("old"))
    return "merge a b -o old", "merge a b -o m", "merge a b -o old --force"


@situation(" that this program wrote; ")
def no_result_of_ours() -> tuple[str, ...]:
    pair()
    adapter(Path("old"))
    return "merge a b -o old --force", "merge a b -o m --force"


@situation("choose another folder, or move these files out of it")
def file_in_a_result() -> tuple[str, ...]:
    pair()
    older_merge(Path("old"))
    older_merge(Path("emptied"))
    Path("old/notes.txt").touch()
    return "merge a b -o old --force", "merge a b -o m", "merge a b -o emptied --force"
