"""What modules get and give during a pass, and passes that end once enough is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

from torch import Tensor, nn

from .stacks import BlockCall, BlockStack

Hooks = TypeVar("Hooks", bound="AfterForward")


class AfterForward:
    """Calls a function after every forward pass of some modules while a block of code runs."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._modules = modules
        self._handles: list[Any] = []

    def __enter__(self: Hooks) -> Hooks:
        for name, module in self._modules.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Any:
        """Return what is called with the module, its inputs and its output."""
        raise NotImplementedError


class Outputs(AfterForward):
    """Keeps the first output of modules while a block of code runs.

    Attributes:
        values: The outputs by name, of the modules that ran.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__(modules)
        self.values: dict[str, Tensor] = {}

    def _hook(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self.values.setdefault(name, output)
            self.kept(name)

        return keep

    def kept(self, name: str) -> None:
        """Take note of an output."""


class Tap(Outputs):
    """A pass through a block that ends once the inputs and outputs wanted are there.

    Attributes:
        values: Outputs by name.
        inputs: First inputs by name.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        inputs: Collection[str] = (),
        outputs: Collection[str] = (),
        *,
        whole: bool = False,
    ) -> None:
        """Keep what modules get and give.

        Args:
            modules: The block's modules by name.
            inputs: The modules whose inputs are wanted.
            outputs: Those whose outputs are.
            whole: Run the block to its end all the same.
        """
        super().__init__({name: modules[name] for name in outputs})
        self.inputs: dict[str, Tensor] = {}
        self._entries = {name: modules[name] for name in inputs}
        self._whole = whole
        self._wanted = {("input", name) for name in inputs} | {("output", name) for name in outputs}

    def __enter__(self) -> Tap:
        super().__enter__()
        for name, module in self._entries.items():
            self._handles.append(
                module.register_forward_pre_hook(self._entry(name), with_kwargs=True)
            )
        return self

    def run(self, blocks: BlockStack, index: int, hidden: Tensor, call: BlockCall) -> Tensor:
        """Run a block as far as needed; return its output, or its input where it did not end."""
        result = hidden
        with self, suppress(_CompleteError):
            result = blocks.run(index, hidden, call)
        return result

    def kept(self, name: str) -> None:
        """Mark the output as known."""
        self._mark(("output", name))

    def _entry(self, name: str) -> Any:
        def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            value = args[0] if args else next(iter(kwargs.values()), None)
            if isinstance(value, Tensor):
                self.inputs.setdefault(name, value)
            self._mark(("input", name))

        return keep

    def _mark(self, event: tuple[str, str]) -> None:
        self._wanted.discard(event)
        if not self._wanted and not self._whole:
            raise _CompleteError


class _CompleteError(Exception):
    """Ends a pass that has shown everything."""
