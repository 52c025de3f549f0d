"""EchoSpike predictive plasticity: a layer's spikes are compared with the echo of the sample before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.propagation import Propagation
from snntorch_brp.rules.eligibility import Eligibility
from snntorch_brp.rules.rule import Facts, LocalRule


@dataclass(frozen=True, kw_only=True)
class Echo(Propagation):
    """The derivative of the predictive and contrastive loss, by the layer's own spikes::

        L_t = max(0, c(y) m_t - y s_t·s̄),  δ_t = -y s̄ where L_t > 0 and m_t > m, else 0

    with s̄ the spike counts of the sample before, over their sum; y = 1 where it was of the same class (a fixation), -1
    where of another (a saccade); and m_t the mean of the layer's input at the step. The sample before is that of the
    same row of the last batch: each row of the batches is a stream of its own.

    Args:
        similar: c(1): how much of its spikes a layer shall share with the echo of its class.
        different: c(-1): minus how much it may share with that of another.
        least_input: m, below which nothing is learned.
    """

    fusible: ClassVar[bool] = False

    similar: float = 2.0
    different: float = -1.0
    least_input: float = 0.02

    @property
    def keeps(self) -> frozenset[str]:
        """What the layer took in."""
        return frozenset({"inputs"})

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> None:
        """Nothing goes through B_l."""

    def delta(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """δ_t, ``[T, B, *]``."""
        echo, y = self._before(label, window)
        s = window.spikes.flatten(2)
        m_t = torch.cat([x.flatten(2) for x in window.inputs], dim=2).mean(2)
        c = torch.where(y > 0, self.similar, self.different).to(s.dtype)
        loss = c * m_t - y * (s * echo).sum(2)
        learns = (loss > 0) & (m_t > self.least_input)
        return (-y[:, None] * echo * learns[..., None]).view_as(window.spikes)

    def _before(self, label: Tensor, window: Activity) -> tuple[Tensor, Tensor]:
        """s̄, ``[B, N]``, and y, ``[B]`` (0 where there was no sample before); keeps this window for the next sample."""
        layer, spikes = window.layer, window.spikes.detach().flatten(2)
        B, N = spikes.shape[1:]
        echo, counts = (layer.learned(name, lambda: spikes.new_zeros(B, N)) for name in ("echo", "counts"))
        before, now = (
            layer.learned(name, lambda: torch.full((B,), -1, device=spikes.device)) for name in ("before", "now")
        )
        if len(echo) < B:
            raise ValueError(
                f"layer '{layer.name}' has echoes of {len(echo)} samples, and the batch {B}: let the first batch be "
                "the largest"
            )
        if window.first == 0:
            total = counts[:B].sum(1, keepdim=True)
            echo[:B] = counts[:B] / total.clamp(min=1)
            before[:B] = now[:B]
            now[:B] = label.mean(0).argmax(1)
            counts[:B] = 0
        counts[:B] += spikes.sum(0)
        same = 2.0 * (before[:B] == now[:B]) - 1
        return echo[:B].to(spikes.dtype), torch.where(before[:B] < 0, 0.0, same).to(spikes.dtype)


@dataclass(frozen=True, kw_only=True)
class ESPP(LocalRule):
    """EchoSpike predictive plasticity: spike like the sample before if it was of the same class, unlike it if not::

        L_t = max(0, c(y) m_t - y s_t·s̄),  s̄ = Σ_t s_t^prev / Σ_i Σ_t s_i,t^prev
        Δw_ij = η Σ_t y s̄_i ψ(v_i[t]) x̄_j[t]   over the steps with L_t > 0 and m_t > m

    with y = 1 where the sample before (that of the same row of the last batch) was of the same class, else -1; m_t the
    mean of the layer's input. Of the label a layer hears that one bit.

    Graf, Su, Indiveri, "EchoSpike Predictive Plasticity: An Online Local Learning Rule for Spiking Neural Networks",
    arXiv:2405.13976, 2024. The thresholds c(y) m_t and m are those of the authors' code for N-MNIST. Half of their
    samples repeat the class of the one before: :func:`echo_batches` draws them so. Their readouts of all layers are
    left to the network's output.

    Args:
        similar: c(1).
        different: c(-1).
        least_input: m.

    Example:
        >>> ESPP().propagation.similar
        2.0
    """

    facts: ClassVar[Facts] = Facts(
        name="espp",
        paper="Graf, Su, Indiveri, EchoSpike Predictive Plasticity, arXiv 2024",
        sees="whether the sample before was of the same class",
        learns="at every step",
        remembers="one trace for each input (M), and the last sample's spike counts (N)",
        transports="no",
    )

    similar: float = 2.0
    different: float = -1.0
    least_input: float = 0.02

    @property
    def propagation(self) -> Propagation:
        """The echo."""
        return self.part(Echo)

    consolidation = Eligibility()


def echo_batches(labels: Tensor, batch_size: int, *, generator: torch.Generator | None = None) -> Iterator[Tensor]:
    """An epoch of batches for :class:`ESPP`: in every second one each row repeats the class of the row before it.

    Args:
        labels: Class of each sample, ``[N]``.
        batch_size: Samples in a batch.
        generator: Source of the draw.

    Returns:
        The samples' places, ``[batch_size]`` each, N / batch_size times; some samples come twice, others not at all.

    Example:
        >>> first, second, *_ = echo_batches(torch.arange(40) % 4, 10)
        >>> torch.equal(first % 4, second % 4)
        True
    """
    order = torch.randperm(len(labels), generator=generator)
    places: Tensor | None = None
    for start in range(0, len(labels) - batch_size + 1, batch_size):
        repeats = places is not None and (start // batch_size) % 2 == 1
        if not repeats:
            places = order[start : start + batch_size]
        else:
            assert places is not None
            same = (labels[:, None] == labels[places]).float()
            places = torch.multinomial(same.T, 1, generator=generator)[:, 0]
        yield places
