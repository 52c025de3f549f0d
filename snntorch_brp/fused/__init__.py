"""The fast path: sequential networks layer by layer, all steps at once, in memory that does not grow with depth.

In the order of reading: ``plan`` says what qualifies, ``engine`` does a step, ``synapse`` is what lies between
neurons, ``dynamics`` and ``scan`` define the neurons over time. The rest is speed: ``fire`` picks the means,
``kernels`` the scan in C++, ``events`` sparse convolutions, ``products`` matrix units, ``build`` the compiler.
"""

from snntorch_brp.fused.engine import FusedEngine
from snntorch_brp.fused.plan import NotFusible, plan

__all__ = ["FusedEngine", "NotFusible", "plan"]
