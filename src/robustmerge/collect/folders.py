"""Collect from folders: base, adapters and samples in, a folder of statistics out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..adapter.reader import Adapter
from ..errors import MergeError
from ..files import expand_user
from ..outputs import check_target
from ..statistic_kinds import KindName
from ..threads import Progress, parse_device, silent
from .encode import EncodedSamples, SampleEncoder
from .live import Through, gather
from .load import enough_device_memory, load_model, load_processor
from .samples import Samples
from .write import KIND, write

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_LESS_MEMORY = "--dtype bfloat16, shorter samples or smaller images, or --device cpu"


def collect_folders(
    adapters: Sequence[str | Path],
    base: str | Path,
    samples: Sequence[str | Path],
    output: str | Path,
    *,
    what: Sequence[KindName] | None = None,
    through: Through = "own",
    limit: int = 256,
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float32",
    force: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Gather statistics of adapters and write them as a folder.

    Args:
        adapters: Adapter folders or Hub ids.
        base: The base model, a folder or Hub id.
        samples: One file of JSON lines per adapter.
        output: The folder to write; it appears whole or not at all.
        what: Any of inputs, gram and fisher; unless given, inputs, or gram through merged layers.
        through: The inputs of a layer come through the adapter's own layers or merged ones.
        limit: Samples used of each file, the first ones.
        seed: For the tokens that fisher draws.
        device: Where the model runs.
        dtype: The type it runs in.
        force: Replace statistics that are already there.
        progress: Called with the samples run and the samples to run.

    Returns:
        The record, as it is in statistics.json.

    Raises:
        MergeError: something that the user can fix; nothing was written.
    """
    if len(samples) != len(adapters):
        raise MergeError(
            f"{len(samples)} files of samples for {len(adapters)} adapters",
            where="--samples",
            hint="one file per adapter, in their order; the same one may be named several times",
        )
    if limit < 1:
        raise MergeError(f"a limit of {limit} samples", where="--limit", hint="--limit 256")
    target = parse_device(device)
    opened = [Adapter(source) for source in adapters]
    try:
        read = [*(a.folder for a in opened), *map(expand_user, (base, *samples))]
        check_target(expand_user(output), KIND, read, force=force)
        files = [Samples.read(path, limit) for path in samples]
        facts = [{"samples_file": str(f.path), "samples_sha256": f.sha256} for f in files]
        more = {"base": str(base), "through": through, "seed": seed, "limit": limit, "dtype": dtype}
        names = [f"adapter{n + 1}" for n in range(len(opened))]
        encoder = SampleEncoder(load_processor(str(base)), _DTYPES[dtype])
        batches = {n: EncodedSamples(f.samples, encoder) for n, f in zip(names, files, strict=True)}
        with enough_device_memory(target, _LESS_MEMORY):
            model = load_model(str(base), opened, names, device=target, dtype=_DTYPES[dtype])
            statistics = gather(
                model, batches, what=what, through=through, seed=seed, progress=progress
            )
            return write(statistics, opened, output, facts=facts, force=force, more=more)
    finally:
        for adapter in opened:
            adapter.close()
