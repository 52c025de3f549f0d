"""Biologically plausible reward propagation (BRP) for snnTorch: learn without backpropagation between layers.

Public is what ``__all__`` lists here and in ``attachment``, ``training``, ``analysis``, ``fused`` and ``shifting``, and
what has no underscore in ``models``, ``nir``, ``plots``, the callbacks under ``training`` and the readers and encoders
under ``data``. All else, and every name with an underscore, may change without notice. Options are given by name.
"""

from snntorch_brp import rules
from snntorch_brp.activity import Activity
from snntorch_brp.adaptive import AdaptiveLeaky
from snntorch_brp.attachment import Attached, Online, attach
from snntorch_brp.composition import PerLayer, Sum
from snntorch_brp.consolidation import (
    STDP,
    Consolidation,
    Correlation,
    DifferentialHebb,
    Gradients,
    PseudoGradient,
    SimilarityMatching,
    StateDifference,
    consolidation_named,
    trace,
)
from snntorch_brp.encoding import DirectEncoder, RateEncoder, label_spikes, rate_encode
from snntorch_brp.feedback import Feedback
from snntorch_brp.firing import firing_fault, firing_message
from snntorch_brp.initialization import calibrate, patch_filters
from snntorch_brp.learning_rates import parameter_groups
from snntorch_brp.neurons import RefractoryLeaky, reset_state
from snntorch_brp.propagation import (
    BRP,
    Backprop,
    ErrorProjection,
    OutputOnly,
    Propagation,
    RewardPrediction,
    SignProjection,
    propagation_named,
)
from snntorch_brp.reading import PooledReading
from snntorch_brp.runs.trained import load
from snntorch_brp.runtime.deprecation import renamed
from snntorch_brp.sequence import observe, unroll
from snntorch_brp.standardize import Standardize
from snntorch_brp.surrogate import boxcar
from snntorch_brp.training import BRPTrainer
from snntorch_brp.training.callbacks import Callback, EarlyStopping
from snntorch_brp.training.checkpoint import Checkpoints
from snntorch_brp.version import __version__
from snntorch_brp.weight_standardization import WSConv1d, WSConv2d, WSLinear

__all__ = [
    "BRP",
    "STDP",
    "Activity",
    "AdaptiveLeaky",
    "Attached",
    "BRPTrainer",
    "Backprop",
    "Callback",
    "Checkpoints",
    "Consolidation",
    "Correlation",
    "DifferentialHebb",
    "DirectEncoder",
    "EarlyStopping",
    "ErrorProjection",
    "Feedback",
    "Gradients",
    "Online",
    "OutputOnly",
    "PerLayer",
    "PooledReading",
    "Propagation",
    "PseudoGradient",
    "RateEncoder",
    "RefractoryLeaky",
    "RewardPrediction",
    "SignProjection",
    "SimilarityMatching",
    "Standardize",
    "StateDifference",
    "Sum",
    "WSConv1d",
    "WSConv2d",
    "WSLinear",
    "__version__",
    "attach",
    "boxcar",
    "calibrate",
    "consolidation_named",
    "firing_fault",
    "firing_message",
    "label_spikes",
    "load",
    "observe",
    "parameter_groups",
    "patch_filters",
    "propagation_named",
    "rate_encode",
    "reset_state",
    "rules",
    "trace",
    "unroll",
]

__getattr__ = renamed(__name__, {"Window": ("snntorch_brp.Activity", Activity)})
