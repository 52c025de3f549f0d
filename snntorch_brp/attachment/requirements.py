"""What a rule and a network must be like to learn while the network runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from snntorch_brp.attachment.record import LayerRecord
from snntorch_brp.consolidation import Consolidation
from snntorch_brp.eligibility_trace import trace_of
from snntorch_brp.neurons import takes_sequence
from snntorch_brp.propagation import Propagation


def check_layers(layers: Sequence[LayerRecord], readouts: Sequence[str], net: nn.Module, *, traces: bool) -> None:
    """Raise ValueError unless the layers of a network can learn at every step, with ``traces`` or without."""
    for layer in layers:
        if reason := _unsupported_reason(layer.module, traces):
            raise ValueError(f"layer '{layer.name}', a {type(layer.module).__name__}, {reason}")
    if readouts:
        raise ValueError(
            f"online learning trains spiking outputs, and output='{readouts[0]}' does not spike: use credit='full'"
        )
    if len(layers) < 2:
        raise ValueError(
            f"{type(net).__name__} has one spiking layer, and online learning needs two, a hidden one and the output: "
            "put a neuron behind each layer, or use credit='full', which knows readouts"
        )


def check_rule(propagation: Propagation, consolidation: Consolidation) -> None:
    """Raise ValueError unless all that a rule needs is there at every step."""
    if not propagation.local:
        raise ValueError(
            f"{type(propagation).__name__} takes the true gradient through all layers and steps, which is not there "
            "before the sequence ends: use credit='full', or OTTT(), which takes it step by step"
        )
    if not consolidation.causal:
        raise ValueError(
            f"{type(consolidation).__name__} needs the whole sequence (it is not causal): use credit='full', or a "
            "consolidation such as PseudoGradient()"
        )


def check_connections(name: str, synapses: Sequence[nn.Module], neurons: Sequence[int]) -> None:
    """Raise ValueError unless a trace for each connection is that of one linear layer right before the neurons.

    Args:
        name: The layer's.
        synapses: The modules with weights before it.
        neurons: Shape of its spikes, ``[B, *]``.
    """
    linear = len(synapses) == 1 and isinstance(synapses[0], nn.Linear) and synapses[0].out_features == neurons[-1]
    if not linear:
        shown = ", ".join(type(module).__name__ for module in synapses) or "nothing"
        raise ValueError(
            f"layer '{name}' has adaptive thresholds, whose traces online take a number for each connection of one "
            f"nn.Linear before it, and has {shown}: use credit='full'"
        )


def _unsupported_reason(module: nn.Module, traces: bool) -> str | None:
    """Why a neuron cannot learn online, and the way out."""
    if takes_sequence(module):
        return "runs a whole sequence at once: use credit='full'"
    try:
        decays = trace_of(module).decays
    except ValueError:
        more = "has more to its memory than a leaky membrane and a synaptic current: use credit='instant' or 'full'"
        return more if traces else None
    reason = None
    if any(torch.as_tensor(decay).numel() != 1 for decay in decays):
        reason = "has a decay for each neuron, where a trace of the input needs one for the layer"
    elif not getattr(module, "reset_delay", True):
        reason = "resets within the step"
    elif not getattr(module, "all_to_all", True) and module.learn_recurrent:
        reason = "learns one-to-one recurrent weights, which have no trace here"
    return f"{reason}: use credit='instant' or 'full'" if traces and reason else None
