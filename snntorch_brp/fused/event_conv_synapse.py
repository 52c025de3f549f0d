"""A convolution of sparse spikes and its pooling, event by event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from snntorch_brp.fused import sparse_conv
from snntorch_brp.fused.sparse_conv import Pool
from snntorch_brp.fused.synapse import (
    Request,
    Saved,
    Synapse,
    accumulate,
    batched,
    unbatched,
    weight_with_its_way_back,
)


@dataclass
class SavedEvents(Saved):
    """Beside input and weight, who won where a maximum follows."""

    winners: Tensor | None = None


class EventConvSynapse(Synapse):
    """A Conv1d or Conv2d, alone or with its outputs pooled, for inputs of which few are not 0.

    Behind a maximum only the winners' gradients count, and of the currents no more is kept than who won.

    Args:
        modules: The convolution, and the pooling behind it.
        behind_neuron: A neuron comes before, and not the network's input.
        pool: What is done with the convolution's outputs.
    """

    def __init__(self, modules: Sequence[nn.Module], *, behind_neuron: bool, pool: Pool) -> None:
        super().__init__(modules, behind_neuron=behind_neuron)
        conv = modules[0]
        assert isinstance(conv, nn.Conv1d | nn.Conv2d)
        self.conv: nn.Conv1d | nn.Conv2d = conv
        self.after = pool

    def forward(self, x: Tensor, request: Request) -> tuple[Tensor, Saved]:
        """See :class:`Synapse`."""
        z, (B, T) = batched(x)
        weight = weight_with_its_way_back(self.conv)
        current, winners = sparse_conv.convolve(z, self.conv, weight=weight, pool=self.after)
        return unbatched(current, B, T), SavedEvents(z, weight, winners=winners)

    def backward(self, a: Tensor, saved: Saved) -> None:
        """See :class:`Synapse`."""
        assert isinstance(saved, SavedEvents)
        weight, bias = sparse_conv.convolution_gradients(
            batched(a)[0], saved.source, self.conv, pool=self.after, winners=saved.winners
        )
        accumulate(saved.weight, weight)
        accumulate(self.conv.bias, bias)
