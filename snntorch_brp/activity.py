"""What one layer did over a sequence: all that a local rule may see, and what figures show."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from snntorch_brp.layer_view import LayerView
from snntorch_brp.runtime.deprecation import renamed
from snntorch_brp.traces import cascade


class Activity:
    """What one layer did over a window of T steps, without its graph; each value is computed when first asked for.

    A rule is given it as ``window``; :func:`snntorch_brp.observe` gives one for every layer. Online a layer learns at
    every step, and the window is one step long. What a rule accumulates over time it gets by :meth:`trace`, which goes
    on from window to window, or keeps by :meth:`remember`.

    Args:
        spikes: Spikes s_t, a tensor ``[T, B, *]`` or T tensors ``[B, *]``.
        membrane: Membrane potentials v_t, likewise, where they were kept.
        current: Input currents I_t, likewise, where they were kept.
        rate: Mean spike rate ``[B, *]``, where it is known already.
        inputs: What each synapse of the layer took in, each likewise, where it was kept.
        layer: The layer itself.
        label: The label ȳ that the layer receives, ``[T or 1, B, K]``, where there is one.
        threshold: Threshold at every step, where it is known already.
        first: Steps of the sequence that lie before this window.
        memory: Where :meth:`trace` goes on from; online only.

    Attributes:
        steps: Number of time steps T in the window.

    Example:
        >>> Activity(torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]])).rate.tolist()
        [[1.0, 0.5]]
    """

    def __init__(
        self,
        spikes: Sequence[Tensor] | Tensor,
        *,
        membrane: Sequence[Tensor] | Tensor | None = None,
        current: Sequence[Tensor] | Tensor | None = None,
        rate: Tensor | None = None,
        inputs: Sequence[Sequence[Tensor] | Tensor] | None = None,
        layer: LayerView | None = None,
        label: Tensor | None = None,
        threshold: Tensor | None = None,
        first: int = 0,
        memory: dict[str, Tensor] | None = None,
    ) -> None:
        self.steps = len(spikes)
        self.label = label
        self.first = first
        self._spikes, self._membrane, self._current, self._rate = spikes, membrane, current, rate
        self._inputs, self._layer, self._memory, self._threshold = inputs, layer, memory, threshold

    @cached_property
    def rate(self) -> Tensor:
        """Mean spike rate over the window, online of the sequence so far, ``[B, *]``."""
        if self._rate is not None:
            return self._rate
        if isinstance(self._spikes, Tensor):
            return self._spikes.detach().mean(0)
        total = self._spikes[0].detach().clone()
        for spikes in self._spikes[1:]:
            total += spikes.detach()
        return total / self.steps

    @property
    def like(self) -> Tensor:
        """A tensor ``[B, *]`` in the layer's shape and dtype and on its device; what is in it does not matter."""
        return self._spikes[0] if self._rate is None else self._rate

    @cached_property
    def spikes(self) -> Tensor:
        """Spikes s_t, ``[T, B, *]``."""
        return _stacked(self._spikes, "spikes")

    @cached_property
    def membrane(self) -> Tensor:
        """Membrane potentials v_t, ``[T, B, *]``."""
        return _stacked(self._membrane, "membrane")

    @cached_property
    def current(self) -> Tensor:
        """Input currents I_t, ``[T, B, *]``."""
        return _stacked(self._current, "current")

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """What each of the layer's synapses took in, ``[T, B, *]`` each, in the order of ``layer.synapses``."""
        if self._inputs is None:
            raise AttributeError(_missing("inputs"))
        return tuple(_stacked(steps, "inputs") for steps in self._inputs)

    @property
    def layer(self) -> LayerView:
        """The layer: its name, its neuron with decays, threshold and ψ, its synapses, its learned values."""
        if self._layer is None:
            raise AttributeError("this window belongs to no layer: give Activity(..., layer=LayerView(name, neuron))")
        return self._layer

    @cached_property
    def psi(self) -> Tensor:
        """ψ(v_t), the pseudo-derivative of the layer's own spike function, ``[T, B, *]``; keeps ``"membrane"``."""
        return self.layer.psi(self.membrane, self.threshold)

    @cached_property
    def threshold(self) -> Tensor:
        """The threshold at every step: θ, or ``[T, B, *]`` where it adapts."""
        return self.layer.thresholds(self.spikes) if self._threshold is None else self._threshold

    def trace(self, x: Tensor, decay: float | Tensor, *, name: str, delayed: bool = False) -> Tensor:
        """The trace ``x̄_t = λ x̄_{t-1} + x_t`` at every step of the window, from the start of the sequence.

        Args:
            x: Values x_t, ``[T, *]``.
            decay: Decay λ per step.
            name: What to call it, to go on from it online; one name for each trace of a rule.
            delayed: Give x̄_{t-1} at step t, and 0 at the first.

        Returns:
            The trace, ``[T, *]``.
        """
        before = None if self._memory is None else self._memory.get(name)
        traces = cascade(x if before is None else torch.cat([before[None], x]), (decay,))
        if self._memory is not None:
            self._memory[name] = traces[-1]
        if not delayed:
            return traces[-len(x) :]
        return traces[:-1] if before is not None else torch.cat([torch.zeros_like(x[:1]), traces[:-1]])

    def recall(self, name: str) -> Tensor | None:
        """What was remembered under a name in the window before; None at the start of a sequence."""
        return None if self._memory is None else self._memory.get(name)

    def remember(self, name: str, value: Tensor) -> None:
        """Keep a state for the next window of the sequence, where there is one: online."""
        if self._memory is not None:
            self._memory[name] = value


def _stacked(steps: Sequence[Tensor] | Tensor | None, name: str) -> Tensor:
    if steps is None:
        raise AttributeError(_missing(name))
    return steps.detach() if isinstance(steps, Tensor) else torch.stack([step.detach() for step in steps])


def _missing(name: str) -> str:
    return f"this window kept no {name}: add it to the rule, `keeps = frozenset({{'{name}'}})`"


__getattr__ = renamed(__name__, {"Window": ("snntorch_brp.Activity", Activity)})
