"""What a user is warned of while a network is attached, each thing once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor, nn

from snntorch_brp.attachment.record import LayerRecord
from snntorch_brp.firing import LEAST_STEPS, firing_fault, firing_message
from snntorch_brp.learning_rates import FirstStep

_LOOKED_AT = {4**i for i in range(1, 16)}  # the sequences in which the layers' firing is judged


class Advice:
    """Sequences that nobody learned from, parameters that nothing reaches, and layers that cannot learn as they fire.

    Args:
        hidden_rest: Hidden layers are meant not to learn, so that nothing is said of their parameters.
    """

    def __init__(self, *, hidden_rest: bool) -> None:
        self._unreached_told = hidden_rest
        self._dropped_told = False
        self._firing_told: set[tuple[str, str]] = set()
        self._first_step = FirstStep()
        self._sequences = 0  # that were learned from

    def dropped(self) -> None:
        """A sequence ran, and nothing was learned from it."""
        if self._dropped_told:
            return
        self._dropped_told = True
        warnings.warn(
            "a sequence ran in training mode and nothing was learned from it: call brp.backward(loss, labels) in place "
            "of loss.backward(), or run it under torch.no_grad() if it is not to be learned from",
            stacklevel=4,
        )

    def unreached(self, net: nn.Module) -> None:
        """After the first sequence: look for parameters that got no gradient."""
        if self._unreached_told:
            return
        self._unreached_told = True
        unreached = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
        if unreached:
            warnings.warn(
                f"no hidden layer and no output reaches {', '.join(unreached)}: they will not be trained (freeze them "
                "with requires_grad_(False) if that is meant)",
                stacklevel=3,
            )

    def firing(self, layers: Sequence[LayerRecord], hidden: dict[str, Tensor]) -> None:
        """Look for layers that fire too little or too much to learn, in ever fewer sequences.

        Args:
            layers: What each layer did.
            hidden: The parameters of hidden layers, by name; the optimizer's first step is looked at, too.
        """
        self._sequences += 1
        if large := self._first_step.look(hidden):
            warnings.warn(large, stacklevel=3)
        if self._sequences not in _LOOKED_AT:
            return
        for layer in layers:
            fault = firing_fault(layer.window.rate) if layer.steps else None
            if fault == "saturated" and layer.steps < LEAST_STEPS:
                continue
            if fault is not None and (layer.name, fault) not in self._firing_told:
                self._firing_told.add((layer.name, fault))
                warnings.warn(firing_message(layer.name, fault), stacklevel=3)
