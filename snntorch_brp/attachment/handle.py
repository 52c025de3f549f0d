"""What both ways of attaching share: the layers, the hooks, and taking them off again."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snntorch_brp.attachment.record import LayerRecord
from snntorch_brp.consolidation import Consolidation
from snntorch_brp.feedback import Feedback
from snntorch_brp.layer_view import LayerView
from snntorch_brp.neurons import fault, reset_state, spiking_layers, unwrapped
from snntorch_brp.propagation import Propagation

H = TypeVar("H", bound="Handle")

Synapse = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
"""Modules with weights between neurons, whose inputs a rule can see."""

OutputNames = str | nn.Module | Sequence[str | nn.Module] | None
"""The output: a module of the network, its name, or several of either; None where it is to be found out."""


class Handle(ABC):
    """A network under a local rule, with all the state that this takes.

    Attributes:
        feedback: The fixed matrices B_l; save its ``state_dict`` to come back to the same ones.
        output: Names of the output modules, as they were named; None where they are found out.
    """

    def __init__(
        self,
        net: nn.Module,
        propagation: Propagation,
        *,
        consolidation: Consolidation,
        output: OutputNames,
        reduction: Literal["mean", "sum"],
        feedback: Feedback,
    ) -> None:
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        self.net = unwrapped(net)
        self.propagation = propagation
        self.consolidation = consolidation
        self.reduction = reduction
        self.feedback = feedback
        self.keeps = propagation.keeps | consolidation.keeps
        self._layers = [
            LayerRecord(name, module, LayerView(name, module, feedback=feedback, net=self.net))
            for name, module in _layers_of(net).items()
        ]
        named = _named_modules(self.net, output)
        self.output = tuple(named) or None
        spiking = {
            name: [layer for layer in self._layers if layer.module in set(m.modules())] for name, m in named.items()
        }
        self._outputs = [layer for layers in spiking.values() for layer in layers]
        self._readouts = {name: module for name, module in named.items() if not spiking[name]}
        self._hooks: list[RemovableHandle] = []

    def register(self: H) -> H:
        """Put the hooks on the network, as entering the ``with`` block does.

        Raises:
            RuntimeError: If a spiking layer of the network is attached already.
        """
        for layer in self._layers:
            if any(isinstance(hook, _ForwardHook) for hook in layer.module._forward_hooks.values()):
                raise RuntimeError(
                    f"layer '{layer.name}' is attached already: leave the other `with attach(...)` block first, or "
                    "call .remove() on its handle"
                )
        for layer in self._layers:
            self._hooks.append(layer.module.register_forward_pre_hook(_PreHook(self._before, layer), with_kwargs=True))
            self._hooks.append(layer.module.register_forward_hook(_ForwardHook(self._after, layer), with_kwargs=True))
            recurrent = getattr(layer.module, "recurrent", None)
            if self.consolidation.without_recurrence and isinstance(recurrent, nn.Module):
                self._hooks.append(recurrent.register_forward_pre_hook(_cut_inputs))
        return self

    def remove(self) -> None:
        """Take every hook off and free the running sequence; the feedback matrices stay in this handle."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self.clear()

    def __enter__(self: H) -> H:
        return self.register()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def clear(self) -> None:
        """Forget the running sequence."""
        for layer in self._layers:
            layer.clear()

    def reset(self) -> None:
        """Start a new sequence: forget the running one and put this network's neurons to rest."""
        self.clear()
        reset_state(self.net)

    @property
    def _listening(self) -> bool:
        return self.propagation.local and self.net.training and torch.is_grad_enabled()

    @abstractmethod
    def _before(self, layer: LayerRecord, given: Sequence[Any]) -> Sequence[Any]:
        """Before a layer is called with the ``given`` states; returns those to go on from."""

    @abstractmethod
    def _after(self, layer: LayerRecord, current: Tensor, output: Any) -> Any:
        """After a layer was called; returns what the next layer gets in place of ``output``, None for the same."""


def _layers_of(net: nn.Module) -> dict[str, nn.Module]:
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a network, an nn.Module, got {net!r}")
    layers = spiking_layers(net)
    if not layers:
        raise ValueError(
            f"{type(net).__name__} has no spiking layer, and a local rule trains hidden ones: put a neuron, such as "
            "RefractoryLeaky(), behind each layer"
        )
    for name, module in layers.items():
        if reason := fault(module):
            raise ValueError(f"layer '{name}' cannot be trained: {reason}")
    return layers


def _named_modules(net: nn.Module, output: OutputNames) -> dict[str, nn.Module]:
    """The modules that ``output`` names, by name."""
    several = isinstance(output, Sequence) and not isinstance(output, str | nn.Module)
    wanted = [] if output is None else list(output) if several else [output]  # type: ignore[arg-type]
    modules = {name.replace("_orig_mod.", ""): module for name, module in net.named_modules()}
    names = {module: name for name, module in modules.items()}
    found = {}
    for one in wanted:
        if not isinstance(one, str | nn.Module):
            raise TypeError(f"output must be a module of the network or its name, or several, got {one!r}")
        name = names.get(unwrapped(one)) if isinstance(one, nn.Module) else one if one in modules else None
        if not name:
            got = f"output='{one}'" if isinstance(one, str) else f"the output {type(one).__name__}"
            raise ValueError(f"{got} is not a module of the network; there are: {', '.join(filter(None, modules))}")
        found[name] = modules[name]
    return found


def _cut_inputs(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a layer hears of itself, without its graph: for rules that leave the recurrence out."""
    return tuple(arg.detach() if isinstance(arg, Tensor) else arg for arg in args)


class Attaching:
    """A hook that belongs to a handle: what copying or saving an attached network makes of it belongs to none."""

    def __reduce__(self) -> tuple[type[_Resting], tuple[()]]:
        return _Resting, ()


class _Hook(Attaching):
    """A hook that calls one method of the handle, out of torch.compile's sight: its records change with every call.

    Where nothing has been compiled, torch's compiler, slow to import, is left alone.
    """

    def __init__(self, call: Callable[..., Any], layer: LayerRecord) -> None:
        self.call, self.layer, self.hidden = call, layer, False
        self.hide()

    def hide(self) -> None:
        """Keep torch.compile from tracing into the handle, once it is there."""
        if not self.hidden and "torch._dynamo" in sys.modules:
            reason = "attach keeps what every layer does outside the compiled graph: compile without fullgraph=True"
            self.call, self.hidden = torch.compiler.disable(self.call, reason=reason), True


class _PreHook(_Hook):
    """Tells the handle which states a layer is about to continue from."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.hide()
        positional, named = args[1:], {name: value for name, value in kwargs.items() if name != "input_"}
        states = self.call(self.layer, [*positional, *named.values()])
        kwargs = {**kwargs, **dict(zip(named, states[len(positional) :], strict=True))}
        return (*args[:1], *states[: len(positional)]), kwargs


class _ForwardHook(_Hook):
    """Hands what a layer did to the handle, and to the next layer what the handle gives in its place."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        self.hide()
        return self.call(self.layer, args[0] if args else kwargs["input_"], output)


class _Resting:
    """What copying or saving an attached network makes of its hooks: the copy belongs to no handle."""

    def __call__(self, *args: Any) -> None:
        """Do nothing."""
