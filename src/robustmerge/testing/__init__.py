"""The contract of merge methods, for every method here and for your own.

    from robustmerge.testing import check_method
    check_method("my-method")                      # registered by @robustmerge.methods.method
    check_method("my-method", {"density": 0.3})    # under other settings

Each check is a function of a case; those that test a claim (`gauge_invariant`, ...) test it in both
directions: a method that claims less than it does is reported too. All of it runs in about a second
on one core, with fixed seeds, and needs nothing but torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..methods import Method
from .cases import MethodCase, random_stack, statistics
from .checks import CHECKS

__all__ = ["CHECKS", "MethodCase", "check_method", "random_stack", "statistics"]


def check_method(method: Method | str, settings: Mapping[str, Any] | None = None) -> None:
    """Run the whole contract.

    Args:
        method: A registered method, or its name.
        settings: Parameters that differ from the defaults.

    Raises:
        AssertionError: a broken contract; the message lists every check that failed, and how.
    """
    case = MethodCase.of(method, settings)
    problems = []
    for check in CHECKS:
        try:
            check(case)
        except Exception as error:  # a crash is a broken contract like any other
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            problems.append(f"{check.__name__}: {kind}{error}")
    if problems:
        text = ", ".join(f"{k}={v}" for k, v in (settings or {}).items())
        head = f"{case.method.name} ({text})" if text else case.method.name
        raise AssertionError("\n".join([f"{head} breaks the contract:", *problems]))
