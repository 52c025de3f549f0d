"""Layers of shifting timings, and the local rule by which they learn.

A synapse knows when its input came (z_i) and when its own neuron fired (z_out,j): a local time difference, as in
spike-timing-dependent plasticity. The neuron's error δ_j, the reward or punishment, says which way to shift:

    Δw_ij ∝ δ_j exp(p_j) (z_i - z_out,j)   over the causal set C_j        Δp_j ∝ δ_j z_out,j
    δ      = softmax(z_out) - softmax(z_target)                            at the output
    δ_i    = Σ_{j: i ∈ C_j} δ_j w_ij                                       at a hidden neuron

**How far this is from the gradient.** A layer hands on h_j = p_j z_j with z_j = Σ_C w_ij z_i / (Σ_C w_ij - 1), and
δ_j = ∂L/∂h_j for L the cross entropy between both softmaxes. Differentiating, with S_j = Σ_C w_ij,

    ∂L/∂w_ij = δ_j p_j (z_i - z_j) / (S_j - 1)     ∂L/∂p_j = δ_j z_j     ∂L/∂z_i = Σ_j δ_j p_j w_ij / (S_j - 1)

So the published update of w is the gradient times exp(p_j) (S_j - 1) / p_j, each term of the published hidden error
is the exact one times (S_j - 1) / p_j, and the update of p is exact. Every factor is positive while p is: the
direction of each single step is right, its size is not. :class:`Rule` chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from snntorch_brp.feedback import Feedback
from snntorch_brp.shifting.spikes import (
    SILENT,
    Events,
    Fired,
    causal_error,
    causal_update,
    first_spikes,
    one_spike_each,
)

FeedbackPath = Literal["symmetric", "random"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Which of the known factors between the update and the gradient to keep.

    Attributes:
        divided: Divide the error of every neuron by its Σ_C w - 1, as published for several spikes per synapse.
        exact: Also take p_j in the place of exp(p_j), and send it back: the gradient itself.
    """

    divided: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        if self.exact and not self.divided:
            raise ValueError("the exact gradient is divided too: Rule(divided=True, exact=True)")


PUBLISHED = Rule()
DIVIDED = Rule(divided=True)
EXACT = Rule(divided=True, exact=True)


def encode(x: Tensor) -> Tensor:
    """Input values in 0..1 as spike times z = exp(1 - x): the larger, the earlier."""
    return torch.exp(1 - x)


def target_times(labels: Tensor, num_classes: int) -> Tensor:
    """Times at which the outputs should fire, [B, K]: exp(0.01) for the class, exp(0.99) for the others."""
    others = torch.full((len(labels), num_classes), 0.99, device=labels.device)
    return others.scatter_(1, labels[:, None], 0.01).exp_()


def graded_times(numbers: Tensor, num_classes: int, *, width: float) -> Tensor:
    """Target times for classes that are numbers, [B, K]: output k is the later, the farther k is from the number.

    From exp(0.01) for the number itself to exp(0.99) for what is ``width`` or more away.

    Args:
        numbers: The classes ``[B]``.
        num_classes: Number of classes K, the numbers 0..K-1.
        width: Distance from which on all are equally wrong.
    """
    distance = (torch.arange(num_classes, device=numbers.device) - numbers[:, None]).abs()
    return torch.exp(0.01 + 0.98 * (distance / width).clamp(max=1))


def output_error(z_out: Tensor, targets: Tensor) -> Tensor:
    """δ = softmax(z_out) - softmax(target times), [B, K]: positive where an output should fire earlier.

    Args:
        z_out: [B, K], the output times.
        targets: [B], labels, or [B, K], target times.
    """
    times = targets if targets.ndim == 2 else target_times(targets, z_out.shape[1])
    return z_out.softmax(dim=1) - times.to(z_out).softmax(dim=1)


