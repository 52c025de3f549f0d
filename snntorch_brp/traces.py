"""Traces: what is left of the past at a step, forwards in time, and the same run backwards."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Decays = Sequence[float | Tensor]
"""Decays of a cascade of leaky sums, the one that sees the input last: ``(β,)``, or ``(β, α)`` behind a synapse."""


def advance(x: Tensor, before: Sequence[Tensor] | None, decays: Decays) -> list[Tensor]:
    """One step of the trace of x, a cascade of leaky sums::

        P_t = β P_{t-1} + Q_t,  Q_t = α Q_{t-1} + x_t

    It is what the membrane of a neuron keeps of an input: of a leaky one for ``decays=(β,)``, then P_t = x̄_t, and of
    one with a synaptic current for ``(β, α)``. With no decays the trace of x is x.

    Args:
        x: x_t, any shape.
        before: What this function returned a step before; None at the first step.
        decays: β, or β and α.

    Returns:
        The trace P_t, followed by what the next step needs, Q_t.
    """
    states: list[Tensor] = []
    for place in reversed(range(len(decays))):
        x = x if before is None else decays[place] * before[place] + x
        states.insert(0, x)
    return states or [x]


def cascade(x: Tensor, decays: Decays) -> Tensor:
    """The trace of :func:`advance` at every step.

    Args:
        x: Values x_t, ``[T, *]``.
        decays: β, or β and α.

    Returns:
        The trace, ``[T, *]``.

    Example:
        >>> cascade(torch.tensor([1.0, 0.0, 2.0]), (0.5,)).tolist()
        [1.0, 0.5, 2.25]
        >>> cascade(torch.tensor([1.0, 0.0, 0.0]), (0.5, 0.5)).tolist()
        [1.0, 1.0, 0.75]
    """
    if not decays:
        return x
    states: list[Tensor] | None = None
    traces = []
    for x_t in x:
        states = advance(x_t, states, decays)
        traces.append(states[0])
    return torch.stack(traces)


def fold(gradient: Tensor, decays: Decays) -> Tensor:
    """From a gradient on the traces of the inputs to one on the inputs: the trace that runs backwards.

    A sum over all steps of ``g_t x̄_tᵀ`` is that of ``a_t x_tᵀ`` with ``a_t = β a_{t+1} + g_t``.

    Args:
        gradient: g_t, ``[T, *]``.
        decays: As for :func:`cascade`.

    Returns:
        a_t, ``[T, *]``.
    """
    return cascade(gradient.flip(0), decays).flip(0) if decays else gradient
