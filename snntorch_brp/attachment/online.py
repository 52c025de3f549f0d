"""Learning while the network runs: memory does not grow with the number of steps.

After every step of a layer its gradient is taken, and spikes and states go on without their graph. What reaches
back in time, where anything does, is a trace of the layer's input. Rules that compare the output with the label wait
until the output has run the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snntorch_brp.activity import Activity
from snntorch_brp.attachment.handle import Handle, Synapse
from snntorch_brp.attachment.hooks import Listener
from snntorch_brp.attachment.learning_synapse import Called, LearningSynapse
from snntorch_brp.attachment.lesson import Lesson
from snntorch_brp.attachment.record import LayerRecord
from snntorch_brp.attachment.requirements import check_connections, check_layers, check_rule
from snntorch_brp.attachment.states import tensors_in
from snntorch_brp.attachment.step import Progress, Root, Step
from snntorch_brp.consolidation import Gradients, PseudoGradient
from snntorch_brp.propagation import Propagation


class Online(Handle):
    """A network under a local rule that learns at every step; made by ``attach(..., credit="instant" or "trace")``.

    Under :class:`~snntorch_brp.consolidation.PseudoGradient` a layer's weights get ``Σ_t ψ_t δ_t x_tᵀ`` with instant
    credit, which is no credit through time, and with traces::

        ∇W = Σ_t ψ_t δ_t x̄_tᵀ,  x̄_t = g x̄_{t-1} + x_t

    Traces equal full credit where the membrane is a leaky sum of its inputs: ``snn.Leaky`` that resets by
    subtraction or not at all (its reset is detached), behind linear layers, convolutions and average pooling; and
    ``snn.Synaptic`` likewise, whose trace is the cascade of :func:`snntorch_brp.traces.advance`. Where a spike resets
    to zero (also :class:`RefractoryLeaky`), and through max pooling and batch norm, they are an approximation: the
    trace does not know that the neuron forgot. Of recurrent layers (``snn.RLeaky``, ``snn.RSynaptic``) they are those
    of e-prop, which leave out what the layer's own spikes did to it since.

    Under an adaptive threshold (:class:`AdaptiveLeaky`) they are exact, too, with a number for each connection.

    Every consolidation that is causal learns in this way. The output layer learns from the mean squared error of its
    rate so far, and so does what a rule sees of a layer's rate.

    Attributes:
        feedback: The fixed matrices B_l; save its ``state_dict`` to come back to the same ones.

    Example:
        >>> net = nn.Sequential(
        ...     nn.Linear(784, 100), snn.Leaky(0.9, init_hidden=True),
        ...     nn.Linear(100, 10), snn.Leaky(0.9, init_hidden=True),
        ... )
        >>> with attach(net, BRP(), num_classes=10, credit="trace") as brp:
        ...     brp.reset()
        ...     brp.teach(torch.arange(8), steps=200)
        ...     for t in range(200):
        ...         spikes = net((torch.rand(8, 784) < 0.3).float())
        >>> net[0].weight.grad.shape
        torch.Size([100, 784])
    """

    def __init__(self, net: nn.Module, propagation: Propagation, *, traces: bool, **options: Any) -> None:
        super().__init__(net, propagation, **options)
        check_rule(propagation, self.consolidation)
        check_layers(self._layers, list(self._readouts), self.net, traces=traces)
        if not self._outputs:
            self._outputs = self._layers[-1:]
        self._with_traces = traces
        recurrent = {m for layer in self._layers for m in layer.module.modules()}
        cut = self.consolidation.without_recurrence
        self._synapses = [
            LearningSynapse(m)
            for m in self.net.modules()
            if isinstance(m, Synapse) and (traces or "inputs" in self.keeps or (cut and m in recurrent))
        ]
        self.clear()

    def register(self) -> Online:
        """Put the hooks on the network, as entering the ``with`` block does.

        Raises:
            RuntimeError: If a spiking layer of the network is attached already.
        """
        super().register()
        for synapse in self._synapses:
            self._hooks.append(
                synapse.module.register_forward_hook(Listener(self._listening, partial(self._call, synapse)))
            )
        return self

    def clear(self) -> None:
        """Forget the running sequence and what it was to be taught."""
        super().clear()
        self._lesson: Lesson | None = None
        self._progress: dict[str, Progress] = {}
        self._called: list[Called] = []  # synapses since the last neuron: they belong to the next
        self._waiting: list[Step] = []  # layers that have run this step, and wait for the output
        for synapse in self._synapses:
            synapse.clear()

    def teach(self, labels: Tensor | None = None, *, steps: int) -> None:
        """Say what the sequence that comes is: from here on every step of the network adds to ``.grad``.

        Args:
            labels: Class numbers of the batch, integers ``[B]`` in 0..K-1. None for a rule that is not taught by
                labels; the output rests then.
            steps: Number of time steps T that will be run.

        Raises:
            ValueError: If labels or steps do not fit.
        """
        lesson = Lesson(labels, steps, self.propagation, self.feedback.num_classes)
        self.clear()
        self._lesson = lesson

    def _call(
        self, synapse: LearningSynapse, module: nn.Module, args: tuple[Any, ...], output: Tensor
    ) -> Tensor | None:
        """Cut a synapse from its layer, so that its gradient can be taken at the trace of its input."""
        if not output.requires_grad:
            return None
        call = Called(synapse, args[0], output.detach().requires_grad_())
        self._called.append(call)
        return call.leaf

    def _before(self, layer: LayerRecord, given: Sequence[Any]) -> Sequence[Any]:
        return given

    def _after(self, layer: LayerRecord, current: Tensor, output: Any) -> Any:
        if not self._listening():
            return None
        spikes = output[0] if isinstance(output, tuple) else output
        called, self._called = self._called, []
        hidden = layer not in self._outputs
        if self._with_traces:
            trace = self.consolidation.trace(layer.view) if hidden else layer.view.trace
            if trace.per_connection:
                check_connections(layer.name, [call.synapse.module for call in called], spikes.shape)
            for call in called:
                call.remember(trace, partial(self._psi, layer))
        waits = hidden and self.propagation.needs_output
        step = self._step(layer, spikes, current, called, keep=waits) if spikes.requires_grad else None
        if step is not None and not waits:
            self._learn(step)
        # In place, so that nothing that shares these tensors (the module, the user's lists) keeps the graph alive.
        held = (value for value in (*vars(layer.module).values(), *layer.module._buffers.values()))
        for tensor in tensors_in([output, *held]):
            if tensor.grad_fn is not None:
                tensor.detach_()
        if step is not None and waits:
            if self.propagation.spatial:
                step.sent = spikes.requires_grad_()
            self._waiting.append(step)
        return None

    def _psi(self, layer: LayerRecord) -> Tensor:
        """ψ of the step that a layer ran last, ``[B, *]``."""
        return layer.view.psi(layer.module.mem.detach(), layer.view.threshold_now)  # type: ignore[operator]

    def _step(self, layer: LayerRecord, spikes: Tensor, current: Tensor, called: list[Called], *, keep: bool) -> Step:
        """What a layer did in this step, with its graph; as copies to ``keep``, which nobody detaches."""
        progress = self._progress.setdefault(layer.name, Progress())
        progress.add(spikes)
        if self._lesson is not None and progress.steps > self._lesson.steps:
            raise RuntimeError(
                f"layer '{layer.name}' ran step {progress.steps} of a sequence of {self._lesson.steps}: call .teach() "
                "before each sequence, and give each place in the network a neuron of its own"
            )
        membrane = layer.module.mem if "membrane" in self.keeps else None
        if keep:
            spikes, membrane = spikes.clone(), None if membrane is None else membrane.clone()  # type: ignore[operator]
        if "inputs" in self.keeps:
            layer.view.synapses = tuple(call.synapse.module for call in called)
        threshold = layer.view.threshold_now
        return Step(layer, spikes, membrane, current, called, progress.steps, progress.rate, threshold)  # type: ignore[arg-type]

    def _learn(self, step: Step) -> None:
        """Add to the gradients of a layer, and behind the output to those of the layers that waited for it."""
        lesson = self._lesson
        if lesson is None:
            raise RuntimeError("online learning must know the labels: call .teach(labels, steps=T) before a sequence")
        lesson.check(step)
        if step.layer not in self._outputs:
            self._consolidate(step, lesson, None)
            return
        gradient = lesson.output_gradient(step)
        if gradient is not None:
            step.pull([(step.spikes, gradient)], traced=self._with_traces)
        if step.layer is not self._outputs[0]:
            return
        waiting, self._waiting = self._waiting, []
        output = lesson.output(step)
        for hidden in reversed(waiting):
            if hidden.sent is None:
                self._consolidate(hidden, lesson, output)
            elif hidden.sent.grad is not None:
                sent = [step.sent for step in waiting if step.sent is not None]
                self._consolidate_in_space(hidden, lesson, hidden.sent.grad, sent)
        for hidden in waiting:
            if hidden.sent is not None:
                hidden.sent.grad = None
                hidden.sent.requires_grad_(False)

    def _window(self, step: Step, lesson: Lesson) -> Activity:
        """The step as its rule sees it."""
        return step.window(self.keeps, lesson.label_at(step), self._progress[step.layer.name].memory)

    def _consolidate(self, step: Step, lesson: Lesson, output: Tensor | None) -> None:
        """Add a layer's weight gradients of this step, from what is sent to it."""
        given = self._gradients(self._window(step, lesson), output)
        if given is not None:
            scale = 1 / len(step.spikes) if self.reduction == "mean" else 1.0
            now, traced = self._roots(step, given, scale)
            step.pull(now, traced=False, again=bool(traced))
            step.pull(traced, traced=True)

    def _consolidate_in_space(self, step: Step, lesson: Lesson, delta: Tensor, sent: list[Tensor]) -> None:
        """The same from the loss's own gradient at this step, which goes on to the layers before."""
        if isinstance(self.consolidation, PseudoGradient):
            step.pull([(step.spikes, delta)], traced=self._with_traces)
            return
        # The loss is a mean over the batch already, so its gradient is not scaled again.
        given = self.consolidation.gradients(delta[None], self._window(step, lesson))
        now, traced = self._roots(step, given, 1.0)
        parameters = [p for p in self.net.parameters() if p.requires_grad]
        step.pull(now, traced=False, again=True, into=parameters, passing=[])
        step.pull(traced, traced=True, again=True, into=parameters, passing=[])
        step.pull([(step.spikes, delta)], traced=False, into=sent, passing=sent, weights=False)

    def _roots(self, step: Step, given: Gradients, scale: float) -> tuple[list[Root], list[Root]]:
        """Where gradients start at this step's inputs, and at their traces; those of weights are added at once."""
        for weight, gradient in step.layer.view.weight_roots(given.weights, scale):
            torch.autograd.backward([weight], [gradient])
        return step.roots(given, scale, self._with_traces)
