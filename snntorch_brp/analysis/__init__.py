"""What a network does and how it learns: silent neurons, rates, operations, energy, gradient alignment."""

from snntorch_brp.analysis.alignment import gradient_angles, layer_gradients
from snntorch_brp.analysis.callbacks import ActivityMonitor, AlignmentMonitor
from snntorch_brp.analysis.counting import analyse
from snntorch_brp.analysis.statistics import Energy, EnergyModel, LayerStatistics, Statistics, SynapseStatistics

__all__ = [
    "ActivityMonitor",
    "AlignmentMonitor",
    "Energy",
    "EnergyModel",
    "LayerStatistics",
    "Statistics",
    "SynapseStatistics",
    "analyse",
    "gradient_angles",
    "layer_gradients",
]
