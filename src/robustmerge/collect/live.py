"""Statistics of the adapters of a live model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import length_hint
from typing import Literal, get_args

import torch
from peft import PeftModel
from torch import Tensor

from ..errors import MergeError, unknown
from ..factors import Factors
from ..threads import Progress, silent
from .activations import BatchState, Moments
from .gradients import Fisher
from .layerwise import blocks, moments_through_merged
from .model import (
    Batch,
    BatchSource,
    Layers,
    adapted_layers,
    borrowed,
    factors_of,
    forward,
    mask_of,
)

What = Literal["gram", "fisher"]
Through = Literal["own", "merged"]


@dataclass(frozen=True)
class AdapterStatistics:
    """One adapter's statistics.

    Attributes:
        adapter: Its name in the model.
        ranks: Its rank in every module it has.
        samples: Batches that were run.
        tokens: Tokens in them, padding not counted.
        tensors: The statistics, as MODULE.gram and so on.
    """

    adapter: str
    ranks: Mapping[str, int]
    samples: int
    tokens: int
    tensors: Mapping[str, Tensor]

    @property
    def unseen(self) -> tuple[str, ...]:
        """Modules that the samples never reached, such as a vision tower's without images."""
        names = [n for n in self.tensors if n.endswith(".count") and not self.tensors[n].any()]
        return tuple(n.removesuffix(".count") for n in names)


def collect(
    model: PeftModel,
    batches: Mapping[str, Iterable[Batch]],
    *,
    what: Sequence[What] = ("gram",),
    through: Through = "own",
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[AdapterStatistics, ...]:
    """Gather what methods such as RegMean and Fisher need to know of the adapters' tasks.

    Each adapter is active while its own batches run. The model is left as it was. `save` in
    `robustmerge.collect.write` makes a folder of the result, for `merge(..., data=folder)`.

    Args:
        model: A PeftModel with LoRA adapters.
        batches: For each adapter, by its name in the model: inputs that the model is called with
            (`model(**batch)`), as often as they are asked for, so a list rather than a generator.
            Padding is told by `attention_mask`. For fisher every batch is one sample, whose
            `labels`, if there are any, are the answer.
        what: gram (RegMean, RegMean++), fisher, or both.
        through: The inputs of a layer come through the adapter's own layers below it, or through
            merged ones (RegMean++).
        seed: For the tokens that fisher draws where a batch has no labels.
        progress: Called with the batches run and the batches to run.

    Raises:
        MergeError: Something the user can mend; the model is as it was.
    """
    return tuple(gather(model, batches, what=what, through=through, seed=seed, progress=progress))


def gather(
    model: PeftModel,
    batches: Mapping[str, Iterable[Batch]],
    *,
    what: Sequence[What],
    through: Through,
    seed: int,
    progress: Progress,
) -> Iterator[AdapterStatistics]:
    """As `collect`, one adapter after another, so that not all need be in memory."""
    _check(batches, what, through)
    layers = adapted_layers(model, tuple(batches))
    stacks = factors_of(layers, tuple(batches))
    passes = {"gram": len(blocks(layers)) if through == "merged" else 1, "fisher": 1}
    total = sum(passes[kind] for kind in set(what)) * sum(map(length_hint, batches.values()))
    steps = _Steps(progress, total)
    feeds = {adapter: BatchSource(model, own, steps.step) for adapter, own in batches.items()}
    with borrowed(model):
        merged: list[dict[str, Tensor]] = []
        if "gram" in what and through == "merged":
            merged = moments_through_merged(model, layers, stacks, feeds)
        for place, (adapter, feed) in enumerate(feeds.items()):
            model.set_adapter(adapter)
            tensors = merged[place] if merged else {}
            if "gram" in what and not merged:
                tensors |= _moments(model, layers, stacks, feed)
            if "fisher" in what:
                tensors |= _fisher(model, layers, adapter, feed, seed)
            ranks = {n: f[place].rank for n, f in stacks.items() if f[place].rank}
            yield AdapterStatistics(adapter, ranks, feed.samples, feed.tokens, tensors)


class _Steps:
    """Counts batches."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def step(self) -> None:
        self._done += 1
        self._progress(self._done, max(self._total, self._done))


def _check(batches: Mapping[str, Iterable[Batch]], what: Sequence[str], through: str) -> None:
    for kind in what:
        if kind not in get_args(What):
            raise unknown("kind of statistics", kind, get_args(What))
    if through not in get_args(Through):
        raise unknown("value of through", through, get_args(Through))
    if through == "merged" and "gram" not in what:
        raise MergeError(
            "only gram is gathered through merged layers",
            where=f"what: {', '.join(what)}",
            hint="leave out through, or gather gram too",
        )
    if not batches or not what:
        raise MergeError("nothing to collect", hint="give adapters, batches, and what to collect")
    for adapter, own in batches.items():
        if iter(own) is iter(own):
            raise MergeError(
                f"the batches of {adapter!r} can be read only once",
                hint="give a list, or an object whose __iter__ starts anew",
            )
        if next(iter(own), None) is None:
            raise MergeError(f"no batches for {adapter!r}", hint="give each adapter some samples")


def _moments(
    model: PeftModel, layers: Layers, stacks: Mapping[str, tuple[Factors, ...]], feed: BatchSource
) -> dict[str, Tensor]:
    sums = {name: Moments(torch.cat([f.A for f in fs])) for name, fs in stacks.items()}
    watch = BatchState()
    with watch.on(layers, sums):
        for batch in feed:
            watch.mask = mask_of(batch)
            forward(model, batch)
    return {k: v for name, moments in sums.items() for k, v in moments.tensors(name).items()}


def _fisher(
    model: PeftModel, layers: Layers, adapter: str, feed: BatchSource, seed: int
) -> dict[str, Tensor]:
    fisher = Fisher(model, layers, adapter)
    for batch in feed:
        fisher.add(batch, seed)
    return fisher.tensors()
