"""What an attached layer did in the running sequence, with its autograd graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from snntorch_brp.consolidation import Gradients
from snntorch_brp.neurons import takes_sequence
from snntorch_brp.window import Window

Root = tuple[Tensor, Tensor | None]
"""A tensor of the graph and the gradient that starts there; None is for a scalar loss."""


class Recording:
    """The steps that one spiking layer has run, kept until the gradient has been taken.

    Most neurons of snnTorch run one step a call. Those that run a whole sequence at once fill one entry of each
    list below with a tensor ``[T, B, *]``, the others T entries ``[B, *]``.

    Args:
        name: The layer's name in its network.
        module: The layer.
    """

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name = name
        self.module = module
        self.whole = takes_sequence(module)
        self.clear()

    def clear(self) -> None:
        """Forget the sequence, and with it its graph."""
        self.called = False  # also where it ran without a graph, as behind frozen layers
        self.spikes: list[Tensor] = []
        self.membrane: list[Tensor] = []
        self.current: list[Tensor] = []
        self.handed_on: list[Tensor] = []  # in place of the spikes
        self.state: Tensor | None = None  # the last membrane
        self._window: Window | None = None

    @property
    def steps(self) -> int:
        """Number of steps so far that a gradient can go back through."""
        return len(self.spikes[0]) if self.whole and self.spikes else len(self.spikes)

    @property
    def batch(self) -> int:
        """Number of samples."""
        return self.spikes[0].shape[1 if self.whole else 0]

    def continues_from(self, given: Sequence[Any]) -> bool:
        """Whether a step from the ``given`` states (the module's own where there are none) goes on with the sequence.

        A state belongs to it if the layer emitted it last, detached or not, or if it carries a graph of its own.
        """
        if self.whole:
            return False
        states = list(tensors_in(given)) or list(tensors_in([getattr(self.module, "mem", None)]))
        last = None if self.state is None else self.state.data_ptr()
        return any(state.grad_fn is not None or state.data_ptr() == last for state in states)

    def with_graph(self, given: Sequence[Any]) -> list[Any]:
        """The ``given`` states, with their graph put back where the layer's own spikes are among them.

        A recurrent layer in explicit style is handed its last spikes as they were handed on, without their past.
        """
        last = self.handed_on[-1] if self.handed_on else None
        return [self.spikes[-1] if last is not None and state is last else state for state in given]

    def record(self, spikes: Tensor, current: Tensor, membrane: Any, keeps: frozenset[str]) -> None:
        """Keep one call: what the consolidation ``keeps``, and no more.

        Raises:
            RuntimeError: If the layer ran another shape in this sequence, or shows no membrane where one is needed.
        """
        if self.spikes and spikes.shape != self.spikes[-1].shape:
            raise RuntimeError(
                f"layer '{self.name}' ran neurons of shape {tuple(self.spikes[-1].shape)} and now {tuple(spikes.shape)}"
                " in one sequence: reset the network between sequences, and give each place in it a neuron of its own"
            )
        self.state = membrane if isinstance(membrane, Tensor) else None
        self.spikes.append(spikes)
        if "membrane" in keeps:
            if self.state is None:
                raise RuntimeError(
                    f"layer '{self.name}' ({type(self.module).__name__}) shows no membrane to learn from"
                )
            self.membrane.append(self.state)
        if "current" in keeps:
            self.current.append(current)

    @property
    def window(self) -> Window:
        """The sequence as the rules see it, without its graph."""
        if self._window is None:
            spikes, membrane, current = (
                steps[0] if self.whole and steps else steps or None
                for steps in (self.spikes, self.membrane, self.current)
            )
            self._window = Window(spikes, membrane=membrane, current=current)  # type: ignore[arg-type]
        return self._window

    def roots(self, gradients: Gradients, scale: float) -> list[Root]:
        """Where the layer's gradients start."""
        roots: list[Root] = []
        for tensors, gradient in zip((self.spikes, self.membrane, self.current), gradients, strict=True):
            if gradient is not None:
                all_steps = (gradient * scale).to(tensors[0].dtype).expand(self.steps, *gradient.shape[1:])
                roots += zip(tensors, [all_steps] if self.whole else all_steps.unbind(0), strict=True)
        return [(tensor, gradient) for tensor, gradient in roots if tensor.requires_grad]


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """All tensors among the values, also those in tuples: DeltaLeaky's state is a pair."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple):
            yield from tensors_in(value)


def check_sequence(layers: Sequence[Recording], outputs: Sequence[Recording], batch: int) -> None:
    """Check that the layers have run one sequence of ``batch`` samples.

    Raises:
        RuntimeError: If none ran, one was left out, or some were called at several places.
        ValueError: If the batch had another size.
    """
    if not any(layer.called for layer in layers):
        raise RuntimeError(
            "no spiking layer has run: call the network inside `with attach(...)`, in training mode and with gradients "
            "enabled, before .backward()"
        )
    for layer in layers:
        if not layer.called:
            raise RuntimeError(f"spiking layer '{layer.name}' was never called: call it, or take it off the network")
        if layer.steps and layer.steps != outputs[0].steps:
            raise RuntimeError(
                f"layer '{layer.name}' was called {layer.steps} times and the output layer '{outputs[0].name}' "
                f"{outputs[0].steps} times: each place in the network needs a neuron of its own"
            )
        if layer.steps and layer.batch != batch:
            raise ValueError(f"layer '{layer.name}' ran {layer.batch} samples, but there are {batch} labels")
