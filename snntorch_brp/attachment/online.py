"""Learning while the network runs: memory does not grow with the number of steps.

After every step of a layer its gradient is taken, and spikes and states go on without their graph. What reaches
back in time, where anything does, is a trace of the layer's input. Rules that compare the output with the label wait
until the output has run the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import snntorch as snn
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp.attachment.handle import Attaching, Handle, Synapse
from snntorch_brp.attachment.learning_synapse import Called, LearningSynapse
from snntorch_brp.attachment.readout import by_class
from snntorch_brp.attachment.record import LayerRecord, tensors_in
from snntorch_brp.attachment.step import Progress, Step
from snntorch_brp.consolidation import Consolidation, PseudoGradient
from snntorch_brp.encoding import check_labels
from snntorch_brp.neurons import takes_sequence
from snntorch_brp.propagation import Propagation
from snntorch_brp.traces import decays_of


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
        _check_rule(propagation, self.consolidation)
        for layer in self._layers:
            if reason := _fault(layer.module, traces):
                raise ValueError(f"layer '{layer.name}', a {type(layer.module).__name__}, {reason}")
        if self._readouts:
            raise ValueError(
                f"online learning trains spiking outputs, and output='{next(iter(self._readouts))}' does not spike: "
                "use credit='full'"
            )
        if len(self._layers) < 2:
            raise ValueError(
                f"{type(self.net).__name__} has one spiking layer, and online learning needs two, a hidden one and the "
                "output: put a neuron behind each layer, or use credit='full', which knows readouts"
            )
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
            self._hooks.append(synapse.module.register_forward_hook(_SynapseHook(self, synapse)))
        return self

    def clear(self) -> None:
        """Forget the running sequence and what it was to be taught."""
        super().clear()
        self._labels: Tensor | None = None
        self._label: Tensor | None = None
        self._steps = 0
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
        if labels is not None or self.propagation.needs_label:
            check_labels(labels, self.feedback.num_classes)  # type: ignore[arg-type]
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.clear()
        self._labels, self._steps = labels, steps

    def _before(self, layer: LayerRecord, given: Sequence[Any]) -> Sequence[Any]:
        return given

    def _after(self, layer: LayerRecord, current: Tensor, output: Any) -> Any:
        if not self._listening:
            return None
        spikes = output[0] if isinstance(output, tuple) else output
        called, self._called = self._called, []
        hidden = layer not in self._outputs
        if self._with_traces:
            decays = self.consolidation.decays(layer.view) if hidden else layer.view.decays
            for call in called:
                call.traced = call.synapse.trace(call.x, decays)
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

    def _step(self, layer: LayerRecord, spikes: Tensor, current: Tensor, called: list[Called], *, keep: bool) -> Step:
        """What a layer did in this step, with its graph; as copies to ``keep``, which nobody detaches."""
        progress = self._progress.setdefault(layer.name, Progress())
        progress.add(spikes)
        if progress.steps > self._steps and self._steps:
            raise RuntimeError(
                f"layer '{layer.name}' ran step {progress.steps} of a sequence of {self._steps}: call .teach() before "
                "each sequence, and give each place in the network a neuron of its own"
            )
        membrane = layer.module.mem if "membrane" in self.keeps else None
        if keep:
            spikes, membrane = spikes.clone(), None if membrane is None else membrane.clone()  # type: ignore[operator]
        if "inputs" in self.keeps:
            layer.view.synapses = tuple(call.synapse.module for call in called)
        return Step(layer, spikes, membrane, current, called, progress.steps, progress.rate)  # type: ignore[arg-type]

    def _learn(self, step: Step) -> None:
        """Add to the gradients of a layer, and behind the output to those of the layers that waited for it."""
        if not self._steps:
            raise RuntimeError("online learning must know the labels: call .teach(labels, steps=T) before a sequence")
        if self._labels is not None and len(step.spikes) != len(self._labels):
            raise ValueError(
                f"layer '{step.layer.name}' ran {len(step.spikes)} samples, but there are {len(self._labels)} labels"
            )
        if step.layer not in self._outputs:
            self._consolidate(step, self._delta(step, None))
            return
        if self._labels is not None:
            gradient = self._output_gradient(step, self._labels.to(step.spikes.device))
            step.pull([(step.spikes, gradient)], traced=self._with_traces)
        if step.layer is not self._outputs[0]:
            return
        waiting, self._waiting = self._waiting, []
        output = self._output(step)
        for hidden in reversed(waiting):
            if hidden.sent is None:
                self._consolidate(hidden, self._delta(hidden, output))
            elif hidden.sent.grad is not None:
                self._consolidate_in_space(hidden, hidden.sent.grad, [s.sent for s in waiting if s.sent is not None])
        for hidden in waiting:
            if hidden.sent is not None:
                hidden.sent.grad = None
                hidden.sent.requires_grad_(False)

    def _output_gradient(self, step: Step, labels: Tensor) -> Tensor:
        """What stands in the place of ∂L/∂s_t of the output: the gradient of the mean squared error, over T."""
        classes = self.feedback.num_classes
        y = (step.spikes.detach() if self.propagation.every_step else step.rate).flatten(1)
        y = (y if y.dtype is torch.float64 else y.float()).requires_grad_()
        if y.shape[1] != classes:
            raise ValueError(
                f"the output layer '{step.layer.name}' has {y.shape[1]} neurons, and online learning needs one for "
                f"each of the {classes} classes: use credit='full', or name the output"
            )
        with torch.enable_grad():
            loss = F.mse_loss(y, F.one_hot(labels.long(), classes).to(y.dtype))
            (gradient,) = torch.autograd.grad(loss, y)
        return (gradient.view_as(step.spikes) / self._steps).to(step.spikes.dtype)

    def _output(self, step: Step) -> Tensor:
        """The output that rules compare with the label: of this step, ``[1, B, K]``, or its rate so far, ``[B, K]``."""
        every_step = self.propagation.every_step
        output = (step.spikes.detach() if every_step else step.rate).flatten(1)
        output = by_class(output, self.feedback.num_classes, type(self.propagation).__name__, step.layer.name)
        return output[None] if every_step else output

    def _delta(self, step: Step, output: Tensor | None) -> Tensor | None:
        """δ_l of this step, ``[1, B, *]``; None for a layer that does not learn."""
        window = step.window(self.keeps, self._label_at(step), self._progress[step.layer.name].memory)
        B_l = self.feedback.matrix(step.layer.name, step.spikes.shape[1:], like=step.rate)
        return self.propagation.delta(window.label, window=window, feedback=B_l, output=output)  # type: ignore[arg-type]

    def _label_at(self, step: Step) -> Tensor | None:
        if self._labels is None:
            return None
        if self._label is None:
            labels = self._labels.to(step.rate.device)
            self._label = self.propagation.label(labels, self.feedback.num_classes, self._steps, step.rate.dtype)
        return self._label if len(self._label) == 1 else self._label[step.number - 1, None]

    def _consolidate(self, step: Step, delta: Tensor | None) -> None:
        """A layer's weight gradients of this step, from what was sent to it."""
        if delta is None:
            return
        window = step.window(self.keeps, self._label_at(step), self._progress[step.layer.name].memory)
        given = self.consolidation.gradients(delta, window)
        now, traced = step.roots(given, self._scale(step), self._with_traces)
        for weight, gradient in window.layer.weight_roots(given.weights, self._scale(step)):
            torch.autograd.backward([weight], [gradient])
        step.pull(now, traced=False, again=bool(traced))
        step.pull(traced, traced=True)

    def _consolidate_in_space(self, step: Step, delta: Tensor, sent: list[Tensor]) -> None:
        """The same from the loss's own gradient at this step, which goes on to the layers before."""
        if isinstance(self.consolidation, PseudoGradient):
            step.pull([(step.spikes, delta)], traced=self._with_traces)
            return
        window = step.window(self.keeps, self._label_at(step), self._progress[step.layer.name].memory)
        # The loss is a mean over the batch already, so its gradient is not scaled again.
        given = self.consolidation.gradients(delta[None], window)
        now, traced = step.roots(given, 1.0, self._with_traces)
        for weight, gradient in window.layer.weight_roots(given.weights, 1.0):
            torch.autograd.backward([weight], [gradient])
        parameters = [p for p in self.net.parameters() if p.requires_grad]
        step.pull(now, traced=False, again=True, into=parameters, passing=[])
        step.pull(traced, traced=True, again=True, into=parameters, passing=[])
        step.pull([(step.spikes, delta)], traced=False, into=sent, passing=sent, weights=False)

    def _scale(self, step: Step) -> float:
        return 1 / len(step.spikes) if self.reduction == "mean" else 1.0


