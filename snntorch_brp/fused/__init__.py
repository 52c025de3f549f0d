"""The fused engine: sequential networks layer by layer, all steps at once, in memory that does not grow with depth.

In the order of reading: ``layers`` says what qualifies, ``engine`` does a step, ``synapse`` is the contract of what
lies between neurons (``linear_synapse``, ``conv_synapse``, which chooses between ``event_conv_synapse`` and
``dense_conv_synapse``, ``block_synapse``, ``autograd_synapse`` keep it),
``dynamics`` that of the neurons, ``scan`` the leaky ones over time, ``pseudo_gradients`` their surrogates,
``learned_constants`` their learned decays and thresholds, ``module_neuron`` all other neurons, ``readout`` none.
``looped`` runs networks with a ``forward`` of their own, which ``tracing`` reads. The rest is speed: ``dispatch`` picks
the means, ``neuron_kernels``, ``spike_conv``, ``block``, ``sparse_conv`` and ``matmul`` call C++ through ``pointers``,
``build`` calls the compiler, ``buffers`` keeps memory.

New kinds of layers and neurons join by ``register_synapse``, ``register_stateless`` and ``register_neuron``.
"""

from snntorch_brp.fused.dynamics import register_neuron
from snntorch_brp.fused.engine import FusedEngine
from snntorch_brp.fused.layers import NotFusible, declined, plan
from snntorch_brp.fused.looped import LoopedEngine
from snntorch_brp.fused.synapse import register_stateless, register_synapse

__all__ = [
    "FusedEngine",
    "LoopedEngine",
    "NotFusible",
    "declined",
    "plan",
    "register_neuron",
    "register_stateless",
    "register_synapse",
]
