"""Any snnTorch network under a local rule, through forward hooks."""

from snntorch_brp.attach.handle import Attached, attach

__all__ = ["Attached", "attach"]
