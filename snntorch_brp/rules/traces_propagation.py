"""Traces propagation: a contrastive loss between the traces of the samples and those of their targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.consolidation import Consolidation, Gradients
from snntorch_brp.rules.rule import Facts, LocalRule
from snntorch_brp.rules.unsupervised import Unmodulated


@dataclass(frozen=True, kw_only=True)
class ContrastiveTraces(Consolidation):
    """The local loss of traces propagation, for a batch of B samples and, behind them, their B targets::

        ε_t = β ε_{t-1} + s_t,  ε̃_t = β ε̃_{t-1} + s̃_t
        z = ε_t ε̃_tᵀ,  y_bb' = softmax_b'(-‖ε̃⁻_b - ε̃⁻_b'‖),  L_t = -mean_b Σ_b' y_bb' log softmax_b'(z_bb')

    with ε the traces of the layer's spikes, ε̃ those of its spikes for the targets, and ε̃⁻ those of what it took in for
    the targets. No gradient goes back in time.

    Args:
        decay: β, in [0, 1).

    Raises:
        ValueError: If ``decay`` is out of range.
    """

    compares_samples: ClassVar[bool] = True
    keeps: ClassVar[frozenset[str]] = frozenset({"membrane", "current", "inputs"})
    causal: ClassVar[bool] = True
    without_recurrence: ClassVar[bool] = True

    decay: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {self.decay}")

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """``∂L_t/∂s_t = (softmax(z) - y) ε̃_t / B``, ``∂L_t/∂s̃_t = (softmax(z) - y)ᵀ ε_t / B``, times δ = 1 and ψ."""
        s = window.spikes.flatten(2)
        rows = s.shape[1]
        if rows % 2:
            raise ValueError(f"traces propagation takes samples and their targets, paired(x, labels, K): got {rows}")
        B = rows // 2
        traces = window.trace(s, self.decay, name="spikes")
        below = window.trace(window.inputs[0].flatten(2)[:, B:], self.decay, name="inputs of targets")
        samples, targets = traces[:, :B], traces[:, B:]
        y = torch.softmax(-torch.cdist(below, below), dim=2)
        wrong = (torch.softmax(samples @ targets.transpose(1, 2), dim=2) - y) / B
        gradient = torch.cat([wrong @ targets, wrong.transpose(1, 2) @ samples], dim=1)
        # The executor takes the mean over all rows; the loss is a mean over B of them already.
        return Gradients(current=rows * delta * gradient.view_as(window.spikes) * window.psi)


@dataclass(frozen=True, kw_only=True)
class TracesPropagation(LocalRule):
    """Traces propagation (TP): samples and targets run through the same layers, and their traces shall meet::

        ε_l^t = β ε_l^{t-1} + s_l^t,  ε̃_l^t = β ε̃_l^{t-1} + s̃_l^t
        E_l^t = -y_l^t log softmax(z_l^t),  z_l^t = ε_l^t ε̃_l^tᵀ,  y_l^t = softmax(-‖ε̃_{l-1}^t[b] - ε̃_{l-1}^t[b']‖)
        ∂E/∂W_l = (softmax(z) - y)[b, b'] (ε̃[b'] ψ(v[b]) s_{l-1}[b] + ε[b] ψ(ṽ[b']) s̃_{l-1}[b'])

    Every layer compares all samples b of the batch with all targets b'. A target is the one-hot label at every step; it
    enters the first layer through weights S of its own and all others through those of the samples, so no layer has a
    matrix B_l. :func:`paired` makes such a batch, in which S are the first K columns of the first layer's weights. The
    output learns from a loss of the first half of the batch; tested with ``F.pad(x, (K, 0))``.

    Pes, Yin, Stuijk, Corradi, "Traces Propagation: Memory-Efficient and Scalable Forward-Only Learning in Spiking
    Neural Networks", Neuromorphic Computing and Engineering 6, 2026 (arXiv:2509.13053, 2025), eqs. 11 to 18, with the
    Euclidean distance of the authors' code. It differs in this: S learns as the other weights do (a choice there), the
    weights move once a sequence, and ψ is that of the network's own neurons.

    Args:
        decay: β.

    Example:
        >>> net = nn.Sequential(
        ...     nn.Linear(10 + 784, 100), snn.Leaky(0.9, init_hidden=True),
        ...     nn.Linear(100, 10), snn.Leaky(0.9, init_hidden=True),
        ... )
        >>> x, labels = (torch.rand(20, 8, 784) < 0.3).float(), torch.arange(8)
        >>> with attach(net, TracesPropagation(), num_classes=10) as handle:
        ...     spikes = unroll(net, paired(x, labels, 10))[:, :8]
        ...     handle.backward(F.mse_loss(spikes.mean(0), F.one_hot(labels, 10).float()))
        >>> net[0].weight.grad.shape
        torch.Size([100, 794])
    """

    facts: ClassVar[Facts] = Facts(
        name="tp",
        paper="Pes, Yin, Stuijk, Corradi, Traces Propagation, Neuromorphic Computing and Engineering 2026",
        sees="its own answers to all samples and targets of the batch",
        learns="at every step of the batch",
        remembers="one trace for each neuron and each input (N + M), of samples and targets",
        transports="no",
    )

    decay: float = 0.9

    propagation = Unmodulated()  # nothing is sent: targets come through the layers

    @property
    def consolidation(self) -> Consolidation:
        """The contrastive loss."""
        return self.part(ContrastiveTraces)


def paired(x: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Samples and, behind them in the batch, their targets: ``[T, B, M]`` to ``[T, 2B, K + M]``.

    Args:
        x: Input spikes, ``[T, B, M]``.
        labels: Class numbers, ``[B]``.
        num_classes: Number of classes K.

    Example:
        >>> paired(torch.tensor([[[1.0, 1.0]]]), torch.tensor([0]), 3).tolist()
        [[[0.0, 0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0, 0.0]]]
    """
    targets = F.one_hot(labels.long(), num_classes).to(x.dtype).expand(len(x), -1, -1)
    return torch.cat([F.pad(x, (num_classes, 0)), F.pad(targets, (0, x.shape[-1]))], dim=1)
