"""The neurons of snnTorch 1.0 that run one step a call."""

from __future__ import annotations

from collections.abc import Callable

import snntorch as snn
import torch
from torch import nn

from snntorch_brp import AdaptiveLeaky, RefractoryLeaky

Make = Callable[..., nn.Module]
STEPWISE: dict[str, Make] = {
    "RefractoryLeaky": lambda n, **o: RefractoryLeaky(0.5, 0.4, tau_ref=2, **o),
    "AdaptiveLeaky": lambda n, **o: AdaptiveLeaky(0.9, 0.4, adaptation=0.3, rho=0.9, **o),
    "Leaky": lambda n, **o: snn.Leaky(0.9, 0.4, **o),
    "Leaky zero": lambda n, **o: snn.Leaky(torch.linspace(0.1, 0.9, n), 0.4, reset_mechanism="zero", **o),
    "Leaky none, learned": lambda n, **o: snn.Leaky(
        0.9, 0.4, reset_mechanism="none", learn_beta=True, learn_threshold=True, **o
    ),
    "Leaky at once": lambda n, **o: snn.Leaky(0.9, 0.4, reset_delay=False, **o),
    "Lapicque": lambda n, **o: snn.Lapicque(beta=0.7, threshold=0.4, **o),
    "RLeaky dense": lambda n, **o: snn.RLeaky(0.8, linear_features=n, threshold=0.4, **o),
    "RLeaky one to one": lambda n, **o: snn.RLeaky(0.8, V=torch.full((n,), 0.5), all_to_all=False, threshold=0.4, **o),
    "Synaptic": lambda n, **o: snn.Synaptic(0.6, 0.8, threshold=0.4, **o),
    "RSynaptic": lambda n, **o: snn.RSynaptic(0.6, 0.8, linear_features=n, threshold=0.4, **o),
    "Alpha": lambda n, **o: snn.Alpha(0.8, 0.6, threshold=0.1, **o),
    "SLSTM": lambda n, **o: snn.SLSTM(n, n, threshold=0.05, **o),
    "DeltaLeaky": lambda n, **o: snn.DeltaLeaky(0.3, 0.8, **o),
}
