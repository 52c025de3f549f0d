"""Deep continuous local learning: every layer reads the label from its own spikes, at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.consolidation import Consolidation
from snntorch_brp.propagation import Propagation, project
from snntorch_brp.rules.eligibility import Eligibility
from snntorch_brp.rules.learned import LearnedValue
from snntorch_brp.rules.rule import Facts, LocalRule


@dataclass(frozen=True, kw_only=True)
class LocalReadout(Propagation):
    """The derivative of a local loss of a fixed random readout of the layer's spikes: ``TP_t = L'(B_l s_t - ȳ)``.

    Args:
        loss: "mse" sends the error itself, "smooth-l1" the error within -1..1.

    Raises:
        ValueError: If ``loss`` is neither.
    """

    compares_samples: ClassVar[bool] = False

    loss: Literal["mse", "smooth-l1"] = "mse"

    def __post_init__(self) -> None:
        if self.loss not in ("mse", "smooth-l1"):
            raise ValueError(f"loss must be 'mse' or 'smooth-l1', got {self.loss!r}")

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """``TP_t = L'(B_l s_t - ȳ)``, ``[T, B, K]``."""
        return _slope(window.spikes, feedback, label, self.loss)


def _slope(spikes: Tensor, readout: Tensor, label: Tensor, loss: str) -> Tensor:
    """The derivative of the loss of a linear readout of spikes, ``[T, B, K]``."""
    error = spikes.flatten(2) @ readout.flatten(1).T - label
    return error if loss == "mse" else error.clamp(-1, 1)


@dataclass(frozen=True, kw_only=True)
class LearnedReadout(Propagation):
    """The same with a readout that learns, ``TP_t = L'(G_l s_t - ȳ)``, ``∇G_l = mean_b Σ_t TP_t s_tᵀ``.

    TP comes back through G_l, which starts as B_l.

    Args:
        learning_rate: Of G_l.
        loss: As in :class:`LocalReadout`.
    """

    fusible: ClassVar[bool] = False

    learning_rate: float
    loss: Literal["mse", "smooth-l1"] = "mse"

    @property
    def readout(self) -> LearnedValue:
        """G of each layer, ``[K, *]``."""
        return LearnedValue(key="readout", learning_rate=self.learning_rate)

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """``TP_t``, ``[T, B, K]``."""
        G = self.readout.now(window, lambda: feedback)
        return _slope(window.spikes, G.to(window.spikes.dtype), label, self.loss)

    def delta(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """``δ_t = TP_t·G_l``; G_l is taught on the way."""
        G = self.readout.moved(window, lambda: feedback)
        signal = self.signal(label, window=window, feedback=feedback, output=output)
        taught = torch.einsum("tbk,tbn->kn", signal, window.spikes.flatten(2)) / signal.shape[1]
        self.readout.teach(window, taught.view_as(G).to(G.dtype))
        return project(signal, G.to(signal.dtype))


@dataclass(frozen=True, kw_only=True)
class DECOLLE(LocalRule):
    """Deep continuous local learning: a fixed random readout of each layer's spikes, taught at every step::

        Y_k^l[t] = Σ_j G_kj^l S_j^l[t]
        Δw_ij^l = -η Σ_t error_i^l[t] σ'(U_i^l[t]) P_j^l[t],  error_i^l[t] = Σ_k G_ki^l ∂L^l/∂Y_k^l[t]

    with U the membrane, P the trace of the input, and L^l the mean squared error of Y^l and the one-hot target, or
    its smooth version. G is drawn once; here it is B_l. With a ``learning_rate`` it learns, too, by the gradient of its
    own loss, as readouts do in Mostafa, Ramesh, Cauwenberghs (2018) and Nøkland, Eidnes (2019).

    Kaiser, Mostafa, Neftci, "Synaptic Plasticity Dynamics for Deep Continuous Local Learning (DECOLLE)", Frontiers in
    Neuroscience 14:424, 2020. The neurons, and with them P and σ', are those of the network it is attached to: with
    ``snn.Synaptic`` P is filtered twice, as in the paper. Its regularizers of the membrane are left out, and the output
    layer learns from the loss that it is given.

    Args:
        loss: "mse" or "smooth-l1".
        learning_rate: Of a readout that learns; 0 leaves it fixed, as in the paper.

    Example:
        >>> net = nn.Sequential(
        ...     nn.Linear(784, 100), snn.Leaky(0.9, init_hidden=True),
        ...     nn.Linear(100, 10), snn.Leaky(0.9, init_hidden=True),
        ... )
        >>> with attach(net, DECOLLE(), num_classes=10, credit="trace") as brp:
        ...     brp.reset()
        ...     brp.teach(torch.arange(8), steps=20)
        ...     for t in range(20):
        ...         spikes = net((torch.rand(8, 784) < 0.3).float())
        >>> net[0].weight.grad.shape
        torch.Size([100, 784])
    """

    facts: ClassVar[Facts] = Facts(
        name="decolle",
        paper="Kaiser, Mostafa, Neftci, Synaptic Plasticity Dynamics for Deep Continuous Local Learning, "
        "Frontiers in Neuroscience 2020",
        sees="the label, its own random readout",
        learns="at every step",
        remembers="one trace for each input (M)",
        transports="no",
    )

    loss: Literal["mse", "smooth-l1"] = "mse"
    learning_rate: float = 0.0

    @property
    def propagation(self) -> Propagation:
        """The readout's error."""
        if self.learning_rate:
            return self.part(LearnedReadout)
        return self.part(LocalReadout)

    @property
    def consolidation(self) -> Consolidation:
        """Eligibility traces."""
        return Eligibility()
