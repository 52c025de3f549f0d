"""The hooks that attaching puts on a network; none of them outlives its handle in a copy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snntorch_brp.attachment.record import LayerRecord


class Attaching:
    """A hook that belongs to a handle: what copying or saving an attached network makes of it belongs to none."""

    def __reduce__(self) -> tuple[type[_Resting], tuple[()]]:
        return _Resting, ()


class _Hook(Attaching):
    """A hook that calls one method of the handle, out of torch.compile's sight: its records change with every call.

    Once it is known what the layer is, torch.compile follows :class:`snntorch_brp.attachment.traced.Trace` instead.
    Where nothing has been compiled, torch's compiler, slow to import, is left alone.

    Args:
        call: The handle's method.
        layer: The layer.
        listening: Whether there is something to learn.
    """

    def __init__(self, call: Callable[..., Any], layer: LayerRecord, listening: Callable[[], bool]) -> None:
        self.call, self.layer, self.listening, self.hidden = call, layer, listening, False
        self.trace = layer.trace
        self.hide()

    def traced(self) -> bool:
        """Whether a graph is being compiled that takes in what the handle needs to know."""
        return torch.compiler.is_compiling() and self.trace.role != ""

    def hide(self) -> None:
        """Keep torch.compile from tracing into the handle, once it is there."""
        if not self.hidden and "torch._dynamo" in sys.modules:
            reason = (
                "attach reads in the first sequence who hears whom, outside of any graph: learn from one batch before "
                "the network is compiled, or compile it without fullgraph=True"
            )
            self.call, self.hidden = torch.compiler.disable(self.call, reason=reason), True


class BeforeLayer(_Hook):
    """Tells the handle which states a layer is about to continue from."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Called before the layer runs; gives the arguments that it runs with."""
        positional, named = args[1:], {name: value for name, value in kwargs.items() if name != "input_"}
        states: Sequence[Any] = [*positional, *named.values()]
        if not self.traced():
            self.hide()
            states = self.call(self.layer, states)
        elif self.listening():
            states = self.trace.before(module, states)
        kwargs = {**kwargs, **dict(zip(named, states[len(positional) :], strict=True))}
        return (*args[:1], *states[: len(positional)]), kwargs


class AfterLayer(_Hook):
    """Hands what a layer did to the handle, and to the next layer what the handle gives in its place."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Called after the layer has run; gives what it returns."""
        current = args[0] if args else kwargs["input_"]
        if not self.traced():
            self.hide()
            return self.call(self.layer, current, output)
        return self.trace.after(module, current, output) if self.listening() else None


class Listener(Attaching):
    """Tells the handle what a module took in and gave, while there is something to learn.

    Args:
        listening: Whether there is.
        tell: Called with the module, its arguments and its output; what it returns, the module gives in its place.
    """

    def __init__(self, listening: Callable[[], bool], tell: Callable[[nn.Module, tuple[Any, ...], Any], Any]) -> None:
        self.listening, self.tell = listening, tell

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Called after the module has run."""
        return self.tell(module, args, output) if self.listening() else None


class _Resting:
    """What copying or saving an attached network makes of its hooks: the copy belongs to no handle."""

    def __call__(self, *args: Any) -> None:
        """Do nothing."""


def cut_inputs(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The spikes of its own that a layer takes in, without their graph: for rules that leave the recurrence out."""
    return tuple(arg.detach() if isinstance(arg, Tensor) else arg for arg in args)
