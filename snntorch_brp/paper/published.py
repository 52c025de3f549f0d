"""What the paper reports, to stand beside our figures: percent, as printed there. Nothing here was measured by us.

Source: Zhang, Jia, Cheng, Xu, "Tuning Convolutional Spiking Neural Network With Biologically Plausible Reward
Propagation", IEEE TNNLS 2021.
"""

from __future__ import annotations

from collections.abc import Mapping

# Fig. 6: test accuracy by data set and rule
FIG6: Mapping[str, Mapping[str, float]] = {
    "MNIST": {"brp": 98.89, "error": 98.85, "sign": 98.99},
    "CIFAR-10": {"brp": 51.21, "error": 49.48, "sign": 37.85},
    "TIDigits": {"brp": 48.55, "error": 51.45, "sign": 35.69},
    "DvsGesture": {"brp": 60.42, "error": 54.86, "sign": 58.33},
}

# Fig. 8: range of BRP's accuracy over T, from the least to the most
FIG8: Mapping[str, tuple[float, float]] = {
    "MNIST": (98.99, 98.99),
    "CIFAR-10": (52.65, 52.65),
    "TIDigits": (62.46, 71.14),
    "DvsGesture": (69.10, 76.04),
}

# Fig. 9: share of silent neurons at 40 % input spikes, in the convolution and in the layer of 1,000 neurons
FIG9: Mapping[str, tuple[float, float]] = {"MNIST": (53.26, 48.52), "TIDigits": (75.50, 49.32)}

# Table I: operations a step with K layers
TABLE1: Mapping[str, str] = {"backprop": "O(nK + m(m+1)K)", "brp": "O(nK + (m+1)K)", "stdp": "O(nK + mK)"}

# Table III: best accuracy by data set and rule
TABLE3: Mapping[str, Mapping[str, float]] = {
    "MNIST": {"brp": 99.01, "backprop": 99.29},
    "CIFAR-10": {"brp": 57.08, "backprop": 57.88},
    "TIDigits, 1-D": {"brp": 71.14, "backprop": 80.31},
    "TIDigits, 2-D": {"brp": 94.86, "backprop": 95.10},
    "DvsGesture": {"brp": 80.90, "backprop": 78.21},
}
