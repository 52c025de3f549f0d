"""Learning when a sequence is over, through forward hooks.

A hook on each hidden spiking layer keeps the spikes it sees and hands them on detached. After the forward pass one
call finishes the job: ``torch.autograd.backward([loss, *spikes], [None, *signals])``. Nothing is wrapped, and the
pass back through the next layer's weights never happens.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snntorch_brp.attachment.handle import Attaching, Handle, Synapse
from snntorch_brp.attachment.readout import Readout, by_class
from snntorch_brp.attachment.record import LayerRecord, Root
from snntorch_brp.attachment.structure import LossTerms, check_hidden_unseen, check_parameters, find_outputs, owners
from snntorch_brp.finite import check_loss, check_membranes
from snntorch_brp.firing import LEAST_STEPS, firing_fault, firing_message
from snntorch_brp.learning_rates import FirstStep
from snntorch_brp.propagation import OutputOnly, Propagation
from snntorch_brp.runtime.graph import reach
from snntorch_brp.targets import EncodeTargets, batch_of, check_targets, reads_classes, target_signal

_LOOKED_AT = {4**i for i in range(1, 16)}  # the sequences in which the layers' firing is judged


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
        self._found_out = bool(self._outputs or self._readouts)  # which layers are outputs
        self._last: LayerRecord | None = None  # the layer that was called last
        self._owner: dict[int, str] = {}  # hidden layers by the ids of their parameters
        self._trainable: list[bool] | None = None  # which parameters asked for a gradient when that was found out
        self._compared = [Readout(module) for module in self._readouts.values()] if propagation.needs_output else []
        self._unreached_told = isinstance(propagation, OutputOnly)  # there the hidden layers are meant to rest
        self._dropped_told = False
        self.names_firing_faults = True
        self._sequences = 0  # that were learned from
        self._first_step = FirstStep()
        self._firing_told: set[tuple[str, str]] = set()
        self._heard: list[tuple[nn.Module, Tensor]] = []  # what synapses took in since the last neuron
        self._asked = False  # whether the running sequence was to be learned from

    def register(self) -> Attached:
        """Put the hooks on the network, as entering the ``with`` block does.

        Raises:
            RuntimeError: If a spiking layer of the network is attached already.
        """
        super().register()
        for readout in self._compared:
            self._hooks.append(readout.module.register_forward_hook(readout.hook(self)))
        if "inputs" in self.keeps:
            synapses = [module for module in self.net.modules() if isinstance(module, Synapse)]
            self._hooks += [synapse.register_forward_hook(_Hearing(self)) for synapse in synapses]
        if "current" in self.keeps and self.consolidation.without_recurrence:
            for layer in self._layers:
                if isinstance(recurrent := getattr(layer.module, "recurrent", None), nn.Module):
                    self._hooks.append(recurrent.register_forward_hook(_Recurrent(self, layer)))
        return self

    def clear(self) -> None:
        """Forget the running sequence."""
        super().clear()
        self._last, self._asked = None, False
        self._heard = []
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
        if not self._listening:
            return given
        if not layer.steps:
            layer.check_rested(given)
            return given
        if not layer.continues_from(given):
            self._tell_dropped()
            self.clear()
            return given
        return given if layer in self._outputs else layer.restore(given)

    def _after(self, layer: LayerRecord, current: Tensor, output: Any) -> Any:
        """After a call: keep what the layer did, and cut all that it emits from what comes next."""
        if not self._listening:
            return None
        layer.called = True
        heard, self._heard = self._heard, []
        spikes, *states = output if isinstance(output, tuple) else (output,)
        if not spikes.requires_grad:  # nothing behind this layer learns
            return None
        membrane = (states or [None])[-1] if layer.whole else getattr(layer.module, "mem", None)
        layer.record(spikes, current, membrane, self.keeps)
        for synapse, x in heard:
            layer.inputs.setdefault(synapse, []).append(x)
        self._last = layer
        if layer in self._outputs:
            return None
        # In the first sequence any layer may turn out to be the output, so all ask for the gradient of the loss. Later
        # the first step is watched, so that a loss on a hidden layer is noticed, and the others cost nothing.
        watch = not self._found_out or (len(layer.spikes) == 1 and not layer.whole)
        return layer.hand_on(output, watch_spikes=watch, keep_all=not self._found_out)

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
        labels = self._targets(labels)
        if loss is not None:
            check_loss(loss)
        elif self.propagation.needs_output:
            raise ValueError(f"{type(self.propagation).__name__} compares the output with the label: give a loss")
        _check_membranes(self._layers)
        if not self.propagation.local:
            assert loss is not None
            (loss * scale).backward()
            return
        check_sequence(self._layers, self._last, None if labels is None else batch_of(labels))
        outputs = self._check_structure(loss)
        roots = [*self._output_roots(outputs, loss, scale), *self._hidden_roots(outputs, labels, scale)]
        self._tell_firing()
        try:
            torch.autograd.backward([tensor for tensor, _ in roots], [gradient for _, gradient in roots])
        finally:
            for layer in self._layers:
                layer.finish()
            self.clear()
        self._outputs, self._found_out = outputs, self._found_out or loss is not None
        if loss is not None:
            self._tell_unreached()

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
        check_targets(labels, self.feedback.num_classes)
        return labels

    def _check_structure(self, loss: Tensor | None) -> list[LayerRecord]:
        """Which layers are outputs, once it is clear that the loss reaches no hidden weights."""
        terms = LossTerms(loss, self._layers)
        trainable = [p.requires_grad for p in self.net.parameters()]
        outputs, graphs = self._outputs, {}
        if trainable != self._trainable or not self._found_out:
            graphs = {layer: reach(tensor.grad_fn for tensor in layer.emitted) for layer in self._layers if layer.steps}
            assert self._last is not None  # check_sequence has seen to that
            known = self._found_out or loss is None
            outputs = self._outputs if known else find_outputs(terms, graphs, self._last)
            self._owner = owners({layer: graph for layer, graph in graphs.items() if layer not in outputs})
            self._trainable = trainable
        hidden = [layer for layer in self._layers if layer not in outputs]
        if not hidden:
            raise RuntimeError(
                f"{type(self.net).__name__} has no hidden spiking layer, since the loss sees all of them: "
                f"{type(self.propagation).__name__} has nothing to train, and loss.backward() does the rest"
            )
        check_hidden_unseen(terms, hidden)
        check_parameters(terms, {layer: graphs[layer] for layer in outputs if layer in graphs}, self._owner)
        return outputs

    def _output_roots(self, outputs: Sequence[LayerRecord], loss: Tensor | None, scale: float | Tensor) -> list[Root]:
        """Where the gradient of the loss starts."""
        if loss is None:
            return []
        roots: list[Root] = [(loss * scale, None)]
        if self._found_out:
            return roots
        # In the sequence in which they were found out the outputs, too, were handed on without their graph.
        cuts = [cut for layer in outputs for cut in layer.cuts]
        leaves = [leaf for _, leaf in cuts]
        found = torch.autograd.grad(loss * scale, leaves, retain_graph=True, allow_unused=True) if leaves else ()
        return roots + [(tensor, g) for (tensor, _), g in zip(cuts, found, strict=True) if g is not None]

    def _hidden_roots(self, outputs: Sequence[LayerRecord], labels: Tensor | None, scale: float | Tensor) -> list[Root]:
        """Where the hidden layers' gradients start: the rule, layer by layer."""
        stepwise = labels is not None and labels.dim() > 1 + labels.is_floating_point()
        y: Tensor | None = None
        if self.propagation.needs_output:
            assert labels is not None  # such rules are taught by labels
            y = self._output(outputs, stepwise or self.propagation.every_step, reads_classes(labels))
        if self.reduction == "mean":
            assert self._last is not None  # check_sequence has seen to that
            scale = scale / self._last.batch
        label: Tensor | None = None
        roots: list[Root] = []
        for layer in self._layers:
            if layer in outputs or not layer.steps:
                continue
            if label is None and labels is not None:  # one label for all layers
                label = self._label(labels, layer)
            roots += self._roots_of(layer, label, y, scale)
        return roots

    def _label(self, labels: Tensor, layer: LayerRecord) -> Tensor:
        """The label ȳ that all layers receive, from the first of them."""
        rate, classes = layer.window.rate, self.feedback.num_classes
        return target_signal(
            self.propagation, labels.to(rate.device), num_classes=classes, steps=layer.steps, dtype=rate.dtype
        )

    def _roots_of(
        self, layer: LayerRecord, label: Tensor | None, y: Tensor | None, scale: float | Tensor
    ) -> list[Root]:
        """Where one hidden layer's gradients start: the rule."""
        window = layer.window
        window.label = label
        B_l = self.feedback.matrix(layer.name, window.rate.shape[1:], like=window.rate)
        delta = self.propagation.delta(label, window=window, feedback=B_l, output=y)  # type: ignore[arg-type]
        if delta is None:
            return []
        gradients = self.consolidation.gradients(delta, window)
        decays = () if gradients.traced is None else self.consolidation.decays(window.layer)
        return layer.roots(gradients, scale, decays)

    def _output(self, outputs: Sequence[LayerRecord], stepwise: bool, of_classes: bool) -> Tensor:
        """The output y that is compared with the label, ``[B, K]``, or ``[T, B, K]`` for a label at every step."""
        rule = type(self.propagation).__name__
        if self._compared:
            return self._compared[0].output(self.feedback.num_classes, rule, stepwise=stepwise, of_classes=of_classes)
        if not outputs:
            raise ValueError(
                f"{rule} compares output and label, and the output is no spiking layer: name it, "
                "attach(..., output=net.readout), or use a label-only rule such as BRP() or RewardPrediction()"
            )
        window = outputs[0].window
        output = window.spikes.flatten(2) if stepwise else window.rate.flatten(1)
        return by_class(output, self.feedback.num_classes, rule, outputs[0].name)

    def _tell_unreached(self) -> None:
        if self._unreached_told:
            return
        self._unreached_told = True
        unreached = [name for name, p in self.net.named_parameters() if p.requires_grad and p.grad is None]
        if unreached:
            warnings.warn(
                f"no hidden layer and no output reaches {', '.join(unreached)}: they will not be trained (freeze them "
                "with requires_grad_(False) if that is meant)",
                stacklevel=3,
            )

    def _tell_firing(self) -> None:
        """Name the layers that fire too little or too much to learn, each once; looked for in ever fewer sequences."""
        self._sequences += 1
        if not self.names_firing_faults:
            return
        hidden = {name: p for name, p in self.net.named_parameters() if id(p) in self._owner}
        if large := self._first_step.look(hidden):
            warnings.warn(large, stacklevel=3)
        if self._sequences not in _LOOKED_AT:
            return
        for layer in self._layers:
            fault = firing_fault(layer.window.rate) if layer.steps else None
            if fault == "saturated" and layer.steps < LEAST_STEPS:
                continue
            if fault is not None and (layer.name, fault) not in self._firing_told:
                self._firing_told.add((layer.name, fault))
                warnings.warn(firing_message(layer.name, fault), stacklevel=3)

    def _tell_dropped(self) -> None:
        if self._dropped_told or self._asked or self._last is None:
            return
        self._dropped_told = True
        warnings.warn(
            "a sequence ran in training mode and nothing was learned from it: call brp.backward(loss, labels) in place "
            "of loss.backward(), or run it under torch.no_grad() if it is not to be learned from",
            stacklevel=2,
        )


