"""One merge in a process of its own, which `methods.py` measures.

    python benchmarks/one_merge.py RECIPE OUTPUT ADAPTER...

prints "ready" when all imports are done, waits for a line, merges, and prints the seconds as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter, process_time

from robustmerge.engine.merge import merge_recipe
from robustmerge.engine.recipe import Recipe


def main() -> None:
    recipe_json, output, *adapters = sys.argv[1:]
    recipe = Recipe.from_dict({**json.loads(recipe_json), "adapters": adapters}, where="benchmark")
    print("ready", flush=True)
    sys.stdin.readline()
    start, cpu = perf_counter(), process_time()
    merge_recipe(recipe, Path(output))
    print(json.dumps({"seconds": perf_counter() - start, "cpu": process_time() - cpu}))


if __name__ == "__main__":
    main()
