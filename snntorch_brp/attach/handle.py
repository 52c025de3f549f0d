"""Any snnTorch network under a local rule, through forward hooks.

A hook on each hidden spiking layer keeps the spikes it sees and hands them on detached. After the forward pass one
call finishes the job: ``torch.autograd.backward([loss, *spikes], [None, *signals])``. Nothing is wrapped, and the
pass back through the next layer's weights never happens.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snntorch_brp.attach.recording import Recording, Root, check_sequence
from snntorch_brp.consolidation import Consolidation, PseudoGradient
from snntorch_brp.encoding import check_labels
from snntorch_brp.feedback import Feedback
from snntorch_brp.neurons import fault, reset_state, spiking_layers, unwrapped
from snntorch_brp.propagation import OutputOnly, Propagation, project


def attach(
    net: nn.Module,
    propagation: Propagation,
    *,
    num_classes: int,
    consolidation: Consolidation | None = None,
    output: str | Sequence[str] | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    generator: torch.Generator | None = None,
) -> Attached:
    """Put a network under a local learning rule for the length of a ``with`` block.

    The model is used unchanged and gives the same outputs; only ``loss.backward()`` becomes
    ``brp.backward(loss, labels)``. The handle is inert under ``torch.no_grad()`` and after ``net.eval()``.

    Args:
        net: Any module that contains at least two snnTorch neurons; it may loop over time itself, or be called once a
            step.
        propagation: What is sent to the hidden layers: ``BRP()``, ``RewardPrediction()``, ...
        num_classes: Number of classes K.
        consolidation: How a layer learns from it; ``PseudoGradient()`` when None.
        output: Name of the output layer's neuron, as in ``net.named_modules()``, or names, where there are several
            outputs (the first is the one that is compared with the label); when None, the last spiking layer to be
            called.
        reduction: "mean" takes hidden gradients as the mean over the batch, as the usual losses do, so that learning
            rates, clipping and DistributedDataParallel treat all layers alike; "sum" is the authors' code.
        generator: Source of the feedback matrices' seed; torch's global generator when None.

    Returns:
        The handle: a context manager with ``backward(loss, labels)``, ``reset()`` and the ``feedback`` matrices.

    Raises:
        ValueError: If the network has fewer than two spiking layers, or none of the name given.

    Example:
        >>> net = nn.Sequential(
        ...     nn.Linear(784, 100), RefractoryLeaky(init_hidden=True),
        ...     nn.Linear(100, 10), RefractoryLeaky(init_hidden=True),
        ... )
        >>> x, labels = (torch.rand(20, 8, 784) < 0.3).float(), torch.arange(8)
        >>> with attach(net, BRP(), num_classes=10) as brp:
        ...     brp.reset()
        ...     spikes = torch.stack([net(x_t) for x_t in x])
        ...     loss = F.mse_loss(spikes.mean(0), F.one_hot(labels, 10).float())
        ...     brp.backward(loss, labels)
        >>> net[0].weight.grad.shape
        torch.Size([100, 784])
    """
    return Attached(
        net,
        propagation,
        consolidation=consolidation or PseudoGradient(),
        output=output,
        reduction=reduction,
        feedback=Feedback(num_classes, generator=generator),
    )


class Attached:
    """A network under a local rule; made by :func:`attach`.

    Attributes:
        feedback: The fixed matrices B_l; save its ``state_dict`` to come back to the same ones.
    """

    def __init__(
        self,
        net: nn.Module,
        propagation: Propagation,
        *,
        consolidation: Consolidation,
        output: str | Sequence[str] | None,
        reduction: Literal["mean", "sum"],
        feedback: Feedback,
    ) -> None:
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        self.net = unwrapped(net)
        self.propagation = propagation
        self.consolidation = consolidation
        self.reduction = reduction
        self.feedback = feedback
        self._layers = [Recording(name, module) for name, module in _layers_of(net).items()]
        self._named = output is not None
        self._outputs = _pick(self._layers, output)  # empty until the first sequence has shown the output
        self._last: Recording | None = None  # the layer that was called last
        self._hooks: list[RemovableHandle] = []
        self._unreached_told = isinstance(propagation, OutputOnly)  # there the hidden layers are meant to rest

    def register(self) -> Attached:
        """Put the hooks on the network, as entering the ``with`` block does.

        Raises:
            RuntimeError: If a spiking layer of the network is attached already.
        """
        for layer in self._layers:
            if any(isinstance(hook, _ForwardHook) for hook in layer.module._forward_hooks.values()):
                raise RuntimeError(
                    f"layer '{layer.name}' is attached already: leave the other `with attach(...)` block first, or "
                    "call .remove() on its handle"
                )
        for layer in self._layers:
            self._hooks.append(layer.module.register_forward_pre_hook(_PreHook(self, layer), with_kwargs=True))
            self._hooks.append(layer.module.register_forward_hook(_ForwardHook(self, layer), with_kwargs=True))
        return self

    def remove(self) -> None:
        """Take every hook off and free the running sequence; the feedback matrices stay in this handle."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self.clear()

    def __enter__(self) -> Attached:
        return self.register()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def clear(self) -> None:
        """Forget the running sequence."""
        self._last = None
        for layer in self._layers:
            layer.clear()

    def reset(self) -> None:
        """Start a new sequence: forget the running one and put this network's neurons to rest."""
        self.clear()
        reset_state(self.net)

    @property
    def _listening(self) -> bool:
        return self.propagation.local and self.net.training and torch.is_grad_enabled()

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

    def backward(self, loss: Tensor, labels: Tensor) -> None:
        """Fill ``.grad`` of every parameter, layer by layer; gradients add up as in PyTorch.

        The output layer learns from ``loss``, each hidden layer from its own signal.

        Args:
            loss: Scalar loss of the network's output.
            labels: Class numbers of the batch, integers ``[B]`` in 0..K-1.

        Raises:
            ValueError: If the labels or the loss do not fit, or a membrane is not finite. Nothing has changed then,
                and the call can be repeated.
            RuntimeError: If the layers were not called as one sequence; the message names the layer.
        """
        check_labels(labels, self.feedback.num_classes)
        _check_loss(loss)
        _check_membranes(self._layers)
        if not self.propagation.local:
            loss.backward()
            return
        outputs = self._outputs_of_sequence()
        check_sequence(self._layers, outputs, len(labels))
        hidden = self._hidden_roots(outputs, labels)
        try:
            roots = [(loss, None), *hidden] if self._outputs else [*self._first_output_roots(outputs, loss), *hidden]
            tensors, gradients = zip(*roots, strict=True)
            torch.autograd.backward(tensors, gradients)
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

    def _hidden_roots(self, outputs: Sequence[Recording], labels: Tensor) -> list[Root]:
        """Where the hidden layers' gradients start: the rule, layer by layer."""
        classes = self.feedback.num_classes
        y = outputs[0].window.rate.flatten(1) if self.propagation.needs_output else None
        if y is not None and y.shape[1] != classes:
            raise ValueError(
                f"{type(self.propagation).__name__} compares output and label, but layer '{outputs[0].name}' has "
                f"{y.shape[1]} neurons and num_classes is {classes}: make them equal, or use a label-only rule"
            )
        scale = 1 / len(labels) if self.reduction == "mean" else 1.0
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


