"""The limits of the runtimes that load adapters: one file for each runtime.

A limit fails where the runtime refuses the adapter or computes something else with it without
saying so; where a setting of the runtime makes it work and it refuses with an error without, it is
a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ...errors import MergeError
from ..contents import Contents
from ..findings import Finding, fails
from .llama_cpp import LLAMA_CPP
from .peft import PEFT, version_note
from .sglang import SGLANG
from .shared import Limit, Runtime
from .vllm import VLLM

__all__ = ["RUNTIMES", "Runtime", "judge", "version_note"]

RUNTIMES: Mapping[str, Runtime] = MappingProxyType(
    {runtime.name: runtime for runtime in (PEFT, VLLM, SGLANG, LLAMA_CPP)}
)
"""All runtimes, by name."""


def judge(limit: Limit, contents: Contents) -> Finding:
    """Apply a limit; settings that cannot be read make it fail."""
    try:
        return limit(contents)
    except MergeError as error:
        return fails(error.problem, error.hint)
