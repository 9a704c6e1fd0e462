"""Damage inputs at random, and see that every merge of them is right or refused (`make fuzz`).

Each round takes a good input, changes a few of its bytes or values by a seed, and merges it. The
oracle: a MergeError with a hint and nothing written, or a merge whose updates are the sums of what
an independent reader (safetensors, torch, json) reads in the very same files. Anything else, an
exception or a wrong sum, is a finding: its kind and seed go to seeds.txt, which is run first, and
which the default tests run (tests/field/test_fuzz_seeds.py).

    python tests/fuzz/run.py [--seconds 120] [--seed N] [--kind NAME]
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from factories.adapters import adapter
from robustmerge import files, outputs
from robustmerge.engine.merge import merge_recipe
from robustmerge.engine.recipe import Recipe
from robustmerge.errors import MergeError

SEEDS = Path(__file__).with_name("seeds.txt")
MODULES = {"model.layers.0.q_proj": (6, 8), "model.layers.1.q_proj": (6, 8)}
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 8, 2**70, 1e-300, 1e300, math.nan, math.inf, "", "x", "none"),
    *("(a+)+b", "\x1b[2J", "../..", "lora", "mean", [], [1], ["q_proj"], {}, {"q_proj": 2}),
    *({"(": 1}, [[[]]], "é" * 300, "norm-matched", "energy:0.5", "full"),
)
"""What a setting may be set to."""

_FACTOR = re.compile(
    r"(base_model\.model\.)?(?P<module>.+)\.lora_(?P<letter>[AB])(\.[^.]+)?(\.weight)?"
)
Change = Callable[[random.Random, Path], None]
"""Damages the inputs in a folder: adapters a and b, recipe.yaml, statistics."""


def change_bytes(rng: random.Random, file: Path) -> None:
    """Change, insert, remove or repeat a few bytes."""
    data = bytearray(file.read_bytes())
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 8, 40))
        new = bytes(rng.randrange(256) for _ in range(length))
        match rng.randrange(5):
            case 0:
                data[at : at + length] = new
            case 1:
                data[at:at] = new
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length]
            case _:
                data = data[:at] if rng.random() < 0.2 else data
    file.write_bytes(data)


def change_values(rng: random.Random, content: Any) -> Any:
    """Change values of nested plain data, or drop or add keys."""
    if isinstance(content, dict) and content and rng.random() < 0.9:
        key = rng.choice(sorted(content))
        if (chance := rng.random()) < 0.1:
            return {k: v for k, v in content.items() if k != key}
        if chance < 0.2:
            return {**content, rng.choice(("x", "r", "use_dora", "output", "sha256")): key}
        return {**content, key: change_values(rng, content[key])}
    if isinstance(content, list) and content and rng.random() < 0.7:
        at = rng.randrange(len(content))
        return [*content[:at], change_values(rng, content[at]), *content[at + 1 :]]
    return rng.choice(VALUES)


def change_json(rng: random.Random, file: Path) -> None:
    """Change values of a JSON file, or its bytes."""
    if rng.random() < 0.3:
        change_bytes(rng, file)
        return
    content = json.loads(file.read_text())
    for _ in range(rng.randint(1, 2)):
        content = change_values(rng, content)
    file.write_text(json.dumps(content))


def _settings(rng: random.Random, root: Path) -> None:
    change_json(rng, root / "a" / "adapter_config.json")


def _header(rng: random.Random, root: Path) -> None:
    """Change the header of a safetensors file, as data with the right length or as bytes."""
    file = root / "a" / "adapter_model.safetensors"
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    part = file.with_name("header")
    part.write_bytes(data[8 : 8 + length])
    change_json(rng, part)
    header = part.read_bytes()
    part.unlink()
    size = len(header) if rng.random() < 0.8 else rng.choice((0, 2**63, length, len(data)))
    file.write_bytes(size.to_bytes(8, "little") + header + data[8 + length :])


def _data(rng: random.Random, root: Path) -> None:
    """Change numbers, by bytes of the data alone."""
    file = root / "a" / "adapter_model.safetensors"
    data = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(start, len(data))] = rng.randrange(256)
    file.write_bytes(data)


def _bin(rng: random.Random, root: Path) -> None:
    shutil.rmtree(root / "a")
    adapter(root / "a", modules=MODULES, binary=True)
    change_bytes(rng, root / "a" / "adapter_model.bin")


def _recipe(rng: random.Random, root: Path) -> None:
    change_json(rng, root / "recipe.yaml")


def _statistics(rng: random.Random, root: Path) -> None:
    content = json.loads((root / "recipe.yaml").read_text())
    content |= {"method": rng.choice(("regmean", "fisher")), "data": "./stats"}
    (root / "recipe.yaml").write_text(json.dumps(content))
    name = rng.choice(("statistics.json", "1-a.safetensors"))
    (change_json if name.endswith("json") else change_bytes)(rng, root / "stats" / name)


KINDS: Mapping[str, Change] = {
    "settings": _settings,
    "header": _header,
    "data": _data,
    "bin": _bin,
    "recipe": _recipe,
    "statistics": _statistics,
}
"""What is damaged, by name."""


def make_inputs(root: Path) -> None:
    """Write two adapters, statistics of them, and a recipe of the plain sum at full rank."""
    from robustmerge.adapter.reader import Adapter
    from robustmerge.adapter.tensor_files import hash_weights
    from robustmerge.adapter.tensors import TensorSpec
    from robustmerge.adapter.writer import SafetensorsWriter
    from robustmerge.statistic_kinds import KINDS as STATISTICS, TENSORS, ModuleSizes

    for seed, name in enumerate("ab"):
        adapter(root / name, seed=seed, modules=MODULES)
    recipe = {"adapters": ["./a", "./b"], "method": "task-arithmetic", "rank": "full"}
    (root / "recipe.yaml").write_text(json.dumps(recipe | {"scale": 0.5, "weights": [1, 2]}))
    (root / "stats").mkdir()
    entries = []
    for number, name in enumerate("ab", 1):
        opened = Adapter(root / name)
        tensors = {
            f"{module}.{need}": torch.eye(12, 12)
            .double()[: size[0], : (size[1:] or (1,))[0]]
            .reshape(size)
            .contiguous()
            for module, m in opened.modules.items()
            for kind in STATISTICS.values()
            for need in kind.names
            if (size := TENSORS[need].shape(ModuleSizes(*m.shape, rank=m.rank, ranks=8)))
        }
        file = root / "stats" / f"{number}-{name}.safetensors"
        writer = SafetensorsWriter(
            file, {n: TensorSpec("F64", tuple(t.shape)) for n, t in tensors.items()}
        )
        for n, tensor in tensors.items():
            writer.write(n, tensor)
        writer.close()
        ranks = {n: m.rank for n, m in opened.modules.items()}
        weights = hash_weights(opened.paths.weights)
        entries.append({"adapter": name, "weights": weights, "file": file.name, "ranks": ranks})
    record = {"format": 1, "what": list(STATISTICS), "adapters": entries}
    (root / "stats" / "statistics.json").write_text(json.dumps(record))


def read_updates(folder: Path) -> dict[str, Tensor]:
    """Read an adapter's updates with the libraries alone, in float64."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8-sig"))
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file) if file.exists() else torch.load(folder / "adapter_model.bin")
    updates, factors = {}, {}
    for name, tensor in tensors.items():
        if match := _FACTOR.fullmatch(name):
            factors[match["module"], match["letter"]] = tensor
    for module in dict.fromkeys(module for module, _ in factors):
        A, B = factors[module, "A"], factors[module, "B"]
        alpha = config.get("lora_alpha", 8)
        for pattern, value in (config.get("alpha_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                alpha = value
                break
        scaling = alpha / (math.sqrt(len(A)) if config.get("use_rslora") else len(A))
        updates[module] = scaling * (B.double() @ A.double())
    return updates


def check_sum(root: Path, recipe: Recipe) -> None:
    """Check that a plain sum is what the files hold."""
    plain = Recipe((".",)).to_dict() | {"method": "task-arithmetic", "rank": "full"}
    known = {"adapters", "method", "rank", "scale", "weights", "seed", "same_base"}
    differs = {k for k, v in recipe.to_dict().items() if plain.get(k) != v} - known
    if recipe.method != "task-arithmetic" or recipe.rank != "full" or differs:
        return
    if isinstance(recipe.scale, str):
        return
    merged = read_updates(root / "out")
    inputs = [read_updates(Path(source)) for source in recipe.adapters]
    for module, update in merged.items():
        parts = zip(recipe.coefficients, inputs, strict=True)
        wanted = [w * recipe.scale * deltas[module] for w, deltas in parts if module in deltas]
        size = sum(float(part.norm()) for part in wanted)
        error = float((update - torch.stack(wanted).sum(0)).norm())
        assert error <= 1e-4 * size + 1e-30, f"{module} is off by {error:.3g} of {size:.3g}"
    assert set(merged) == {module for deltas in inputs for module in deltas}


def run_once(kind: str, seed: int, root: Path, good: Path) -> str:
    """Damage, merge, and judge; return "" or what is wrong."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(good, root)
    KINDS[kind](random.Random(f"{kind} {seed}"), root)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    recipe = None
    try:
        recipe, _ = Recipe.load(root / "recipe.yaml")
        merge_recipe(recipe, root / "out", workers=1)
    except MergeError as error:
        after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        if not error.hint or before != after:
            return f"no hint, or something written: {error}"
        return ""
    except Exception:
        return traceback.format_exc(limit=-4)
    try:
        check_sum(root, recipe)
    except Exception:
        return traceback.format_exc(limit=-3)
    return ""


def known_seeds() -> list[tuple[str, int]]:
    """Return the seeds that once failed."""
    lines = (line.split("#")[0].split() for line in SEEDS.read_text().splitlines())
    return [(kind, int(seed)) for kind, seed in filter(None, lines)]


def main() -> int:
    """Run the known seeds, then new ones until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0, help="the first seed of the new ones")
    parser.add_argument("--kind", choices=KINDS, help="damage this alone")
    options = parser.parse_args()
    for module in (files, outputs):  # a disk is slow, and not the question
        module.flush = lambda path: None
    ends, rounds, findings = time.monotonic() + options.seconds, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder) / "good"
        good.mkdir()
        make_inputs(good)
        upcoming = iter(
            [(k, s) for k, s in known_seeds() if options.kind in (None, k)]
            + [
                (kind, seed)
                for seed in range(options.seed, options.seed + 100_000)
                for kind in KINDS
                if options.kind in (None, kind)
            ]
        )
        for kind, seed in upcoming:
            if time.monotonic() > ends:
                break
            rounds += 1
            if wrong := run_once(kind, seed, Path(folder) / "round", good):
                findings += 1
                print(f"{kind} {seed}\n{wrong}\n", flush=True)
                if (kind, seed) not in known_seeds():
                    with SEEDS.open("a") as file:
                        file.write(f"{kind} {seed}\n")
    print(f"{rounds} rounds, {findings} findings")
    return min(findings, 1)


if __name__ == "__main__":
    sys.exit(main())
