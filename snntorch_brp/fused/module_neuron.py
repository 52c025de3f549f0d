"""Neurons whose step is run by their own module, all T steps of a layer, and the way back by autograd.

The counterpart of :mod:`snntorch_brp.fused.autograd_synapse`: what has no scan and adjoint of its own. The graph is
that of one layer's samples that are in work, and ends at their currents.
"""

from __future__ import annotations

import inspect
from types import MethodType

import torch
from torch import Tensor, nn


class ModuleNeuron:
    """A layer of snnTorch neurons that takes one step a call; made anew for each batch, it starts from rest.

    The module itself is left as it is: a twin that shares its parameters and constants keeps the states.

    Args:
        module: The neurons.
        like: Currents, for their device.

    Attributes:
        fired: Spikes of the last :meth:`scan`, ``[T, B, *]``: a membrane that was reset within the step, or that
            competes with others, does not tell them.
    """

    def __init__(self, module: nn.Module, like: Tensor) -> None:
        self._twin = _twin(module, like.device)
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._graph: tuple[Tensor, Tensor, Tensor] | None = None
        self.fired: Tensor

    def scan(self, current: Tensor, *, learns: bool = False) -> Tensor:
        """Membrane potentials of all steps from the currents, each ``[T, B, *]``, as the module shows them.

        Args:
            current: Currents I_t.
            learns: Keep what :meth:`adjoint` needs.
        """
        with torch.set_grad_enabled(learns):
            source = current.detach().requires_grad_(learns)
            steps = [self._twin(I_t) for I_t in source.unbind(0)]
            spikes, membrane = (torch.stack([step[place] for step in steps]) for place in (0, -1))
        self.fired = spikes.detach()
        self._graph = (source, spikes, membrane) if learns else None
        return membrane.detach()

    def spikes(self, membrane: Tensor) -> Tensor:
        """Spikes of the last :meth:`scan`, which gave these membranes."""
        return self.fired

    def adjoint(
        self, membrane: Tensor, *, grad_spikes: Tensor | None = None, grad_membrane: Tensor | None = None
    ) -> Tensor:
        """Gradient of the currents ``[T, B, *]``; those of parameters are added to ``.grad``."""
        assert self._graph is not None, "scan(..., learns=True) has to come first"
        (source, *given), self._graph = self._graph, None
        gradients = zip(given, (grad_spikes, grad_membrane), strict=True)
        roots = [(tensor, g.to(tensor).expand_as(tensor)) for tensor, g in gradients if g is not None]
        if roots:
            tensors, starts = zip(*roots, strict=True)
            torch.autograd.backward(tensors, starts, inputs=[source, *self._parameters])
        return torch.zeros_like(source) if source.grad is None else source.grad


def _twin(module: nn.Module, device: torch.device) -> nn.Module:
    """The module once more, at rest, with the same parameters and constants, but states of its own."""
    twin: nn.Module = object.__new__(type(module))
    twin.__dict__ = {
        key: MethodType(value.__func__, twin) if inspect.ismethod(value) and value.__self__ is module else value
        for key, value in vars(module).items()
    }
    states = module._non_persistent_buffers_set
    twin._buffers = {
        key: torch.zeros(0, device=device) if key in states else value for key, value in module._buffers.items()
    }
    twin.init_hidden = twin.output = True  # type: ignore[assignment]
    return twin
