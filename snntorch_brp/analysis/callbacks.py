"""The same analyses during training, on one fixed batch after every epoch."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from snntorch_brp.analysis.alignment import gradient_angles
from snntorch_brp.analysis.counting import analyse
from snntorch_brp.analysis.statistics import Statistics
from snntorch_brp.propagation import Propagation
from snntorch_brp.training import Callback, EpochResult, Trainer


class ActivityMonitor(Callback):
    """Silent neurons, rates and operations after every epoch.

    Args:
        x: A batch, as the loader gives it.
        seed: Of the encoding, the same every time.

    Attributes:
        history: Epoch and statistics, one pair an epoch.

    Example:
        >>> net, x, labels = mlp([64, 100, 10]), torch.rand(8, 64), torch.arange(8)
        >>> trainer, monitor = BRPTrainer(net, num_classes=10, encoder=RateEncoder(steps=10)), ActivityMonitor(x)
        >>> _ = trainer.fit([(x, labels)], epochs=2, callbacks=[monitor], progress=False)
        >>> [epoch for epoch, statistics in monitor.history]
        [1, 2]
    """

    def __init__(self, x: Tensor, *, seed: int = 0) -> None:
        self.x = x
        self.seed = seed
        self.history: list[tuple[int, Statistics]] = []

    def measure(self, trainer: Trainer, epoch: int) -> None:
        """Measure now, as for epoch 0 before training."""
        spikes = trainer.encode(self.x, seed=self.seed)
        self.history.append((epoch, analyse(trainer.net, lambda: trainer.run(spikes))))

    def on_epoch_end(self, trainer: Trainer, result: EpochResult) -> None:
        """Measure."""
        self.measure(trainer, result.epoch)


class AlignmentMonitor(Callback):
    """Angles between rules' changes and the true gradient after every epoch.

    Args:
        x: A batch, as the loader gives it.
        labels: Its class numbers.
        rules: Rules by name; the trainer's own, under the name "own", when None.
        seed: Of the encoding, the same every time.

    Attributes:
        history: Epoch, rule and angles by module, one an epoch and rule.

    Example:
        >>> net, x, labels = mlp([64, 100, 10]), torch.rand(8, 64), torch.arange(8)
        >>> trainer = BRPTrainer(net, num_classes=10, encoder=RateEncoder(steps=10))
        >>> monitor = AlignmentMonitor(x, labels, rules={"brp": BRP(), "error": ErrorProjection()})
        >>> _ = trainer.fit([(x, labels)], epochs=1, callbacks=[monitor], progress=False)
        >>> [(epoch, rule) for epoch, rule, angles in monitor.history]
        [(1, 'brp'), (1, 'error')]
    """

    def __init__(
        self, x: Tensor, labels: Tensor, *, rules: Mapping[str, Propagation] | None = None, seed: int = 0
    ) -> None:
        self.x = x
        self.labels = labels
        self.rules = rules
        self.seed = seed
        self.history: list[tuple[int, str, dict[str, float]]] = []

    def measure(self, trainer: Trainer, epoch: int) -> None:
        """Measure now, as for epoch 0 before training."""
        spikes = trainer.encode(self.x, seed=self.seed)
        attached = trainer.attached
        for name, rule in (self.rules or {"own": attached.propagation}).items():
            angles = gradient_angles(
                trainer.net,
                spikes,
                self.labels.to(spikes.device),
                rule,
                num_classes=trainer.num_classes,
                feedback=trainer.feedback,
                consolidation=attached.consolidation,
                loss=trainer.loss,
                loops_inside=trainer.loops_inside,
                output=attached.output,
                seed=self.seed,
            )
            self.history.append((epoch, name, angles))

    def on_epoch_end(self, trainer: Trainer, result: EpochResult) -> None:
        """Measure."""
        self.measure(trainer, result.epoch)
