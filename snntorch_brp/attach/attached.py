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

from snntorch_brp.attach.base import Handle
from snntorch_brp.attach.recording import Recording, Root, check_sequence
from snntorch_brp.encoding import check_labels
from snntorch_brp.propagation import OutputOnly, Propagation, project


class Attached(Handle):
    """A network under a local rule that learns when a sequence is over; made by :func:`attach`.

    Attributes:
        feedback: The fixed matrices B_l; save its ``state_dict`` to come back to the same ones.
    """

    def __init__(self, net: nn.Module, propagation: Propagation, **options: Any) -> None:
        super().__init__(net, propagation, **options)
        self._last: Recording | None = None  # the layer that was called last
        self._unreached_told = isinstance(propagation, OutputOnly)  # there the hidden layers are meant to rest

    def clear(self) -> None:
        """Forget the running sequence."""
        super().clear()
        self._last = None

    def _before(self, layer: Recording, given: Sequence[Any]) -> Sequence[Any]:
        """Before a call: start anew where the layer does; returns the states to go on from."""
        if not self._listening or not layer.steps:
            return given
        if not layer.continues_from(given):
            self.clear()
        return layer.with_graph(given)

    def _after(self, layer: Recording, current: Tensor, output: Any) -> Any:
        """After a call: keep what the layer did, and cut its spikes from what comes next."""
        if not self._listening:
            return None
        layer.called = True
        spikes, *states = output if isinstance(output, tuple) else (output,)
        if not spikes.requires_grad:  # nothing behind this layer learns
            return None
        membrane = (states or [None])[-1] if layer.whole else getattr(layer.module, "mem", None)
        layer.record(spikes, current, membrane, self.consolidation.keeps)
        self._last = layer
        if layer in self._outputs:
            return None
        # In the first sequence any layer may turn out to be the output, so all ask for the gradient of the loss.
        handed_on = spikes.detach().requires_grad_(not self._outputs)
        layer.handed_on.append(handed_on)
        return (handed_on, *states) if isinstance(output, tuple) else handed_on

    def backward(self, loss: Tensor, labels: Tensor, *, scale: float = 1.0) -> None:
        """Fill ``.grad`` of every parameter, layer by layer; gradients add up as in PyTorch.

        The output layer learns from ``loss``, each hidden layer from its own signal.

        Args:
            loss: Scalar loss of the network's output.
            labels: Class numbers of the batch, integers ``[B]`` in 0..K-1.
            scale: Factor on every gradient: ``1 / n`` to take the mean over n batches, ``scaler.get_scale()`` of
                torch's GradScaler.

        Raises:
            ValueError: If the labels or the loss do not fit, or a membrane is not finite. Nothing has changed then,
                and the call can be repeated.
            RuntimeError: If the layers were not called as one sequence; the message names the layer.
        """
        check_labels(labels, self.feedback.num_classes)
        _check_loss(loss)
        _check_membranes(self._layers)
        loss = loss * scale
        if not self.propagation.local:
            loss.backward()
            return
        outputs = self._outputs_of_sequence()
        check_sequence(self._layers, outputs, len(labels))
        hidden = self._hidden_roots(outputs, labels, scale)
        try:
            roots = [(loss, None), *hidden] if self._outputs else [*self._first_output_roots(outputs, loss), *hidden]
            torch.autograd.backward([tensor for tensor, _ in roots], [gradient for _, gradient in roots])
        finally:
            self.clear()
        self._outputs = outputs
        self._tell_unreached()

    def _outputs_of_sequence(self) -> list[Recording]:
        """The output layers: those named, or the last to be called in the first sequence."""
        if not self._outputs:
            return [] if self._last is None else [self._last]
        if not self._named and self._last not in (None, *self._outputs):
            known = self._outputs[0].name
            raise RuntimeError(
                f"'{self._last.name}' was the last spiking layer to be called, after '{known}', the output layer so "  # type: ignore[union-attr]
                f"far: name the one that you mean, attach(..., output='{known}')"
            )
        return self._outputs

    def _first_output_roots(self, outputs: Sequence[Recording], loss: Tensor) -> list[Root]:
        """Where the output layer's gradient starts, in the sequence in which it was found out.

        There its spikes too were handed on without their graph, so the loss is taken back to that place first. Later
        sequences leave the output layer alone.
        """
        loss.backward(retain_graph=True)
        reached: dict[str, list[Root]] = {}
        for layer in self._layers:
            pairs = zip(layer.spikes, layer.handed_on, strict=True)
            reached[layer.name] = [(spikes, leaf.grad) for spikes, leaf in pairs if leaf.grad is not None]
        roots = [root for layer in outputs for root in reached.pop(layer.name)]
        # A loss on the output's membrane gets as far as the layer before it, so only one on its spikes can tell.
        others = ", ".join(f"'{name}'" for name, direct in reached.items() if direct and roots)
        if others:
            warnings.warn(
                f"the loss also depends on the spikes of {others}, which learn from the local rule alone: outputs "
                f"beside '{outputs[0].name}' must be named, attach(..., output=({others}, '{outputs[0].name}'))",
                stacklevel=3,
            )
        return roots

    def _hidden_roots(self, outputs: Sequence[Recording], labels: Tensor, scale: float) -> list[Root]:
        """Where the hidden layers' gradients start: the rule, layer by layer."""
        classes = self.feedback.num_classes
        y = outputs[0].window.rate.flatten(1) if self.propagation.needs_output else None
        if y is not None and y.shape[1] != classes:
            raise ValueError(
                f"{type(self.propagation).__name__} compares output and label, but layer '{outputs[0].name}' has "
                f"{y.shape[1]} neurons and num_classes is {classes}: make them equal, or use a label-only rule"
            )
        if self.reduction == "mean":
            scale /= len(labels)
        label: Tensor | None = None
        roots: list[Root] = []
        for layer in self._layers:
            if layer in outputs or not layer.steps:
                continue
            rate = layer.window.rate
            if label is None:  # one label for all layers
                label = self.propagation.label(labels.to(rate.device), classes, layer.steps, rate.dtype)
            B_l = self.feedback.matrix(layer.name, rate.shape[1:], like=rate)
            signal = self.propagation.signal(label, window=layer.window, feedback=B_l, output=y)
            if signal is not None:
                roots += layer.roots(self.consolidation.gradients(project(signal, B_l), layer.window), scale)
        return roots

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


def _check_loss(loss: Tensor) -> None:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"loss must be a scalar tensor, got {got}: use loss.mean() or loss.sum()")
    if not loss.requires_grad:
        raise ValueError(
            "loss does not depend on the network: compute it from the output spikes of a forward pass in training "
            "mode, with gradients enabled"
        )
    if not torch.isfinite(loss):
        raise ValueError(f"loss is {loss.item()}: look for NaN or inf in the input, or lower the learning rate")


def _check_membranes(layers: Sequence[Recording]) -> None:
    """A NaN never spikes, so no loss shows it; but it stays in the membrane until the end of the sequence."""
    last = {layer.name: getattr(layer.module, "mem", None) if layer.state is None else layer.state for layer in layers}
    finite = [(name, torch.isfinite(mem).all()) for name, mem in last.items() if isinstance(mem, Tensor)]
    for name, is_finite in finite:
        if not is_finite:
            raise ValueError(
                f"the membrane of layer '{name}' is not finite: look for NaN or inf in the input, or lower the "
                "learning rate"
            )
