"""Learning when a sequence is over, through forward hooks.

A hook on each hidden spiking layer keeps the spikes it sees and hands them on detached. After the forward pass one
call finishes the job: ``torch.autograd.backward([loss, *spikes], [None, *signals])``. Nothing is wrapped, and the
pass back through the next layer's weights never happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snntorch_brp.attachment.advice import Advice
from snntorch_brp.attachment.checks import check_last_membranes, check_sequence
from snntorch_brp.attachment.handle import Handle, Synapse
from snntorch_brp.attachment.hooks import Listener
from snntorch_brp.attachment.readout import Readout, by_class
from snntorch_brp.attachment.record import LayerRecord, Root
from snntorch_brp.attachment.structure import Structure
from snntorch_brp.finite import check_loss
from snntorch_brp.propagation import OutputOnly, Propagation
from snntorch_brp.runtime.verdicts import together
from snntorch_brp.targets import EncodeTargets, batch_of, check_targets, reads_classes, target_signal


class Attached(Handle):
    """A network under a local rule that learns when a sequence is over; made by :func:`attach`.

    Attributes:
        feedback: The fixed matrices B_l; save its ``state_dict`` to come back to the same ones.
        names_firing_faults: Whether a warning names layers that fire too little or too much to learn; a trainer that
            watches its layers itself turns it off.
    """

    def __init__(
        self, net: nn.Module, propagation: Propagation, *, encode_targets: EncodeTargets | None, **options: Any
    ) -> None:
        super().__init__(net, propagation, **options)
        if propagation.spatial:
            raise ValueError(
                f"{type(propagation).__name__} is the loss's gradient at one step, and is taken while the network "
                "runs: use attach(..., credit='trace') or credit='instant'"
            )
        self.encode_targets = encode_targets
        self._structure = Structure(self.net, self._layers, self._outputs, known=bool(self._outputs or self._readouts))
        self._last: LayerRecord | None = None  # the layer that was called last
        self._compared = [Readout(module) for module in self._readouts.values()] if propagation.needs_output else []
        self._advice = Advice(hidden_rest=isinstance(propagation, OutputOnly))
        self.names_firing_faults = True
        self._taken_in: list[tuple[nn.Module, Tensor]] = []  # by synapses since the last neuron
        self._asked = False  # whether the running sequence was to be learned from

    def register(self) -> Attached:
        """Put the hooks on the network, as entering the ``with`` block does.

        Raises:
            RuntimeError: If a spiking layer of the network is attached already.
        """
        super().register()
        for readout in self._compared:
            self._hooks.append(readout.module.register_forward_hook(Listener(self._listening, readout.keep)))
        if "inputs" in self.keeps:
            synapses = [module for module in self.net.modules() if isinstance(module, Synapse)]
            self._hooks += [
                synapse.register_forward_hook(Listener(self._listening, self._take_in)) for synapse in synapses
            ]
        if "current" in self.keeps and self.consolidation.without_recurrence:
            for layer in self._layers:
                if isinstance(recurrent := getattr(layer.module, "recurrent", None), nn.Module):
                    self._hooks.append(recurrent.register_forward_hook(Listener(self._listening, layer.keep_recurrent)))
        return self

    def clear(self) -> None:
        """Forget the running sequence."""
        super().clear()
        self._last, self._asked = None, False
        self._taken_in = []
        for readout in self._compared:
            readout.clear()

    def reset(self) -> None:
        """Start a new sequence: forget the running one and put this network's neurons to rest."""
        self._tell_dropped()
        super().reset()

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        try:
            if kind is None:
                self._tell_dropped()
        finally:
            super().__exit__(kind, *rest)

    def _before(self, layer: LayerRecord, given: Sequence[Any]) -> Sequence[Any]:
        """Before a call: start anew where the layer does; returns the states to go on from."""
        if not self._listening():
            return given
        if not layer.steps:
            layer.check_rested(None if given else getattr(layer.module, "mem", None))
            return given
        if not layer.continues_from(given):
            self._tell_dropped()
            self.clear()
            return given
        return given if layer in self._structure.outputs else layer.restore(given)

    def _after(self, layer: LayerRecord, current: Tensor, output: Any) -> Any:
        """After a call: keep what the layer did, and cut all that it emits from what comes next."""
        if not self._listening():
            return None
        layer.called = True
        taken_in, self._taken_in = self._taken_in, []
        spikes, *states = output if isinstance(output, tuple) else (output,)
        if not spikes.requires_grad:  # nothing behind this layer learns
            return None
        membrane = (states or [None])[-1] if layer.whole else getattr(layer.module, "mem", None)
        layer.record(spikes, current, membrane, self.keeps)
        for synapse, x in taken_in:
            layer.inputs.setdefault(synapse, []).append(x)
        self._last = layer
        if layer in self._structure.outputs:
            return None
        # In the first sequence any layer may turn out to be the output, so all ask for the gradient of the loss. Later
        # the first step is watched, so that a loss on a hidden layer is noticed, and the others cost nothing.
        finding_out = not self._structure.known
        watch = finding_out or (len(layer.spikes) == 1 and not layer.whole)
        return layer.hand_on(output, watch_spikes=watch, keep_all=finding_out)

    def backward(self, loss: Tensor | None, labels: Tensor | None = None, *, scale: float | Tensor = 1.0) -> None:
        """Fill ``.grad`` of every parameter, layer by layer; gradients add up as in PyTorch.

        Everything behind the last hidden neuron learns from ``loss``, each hidden layer from its own signal.

        Args:
            loss: Scalar loss of what the network gave; None for a network of hidden layers alone, or to leave the
                output as it is where it was named or found out.
            labels: Class numbers of the batch, integers ``[B]`` in 0..K-1, or one for every step, ``[T, B]``; or
                real-valued targets ``[B, K]`` or ``[T, B, K]``, which are sent in the label's place; or whatever
                ``encode_targets`` takes; None for a rule that is not taught by labels.
            scale: Factor on every gradient: ``1 / n`` to take the mean over n batches, or under torch's GradScaler
                ``scaler.scale(torch.ones((), device=loss.device))``. (``scaler.scale(loss)`` would scale the output's
                gradients alone.)

        Raises:
            ValueError: If the labels or the loss do not fit, or (:class:`snntorch_brp.finite.NotFinite`) a membrane or
                the loss is not finite. Nothing has changed then, and the call can be repeated.
            RuntimeError: If the layers were not called as one sequence, or the loss reaches the weights of a hidden
                layer; the message names the layer. Nothing has changed then.
        """
        self._asked = True
        traced = self._gather()
        roots: list[Root] = []
        outputs: list[LayerRecord] = []
        with together():  # a GPU is waited for once
            labels = self._targets(labels)
            if loss is not None:
                check_loss(loss)
            elif self.propagation.needs_output:
                raise ValueError(f"{type(self.propagation).__name__} compares the output with the label: give a loss")
            check_last_membranes(self._layers)
            if self.propagation.local:
                roots, outputs = self._roots(loss, labels, scale, traced=traced)
        if not self.propagation.local:
            assert loss is not None
            (loss * scale).backward()
            return
        if self.names_firing_faults:
            self._advice.firing(self._layers, self._structure.hidden_parameters())
        try:
            for layer in self._layers:
                layer.forgo_gradients()
            torch.autograd.backward([tensor for tensor, _ in roots], [gradient for _, gradient in roots])
        finally:
            for layer in self._layers:
                layer.finish()
            self.clear()
        self._structure.settle(outputs, known=loss is not None)
        self._let_trace()
        if loss is not None:
            self._advice.unreached(self.net)

    def _roots(
        self, loss: Tensor | None, labels: Tensor | None, scale: float | Tensor, *, traced: bool
    ) -> tuple[list[Root], list[LayerRecord]]:
        """Where all gradients start, and which layers are outputs.

        Args:
            loss: As :meth:`backward` was given it, like the next two.
            labels: The labels, checked.
            scale: Factor on every gradient.
            traced: Layers ran inside a compiled graph, whose parts cannot be told from one another.
        """
        last = check_sequence(self._layers, self._last, None if labels is None else batch_of(labels))
        outputs = self._structure.outputs if traced else self._structure.check(loss, last)
        hidden = [layer for layer in self._layers if layer not in outputs and layer.steps]
        roots = self._output_roots(outputs, loss, scale)
        if last is not None:
            mean = self.reduction == "mean"
            roots += self._hidden_roots(hidden, outputs, labels, scale / last.batch if mean else scale)
        return roots, outputs

    def _targets(self, labels: Tensor | None) -> Tensor | None:
        """The labels as the rule takes them, checked."""
        if labels is None:
            if self.propagation.needs_label:
                raise ValueError(
                    f"{type(self.propagation).__name__} is taught by labels: call .backward(loss, labels), or use a "
                    "rule without a teacher, such as Unmodulated()"
                )
            return None
        if self.encode_targets is not None:
            labels = self.encode_targets(labels)
        return check_targets(labels, self.feedback.num_classes)

    def _output_roots(self, outputs: Sequence[LayerRecord], loss: Tensor | None, scale: float | Tensor) -> list[Root]:
        """Where the gradient of the loss starts."""
        if loss is None:
            return []
        roots: list[Root] = [(loss * scale, None)]
        if self._structure.known:
            return roots
        # In the sequence in which they were found out the outputs, too, were handed on without their graph.
        cuts = [cut for layer in outputs for cut in layer.cuts]
        leaves = [leaf for _, leaf in cuts]
        found = torch.autograd.grad(loss * scale, leaves, retain_graph=True, allow_unused=True) if leaves else ()
        return roots + [(tensor, g) for (tensor, _), g in zip(cuts, found, strict=True) if g is not None]

    def _hidden_roots(
        self,
        hidden: Sequence[LayerRecord],
        outputs: Sequence[LayerRecord],
        labels: Tensor | None,
        scale: float | Tensor,
    ) -> list[Root]:
        """Where the hidden layers' gradients start: the rule, layer by layer."""
        y = self._output(outputs, labels) if self.propagation.needs_output else None
        label = None if labels is None or not hidden else self._label(labels, hidden[0])
        roots: list[Root] = []
        for layer in hidden:
            layer.window.label = label
            gradients = self._gradients(layer.window, y)
            if gradients is not None:
                roots += layer.roots(gradients.folded(self.consolidation, layer.window), scale)
        return roots

    def _label(self, labels: Tensor, layer: LayerRecord) -> Tensor:
        """The label ȳ that all layers receive, in the form of one of them."""
        like, classes = layer.window.like, self.feedback.num_classes
        return target_signal(
            self.propagation, labels.to(like.device), num_classes=classes, steps=layer.steps, dtype=like.dtype
        )

    def _output(self, outputs: Sequence[LayerRecord], labels: Tensor | None) -> Tensor:
        """The output y that is compared with the labels, ``[B, K]``, or ``[T, B, K]`` for a label at every step."""
        assert labels is not None  # such rules are taught by labels
        rule, classes = type(self.propagation).__name__, self.feedback.num_classes
        stepwise = self.propagation.every_step or labels.dim() > 1 + labels.is_floating_point()
        if self._compared:
            return self._compared[0].output(classes, rule, stepwise=stepwise, of_classes=reads_classes(labels))
        if not outputs:
            raise ValueError(
                f"{rule} compares output and label, and the output is no spiking layer: name it, "
                "attach(..., output=net.readout), or use a label-only rule such as BRP() or RewardPrediction()"
            )
        window = outputs[0].window
        return by_class(
            window.spikes.flatten(2) if stepwise else window.rate.flatten(1), classes, rule, outputs[0].name
        )

    def _let_trace(self) -> None:
        """Let torch.compile follow what layers do, once it is known what they are, and where nothing else listens."""
        hears_itself = any(isinstance(getattr(layer.module, "recurrent", None), nn.Module) for layer in self._layers)
        listening = self._compared or "inputs" in self.keeps or ("current" in self.keeps and hears_itself)
        if listening or not self._structure.known:
            return
        for layer in self._layers:
            layer.trace.role = "output" if layer in self._structure.outputs else "hidden"
            layer.trace.keeps_current = "current" in self.keeps

    def _gather(self) -> bool:
        """Take over what layers did inside compiled graphs; says whether they did anything there."""
        hidden = [layer for layer in self._layers if layer.trace.role == "hidden" and layer.gather(self.keeps)]
        steps = 0 if not hidden or hidden[0].whole else hidden[0].steps
        others = [layer for layer in self._layers if layer.trace.role != "hidden" and layer.gather(self.keeps, steps)]
        traced = [layer for layer in self._layers if layer in hidden or layer in others]
        self._last = next((layer for layer in reversed(traced) if layer.steps), self._last)
        return bool(traced)

    def _tell_dropped(self) -> None:
        if self._last is not None and not self._asked:
            self._advice.dropped()

    def _take_in(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """Keep what a synapse took in, for the layer that is behind it."""
        self._taken_in.append((module, args[0].detach()))
