r"""LoRA on parameters, as PEFT's `target_parameters` saves it: fused experts, and routers.

E experts have one 3-D parameter, which PEFT wraps once. Factors of all experts are in one matrix:

    A [E·r, d_in]   experts are slowest:  A_e = A[e·r : (e+1)·r]
    B [d_out, r·E]  experts are fastest:  B_e = B[:, e::E]

Every expert is a module of its own here, such as experts.0.gate_up_proj. A parameter that is a
matrix, such as a router's, is an ordinary module.

Two parameters of one module are two wrappers, the inner one under `base_layer`. Their names do not
say which is which, their shapes do: gate_up_proj [2·I H] has as many inputs as down_proj [H I] has
outputs, and twice as many outputs as that has inputs. Where the factors are those of transposed
weights, outputs and inputs change places in both, and at most one of the four readings fits.

Source: ParamWrapper in PEFT 0.21 (tuners/lora/layer.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import MergeError
from .config import AdapterConfig
from .tensor_ref import TensorRef

GATE_UP, DOWN = "gate_up_proj", "down_proj"
_INNER = ".base_layer"
Pair = tuple[TensorRef, TensorRef]


@dataclass(frozen=True)
class WrappedParameter:
    """A parameter that PEFT wraps, or one expert's part of it.

    Attributes:
        module: Name of the module that has it, such as model.layers.0.mlp.experts.
        parameter: Its name there.
        depth: How many wrappers are around its own.
        experts: How many experts share it, 1 where it is a matrix.
        expert: The number of this one.
        rank: The rank of every expert's update in the file.
    """

    module: str
    parameter: str
    depth: int
    experts: int
    rank: int
    expert: int = 0

    @property
    def name(self) -> str:
        """The name of the module that a merge sees."""
        if self.experts > 1:
            return f"{self.module}.{self.expert}.{self.parameter}"
        return self.module if self.parameter == "weight" else f"{self.module}.{self.parameter}"

    @property
    def wrapper(self) -> str:
        """The name of the wrapper, whose factors are in the file."""
        return self.module + _INNER * self.depth

    @property
    def target(self) -> str:
        """The entry of `target_parameters` that selects it in every block."""
        return f"{'.'.join(self.module.split('.')[-2:])}.{self.parameter}"

    def nested(self, together: Collection[str]) -> WrappedParameter:
        """Return the same parameter, its wrapper nested as PEFT nests those of one module.

        PEFT wraps in the order in which a module defines its parameters, gate_up_proj first.

        Args:
            together: All parameters of the module that are wrapped.
        """
        return replace(self, depth=int(self.parameter == GATE_UP and DOWN in together))

    def renamed(self, name: str) -> WrappedParameter:
        """Return the same parameter where the module that a merge sees has another name."""
        return replace(self, module=name.removesuffix(self.name.removeprefix(self.module)))

    def each(self) -> list[WrappedParameter]:
        """Return the parts of all experts."""
        return [replace(self, expert=e) for e in range(self.experts)]


def find_wrapped(config: AdapterConfig, pairs: Mapping[str, Pair]) -> dict[str, WrappedParameter]:
    """Return the parameter of every wrapper, by the wrapper's name in the file.

    Args:
        config: The adapter's settings.
        pairs: A and B of all modules, by their names in the file.

    Raises:
        MergeError: shapes that do not say which parameter is which, or do not go with the rank.
    """
    targets = config.names("target_parameters")
    modules: dict[str, dict[int, Pair]] = defaultdict(dict)
    for name, pair in pairs.items() if targets else ():
        module = name
        while module.endswith(_INNER):
            module = module.removesuffix(_INNER)
        modules[module][(len(name) - len(module)) // len(_INNER)] = pair
    wrapped = {}
    for module, wrappers in modules.items():
        if parameters := _parameters(module, wrappers, targets, config):
            for name, depth in _assign(module, wrappers, parameters, config).items():
                parameter = _checked(module, name, depth, wrappers[depth], config)
                wrapped[parameter.wrapper] = parameter
    return wrapped


def orientation(gate_up: tuple[int, int], down: tuple[int, int]) -> str:
    """Return how the factors of one expert's two parameters lie, from (outputs, inputs) of B A.

    Returns:
        "straight" for those of weights [d_out d_in], "transposed" for [d_in d_out], or "".
    """
    if gate_up[1] == down[0] and gate_up[0] == 2 * down[1]:
        return "straight"
    return "transposed" if gate_up[0] == down[1] and gate_up[1] == 2 * down[0] else ""


def _parameters(
    module: str, wrappers: Mapping[int, Pair], targets: Sequence[str], config: AdapterConfig
) -> list[str]:
    """Return the parameters of a module that the settings name; none for an ordinary layer."""
    split = [target.rpartition(".") for target in targets]
    own = [p for owner, _, p in split if owner and f".{module}".endswith(f".{owner}")]
    if own or (len(wrappers) == 1 and _rows(wrappers) == config.rank_of(module)):
        return list(dict.fromkeys(own))
    # A name alone selects every parameter of that name: PEFT writes it for older adapters.
    return [p for owner, _, p in split if not owner]


def _rows(wrappers: Mapping[int, Pair]) -> int:
    return next(iter(wrappers.values()))[0].spec.shape[0]


def _assign(
    module: str, wrappers: Mapping[int, Pair], parameters: Sequence[str], config: AdapterConfig
) -> dict[str, int]:
    """Return the depth of every parameter's wrapper: by the settings if one, by shapes if two."""
    if len(wrappers) == 1 and len(parameters) == 1:
        return {parameters[0]: next(iter(wrappers))}
    if len(wrappers) == 2 and set(parameters) == {GATE_UP, DOWN}:
        for gate, down in ((0, 1), (1, 0)):
            if orientation(_shape(wrappers[gate]), _shape(wrappers[down])):
                return {GATE_UP: gate, DOWN: down}
    shapes = ", ".join(
        f"{list(a.spec.shape)} and {list(b.spec.shape)}" for a, b in wrappers.values()
    )
    raise MergeError(
        f"the shapes of {module} do not say which factors are whose: {shapes}",
        where=f"{_file(wrappers)}\n{config.path}: {', '.join(parameters)}",
        hint=f"what is read are {GATE_UP} and {DOWN} of experts, or one parameter of a module; "
        "target_parameters in a copy of adapter_config.json must name those that the file has",
    )


def _shape(pair: Pair) -> tuple[int, int]:
    """Return outputs and inputs of a wrapper's updates."""
    return pair[1].spec.shape[0], pair[0].spec.shape[1]


def _file(wrappers: Mapping[int, Pair]) -> str:
    return str(next(iter(wrappers.values()))[0].file.path)


def _checked(
    module: str, parameter: str, depth: int, pair: Pair, config: AdapterConfig
) -> WrappedParameter:
    rank = config.rank_of(f"{module}.{parameter}")
    a, b = pair[0].spec.shape, pair[1].spec.shape
    if len(a) != 2 or len(b) != 2 or a[0] != b[1] or a[0] % rank:
        raise MergeError(
            f"A is {list(a)}, B is {list(b)} and the rank {rank}: A's rows and B's columns must "
            "be experts times rank",
            where=f"{pair[0]}\n{pair[1]}\n{config.path}",
            hint="the settings belong to another adapter; find the right file",
        )
    return WrappedParameter(module, parameter, depth, a[0] // rank, rank)
