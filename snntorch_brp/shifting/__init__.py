"""Shifting Learning: a spiking classifier that computes and learns with the times of single spikes."""

from snntorch_brp.shifting.credit import CreditTask, Trials
from snntorch_brp.shifting.network import (
    DIVIDED,
    EXACT,
    PUBLISHED,
    Rule,
    ShiftingLayer,
    ShiftingNetwork,
    encode,
    graded_times,
    output_error,
    target_times,
)
from snntorch_brp.shifting.spikes import SILENT, Events, Fired, first_spikes, one_spike_each, several_spikes
from snntorch_brp.shifting.training import Schedule, accuracy, fit

__all__ = [
    "DIVIDED",
    "EXACT",
    "PUBLISHED",
    "SILENT",
    "CreditTask",
    "Events",
    "Fired",
    "Rule",
    "Schedule",
    "ShiftingLayer",
    "ShiftingNetwork",
    "Trials",
    "accuracy",
    "encode",
    "first_spikes",
    "fit",
    "graded_times",
    "one_spike_each",
    "output_error",
    "several_spikes",
    "target_times",
]