class ShiftingLayer(nn.Module):
    """Non-leaky integrate-and-fire neurons with one spike each, and a passing time p per neuron.

    Args:
        n_in: Number of synapses of a neuron.
        n_out: Number of neurons.
        gain: The weights start uniform in [0, gain / n_in).
        generator: Source of the start weights.

    Example:
        >>> layer = ShiftingLayer(4, 3, generator=torch.Generator().manual_seed(0))
        >>> layer(encode(torch.rand(2, 4))).shape
        torch.Size([2, 3])
    """

    def __init__(self, n_in: int, n_out: int, *, gain: float = 8.0, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if n_in < 1 or n_out < 1:
            raise ValueError(f"a layer needs inputs and neurons, got n_in={n_in}, n_out={n_out}")
        if not gain > 0:
            raise ValueError(f"gain must be positive, got {gain}")
        # Parameters so that any optimizer takes them; their .grad is the local update, autograd has no part in it.
        self.weight = nn.Parameter(torch.rand(n_in, n_out, generator=generator) * (gain / n_in))
        self.passing = nn.Parameter(torch.ones(n_out))

    def forward(self, spikes: Tensor | Events) -> Tensor:
        """Spike times [B, N_in], or several spikes per synapse, to the times z_out · p handed on, [B, N_out]."""
        return self.hand_on(self.fire(self.sort(spikes)))

    def sort(self, spikes: Tensor | Events) -> Events:
        """Spikes early to late, checked against the layer."""
        events = spikes if isinstance(spikes, Events) else one_spike_each(spikes)
        if events.n_in != len(self.weight):
            raise ValueError(f"this layer has {len(self.weight)} synapses a neuron, got input of {events.n_in}")
        return events

    @torch.no_grad()
    def fire(self, events: Events) -> Fired:
        """When each neuron fires, and because of whom."""
        return first_spikes(events, self.weight)

    @torch.no_grad()
    def hand_on(self, fired: Fired) -> Tensor:
        """z_out · p; a silent neuron stays silent, and p counts as at least 0.01: times must stay positive."""
        return torch.where(fired.z < SILENT, fired.z * self.passing.clamp(min=0.01), SILENT).clamp_(max=SILENT)

    @torch.no_grad()
    def learn(self, events: Events, fired: Fired, delta: Tensor, *, rule: Rule, revive: float) -> Tensor:
        """Put the local update into ``.grad``, and return the error as the layer sends it back, [B, N_out].

        A neuron that was silent in the whole batch has no causal set and would stay silent for good: each synapse
        that brought it a spike is raised instead, by ``revive`` in the place of an update.
        """
        p, alive = self.passing, fired.z < SILENT
        delta = delta * alive
        e = delta / fired.excess if rule.divided else delta
        self.weight.grad = causal_update(events, fired, e * (p if rule.exact else p.exp())) / len(delta)
        self.passing.grad = ((delta if rule.exact else e) * fired.z).mean(dim=0)
        if revive:
            heard = torch.zeros_like(self.weight[:, 0]).index_fill_(0, events.synapses[events.times < SILENT], 1.0)
            self.weight.grad.addr_(heard, (~alive.any(dim=0)).to(heard), alpha=-revive)
        return e * p if rule.exact else e


class ShiftingNetwork(nn.Module):
    """A classifier whose earliest output is its answer.

    Args:
        sizes: Neurons per layer, inputs first, such as (784, 800, 10).
        rule: The update, PUBLISHED, DIVIDED or EXACT.
        feedback: How hidden layers learn of the error: ``"symmetric"`` sends it back through the forward weights,
            as the authors do, which is weight transport; ``"random"`` sends the output error straight to each
            hidden layer through a fixed random matrix B that is never trained: δ_i = Σ_j δ_j B_ji over the outputs j
            whose last cause came no earlier than i's spike (for the last hidden layer: those with i ∈ C_j).
        gain: The weights of a layer start uniform in [0, gain / N_in); one number, or one per layer.
        revive: See :meth:`ShiftingLayer.learn`; 0 leaves silent neurons alone.
        generator: Source of weights and feedback.

    Example:
        >>> net = ShiftingNetwork((4, 10, 3))
        >>> optimizer = torch.optim.Adam(net.parameters(), 0.01, betas=(0.9, 0.9))
        >>> x, labels = torch.rand(8, 4), torch.randint(0, 3, (8,))
        >>> z_out = net.learn(encode(x), labels)
        >>> optimizer.step()
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        rule: Rule = PUBLISHED,
        feedback: FeedbackPath = "symmetric",
        gain: float | Sequence[float] = 8.0,
        revive: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        gains = [gain] * (len(sizes) - 1) if isinstance(gain, int | float) else list(gain)
        if len(sizes) < 2 or len(gains) != len(sizes) - 1:
            raise ValueError(f"need at least two sizes and a gain per layer, got sizes={sizes}, gain={gain}")
        if feedback not in ("symmetric", "random"):
            raise ValueError(f"feedback must be 'symmetric' or 'random', got {feedback!r}")
        self.rule, self.revive = rule, revive
        self.layers = nn.ModuleList(
            ShiftingLayer(n_in, n_out, gain=g, generator=generator)
            for n_in, n_out, g in zip(sizes, sizes[1:], gains, strict=False)
        )
        self.feedback = Feedback(sizes[-1], generator=generator) if feedback == "random" else None
        if self.feedback is not None:
            for depth, n in enumerate(sizes[1:-1]):
                self.feedback.matrix(f"layers.{depth}", (n,))  # drawn now, so that state_dict has it

    def forward(self, spikes: Tensor | Events) -> Tensor:
        """Output spike times, [B, K]."""
        return self.times(spikes)[-1]

    def times(self, spikes: Tensor | Events) -> list[Tensor]:
        """The times that each layer hands on, first hidden layer to output."""
        handed_on: list[Tensor] = []
        for layer in self.layers:
            handed_on.append(layer(handed_on[-1] if handed_on else spikes))
        return handed_on

    def predict(self, spikes: Tensor | Events) -> Tensor:
        """The earliest output, [B]; class 0 where all are silent."""
        return self(spikes).argmin(dim=1)

    @torch.no_grad()
    def learn(self, spikes: Tensor | Events, targets: Tensor) -> Tensor:
        """Put every local update into ``.grad``, and return the output times, [B, K].

        Args:
            spikes: [B, N_in] spike times, or events.
            targets: [B], labels, or [B, K], target times.
        """
        trace: list[tuple[ShiftingLayer, Events, Fired]] = []
        handed_on: list[Tensor] = []
        for layer in self.layers:
            assert isinstance(layer, ShiftingLayer)
            events = layer.sort(spikes)
            fired = layer.fire(events)
            trace.append((layer, events, fired))
            handed_on.append(layer.hand_on(fired))
            spikes = handed_on[-1]
        z_out = handed_on[-1]
        output = delta = output_error(z_out, targets)
        for depth in reversed(range(len(trace))):
            layer, events, fired = trace[depth]
            sent = layer.learn(events, fired, delta, rule=self.rule, revive=self.revive)
            if depth == 0:
                break
            times = handed_on[depth - 1]
            if self.feedback is None:
                delta = causal_error(times, fired, sent, layer.weight)
            else:
                B = self.feedback.matrix(f"layers.{depth - 1}", times.shape[1:], output)
                delta = causal_error(times, trace[-1][2], output, B.T)
        return z_out
