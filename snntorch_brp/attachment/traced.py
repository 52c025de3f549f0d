"""What a layer does inside a compiled graph: written down in a way that torch.compile can follow, and read afterwards.

While a graph runs, no list or dictionary of the handle is read: their lengths would be guarded, and every step compiled
anew. Each call's page holds the page before, of which the graph need know nothing but the class. So a network of one
step a call is two graphs, its first step and all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from snntorch_brp.attachment.states import mapped, tensors_in


class Page:
    """One call of a layer.

    Attributes:
        before: The call before.
        start: The membrane that it started from, as it was given or as the module held it.
        spikes: What the layer gave, with its graph.
        membrane: Its membrane after the call, likewise.
        current: Its input, where it is wanted.
    """

    def __init__(self, before: Page | None, start: Any, spikes: Any, membrane: Any, current: Tensor | None) -> None:
        self.before, self.start, self.spikes, self.membrane, self.current = before, start, spikes, membrane, current

    def follows(self, earlier: Page) -> bool:
        """Whether this call went on from where an earlier one ended, detached or not."""
        left = {state.data_ptr() for state in tensors_in([earlier.membrane])}
        return any(state.grad_fn is not None or state.data_ptr() in left for state in tensors_in([self.start]))


_NONE = Page(None, None, None, None, None)


class Trace:
    """The calls of one layer inside compiled graphs.

    Args:
        whole: The layer takes a whole sequence a call.

    Attributes:
        role: What the layer is, once that is known; before, what it does cannot be traced.
        keeps_current: Input currents are wanted.
    """

    def __init__(self, *, whole: bool) -> None:
        self.role: Literal["", "hidden", "output"] = ""
        self.keeps_current = False
        self._whole = whole
        self.clear()

    def clear(self) -> None:
        """Forget all calls."""
        self._last = _NONE
        self._start: Any = None
        self._states: tuple[Any, ...] = ()  # of the last call, with their graph
        self._handed: tuple[Any, ...] = ()  # what was handed on in their place

    def before(self, module: nn.Module, given: Sequence[Any]) -> Sequence[Any]:
        """Before a call with the ``given`` states; gives those to go on from, with their graph."""
        self._start = given[-1] if given else getattr(module, "mem", None)
        if len(given) != len(self._handed):
            return given
        return [_restored(*states) for states in zip(given, self._handed, self._states, strict=True)]

    def after(self, module: nn.Module, current: Tensor, output: Any) -> Any:
        """After a call; gives what the next layer gets in place of ``output``, None for the same."""
        spikes, *states = output if isinstance(output, tuple) else (output,)
        membrane = (states or [None])[-1] if self._whole else getattr(module, "mem", None)
        self._last = Page(self._last, self._start, spikes, membrane, current if self.keeps_current else None)
        if self.role == "output" or not spikes.requires_grad:
            return None
        handed_on = mapped(output, lambda tensor: tensor.detach())
        self._states, self._handed = tuple(states), handed_on[1:] if isinstance(output, tuple) else ()
        return handed_on

    def pages(self, steps: int = 0) -> list[Page]:
        """The calls of the last sequence, in order.

        Args:
            steps: How many there are, where other layers tell; 0 where the layer's own states must.
        """
        found, page = [], self._last
        while page.before is not None:
            found.append(page)
            if len(found) == steps or self._whole or (not steps and not page.follows(page.before)):
                break
            page = page.before
        return found[::-1]


def _restored(given: Any, handed: Any, original: Any) -> Any:
    """A state with its graph, where it is the one that was handed on."""
    if isinstance(given, tuple) and isinstance(handed, tuple):
        return tuple(_restored(*states) for states in zip(given, handed, original, strict=True))
    return original if given is handed else given
