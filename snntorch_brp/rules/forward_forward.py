"""Forward-forward learning: every layer learns to tell real samples from false ones by how much it fires."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.consolidation import Consolidation, Gradients
from snntorch_brp.propagation import Propagation
from snntorch_brp.rules.rule import Facts, LocalRule


@dataclass(frozen=True, kw_only=True)
class SampleKind(Propagation):
    """Whether a sample is positive (class 1) or negative (class 0): 1 or -1, the same for all neurons."""

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> None:
        """Nothing goes through B_l."""

    def delta(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """1 or -1, ``[1, B, *]``."""
        if label.shape[-1] != 2:
            raise ValueError(
                f"forward-forward knows two kinds of samples, negative (0) and positive (1), and num_classes is "
                f"{label.shape[-1]}: attach(..., num_classes=2), with the true label in the input"
            )
        kind = label[:1, :, 1] - label[:1, :, 0]
        return kind.view(1, -1, *[1] * (feedback.dim() - 1)).expand(1, -1, *feedback.shape[1:])


@dataclass(frozen=True, kw_only=True)
class Goodness(Consolidation):
    """The local loss of goodness: positive samples shall make a layer fire more than θ, negative ones less::

        G = mean_i rate_i²,  L = log(1 + exp(-k y (G - θ))),  y = ±1

    Args:
        threshold: θ.
        sharpness: k.
    """

    compares_samples: ClassVar[bool] = False

    threshold: float = 0.05
    sharpness: float = 20.0

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """``∂L/∂s_t = -k y σ(-k y (G - θ)) 2 rate / (N T)``, the same at every step."""
        rate = window.rate
        y = delta[0].flatten(1)[:, :1]
        goodness = rate.flatten(1).square().mean(1, keepdim=True)
        slope = -self.sharpness * y * torch.sigmoid(-self.sharpness * y * (goodness - self.threshold))
        gradient = slope * 2 * rate.flatten(1) / (rate[0].numel() * window.steps)
        return Gradients(spikes=gradient.view_as(rate)[None])


@dataclass(frozen=True, kw_only=True)
class SpikingForwardForward(LocalRule):
    """Forward-forward learning of spiking layers: no error and no label is sent, but every sample comes twice::

        G_l = mean_i rate_i²,  L_l = log(1 + exp(-k y (G_l - θ)))

    with y = 1 for samples whose input holds their true label and -1 for those that hold a false one
    (:func:`overlay`). All layers are hidden; a sample's class is the label with which the network's goodness is
    greatest. There is no loss: ``brp.backward(None, positive)``, ``num_classes=2``. What a layer hands on should not
    tell its goodness: put a normalization between layers.

    Hinton, "The Forward-Forward Algorithm: Some Preliminary Investigations", arXiv 2022, with rates of spikes in the
    place of rectified activities and a mean in the place of a sum, as others have done in spiking networks.

    Args:
        threshold: θ.
        sharpness: k.

    Example:
        >>> net = nn.Sequential(nn.Linear(794, 100), snn.Leaky(0.9, init_hidden=True))
        >>> x, labels = torch.rand(8, 784), torch.arange(8)
        >>> with attach(net, SpikingForwardForward(), num_classes=2) as brp:
        ...     brp.reset()
        ...     for t in range(10):
        ...         spikes = net(overlay(x, labels, 10))
        ...     brp.backward(None, torch.ones(8, dtype=torch.long))
        >>> net[0].weight.grad.shape
        torch.Size([100, 794])
    """

    facts: ClassVar[Facts] = Facts(
        name="forward-forward",
        paper="Hinton, The Forward-Forward Algorithm: Some Preliminary Investigations, arXiv 2022",
        sees="whether the sample is real",
        learns="as soon as it has run",
        remembers="its own sequence",
        transports="no",
    )

    threshold: float = 0.05
    sharpness: float = 20.0

    @property
    def propagation(self) -> Propagation:
        """Whether a sample is real."""
        return SampleKind()

    @property
    def consolidation(self) -> Consolidation:
        """Goodness."""
        return self.part(Goodness)


def overlay(x: Tensor, labels: Tensor, num_classes: int, *, scale: float = 1.0) -> Tensor:
    """A sample with a label put in front: ``[..., B, inputs]`` to ``[..., B, num_classes + inputs]``.

    Example:
        >>> overlay(torch.zeros(1, 2), torch.tensor([1]), 3).tolist()
        [[0.0, 1.0, 0.0, 0.0, 0.0]]
    """
    label = F.one_hot(labels.long(), num_classes).to(x.dtype) * scale
    return torch.cat([label.expand(*x.shape[:-1], -1), x], dim=-1)
