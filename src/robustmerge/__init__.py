"""Merge LoRA adapters of one model into one adapter.

    merge(adapters, output)   adapter folders in, one adapter folder and a MergeReport out
    relay(adapters, output, base, samples)   merge with a few prompts of every task
    resize(adapter, output)   one adapter at a smaller rank
    extract(tuned, output)    an adapter out of a full fine-tune
    tune(adapters, output)    the settings of a merge by a measure of your own
    convert(adapter, output)  another kind of PEFT adapter as plain LoRA
    load(source)              look into an adapter
    methods                   the merge methods, and how to register one
    MergeError                what goes wrong, where, and what to do

`robustmerge.peft` merges on a live PeftModel. Nothing is imported before it is used, so that
`import robustmerge` costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from . import methods
    from .api import diagnose, load, merge, relay, resize, tune
    from .engine.report import MergeReport
    from .errors import MergeError
    from .single import convert, extract

__all__ = [
    "MergeError",
    "MergeReport",
    "__version__",
    "convert",
    "diagnose",
    "extract",
    "load",
    "merge",
    "methods",
    "relay",
    "resize",
    "tune",
]

_HOMES = {
    "MergeError": "errors",
    "MergeReport": "engine.report",
    "convert": "single",
    "diagnose": "api",
    "extract": "single",
    "load": "api",
    "merge": "api",
    "methods": "methods",
    "relay": "api",
    "resize": "api",
    "tune": "api",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f".{_HOMES[name]}", __name__)
    return home if name == _HOMES[name] else getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