def _layers_of(net: nn.Module) -> dict[str, nn.Module]:
    layers = spiking_layers(net)
    if len(layers) < 2:
        raise ValueError(
            f"{type(net).__name__} has {len(layers)} spiking layers, and a local rule needs at least two: a hidden one "
            "that it trains and an output. Put a neuron, such as RefractoryLeaky(), behind each layer"
        )
    for name, module in layers.items():
        if reason := fault(module):
            raise ValueError(f"layer '{name}' cannot be trained: {reason}")
    return layers


def _pick(layers: Sequence[Recording], output: str | Sequence[str] | None) -> list[Recording]:
    names = [] if output is None else [output] if isinstance(output, str) else list(output)
    by_name = {layer.name: layer for layer in layers}
    for name in names:
        if name not in by_name:
            raise ValueError(f"output='{name}' is not a spiking layer of the network; there are: {', '.join(by_name)}")
    return [by_name[name] for name in names]


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


class _PreHook:
    """Tells the handle which states a layer is about to continue from."""

    def __init__(self, handle: Attached, layer: Recording) -> None:
        self.layer, self.before = layer, _untraced(handle._before)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        positional, named = args[1:], {name: value for name, value in kwargs.items() if name != "input_"}
        states = self.before(self.layer, [*positional, *named.values()])
        kwargs = {**kwargs, **dict(zip(named, states[len(positional) :], strict=True))}
        return (*args[:1], *states[: len(positional)]), kwargs

    def __reduce__(self) -> tuple[type[_Resting], tuple[()]]:
        return _Resting, ()


class _ForwardHook:
    """Hands what a layer did to the handle, and the layer's spikes on to the next layer."""

    def __init__(self, handle: Attached, layer: Recording) -> None:
        self.layer, self.after = layer, _untraced(handle._after)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        return self.after(self.layer, args[0] if args else kwargs["input_"], output)

    def __reduce__(self) -> tuple[type[_Resting], tuple[()]]:
        return _Resting, ()


class _Resting:
    """What copying or saving an attached network makes of its hooks: the copy belongs to no handle."""

    def __call__(self, *args: Any) -> None:
        """Do nothing."""


def _untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep torch.compile from tracing into the handle, whose records change with every call.

    Where nothing has been compiled, torch's compiler, slow to import, is left alone.
    """
    return torch.compiler.disable(function) if "torch._dynamo" in sys.modules else function
