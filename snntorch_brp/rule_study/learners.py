"""Who learns from a batch and names classes: a trainer, and the rules that need batches of their own making."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp.attachment import attach
from snntorch_brp.initialization import calibrate
from snntorch_brp.learning_rates import parameter_groups
from snntorch_brp.propagation import Propagation
from snntorch_brp.rule_study.courses import CALIBRATION_SAMPLES, Course, Data
from snntorch_brp.rules import ESPP, LocalRule, SpikingForwardForward, TracesPropagation
from snntorch_brp.rules.espp import echo_batches
from snntorch_brp.rules.forward_forward import overlay
from snntorch_brp.rules.traces_propagation import paired
from snntorch_brp.runtime.randomness import seeded
from snntorch_brp.sequence import unroll
from snntorch_brp.training import BRPTrainer, rate_mse


class Rates(NamedTuple):
    """Learning rates of the hidden layers and of the output."""

    hidden: float
    output: float


def adam(net: nn.Module, rates: Rates) -> torch.optim.Optimizer:
    """What moves all networks."""
    return torch.optim.Adam(parameter_groups(net, lr=rates.output, hidden_lr=rates.hidden))


class Learner(ABC):
    """A network that learns from batches of samples."""

    @abstractmethod
    def learn(self, samples: Tensor, labels: Tensor) -> None:
        """One step."""

    @abstractmethod
    def predict(self, samples: Tensor) -> Tensor:
        """The classes of samples, ``[B]``."""

    def order(self, labels: Tensor, batch_size: int) -> Iterator[Tensor]:
        """An epoch's batches, the places of their samples."""
        yield from torch.randperm(len(labels)).split(batch_size)


class TrainerLearner(Learner):
    """A rule that a trainer runs."""

    def __init__(self, net: nn.Sequential, rule: Propagation | LocalRule, data: Data, rates: Rates) -> None:
        self._echoes = isinstance(rule, ESPP)
        self.trainer = BRPTrainer(
            net,
            num_classes=data.classes,
            propagation=rule,
            encoder=data.encoder,
            optimizer=adam(net, rates),
        )

    def learn(self, samples: Tensor, labels: Tensor) -> None:
        """One step of the trainer."""
        self.trainer.step(samples, labels)

    def predict(self, samples: Tensor) -> Tensor:
        """By the output's rate."""
        return self.trainer.predict(samples)

    def order(self, labels: Tensor, batch_size: int) -> Iterator[Tensor]:
        """At random; for ESPP every second batch repeats the classes of the one before."""
        return echo_batches(labels, batch_size) if self._echoes else super().order(labels, batch_size)


class PairedLearner(Learner):
    """Traces propagation: every sample comes with its target."""

    def __init__(self, net: nn.Sequential, rule: TracesPropagation, data: Data, rates: Rates) -> None:
        self.net, self.data = net, data
        self.optimizer = adam(net, rates)
        self.handle = attach(net, rule, num_classes=data.classes)
        self.handle.names_firing_faults = False

    def learn(self, samples: Tensor, labels: Tensor) -> None:
        """The output learns from the samples alone."""
        self.optimizer.zero_grad()
        with self.handle as handle:
            spikes = unroll(self.net, paired(self.data.encoder(samples), labels, self.data.classes))
            handle.backward(rate_mse(spikes[:, : len(labels)], labels))
        self.optimizer.step()

    def predict(self, samples: Tensor) -> Tensor:
        """By the output's rate, without targets."""
        with torch.no_grad(), seeded(0, samples.device):
            x = F.pad(self.data.encoder(samples), (self.data.classes, 0))
            return unroll(self.net, x).mean(0).argmax(1)


class GoodnessLearner(Learner):
    """Forward-forward: every sample comes twice, with its label and with a false one."""

    SCALE = 3.0  # of the label in the input

    def __init__(self, net: nn.Sequential, rule: SpikingForwardForward, data: Data, rates: Rates) -> None:
        self.net, self.data = net, data
        self.optimizer = torch.optim.Adam(net.parameters(), rates.hidden)
        self.handle = attach(net, rule, num_classes=2)
        self.handle.names_firing_faults = False

    def learn(self, samples: Tensor, labels: Tensor) -> None:
        """Positive and negative samples in one batch."""
        classes, x = self.data.classes, self.data.encoder(samples)
        false = (labels + torch.randint(1, classes, labels.shape)) % classes
        shown, positive = torch.cat([labels, false]), torch.arange(2 * len(labels)) < len(labels)
        self.optimizer.zero_grad()
        with self.handle as handle:
            unroll(self.net, overlay(torch.cat([x, x], dim=1), shown, classes, scale=self.SCALE))
            handle.backward(None, positive.long())
        self.optimizer.step()

    def predict(self, samples: Tensor) -> Tensor:
        """The label under which the last layer's goodness is greatest."""
        goodness = []
        with torch.no_grad(), seeded(0, samples.device):
            x = self.data.encoder(samples)
            for label in range(self.data.classes):
                shown = torch.full((len(samples),), label)
                rate = unroll(self.net, overlay(x, shown, self.data.classes, scale=self.SCALE)).mean(0)
                goodness.append(rate.square().mean(1))
        return torch.stack(goodness).argmax(0)


def learner_of(rule: Propagation | LocalRule, course: Course, data: Data, lr: float) -> Learner:
    """A freshly drawn network under a rule, its first weights scaled so that every layer fires."""
    samples, labels = (tensor[:CALIBRATION_SAMPLES] for tensor in data.learn.tensors)
    x, rates = data.encoder(samples), Rates(lr, course.output_lr)
    kind: type[Learner] = TrainerLearner
    classes, shape = data.classes, data.shape
    if isinstance(rule, SpikingForwardForward):
        kind, classes, shape = GoodnessLearner, 0, (shape[0] + data.classes,)
        x = overlay(x, labels, data.classes, scale=GoodnessLearner.SCALE)
    elif isinstance(rule, TracesPropagation):
        kind, shape = PairedLearner, (shape[0] + data.classes,)
        x = F.pad(x, (data.classes, 0))
    net = course.net(shape, classes)
    calibrate(net, x, mean=0.2, std=0.6)
    return kind(net, rule, data, rates)  # type: ignore[call-arg]