class _SynapseHook(Attaching):
    """Cuts a synapse from its layer, so that its gradient can be taken at the trace of its input."""

    def __init__(self, handle: Online, synapse: LearningSynapse) -> None:
        self.handle, self.synapse = handle, synapse

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if not self.handle._listening or not output.requires_grad:
            return None
        call = Called(self.synapse, args[0], output.detach().requires_grad_())
        self.handle._called.append(call)
        return call.leaf


def _check_rule(propagation: Propagation, consolidation: Consolidation) -> None:
    if not propagation.local:
        raise ValueError(
            f"{type(propagation).__name__} takes the true gradient through all layers and steps, which is not there "
            "before the sequence ends: use credit='full', or OTTT(), which takes it step by step"
        )
    if not consolidation.causal:
        raise ValueError(
            f"{type(consolidation).__name__} needs the whole sequence (it is not causal): use credit='full', or a "
            "consolidation such as PseudoGradient()"
        )


def _fault(module: nn.Module, traces: bool) -> str | None:
    """Why a neuron cannot learn online, and the way out."""
    if takes_sequence(module):
        return "runs a whole sequence at once: use credit='full'"
    reason = None
    leaky = isinstance(module, snn.Leaky | snn.RLeaky | snn.Synaptic | snn.RSynaptic)
    if not leaky or isinstance(module, snn.DeltaLeaky):
        reason = "has more to its memory than a leaky membrane and a synaptic current"
    elif any(decay.numel() != 1 for decay in decays_of(module)):
        reason = "has a decay for each neuron, where a trace of the input needs one for the layer"
    elif not getattr(module, "reset_delay", True):
        reason = "resets within the step"
    elif not getattr(module, "all_to_all", True) and module.learn_recurrent:
        reason = "learns one-to-one recurrent weights, which have no trace here"
    return f"{reason}: use credit='instant' or 'full'" if traces and reason else None
