"""Statistics of the adapters of a live model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import length_hint
from types import MappingProxyType
from typing import Literal, get_args

import torch
from peft import PeftModel
from torch import Tensor

from ..errors import MergeError, unknown
from ..factors import Factors
from ..statistic_kinds import KINDS, KindName
from ..threads import Progress, silent
from .activations import BatchState, InputSums, Moments
from .gradients import Fisher
from .layerwise import blocks, moments_through_merged
from .model import (
    Batch,
    BatchSource,
    Layers,
    adapted_layers,
    borrow_model,
    factors_of,
    forward,
    mask_of,
)
from .sketch import InputSketch

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
        counts = [n for n in self.tensors if n.rpartition(".")[2] in ("count", "tokens")]
        unseen = (n.rpartition(".")[0] for n in counts if not self.tensors[n].any())
        return tuple(dict.fromkeys(unseen))


def collect(
    model: PeftModel,
    batches: Mapping[str, Iterable[Batch]],
    *,
    what: Sequence[KindName] | None = None,
    through: Through = "own",
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[AdapterStatistics, ...]:
    """Gather the statistics of tasks that methods such as RegMean and Fisher need.

    Each adapter is active while its own batches run. The model is left as it was. `save` in
    `robustmerge.collect.write` makes a folder of the result, for `merge(..., data=folder)`.

    Args:
        model: A PeftModel with LoRA adapters.
        batches: For each adapter, by its name in the model: inputs that the model is called with
            (`model(**batch)`), several times over, so a list rather than a generator.
            Padding is given by `attention_mask`. For fisher every batch is one sample, whose
            `labels`, if there are any, are the answer.
        what: Any of inputs (RegMean), gram (RegMean within the rows of the A's, RegMean++) and
            fisher; unless given, inputs, or gram through merged layers.
        through: The inputs of a layer come through the adapter's own layers below it, or through
            merged ones (RegMean++).
        seed: For the tokens that fisher draws where a batch has no labels.
        progress: Called with the batches run and the batches to run.

    Raises:
        MergeError: something that the user can fix; the model is as it was.
    """
    return tuple(gather(model, batches, what=what, through=through, seed=seed, progress=progress))


def gather(
    model: PeftModel,
    batches: Mapping[str, Iterable[Batch]],
    *,
    what: Sequence[KindName] | None,
    through: Through,
    seed: int,
    progress: Progress,
) -> Iterator[AdapterStatistics]:
    """Yield what `collect` returns, one adapter after another, so that memory holds one."""
    what = _usual(through) if what is None else what
    _check(batches, what, through)
    layers = adapted_layers(model, tuple(batches))
    gathering = Gathering(model, layers, factors_of(layers, tuple(batches)), seed)
    gatherers = [GATHERERS[kind] for kind in KINDS if kind in what]
    merging = [g for g in gatherers if g.through_merged and through == "merged"]
    passes = len(gatherers) - len(merging) + len(merging) * len(blocks(layers))
    steps = _Steps(progress, passes * sum(map(length_hint, batches.values())))
    feeds = {adapter: BatchSource(model, own, steps.step) for adapter, own in batches.items()}
    with borrow_model(model):
        merged = [g.through_merged(gathering, feeds) for g in merging if g.through_merged]
        for n, (adapter, feed) in enumerate(feeds.items()):
            model.set_adapter(adapter)
            tensors = {name: value for each in merged for name, value in each[n].items()}
            for gatherer in gatherers:
                if gatherer not in merging:
                    tensors |= gatherer.own(gathering, adapter, feed)
            ranks = {m: f[n].rank for m, f in gathering.stacks.items() if f[n].rank}
            yield AdapterStatistics(adapter, ranks, feed.samples, feed.tokens, tensors)


@dataclass(frozen=True)
class Gathering:
    """What all kinds of statistics are gathered from.

    Attributes:
        model: The model.
        layers: Its adapted layers, by canonical name.
        stacks: The updates of all adapters in each.
        seed: For tokens that are drawn.
    """

    model: PeftModel
    layers: Layers
    stacks: Mapping[str, tuple[Factors, ...]]
    seed: int


@dataclass(frozen=True)
class Gatherer:
    """How one kind of statistics is gathered.

    Attributes:
        own: Gathers one adapter's, through its own layers, while it is active.
        through_merged: Gathers all adapters', through merged layers, if that makes a difference.
    """

    own: Callable[[Gathering, str, BatchSource], dict[str, Tensor]]
    through_merged: (
        Callable[[Gathering, Mapping[str, BatchSource]], list[dict[str, Tensor]]] | None
    ) = None


class _Steps:
    """Counts batches."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def step(self) -> None:
        self._done += 1
        self._progress(self._done, max(self._total, self._done))


def _usual(through: str) -> Sequence[KindName]:
    """Return what RegMean needs, or RegMean++ through merged layers."""
    return ("gram",) if through == "merged" else ("inputs",)


def _check(batches: Mapping[str, Iterable[Batch]], what: Sequence[str], through: str) -> None:
    for kind in what:
        if kind not in KINDS:
            raise unknown("kind of statistics", kind, KINDS)
    if through not in get_args(Through):
        raise unknown("value of through", through, get_args(Through))
    merged = [kind for kind, gatherer in GATHERERS.items() if gatherer.through_merged]
    if through == "merged" and not set(merged) & set(what):
        raise MergeError(
            f"only {' and '.join(merged)} is gathered through merged layers",
            where=f"what: {', '.join(what)}",
            hint=f"leave out through, or gather {merged[0]} too",
        )
    if not batches or not what:
        raise MergeError("nothing to collect", hint="give adapters, batches, and what to collect")
    for adapter, own in batches.items():
        if iter(own) is iter(own):
            raise MergeError(
                f"the batches of {adapter!r} can be read only once",
                hint="give a list, or an object whose __iter__ starts again",
            )
        if next(iter(own), None) is None:
            raise MergeError(f"no batches for {adapter!r}", hint="give each adapter some samples")


def _moments(gathering: Gathering, adapter: str, feed: BatchSource) -> dict[str, Tensor]:
    # [R, d_in]: all adapters' A, one below another
    sums = {name: Moments(torch.cat([f.A for f in fs])) for name, fs in gathering.stacks.items()}
    _count(gathering, sums, feed)
    return {k: v for name, moments in sums.items() for k, v in moments.tensors(name).items()}


def _sketches(gathering: Gathering, adapter: str, feed: BatchSource) -> dict[str, Tensor]:
    sums = {
        name: InputSketch(fs[0].shape[1], fs[0].A.device, gathering.seed)
        for name, fs in gathering.stacks.items()
    }
    _count(gathering, sums, feed)
    return {k: v for name, each in sums.items() for k, v in each.tensors(name).items()}


def _merged_moments(
    gathering: Gathering, feeds: Mapping[str, BatchSource]
) -> list[dict[str, Tensor]]:
    return moments_through_merged(gathering.model, gathering.layers, gathering.stacks, feeds)


def _count(gathering: Gathering, sums: Mapping[str, InputSums], feed: BatchSource) -> None:
    """Run an adapter's batches and count the inputs of its layers."""
    watch = BatchState()
    with watch.on(gathering.layers, sums):
        for batch in feed:
            watch.mask = mask_of(batch)
            forward(gathering.model, batch)


def _fisher(gathering: Gathering, adapter: str, feed: BatchSource) -> dict[str, Tensor]:
    fisher = Fisher(gathering.model, gathering.layers, adapter)
    for batch in feed:
        fisher.add(batch, gathering.seed)
    return fisher.tensors()


GATHERERS: Mapping[KindName, Gatherer] = MappingProxyType(
    {
        "gram": Gatherer(_moments, _merged_moments),
        "inputs": Gatherer(_sketches),
        "fisher": Gatherer(_fisher),
    }
)
"""How each kind of statistics is gathered."""