class _Hearing(Attaching):
    """Keeps what a synapse takes in, for the layer that is behind it."""

    def __init__(self, handle: Attached) -> None:
        self.handle = handle

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if self.handle._listening:
            self.handle._heard.append((module, args[0].detach()))


class _Recurrent(Attaching):
    """Keeps the current that a layer's own spikes made, with its graph, which ends at the recurrent weights."""

    def __init__(self, handle: Attached, layer: LayerRecord) -> None:
        self.handle, self.layer = handle, layer

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if self.handle._listening:
            self.layer.recurrent.append(output)


def check_sequence(layers: Sequence[LayerRecord], last: LayerRecord | None, batch: int | None) -> None:
    """Check that the layers have run one sequence of ``batch`` samples (of as many as there are where None).

    Raises:
        RuntimeError: If none ran, one was left out, or some were called at several places.
        ValueError: If the batch had another size.
    """
    if last is None:
        raise RuntimeError(
            "no spiking layer has run: call the network inside `with attach(...)`, in training mode and with gradients "
            "enabled, before .backward()"
        )
    for layer in layers:
        if not layer.called:
            raise RuntimeError(f"spiking layer '{layer.name}' was never called: call it, or take it off the network")
        if layer.steps and layer.steps != last.steps:
            raise RuntimeError(
                f"layer '{layer.name}' was called {layer.steps} times and '{last.name}' {last.steps} times: each place "
                "in the network needs a neuron of its own"
            )
        if layer.steps and batch is not None and layer.batch != batch:
            raise ValueError(f"layer '{layer.name}' ran {layer.batch} samples, but there are {batch} labels")


def _check_membranes(layers: Sequence[LayerRecord]) -> None:
    last = {layer.name: getattr(layer.module, "mem", None) if layer.state is None else layer.state for layer in layers}
    check_membranes({name: membrane for name, membrane in last.items() if isinstance(membrane, Tensor)})
