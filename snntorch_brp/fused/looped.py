"""Networks with a ``forward`` of their own in the fused engine: what it does, as a sequence of layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from snntorch_brp.fused.engine import FusedEngine
from snntorch_brp.fused.layers import (
    Layer,
    NotFusible,
    Signature,
    check_network,
    check_untouched,
    dtype_of,
    layered,
)
from snntorch_brp.fused.synapse import stateless
from snntorch_brp.fused.tracing import Part, Signal, Stacked, State, Trace, outer_values, record, refuse, states_of
from snntorch_brp.neurons import is_spiking
from snntorch_brp.propagation import Propagation

KEPT = 64  # shapes of inputs for which the sequence is remembered


@dataclass(frozen=True)
class Sequence:
    """A network's ``forward`` as a plain sequence.

    Attributes:
        modules: What its input goes through at every step, by name.
        steps: Number of time steps T; None where the network takes one step a call.
        same_input: The input is the same at every step, ``[B, *]``, and not ``[T, B, *]``.
        shows_membrane: The last thing that it returns is the last neuron's membrane.
    """

    modules: tuple[tuple[str, nn.Module], ...]
    steps: int | None
    same_input: bool
    shows_membrane: bool

    def layers(self, net: nn.Module) -> list[Layer]:
        """The layers that the fused engine runs.

        Raises:
            NotFusible: If one of them does not qualify.
        """
        check_network(net)
        *hidden, last = layered(self.modules, dtype_of(net))
        return [*hidden, replace(last, shows_membrane=self.shows_membrane)]


def sequence(net: nn.Module, x: Tensor, *, loops_inside: bool) -> Sequence:
    """What a network does with an input of this shape.

    Args:
        net: Any network.
        x: What it takes: one step ``[B, *]``, or what it loops over.
        loops_inside: Whether it runs all steps in one call.

    Raises:
        NotFusible: If it is no plain sequence of known modules, or is not exactly understood; the message says why.
    """
    for name, module in net.named_modules():
        check_untouched(module, f"'{name or type(module).__name__}'")
    returned, trace = record(net, x)
    own = dict(net.named_modules())
    several = isinstance(returned, tuple | list)
    outputs = _outputs(trace, returned[0] if several else returned, loops_inside)
    parts, entering = _parts(trace, outputs)
    same_input = all(signal.call is None for signal in entering)
    if not loops_inside and not (same_input and trace.keeps_states):
        refuse("takes one step, and starts it from states or a part of the input of its own choice")
    if not same_input and [signal.call for signal in entering] != list(range(len(outputs))):
        refuse("does not take its input step by step")
    if left := {name for name in trace.received if Part(name) not in parts}:
        refuse(f"has neurons that do not lead to its output: {', '.join(sorted(left))}")
    if left := {name for name in trace.calls if Part(name) not in parts}:
        refuse(f"calls modules that do not lead to its output: {', '.join(sorted(left))}")
    for part in parts:
        _check_calls(trace, part, own.get(part.name), len(outputs))
    modules = tuple((part.name, trace.modules[part] if part.kind else own[part.name]) for part in parts)
    shown = trace.value(returned[-1]) if several and len(returned) > 1 else None
    return Sequence(
        modules,
        len(outputs) if loops_inside else None,
        same_input and loops_inside,
        _is_membrane(shown, parts[-1].name, own, len(outputs)),
    )


def _outputs(trace: Trace, returned: object, loops_inside: bool) -> list[Signal]:
    """What the network gives at each step."""
    value = trace.value(returned)
    values = value.values if loops_inside and isinstance(value, Stacked) else (value,)
    outputs = [value for value in values if isinstance(value, Signal) and value.layer is not None]
    if isinstance(value, Stacked) != loops_inside or len(outputs) != len(values) or not outputs:
        refuse("does not return what its neurons gave at each step, stacked" if loops_inside else "returns no spikes")
    return outputs


def _parts(trace: Trace, signals: list[Signal]) -> tuple[list[Part], list[Signal]]:
    """All that the input goes through, in order, from what comes out; and what enters at each step."""
    found: list[Part] = []
    while True:
        layer, parts = signals[0].layer, signals[0].parts
        steps = signals if layer is None else [Signal(layer, t, parts) for t in range(len(signals))]
        if steps != signals or any((signal.layer, signal.parts) != (layer, parts) for signal in signals):
            refuse("does not do the same at every step")
        found = [*parts, *found]
        if layer is None:
            return found, signals
        if Part(layer) in found or len(trace.received[layer]) != len(signals):
            refuse(f"does not call '{layer}' once a step")
        found = [Part(layer), *found]
        signals = trace.received[layer]


def _check_calls(trace: Trace, part: Part, module: nn.Module | None, steps: int) -> None:
    """A module between neurons is called at every step, or once for all where that is the same."""
    calls = trace.calls.get(part.name, steps)
    if part.kind or module is None or is_spiking(module) or calls == steps:
        return
    kind = stateless(module)
    if calls != 1 or kind.random or kind.by_step:
        refuse(f"calls '{part.name}' {calls} times in {steps} steps")


def _is_membrane(value: object, layer: str, own: dict[str, nn.Module], steps: int) -> bool:
    """Whether a value is the membrane of a layer at each step."""
    if not is_spiking(own.get(layer, nn.Identity())):
        return False
    place = len(states_of(own[layer])) - 1
    values = value.values if isinstance(value, Stacked) else (value,)
    return values == tuple(State(layer, t, place) for t in range(steps))


class LoopedEngine:
    """Runs and trains networks whose ``forward`` is code of their own, where it is a plain sequence.

    A network's code is read anew for each shape of its input, and when the network or what its code takes from
    outside has changed. What ``forward`` does beside computing, such as printing, is done while it is read alone.

    Args:
        net: The network.
        propagation: What is sent to the hidden layers.
        loops_inside: Whether ``net(x)`` runs all steps; else one.
        options: Those of :class:`FusedEngine`.

    Attributes:
        watch: Is told a layer's name and rates, ``[b, *]``.
        steps: Number of time steps of the last input that was learned from.
    """

    def __init__(self, net: nn.Module, propagation: Propagation, *, loops_inside: bool, **options: Any) -> None:
        self.net = net
        self.watch: Callable[[str, Tensor], None] | None = None
        self.steps = 0
        self._loops_inside = loops_inside
        self._make = partial(FusedEngine, net, propagation, **options)
        self._known: dict[object, tuple[Sequence, FusedEngine]] = {}
        self._refused: NotFusible | None = None
        self._signature: Signature | None = None  # what the sequences depend on
        next(iter(outer_values(net)), None)

    def step(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`FusedEngine.step`, of what the network takes."""
        engine, x = self._at(x)
        result = engine.step(x, labels)
        self.steps = len(x)
        return result

    def run(self, x: Tensor) -> Tensor:
        """As :meth:`FusedEngine.run`, of what the network takes."""
        engine, x = self._at(x)
        return engine.run(x)

    def _at(self, x: Tensor) -> tuple[FusedEngine, Tensor]:
        """The engine for an input, and the input time first."""
        own = Signature.of(self.net)
        now = Signature([*own.same, *outer_values(self.net)], own.equal)
        if self._signature is None or not self._signature.holds(now):
            self._known, self._refused, self._signature = {}, None, now
        if self._refused is not None:
            raise self._refused
        key = x.shape if self._loops_inside else x.shape[1:], x.dtype
        if key not in self._known:
            try:
                self._known[key] = self._read(x)
            except NotFusible as reason:
                self._refused = reason
                raise
        found, engine = self._known[key]
        engine.watch = self.watch
        if found.same_input and found.steps is not None:
            return engine, x.expand(found.steps, *x.shape)
        return engine, x[: found.steps]

    def _read(self, x: Tensor) -> tuple[Sequence, FusedEngine]:
        found = sequence(self.net, x if self._loops_inside else x[0], loops_inside=self._loops_inside)
        for other, engine in self._known.values():
            if (other.modules, other.shows_membrane) == (found.modules, found.shows_membrane):
                return found, engine
        if len(self._known) >= KEPT:
            self._known.clear()
        return found, self._make(layers=partial(found.layers, self.net))
