"""Any snnTorch network under a local rule, through forward hooks."""

from snntorch_brp.attach.api import attach
from snntorch_brp.attach.full import Attached
from snntorch_brp.attach.online import Online

__all__ = ["Attached", "Online", "attach"]
