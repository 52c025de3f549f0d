"""Networks whose ``forward`` is code of their own: read once, to see whether they are a plain sequence of layers.

``forward`` runs on tensors without values, on a twin of the network whose neurons and other known modules note what
they are given and hand on tensors that know where they come from. The few functions that networks call between
modules are known, too. Whatever else happens is refused: a value that decides, an operation that is not known, a state
that is not the neuron's own.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from snntorch_brp.fused.layers import NotFusible
from snntorch_brp.fused.synapse import known_modules, stateless
from snntorch_brp.neurons import is_spiking


@dataclass(frozen=True)
class Part:
    """A module between neurons, or a function in the form of one, which equals itself wherever it is called alike."""

    name: str
    kind: str = ""  # of a function: the module that does the same, as it is printed


@dataclass(frozen=True)
class Signal:
    """What flows from neurons to neurons.

    Attributes:
        layer: The neuron that fired, or None for the network's input.
        call: Which call of it, or which step of the input; None for the whole input.
        parts: What it has gone through since.
    """

    layer: str | None
    call: int | None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class State:
    """A state of a neuron after one of its calls; after call -1 it is at rest."""

    layer: str
    call: int
    place: int


@dataclass(frozen=True)
class Stacked:
    """What is stacked along a new first dimension."""

    values: tuple[Signal | State | None, ...]


Value = Signal | State | Stacked

_ASKED = {f"torch.Tensor.{name}" for name in ("size", "dim", "__len__")} | {
    f"torch.Tensor.{name}.__get__" for name in ("shape", "ndim", "dtype", "device")
}
_VIEWS = {"torch.flatten", "torch.reshape"} | {f"torch.Tensor.{name}" for name in ("view", "flatten", "reshape")}
_POOLS: dict[Callable[..., Tensor], type[nn.Module]] = {
    F.avg_pool1d: nn.AvgPool1d,
    F.avg_pool2d: nn.AvgPool2d,
}
_MAXIMA: dict[str, type[nn.Module]] = {
    "torch.nn.functional.max_pool1d": nn.MaxPool1d,
    "torch.nn.functional.max_pool2d": nn.MaxPool2d,
}
_RESTS = ("reset_mem", "init_leaky", "init_synaptic", "init_alpha", "init_lapicque")


class Trace(TorchFunctionMode):
    """What one run of ``forward`` did.

    Attributes:
        received: By neuron, what it was given at each call, in the order in which neurons were called first.
        modules: The modules of all parts that are functions in the network's code.
        calls: How often each module between neurons was called.
        keeps_states: Neurons went on from their own states throughout.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.received: dict[str, list[Signal]] = {name: [] for name in names}
        self.modules: dict[Part, nn.Module] = {}
        self.calls: Counter[str] = Counter()
        self.keeps_states = True
        self._values: dict[int, tuple[Tensor, Value]] = {}
        self._explicit: dict[str, bool] = {}
        self._inside = False  # a module or function that is known

    @contextmanager
    def _knowing(self) -> Iterator[None]:
        """Inside, nothing is noted."""
        before, self._inside = self._inside, True
        try:
            yield
        finally:
            self._inside = before

    def mark(self, tensor: Tensor, value: Value) -> Tensor:
        """A tensor of its own that stands for a value."""
        with self._knowing():
            made = torch.empty_like(tensor)
        self._values[id(made)] = made, value
        return made

    def value(self, tensor: object) -> Value | None:
        """What a tensor stands for."""
        return self._values[id(tensor)][1] if id(tensor) in self._values else None

    def signal(self, tensor: object, what: str) -> Signal:
        """The signal that a tensor is."""
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            refuse(f"switches autocast on before {what}")
        value = self.value(tensor)
        return value if isinstance(value, Signal) else refuse(f"gives {what} what does not come straight from neurons")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What the network's own code calls."""
        kwargs = kwargs or {}
        name = resolve_name(func)
        if self._inside or name in _ASKED:
            return func(*args, **kwargs)
        if getattr(func, "__name__", "") == "_set_grad_enabled":
            refuse("switches gradients on or off")
        with self._knowing():
            return self._called(func, name or str(func), args, kwargs)

    def _called(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        if name == "torch.stack" and isinstance(args[0], list | tuple) and (*args[1:], *kwargs.values()) in ((), (0,)):
            values = tuple(self.value(tensor) for tensor in args[0])
            if all(isinstance(value, Signal | State) for value in values):
                return self.mark(torch.stack(list(args[0])), Stacked(values))  # type: ignore[arg-type]
        whole = self.value(args[0]) == Signal(None, None) if args else False
        if whole and name == "torch.Tensor.__getitem__" and type(args[1]) is int:
            return self.mark(func(*args), Signal(None, args[1] % len(args[0])))
        if whole and name == "torch.Tensor.unbind" and (*args[1:], *kwargs.values()) in ((), (0,)):
            return tuple(self.mark(step, Signal(None, t)) for t, step in enumerate(func(*args)))
        if name in _VIEWS:
            signal, out = self.signal(args[0], name), func(*args, **kwargs)
            if out.shape == args[0].shape:
                return args[0]
            if out.shape == args[0].flatten(1).shape:  # the same numbers in the same order
                return self._through(out, signal, nn.Flatten())
        if func in _POOLS or (name in _MAXIMA and len(args) < 6 and not kwargs.get("return_indices")):
            kind = _MAXIMA[name] if name in _MAXIMA else _POOLS[func]
            return self._through(func(*args, **kwargs), self.signal(args[0], name), kind(*args[1:], **kwargs))
        return refuse(f"calls {name}, which is not known between its layers")

    def _through(self, out: Tensor, signal: Signal, module: nn.Module) -> Tensor:
        part = Part(type(module).__name__.lower(), repr(module))
        self.modules.setdefault(part, module)
        return self.mark(out, Signal(signal.layer, signal.call, (*signal.parts, part)))

    def between(
        self, name: str, module: nn.Module, forward: Callable[[Tensor], Tensor], training: bool, x: Tensor
    ) -> Tensor:
        """A module between neurons is called."""
        if module.training != training:
            refuse(f"switches '{name}' between training and evaluation")
        signal = self.signal(x, f"'{name}'")
        self.calls[name] += 1
        with self._knowing(), torch.no_grad():
            out = x if stateless(module).keeps_shape else forward(x)
        return self.mark(out, Signal(signal.layer, signal.call, (*signal.parts, Part(name))))

    def neuron(self, name: str, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """A neuron is called."""
        given = list(inspect.signature(type(module).forward).bind(module, *args, **kwargs).arguments.values())[1:]
        x, states = given[0], [state for state in given[1:] if state is not None]
        signal, call, count = self.signal(x, f"'{name}'"), len(self.received[name]), len(states_of(module))
        explicit = bool(states)
        own = [State(name, call - 1, place) for place in range(count)]
        if explicit and (module.init_hidden or [self.value(state) for state in states] != own):
            refuse(f"gives '{name}' a state that is not the one that it returned last")
        if self._explicit.setdefault(name, explicit) != explicit:
            refuse(f"gives '{name}' its state at some steps, and not at others")
        self.keeps_states = self.keeps_states and not explicit
        self.received[name].append(signal)
        spikes = self.mark(x, Signal(name, call))
        shown = [self.mark(x, State(name, call, place)) for place in range(count)]
        return spikes if module.init_hidden and not module.output else (spikes, *shown)

    def rest(self, name: str, module: nn.Module) -> Any:
        """A neuron is put to rest."""
        if self.received[name]:
            refuse(f"puts '{name}' to rest between steps")
        self.keeps_states = False
        with self._knowing():
            empty = torch.zeros(0, device="meta")
        states = [self.mark(empty, State(name, -1, place)) for place in range(len(states_of(module)))]
        return states[0] if len(states) == 1 else tuple(states)


def refuse(what: str) -> NoReturn:
    """Leave the network to attach; ``what`` its forward does."""
    raise NotFusible(f"its forward {what}")


def record(net: nn.Module, x: Tensor) -> tuple[Any, Trace]:
    """Run ``forward`` once on a twin of the network, without values; gives what it returned, and the trace.

    Args:
        net: The network, which is left as it is.
        x: Its input, of which shape and dtype matter.

    Raises:
        NotFusible: If it does what cannot be followed, or fails on tensors without values.
    """
    twins: dict[nn.Module, nn.Module] = {}
    twin = _twin(net, twins)
    trace = Trace([name for name, module in net.named_modules() if is_spiking(module)])
    for name, module in net.named_modules():
        made = twins[module]
        if is_spiking(module):
            vars(made)["forward"] = partial(trace.neuron, name, made)
            vars(made).update({rest: partial(trace.rest, name, made) for rest in _RESTS if hasattr(made, rest)})
        elif type(module) in known_modules():
            vars(made)["forward"] = partial(trace.between, name, made, made.forward, module.training)
    before = [_attributes(module) for module in twins.values()]
    entering = trace.mark(torch.empty(x.shape, dtype=x.dtype, device="meta"), Signal(None, None))
    try:
        with torch.enable_grad(), _without_autocast(), trace:
            returned = twin(entering)
    except NotFusible:
        raise
    except Exception as error:  # whatever somebody's own forward may throw on tensors without values
        raise NotFusible(f"its forward cannot be followed without values: {error}") from error
    if before != [_attributes(module) for module in twins.values()]:
        refuse("keeps something on its modules from run to run")
    return returned, trace


def _twin(module: nn.Module, twins: dict[nn.Module, nn.Module]) -> nn.Module:
    """The module and all that it holds once more, tensors without values; lists and the like are its own."""
    if module in twins:
        return twins[module]
    twin: nn.Module = object.__new__(type(module))
    twins[module] = twin
    for key, value in vars(module).items():
        if inspect.ismethod(value) and value.__self__ is module:
            value = MethodType(value.__func__, twin)
        vars(twin)[key] = value.copy() if isinstance(value, list | dict | set) else value
    twin._parameters = {key: None if p is None else nn.Parameter(_meta(p)) for key, p in module._parameters.items()}
    twin._buffers = {key: None if b is None else _meta(b) for key, b in module._buffers.items()}
    twin._modules = {key: None if m is None else _twin(m, twins) for key, m in module._modules.items()}
    return twin


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor.detach(), device="meta", requires_grad=False)


def states_of(module: nn.Module) -> list[str]:
    """The names of a neuron's states, the membrane last."""
    return [key for key in module._buffers if key in module._non_persistent_buffers_set]


def _attributes(module: nn.Module) -> list[tuple[str, int, int]]:
    """What a module holds, to be compared: which objects, and how much is in them."""
    held = {**vars(module), **module._buffers, **module._parameters}
    sized = (list, dict, set)
    return [(key, id(value), len(value) if isinstance(value, sized) else 0) for key, value in held.items()]


def _without_autocast() -> Any:
    return torch.autocast("cuda" if torch.is_autocast_enabled("cuda") else "cpu", enabled=False)


def outer_values(net: nn.Module) -> Iterator[object]:
    """What the network's own code takes from elsewhere than its tensors, to be compared by identity.

    That is what its modules hold, and the global and enclosed values that their methods name.

    Raises:
        NotFusible: If it draws random numbers in Python.
    """
    seen: set[FunctionType] = set()
    for module in net.modules():
        if not is_spiking(module) and type(module) not in known_modules() and type(module) is not nn.Sequential:
            for key, value in vars(module).items():
                if not key.startswith("_"):
                    yield from _contents(value, 2)
            yield from _outer(type(module).forward, type(module), seen)


def _outer(function: Any, owner: type, seen: set[FunctionType]) -> Iterator[object]:
    """What a function names, and the functions that it names."""
    if not isinstance(function, FunctionType) or function in seen:
        return
    seen.add(function)
    names = function.__code__.co_names
    if "random" in names:
        refuse("draws random numbers")
    found = [function.__globals__[name] for name in names if name in function.__globals__]
    found += [cell.cell_contents for cell in function.__closure__ or ()]
    for value in [*found, *(getattr(owner, name, None) for name in names)]:
        value = getattr(value, "__func__", value)  # of a class method
        if isinstance(value, FunctionType):
            if not value.__module__.startswith("torch"):
                yield from _outer(value, owner, seen)
        elif not isinstance(value, ModuleType | type):
            yield from _contents(value, 2)


def _contents(value: object, depth: int) -> Iterator[object]:
    """A value and what is in it, down to some depth."""
    yield value
    if not depth or isinstance(value, Tensor | nn.Module | ModuleType | type) or callable(value):
        return
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list | tuple | set) else ()
    for part in (*inner, *getattr(value, "__dict__", {}).values()):
        yield from _contents(part, depth - 1)
