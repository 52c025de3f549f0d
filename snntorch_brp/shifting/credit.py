"""Temporal credit assignment: count what was worth something, told only the total, and only at the end."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from snntorch_brp.shifting.spikes import SILENT, Events, several_spikes


class Trials(NamedTuple):
    """Spike trains with what they were worth.

    Attributes:
        events: Several spikes per synapse, [N, E] padded.
        totals: [N], the worth of all features of a trial together (int64).
        counts: [N, features], how often each feature occurred; for analysis, never for training.
    """

    events: Events
    totals: Tensor
    counts: Tensor


@dataclass(frozen=True, kw_only=True)
class CreditTask:
    """Short spike patterns ("features") hidden in background noise, some of them rewarded.

    A feature is a fixed spike pattern over all synapses. In a trial features follow each other at gamma-distributed
    intervals, each drawn at random; while one lasts it takes the place of the background, an inhomogeneous Poisson
    process whose rate swings by half around its mean with a random phase. Features and background have the same
    mean rate: only *which* synapses fire tells them apart.

    Attributes:
        worth: Worth of each feature; 0 for a distractor.
        synapses: Number of input synapses.
        duration: Length of a trial, s.
        feature_duration: Length of a feature, s.
        rate: Mean rate of a synapse, Hz.
        interval: Mean interval between the onsets of features, s.
        shape: Shape of the gamma distribution of the intervals; larger is more regular.
        period: Period of the background's rate, s.
        time_scale: One unit of t, in s: a spike at s seconds comes at z = exp(s / time_scale).
        seed: Seed of the features; trials have a generator of their own.
        features: Of each feature the times of its spikes, s from its onset, and their synapses, both ``[spikes]``.
    """

    worth: tuple[int, ...] = (1, 2, 3, 4, 5, 0, 0, 0, 0)
    synapses: int = 500
    duration: float = 1.0
    feature_duration: float = 0.1
    rate: float = 5.0
    interval: float = 0.3
    shape: float = 3.0
    period: float = 0.5
    time_scale: float = 10.0
    seed: int = 0
    features: list[tuple[Tensor, Tensor]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.interval <= self.feature_duration:
            raise ValueError(
                f"features of {self.feature_duration} s cannot follow each other every {self.interval} s on average"
            )
        generator = torch.Generator().manual_seed(self.seed)
        features = [self._noise(self.feature_duration, 0.0, generator) for _ in self.worth]
        object.__setattr__(self, "features", features)

    def draw(self, trials: int, *, generator: torch.Generator) -> Trials:
        """Draw trials.

        Args:
            trials: How many.
            generator: Source of intervals, features and background.
        """
        drawn = [self._trial(generator) for _ in range(trials)]
        counts = torch.stack([count for _, _, count in drawn])
        longest = max(len(times) for times, _, _ in drawn)
        times = torch.full((trials, longest), SILENT)
        synapses = torch.zeros(trials, longest, dtype=torch.long)
        for n, (seconds, index, _) in enumerate(drawn):
            seconds, order = seconds.sort()
            times[n, : len(order)] = torch.exp(seconds / self.time_scale)
            synapses[n, : len(order)] = index[order]
        return Trials(several_spikes(times, synapses, self.synapses), counts @ torch.tensor(self.worth), counts)

    def _trial(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """One trial: times in s, synapses, and how often each feature occurred."""
        times, synapses = self._noise(self.duration, 0.5, generator)
        pieces = []
        counts = torch.zeros(len(self.worth), dtype=torch.long)
        onset = self._pause(generator)
        while onset + self.feature_duration <= self.duration:
            which = int(torch.randint(len(self.worth), (), generator=generator))
            counts[which] += 1
            outside = (times < onset) | (times >= onset + self.feature_duration)
            times, synapses = times[outside], synapses[outside]
            pattern, index = self.features[which]
            pieces.append((pattern + onset, index))
            onset += self.feature_duration + self._pause(generator)
        return (
            torch.cat([times, *(p[0] for p in pieces)]),
            torch.cat([synapses, *(p[1] for p in pieces)]),
            counts,
        )

    def _pause(self, generator: torch.Generator) -> float:
        """A gamma-distributed pause, from the end of a feature to the onset of the next."""
        uniform = torch.rand(math.ceil(self.shape), generator=generator).clamp(min=1e-9)
        return float(-uniform.log().mean()) * (self.interval - self.feature_duration)

    def _noise(self, duration: float, swing: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Poisson spikes whose rate is rate · (1 + swing · sin(2π t / period + phase)): times and synapses."""
        phase = 2 * math.pi * float(torch.rand((), generator=generator))
        expected = torch.tensor(self.synapses * self.rate * (1 + swing) * duration)
        n = int(torch.poisson(expected, generator=generator))
        times = torch.rand(n, generator=generator) * duration
        kept = torch.rand(n, generator=generator) * (1 + swing) < 1 + swing * torch.sin(
            2 * math.pi * times / self.period + phase
        )
        synapses = torch.randint(self.synapses, (n,), generator=generator)
        return times[kept], synapses[kept]
