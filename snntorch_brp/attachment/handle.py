"""What both ways of attaching share: the layers, the hooks, and taking them off again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snntorch_brp.activity import Activity
from snntorch_brp.attachment.hooks import AfterLayer, BeforeLayer, cut_inputs
from snntorch_brp.attachment.record import LayerRecord
from snntorch_brp.consolidation import Consolidation, Gradients
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
            if any(isinstance(hook, AfterLayer) for hook in layer.module._forward_hooks.values()):
                raise RuntimeError(
                    f"layer '{layer.name}' is attached already: leave the other `with attach(...)` block first, or "
                    "call .remove() on its handle"
                )
        for layer in self._layers:
            before, after = (
                BeforeLayer(self._before, layer, self._listening),
                AfterLayer(self._after, layer, self._listening),
            )
            self._hooks.append(layer.module.register_forward_pre_hook(before, with_kwargs=True))
            self._hooks.append(layer.module.register_forward_hook(after, with_kwargs=True))
            recurrent = getattr(layer.module, "recurrent", None)
            if self.consolidation.without_recurrence and isinstance(recurrent, nn.Module):
                self._hooks.append(recurrent.register_forward_pre_hook(cut_inputs))
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

    def _listening(self) -> bool:
        return self.propagation.local and self.net.training and torch.is_grad_enabled()

    def _gradients(self, window: Activity, output: Tensor | None) -> Gradients | None:
        """The rule, applied to one layer: what is sent to it, and what it makes of that; None where it does not learn.

        Args:
            window: What the layer did.
            output: The output that the label is compared with, for the rules that do.
        """
        like = window.like
        B_l = self.feedback.matrix(window.layer.name, like.shape[1:], like=like)
        delta = self.propagation.delta(window.label, window=window, feedback=B_l, output=output)  # type: ignore[arg-type]
        return None if delta is None else self.consolidation.gradients(delta, window)

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
