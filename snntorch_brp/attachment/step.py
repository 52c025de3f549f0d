"""What one layer did in one step of a sequence that is learned while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.attachment.learning_synapse import Called
from snntorch_brp.attachment.record import LayerRecord
from snntorch_brp.consolidation import Gradients

Root = tuple[Tensor, Tensor]
"""A tensor of the graph and the gradient that starts there."""


@dataclass
class Progress:
    """What a layer has done so far."""

    steps: int = 0
    total: Tensor | None = None
    memory: dict[str, Tensor] = field(default_factory=dict)

    def add(self, spikes: Tensor) -> None:
        """Count a step."""
        self.steps += 1
        self.total = spikes.detach().clone() if self.total is None else self.total.add_(spikes.detach())

    @property
    def rate(self) -> Tensor:
        """Mean spike rate so far, ``[B, *]``."""
        assert self.total is not None
        return self.total / self.steps


@dataclass
class Step:
    """What a layer did in one step, with its graph, which ends at the step before and at its synapses.

    Attributes:
        number: Which step of the sequence, from 1.
        rate: Mean spike rate so far.
        threshold: What the membrane was compared with.
        sent: The leaf that was handed on in the place of the spikes, where errors travel in space.
    """

    layer: LayerRecord
    spikes: Tensor
    membrane: Tensor | None
    current: Tensor
    called: list[Called]
    number: int
    rate: Tensor
    threshold: Tensor
    sent: Tensor | None = None
    _window: Activity | None = None

    def window(self, keeps: frozenset[str], label: Tensor | None, memory: dict[str, Tensor]) -> Activity:
        """The step as the rules see it."""
        if self._window is None:
            self._window = Activity(
                self.spikes.detach()[None],
                membrane=None if self.membrane is None else self.membrane.detach()[None],
                current=self.current.detach()[None],
                rate=self.rate,
                inputs=[call.x.detach()[None] for call in self.called] if "inputs" in keeps else None,
                layer=self.layer.view,
                label=label,
                threshold=self.threshold,
                first=self.number - 1,
                memory=memory,
            )
        return self._window

    def roots(self, given: Gradients, scale: float, with_traces: bool) -> tuple[list[Root], list[Root]]:
        """Where gradients start that are taken at the inputs of this step, and those that are at their traces.

        The neurons' own gradients, on spikes and membrane, are taken at traces wherever there are any.
        """
        recurrent = [call.leaf for call in self.called if call.synapse.module in set(self.layer.module.modules())]

        def at(tensors: Sequence[Tensor | None], gradient: Tensor | None) -> list[Root]:
            if gradient is None:
                return []
            return [(t, (gradient[0] * scale).to(t.dtype)) for t in tensors if t is not None and t.requires_grad]

        own = [*at([self.spikes], given.spikes), *at([self.membrane], given.membrane)]
        now, traced = at([self.current, *recurrent], given.current), at([self.current, *recurrent], given.traced)
        return (now, own + traced) if with_traces else (own + now + traced, [])

    def pull(
        self,
        roots: Sequence[Root],
        *,
        traced: bool,
        again: bool = False,
        into: Sequence[Tensor] | None = None,
        passing: Sequence[Tensor] | None = None,
        weights: bool = True,
    ) -> None:
        """Take gradients back to the layer's weights, and to what is before it.

        Args:
            roots: Where they start.
            traced: Take those of the weights at the traces of the inputs.
            again: Keep the graph for another call.
            into: Leaves, beside the layer's own synapses, that get a gradient; all where None.
            passing: The same behind the synapses.
            weights: Whether the synapses learn.
        """
        if not roots:
            return
        leaves = [call.leaf for call in self.called]
        inputs = None if into is None else [*leaves, *into]
        tensors, gradients = [tensor for tensor, _ in roots], [gradient for _, gradient in roots]
        torch.autograd.backward(tensors, gradients, retain_graph=again, inputs=inputs)
        for place in reversed(range(len(self.called))):
            before = None if passing is None else [*leaves[:place], *passing]
            self.called[place].learn(traced=traced, weights=weights, passing=before)
