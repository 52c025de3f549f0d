"""The fast path: sequential networks layer by layer, all steps at once, in memory that does not grow with depth."""

from snntorch_brp.fused.engine import FusedEngine
from snntorch_brp.fused.plan import NotFusible, plan

__all__ = ["FusedEngine", "NotFusible", "plan"]
