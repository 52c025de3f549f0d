"""What one attached layer did in the running sequence, with its autograd graph, and what it handed on without."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import TensorWeakRef

from snntorch_brp.activity import Activity
from snntorch_brp.attachment.states import mapped, tensors_in
from snntorch_brp.attachment.traced import Trace
from snntorch_brp.consolidation import Gradients
from snntorch_brp.layer_view import LayerView
from snntorch_brp.neurons import takes_sequence

Root = tuple[Tensor, Tensor | None]
"""A tensor of the graph and the gradient that starts there; None is for a scalar loss."""


class LayerRecord:
    """The steps that one spiking layer has run, kept until the gradient has been taken.

    Most neurons of snnTorch run one step a call. Those that run a whole sequence at once fill one entry of each
    list below with a tensor ``[T, B, *]``, the others T entries ``[B, *]``.

    All that leaves the layer (spikes, membranes, synaptic states, what the module keeps of them between calls) is
    handed on cut from its graph. When the layer is called again the graph is put back, so that its own recurrence in
    time stays whole.

    Args:
        name: The layer's name in its network.
        module: The layer.
        view: What its rule may know of it.
    """

    def __init__(self, name: str, module: nn.Module, view: LayerView) -> None:
        self.name = name
        self.module = module
        self.view = view
        self.whole = takes_sequence(module)
        self.trace = Trace(whole=self.whole)
        self._left: weakref.ref[Tensor] | None = None  # the membrane that the last finished sequence left behind
        self.clear()

    def clear(self) -> None:
        """Forget the sequence, and with it its graph."""
        self.called = False  # also where it ran without a graph, as behind frozen layers
        self.spikes: list[Tensor] = []
        self.membrane: list[Tensor] = []
        self.current: list[Tensor] = []
        self.recurrent: list[Tensor] = []  # currents from the layer's own spikes, where they are kept
        self.inputs: dict[nn.Module, list[Tensor]] = {}  # by synapse, likewise
        self.state: Tensor | None = None  # the last membrane
        self._cuts: list[tuple[Tensor, Callable[[], Tensor | None]]] = []  # what was emitted, and the leaf in its place
        self._last_cuts: dict[int, tuple[Tensor, Tensor]] = {}  # of the last call: by leaf, the leaf and its original
        self._window: Activity | None = None
        self.trace.clear()

    def finish(self) -> None:
        """Take the used up graph off the states that the sequence leaves on the module, and remember its membrane.

        A compiled network that reads them, if only to reset them, would go back through that graph once more.
        """
        _replace_held(self.module, lambda tensor: tensor.detach() if tensor.requires_grad else tensor)
        membrane = getattr(self.module, "mem", None)
        self._left = weakref.ref(membrane) if isinstance(membrane, Tensor) else None

    def gather(self, keeps: frozenset[str], steps: int = 0) -> bool:
        """Take over what the layer did inside compiled graphs; says whether it did anything there.

        Args:
            keeps: As in :meth:`record`.
            steps: Number of steps of the sequence, where other layers tell.

        Raises:
            RuntimeError: As :meth:`check_rested` and :meth:`record`.
        """
        pages = self.trace.pages(steps)
        if pages:
            self.check_rested(pages[0].start)
            self.called = True
        for page in pages:
            if page.spikes.requires_grad:
                self.record(page.spikes, page.current, page.membrane, keeps)
        return bool(pages)

    def check_rested(self, start: Any) -> None:
        """Check that a sequence does not start from where the last one ended, by oversight.

        Args:
            start: The membrane that it starts from.

        Raises:
            RuntimeError: If it does.
        """
        left = None if self._left is None or self.whole else self._left()
        if left is not None and left is start:
            raise RuntimeError(
                f"layer '{self.name}' was not reset since the last sequence: call brp.reset() or "
                "snntorch_brp.reset_state(net) before each sequence, or detach the state to go on from it"
            )

    @property
    def cuts(self) -> list[tuple[Tensor, Tensor]]:
        """What was emitted, and the leaf that was handed on in its place, where somebody has taken that up."""
        return [(tensor, leaf) for tensor, held in self._cuts if (leaf := held()) is not None]

    @property
    def emitted(self) -> list[Tensor]:
        """Spikes and states of the sequence, as far as they are kept, with their graph."""
        return [*self.spikes, *(tensor for tensor, _ in self._cuts)]

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

        A state belongs to it if the layer emitted it last, detached or not, or if it was computed from one that it did.
        """
        if self.whole:
            return False
        states = list(tensors_in(given)) or list(tensors_in([getattr(self.module, "mem", None)]))
        last = None if self.state is None else self.state.data_ptr()
        return any(state.grad_fn is not None or state.data_ptr() == last for state in states)

    def restore(self, given: Sequence[Any]) -> list[Any]:
        """Give the module back the graph of its own states; returns the ``given`` ones with theirs."""

        def original(tensor: Tensor) -> Tensor:
            leaf, kept = self._last_cuts.get(id(tensor), (None, tensor))
            return kept if leaf is tensor else tensor

        _replace_held(self.module, original)
        return [mapped(state, original) for state in given]

    def record(self, spikes: Tensor, current: Any, membrane: Any, keeps: frozenset[str]) -> None:
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

    def keep_recurrent(self, module: nn.Module, args: tuple[Any, ...], current: Tensor) -> None:
        """Keep the current that the layer's own spikes made, with its graph, which ends at the recurrent weights."""
        self.recurrent.append(current)

    def hand_on(self, output: Any, *, watch_spikes: bool, keep_all: bool) -> Any:
        """Cut what the layer gives, and what its module keeps, from the graph.

        States are handed on as leaves that ask for a gradient, so that it shows where a loss depends on them. Spikes,
        whose gradient would cost a pass through the next layer's weights, do so only where they are watched.

        Args:
            output: What the layer gave in this call.
            watch_spikes: Hand on the spikes as such leaves, too.
            keep_all: Keep all cuts of this call, also of states.

        Returns:
            The output in the same form, without its graph.
        """
        spikes = output[0] if isinstance(output, tuple) else output
        leaves: dict[int, tuple[Tensor, Tensor]] = {}

        def cut(tensor: Tensor) -> Tensor:
            if tensor.grad_fn is None:
                return tensor
            if id(tensor) not in leaves:
                leaf = tensor.detach().requires_grad_(watch_spikes or tensor is not spikes)
                leaves[id(tensor)] = (tensor, leaf)
            return leaves[id(tensor)][1]

        handed_on = mapped(output, cut)
        _replace_held(self.module, cut)
        self._last_cuts = {id(leaf): (leaf, tensor) for tensor, leaf in leaves.values()}
        if keep_all or watch_spikes:
            for tensor, leaf in leaves.values():
                if tensor is spikes and watch_spikes:
                    self._cuts.append((tensor, partial(_same, leaf)))
                elif tensor is not spikes:  # a state's values need not be kept with its graph
                    self._cuts.append((Place.apply(tensor), TensorWeakRef(leaf)))
        return handed_on

    def forgo_gradients(self) -> None:
        """Let no gradient gather in what was handed on: that of all steps would take as much memory as they do."""
        for _, leaf in self.cuts:
            leaf.requires_grad_(False)

    @property
    def window(self) -> Activity:
        """The sequence as the rules see it, without its graph."""
        if self._window is None:
            spikes, membrane, current = (
                steps[0] if self.whole and steps else steps or None
                for steps in (self.spikes, self.membrane, self.current)
            )
            inputs = [steps[0] if self.whole else steps for steps in self.inputs.values()] or None
            if self.inputs:
                self.view.synapses = tuple(self.inputs)
            self._window = Activity(
                spikes,  # type: ignore[arg-type]
                membrane=membrane,
                current=current,
                inputs=inputs,
                layer=self.view,
            )
        return self._window

    def roots(self, gradients: Gradients, scale: float | Tensor) -> list[Root]:
        """Where the layer's gradients start.

        Args:
            gradients: What the consolidation gave, folded.
            scale: Factor on them.
        """
        roots: list[Root] = []
        spikes, membrane, current = gradients[:3]
        for tensors, gradient in (
            (self.spikes, spikes),
            (self.membrane, membrane),
            (self.current, current),
            (self.recurrent, current),
        ):
            if gradient is not None and tensors:
                all_steps = (gradient * scale).to(tensors[0].dtype).expand(self.steps, *gradient.shape[1:])
                roots += zip(tensors, [all_steps] if self.whole else all_steps.unbind(0), strict=True)
        roots += self.view.weight_roots(gradients.weights, scale)
        return [(tensor, gradient) for tensor, gradient in roots if tensor.requires_grad]


class Place(torch.autograd.Function):
    """A place in the graph where a gradient can start: the shape and history of a tensor without its values."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Zeros in the shape of ``x`` that share one number."""
        return x.new_zeros(()).expand(x.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """The gradient as it is."""
        return gradient


def _same(leaf: Tensor) -> Tensor:
    return leaf


def _replace_held(module: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
    """Replace each tensor that a module keeps, parameters aside."""
    for holder in (vars(module), module._buffers):
        for key, value in holder.items():
            if isinstance(value, Tensor | tuple):
                holder[key] = mapped(value, function)
