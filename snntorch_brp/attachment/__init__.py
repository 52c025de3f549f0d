"""Any snnTorch network under a local rule, through forward hooks."""

from snntorch_brp.attachment.api import attach
from snntorch_brp.attachment.full import Attached
from snntorch_brp.attachment.online import Online

__all__ = ["Attached", "Online", "attach"]
