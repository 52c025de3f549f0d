"""Learning without a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.propagation import Propagation


@dataclass(frozen=True, kw_only=True)
class Unmodulated(Propagation):
    """Nothing is sent: a consolidation such as STDP learns from the layer's own spikes alone, ungated.

    The handle is called without labels, and without a loss where no output learns: ``brp.backward(None)``.

    Args:
        strength: What stands in the place of δ; -1 learns what 1 unlearns.

    Example:
        >>> net = nn.Sequential(nn.Linear(784, 100), snn.Leaky(0.9, init_hidden=True))
        >>> with attach(net, Unmodulated(strength=-1), num_classes=1, consolidation=STDP()) as brp:
        ...     brp.reset()
        ...     for t in range(10):
        ...         spikes = net((torch.rand(8, 784) < 0.3).float())
        ...     brp.backward(None)
        >>> net[0].weight.grad.shape
        torch.Size([100, 784])
    """

    needs_label: ClassVar[bool] = False
    fusible: ClassVar[bool] = False

    strength: float = 1.0

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> None:
        """Nothing goes through B_l."""

    def delta(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """``strength`` for every neuron, ``[1, B, *]``."""
        return window.rate.new_full((1, *window.rate.shape), self.strength)
