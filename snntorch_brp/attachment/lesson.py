"""What a sequence is taught while it runs: its labels, step by step, and what they ask of the output."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from snntorch_brp.attachment.readout import by_class
from snntorch_brp.attachment.step import Step
from snntorch_brp.encoding import check_labels
from snntorch_brp.propagation import Propagation


@dataclass
class Lesson:
    """The labels of one sequence.

    Args:
        labels: Class numbers of the batch, integers ``[B]``; None for a rule that is not taught by labels, where the
            output rests.
        steps: Number of time steps T that will be run.
        propagation: The rule.
        num_classes: Number of classes K.

    Raises:
        ValueError: If labels or steps do not fit.
    """

    labels: Tensor | None
    steps: int
    propagation: Propagation
    num_classes: int
    _label: Tensor | None = field(default=None, init=False)  # of the whole sequence, once a layer asks for it

    def __post_init__(self) -> None:
        if self.labels is not None or self.propagation.needs_label:
            check_labels(self.labels, self.num_classes)  # type: ignore[arg-type]
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def check(self, step: Step) -> None:
        """Raise ValueError if a layer ran another number of samples than there are labels."""
        if self.labels is not None and len(step.spikes) != len(self.labels):
            raise ValueError(
                f"layer '{step.layer.name}' ran {len(step.spikes)} samples, but there are {len(self.labels)} labels"
            )

    def label_at(self, step: Step) -> Tensor | None:
        """The label ȳ of one step, ``[1, B, K]``."""
        if self.labels is None:
            return None
        if self._label is None:
            labels = self.labels.to(step.rate.device)
            self._label = self.propagation.label(labels, self.num_classes, self.steps, step.rate.dtype)
        return self._label if len(self._label) == 1 else self._label[step.number - 1, None]

    def output_gradient(self, step: Step) -> Tensor | None:
        """What stands in the place of ∂L/∂s_t of the output: the gradient of the mean squared error, over T.

        Raises:
            ValueError: If the output has not one neuron for each class.
        """
        if self.labels is None:
            return None
        y = (step.spikes.detach() if self.propagation.every_step else step.rate).flatten(1)
        y = (y if y.dtype is torch.float64 else y.float()).requires_grad_()
        if y.shape[1] != self.num_classes:
            raise ValueError(
                f"the output layer '{step.layer.name}' has {y.shape[1]} neurons, and online learning needs one for "
                f"each of the {self.num_classes} classes: use credit='full', or name the output"
            )
        with torch.enable_grad():
            target = F.one_hot(self.labels.to(y.device).long(), self.num_classes).to(y.dtype)
            (gradient,) = torch.autograd.grad(F.mse_loss(y, target), y)
        return (gradient.view_as(step.spikes) / self.steps).to(step.spikes.dtype)

    def output(self, step: Step) -> Tensor:
        """The output that rules compare with the label: of this step, ``[1, B, K]``, or its rate so far, ``[B, K]``."""
        every_step = self.propagation.every_step
        output = (step.spikes.detach() if every_step else step.rate).flatten(1)
        output = by_class(output, self.num_classes, type(self.propagation).__name__, step.layer.name)
        return output[None] if every_step else output
