"""Counts of what a network did, and the shares, rates and energies that follow from them.

Everything is kept as counts, so that the statistics of several batches add up: ``sum_ = first + second``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LayerStatistics:
    """What one spiking layer did. A *train* is one neuron in one sample: there are ``samples`` · N of them.

    Attributes:
        steps: Time steps T.
        samples: Number of samples.
        spikes: Spikes of each neuron, summed over samples and steps, ``[*]``.
        fired: Trains with at least one spike.
        reached: Trains of neurons that received at least one spike; None where no synapse was seen in front.
        silent: Trains that received no spike or never fired (Fig. 9 of the paper).
    """

    steps: int
    samples: int
    spikes: Tensor
    fired: int
    reached: int | None
    silent: int

    @property
    def neurons(self) -> int:
        """Number of neurons N."""
        return self.spikes.numel()

    @property
    def rates(self) -> Tensor:
        """Spikes a step of each neuron, ``[*]``, 0..1."""
        return self.spikes / (self.steps * self.samples)

    @property
    def rate(self) -> float:
        """Spikes a neuron and step, 0..1."""
        return float(self.rates.mean())

    @property
    def silent_share(self) -> float:
        """Share of the trains that are silent, 0..1."""
        return self.silent / (self.samples * self.neurons)

    @property
    def never_fired_share(self) -> float:
        """Share of the trains without a spike, 0..1."""
        return 1 - self.fired / (self.samples * self.neurons)

    @property
    def unreached_share(self) -> float | None:
        """Share of the trains of neurons that received no spike, 0..1."""
        return None if self.reached is None else 1 - self.reached / (self.samples * self.neurons)

    def __add__(self, other: LayerStatistics) -> LayerStatistics:
        if self.steps != other.steps or self.spikes.shape != other.spikes.shape:
            raise ValueError(
                f"cannot add layers of {self.steps} steps, {tuple(self.spikes.shape)} neurons and {other.steps} steps, "
                f"{tuple(other.spikes.shape)} neurons"
            )
        return LayerStatistics(
            self.steps,
            self.samples + other.samples,
            self.spikes + other.spikes,
            self.fired + other.fired,
            None if self.reached is None or other.reached is None else self.reached + other.reached,
            self.silent + other.silent,
        )


@dataclass(frozen=True)
class SynapseStatistics:
    """What one layer of synapses did, summed over samples and steps.

    Attributes:
        events: Inputs that were not zero.
        accumulates: Operations that spikes of value 1 cause: one addition for each synapse that a spike reaches.
        multiplies: Operations that graded inputs cause (pixels, pooled spikes): a multiplication each, too.
        dense: Operations if every input were an event.
    """

    events: int
    accumulates: int
    multiplies: int
    dense: int

    @property
    def operations(self) -> int:
        """Synaptic operations: events times their fan-out."""
        return self.accumulates + self.multiplies

    def __add__(self, other: SynapseStatistics) -> SynapseStatistics:
        return SynapseStatistics(
            self.events + other.events,
            self.accumulates + other.accumulates,
            self.multiplies + other.multiplies,
            self.dense + other.dense,
        )


@dataclass(frozen=True, kw_only=True)
class EnergyModel:
    """What one operation costs, in joules.

    The values are those of 32-bit floating point in 45 nm CMOS at 0.9 V: addition 0.9 pJ, multiplication 3.7 pJ
    (M. Horowitz, "Computing's energy problem", ISSCC 2014). This is arithmetic alone: fetching weights and states
    from memory, sending spikes and leakage come on top and are often larger.

    Attributes:
        accumulate: One addition.
        multiply_accumulate: One multiplication and one addition.
    """

    accumulate: float = 0.9e-12
    multiply_accumulate: float = 4.6e-12


@dataclass(frozen=True)
class Energy:
    """Joules a sample: of the spiking network, and of a conventional network of the same synapses."""

    spiking: float
    conventional: float

    def __str__(self) -> str:
        return f"{self.spiking * 1e6:.3g} µJ a sample ({self.conventional * 1e6:.3g} µJ as a conventional network)"


@dataclass(frozen=True)
class Statistics:
    """What a network did, by layer; made by :func:`snntorch_brp.analysis.analyse`.

    Attributes:
        layers: Spiking layers by name, in the order of their first call.
        synapses: Linear and convolutional layers by name, likewise.
    """

    layers: Mapping[str, LayerStatistics]
    synapses: Mapping[str, SynapseStatistics]

    @property
    def samples(self) -> int:
        """Number of samples."""
        return next(iter(self.layers.values())).samples

    @property
    def steps(self) -> int:
        """Time steps T."""
        return next(iter(self.layers.values())).steps

    @property
    def operations(self) -> float:
        """Synaptic operations a sample, over all T steps."""
        return sum(synapse.operations for synapse in self.synapses.values()) / self.samples

    @property
    def conventional_operations(self) -> float:
        """Multiply-accumulates a sample of a conventional network (ANN) of the same synapses, which runs once.

        Padding is not counted, here or in the synaptic operations.
        """
        return sum(synapse.dense for synapse in self.synapses.values()) / (self.samples * self.steps)

    def energy(self, model: EnergyModel | None = None) -> Energy:
        """Energy a sample, from the operations counted.

        A spike costs one accumulate a synapse, a graded input one multiply-accumulate, and every neuron one
        multiply-accumulate a step for its leak, whether it fires or not.

        Args:
            model: What an operation costs; 32-bit floating point in 45 nm when None.
        """
        model = model or EnergyModel()
        accumulates = sum(synapse.accumulates for synapse in self.synapses.values()) / self.samples
        multiplies = sum(synapse.multiplies for synapse in self.synapses.values()) / self.samples
        multiplies += sum(layer.neurons * layer.steps for layer in self.layers.values())
        return Energy(
            spiking=accumulates * model.accumulate + multiplies * model.multiply_accumulate,
            conventional=self.conventional_operations * model.multiply_accumulate,
        )

    def __add__(self, other: Statistics) -> Statistics:
        if self.layers.keys() != other.layers.keys() or self.synapses.keys() != other.synapses.keys():
            raise ValueError(f"cannot add networks of layers {list(self.layers)} and {list(other.layers)}")
        return Statistics(
            {name: layer + other.layers[name] for name, layer in self.layers.items()},
            {name: synapse + other.synapses[name] for name, synapse in self.synapses.items()},
        )

    def __str__(self) -> str:
        lines = [f"{'layer':<14}{'neurons':>9}{'rate':>8}{'silent':>9}{'unreached':>11}"]
        for name, layer in self.layers.items():
            unreached = math.nan if layer.unreached_share is None else layer.unreached_share
            lines.append(f"{name:<14}{layer.neurons:>9,}{layer.rate:>8.3f}{layer.silent_share:>9.1%}{unreached:>11.1%}")
        ratio = self.operations / self.conventional_operations if self.synapses else math.nan
        lines.append(f"{self.operations:,.0f} synaptic operations a sample, {ratio:.2f} of the conventional network's")
        lines.append(f"{self.energy()}, arithmetic alone")
        return "\n".join(lines)
