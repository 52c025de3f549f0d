"""Shifting Learning: a spiking classifier that computes and learns with the times of single spikes."""

from snntorch_brp.shifting.network import (
    DIVIDED,
    EXACT,
    PUBLISHED,
    Rule,
    ShiftingLayer,
    ShiftingNetwork,
    accuracy,
    encode,
    output_error,
    target_times,
)
from snntorch_brp.shifting.spikes import SILENT, Events, Fired, first_spikes, one_spike_each, several_spikes

__all__ = [
    "DIVIDED",
    "EXACT",
    "PUBLISHED",
    "SILENT",
    "Events",
    "Fired",
    "Rule",
    "ShiftingLayer",
    "ShiftingNetwork",
    "accuracy",
    "encode",
    "first_spikes",
    "one_spike_each",
    "output_error",
    "several_spikes",
    "target_times",
]
