"""What an attached layer did in the running sequence, with its autograd graph."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from snntorch_brp.consolidation import Gradients
from snntorch_brp.window import Window


class Recording:
    """The steps that one spiking layer has run, kept until the gradient has been taken.

    Args:
        name: The layer's name in its network.
        module: The layer.
    """

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name = name
        self.module = module
        self.clear()

    def clear(self) -> None:
        """Forget the sequence, and with it its graph."""
        self.spikes: list[Tensor] = []
        self.membrane: list[Tensor] = []
        self.current: list[Tensor] = []
        self.leaves: list[Tensor] = []  # what was handed on in place of the spikes, while the output was unknown
        self._window: Window | None = None

    @property
    def steps(self) -> int:
        """Number of steps so far."""
        return len(self.spikes)

    @property
    def has_past(self) -> bool:
        """Whether the layer has run a step that a gradient can go back through."""
        return bool(self.spikes) and self.spikes[-1].requires_grad

    def record(self, spikes: Tensor, current: Tensor, states: Sequence[Tensor], keeps: frozenset[str]) -> None:
        """Keep one step: what the consolidation ``keeps``, and no more."""
        self.spikes.append(spikes)
        if "membrane" in keeps:
            self.membrane.append(states[-1] if states else self.module.mem)  # type: ignore[arg-type]
        if "current" in keeps:
            self.current.append(current)

    @property
    def window(self) -> Window:
        """The sequence as the rules see it, without its graph."""
        if self._window is None:
            self._window = Window(self.spikes, membrane=self.membrane or None, current=self.current or None)
        return self._window

    def roots(self, gradients: Gradients, scale: float) -> list[tuple[Tensor, Tensor | None]]:
        """Pairs of a tensor of the graph and the gradient that starts there, step by step."""
        roots: list[tuple[Tensor, Tensor | None]] = []
        for tensors, gradient in zip((self.spikes, self.membrane, self.current), gradients, strict=True):
            if gradient is not None:
                per_step = (gradient * scale).expand(self.steps, *gradient.shape[1:]).unbind(0)
                pairs = zip(tensors, per_step, strict=True)
                roots += [(tensor, step.to(tensor.dtype)) for tensor, step in pairs if tensor.requires_grad]
        return roots


def check_sequence(
    layers: Sequence[Recording], order: Sequence[Recording], output: Recording | None, *, named: bool, batch: int
) -> Recording:
    """The output layer of a sequence that has run.

    Args:
        layers: All layers.
        order: Those that were called, in the order of their first calls.
        output: The output layer, where it is known already.
        named: Whether the user named it, so that other layers may be called after it.
        batch: Number of labels B.

    Raises:
        RuntimeError: If the layers did not run as one sequence: none ran, one was left out or called at several places,
            or another than ``output`` came last.
        ValueError: If the batch had another size.
    """
    if not order:
        raise RuntimeError(
            "no spiking layer has run: call the network inside `with attach(...)`, in training mode and with gradients "
            "enabled, before .backward()"
        )
    for layer in layers:
        if not layer.steps:
            raise RuntimeError(f"spiking layer '{layer.name}' was never called: call it, or take it off the network")
    if output is None:
        output = order[-1]
    elif not named and order[-1] is not output:
        raise RuntimeError(
            f"'{order[-1].name}' was the last spiking layer to be called, after '{output.name}', the output layer so "
            f"far: name the one that you mean, attach(..., output='{output.name}')"
        )
    for layer in layers:
        if layer.steps != output.steps:
            raise RuntimeError(
                f"layer '{layer.name}' was called {layer.steps} times and the output layer '{output.name}' "
                f"{output.steps} times: each place in the network needs a neuron of its own"
            )
        if len(layer.spikes[0]) != batch:
            raise ValueError(f"layer '{layer.name}' ran {len(layer.spikes[0])} samples, but there are {batch} labels")
    return output
