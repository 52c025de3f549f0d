"""What both ways of attaching share: the hooks, and taking them off again."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snntorch_brp.attach.recording import Recording
from snntorch_brp.consolidation import Consolidation
from snntorch_brp.feedback import Feedback
from snntorch_brp.neurons import fault, reset_state, spiking_layers, unwrapped
from snntorch_brp.propagation import Propagation

H = TypeVar("H", bound="Handle")


class Handle(ABC):
    """A network under a local rule, with all the state that this takes.

    Attributes:
        feedback: The fixed matrices B_l; save its ``state_dict`` to come back to the same ones.
    """

    def __init__(
        self,
        net: nn.Module,
        propagation: Propagation,
        *,
        consolidation: Consolidation,
        output: str | Sequence[str] | None,
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
        self._layers = [Recording(name, module) for name, module in _layers_of(net).items()]
        self._named = output is not None
        self._outputs = _pick(self._layers, output)
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
            self._hooks.append(layer.module.register_forward_pre_hook(_PreHook(self, layer), with_kwargs=True))
            self._hooks.append(layer.module.register_forward_hook(_ForwardHook(self, layer), with_kwargs=True))
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
    def _before(self, layer: Recording, given: Sequence[Any]) -> Sequence[Any]:
        """Before a layer is called with the ``given`` states; returns those to go on from."""

    @abstractmethod
    def _after(self, layer: Recording, current: Tensor, output: Any) -> Any:
        """After a layer was called; returns what the next layer gets in place of ``output``, None for the same."""


def _layers_of(net: nn.Module) -> dict[str, nn.Module]:
    layers = spiking_layers(net)
    if len(layers) < 2:
        raise ValueError(
            f"{type(net).__name__} has {len(layers)} spiking layers, and a local rule needs at least two: a hidden one "
            "that it trains and an output. Put a neuron, such as RefractoryLeaky(), behind each layer"
        )
    for name, module in layers.items():
        if reason := fault(module):
            raise ValueError(f"layer '{name}' cannot be trained: {reason}")
    return layers


def _pick(layers: Sequence[Recording], output: str | Sequence[str] | None) -> list[Recording]:
    names = [] if output is None else [output] if isinstance(output, str) else list(output)
    by_name = {layer.name: layer for layer in layers}
    for name in names:
        if name not in by_name:
            raise ValueError(f"output='{name}' is not a spiking layer of the network; there are: {', '.join(by_name)}")
    return [by_name[name] for name in names]


class _PreHook:
    """Tells the handle which states a layer is about to continue from."""

    def __init__(self, handle: Handle, layer: Recording) -> None:
        self.layer, self.before = layer, _untraced(handle._before)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        positional, named = args[1:], {name: value for name, value in kwargs.items() if name != "input_"}
        states = self.before(self.layer, [*positional, *named.values()])
        kwargs = {**kwargs, **dict(zip(named, states[len(positional) :], strict=True))}
        return (*args[:1], *states[: len(positional)]), kwargs

    def __reduce__(self) -> tuple[type[_Resting], tuple[()]]:
        return _Resting, ()


class _ForwardHook:
    """Hands what a layer did to the handle, and the layer's spikes on to the next layer."""

    def __init__(self, handle: Handle, layer: Recording) -> None:
        self.layer, self.after = layer, _untraced(handle._after)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        return self.after(self.layer, args[0] if args else kwargs["input_"], output)

    def __reduce__(self) -> tuple[type[_Resting], tuple[()]]:
        return _Resting, ()


class _Resting:
    """What copying or saving an attached network makes of its hooks: the copy belongs to no handle."""

    def __call__(self, *args: Any) -> None:
        """Do nothing."""


def _untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep torch.compile from tracing into the handle, whose records change with every call.

    Where nothing has been compiled, torch's compiler, slow to import, is left alone.
    """
    return torch.compiler.disable(function) if "torch._dynamo" in sys.modules else function
