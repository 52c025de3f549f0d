"""Any snnTorch network under a local rule, through forward hooks.

A hook on each hidden spiking layer keeps the spikes it sees and hands them on detached. After the forward pass one
call finishes the job: ``torch.autograd.backward([loss, *spikes], [None, *signals])``. Nothing is wrapped, and the
pass back through the next layer's weights never happens.
"""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snntorch_brp.consolidation import Consolidation, PseudoGradient
from snntorch_brp.encoding import check_labels
from snntorch_brp.feedback import Feedback
from snntorch_brp.neurons import reset_state, spiking_layers
from snntorch_brp.propagation import OutputOnly, Propagation, project
from snntorch_brp.recording import Recording, check_sequence

Root = tuple[Tensor, Tensor | None]


def attach(
    net: nn.Module,
    propagation: Propagation,
    *,
    num_classes: int,
    consolidation: Consolidation | None = None,
    output: str | None = None,
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
        output: Name of the output layer's neuron, as in ``net.named_modules()``; when None, the last spiking layer to
            be called.
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
        output: str | None,
        reduction: Literal["mean", "sum"],
        feedback: Feedback,
    ) -> None:
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        self.net = net
        self.propagation = propagation
        self.consolidation = consolidation
        self.reduction = reduction
        self.feedback = feedback
        self._layers = [Recording(name, module) for name, module in _layers_of(net, output).items()]
        self._output = next((layer for layer in self._layers if layer.name == output), None)
        self._named = output is not None
        self._order: list[Recording] = []  # of first calls in the running sequence
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
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
            self._hooks.append(layer.module.register_forward_hook(_ForwardHook(self, layer)))
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
        self._order.clear()
        for layer in self._layers:
            layer.clear()

    def reset(self) -> None:
        """Start a new sequence: forget the running one and put this network's neurons to rest."""
        self.clear()
        reset_state(self.net)

    @property
    def _listening(self) -> bool:
        return self.propagation.local and self.net.training and torch.is_grad_enabled()

    def _before(self, layer: Recording, states: list[Tensor]) -> None:
        # A layer that has a past and is handed a state that has none is starting a new sequence.
        if self._listening and layer.has_past and not any(state.requires_grad for state in states):
            self.clear()

    def _after(self, layer: Recording, current: Tensor, output: Any) -> Any:
        if not self._listening:
            return None
        spikes, *states = output if isinstance(output, tuple) else (output,)
        if not layer.steps:
            self._order.append(layer)
        layer.record(spikes, current, states, self.consolidation.keeps)
        if layer is self._output or not spikes.requires_grad:
            return None
        handed_on = spikes.detach()
        if self._output is None:  # the first sequence: any layer may turn out to be the last
            layer.leaves.append(handed_on.requires_grad_())
        return (handed_on, *states) if isinstance(output, tuple) else handed_on

    def backward(self, loss: Tensor, labels: Tensor) -> None:
        """Fill ``.grad`` of every parameter, layer by layer; gradients add up as in PyTorch.

        The output layer learns from ``loss``, each hidden layer from its own signal.

        Args:
            loss: Scalar loss of the network's output.
            labels: Class numbers of the batch, integers ``[B]`` in 0..K-1.

        Raises:
            ValueError: If the labels or the loss do not fit. Nothing has changed then, and the call can be repeated.
            RuntimeError: If the layers were not called as one sequence; the message names the layer.
        """
        check_labels(labels, self.feedback.num_classes)
        _check_loss(loss)
        if not self.propagation.local:
            loss.backward()
            return
        output = check_sequence(self._layers, self._order, self._output, named=self._named, batch=len(labels))
        hidden = self._hidden_roots(output, labels)
        try:
            tensors, gradients = zip(*_output_roots(output, loss), *hidden, strict=True)
            torch.autograd.backward(tensors, gradients)
        finally:
            self.clear()
        self._output = output
        self._tell_unreached()

    def _hidden_roots(self, output: Recording, labels: Tensor) -> list[Root]:
        """Where the hidden layers' gradients start: the rule, layer by layer."""
        classes = self.feedback.num_classes
        y = output.window.rate.flatten(1) if self.propagation.needs_output else None
        if y is not None and y.shape[1] != classes:
            raise ValueError(
                f"{type(self.propagation).__name__} compares the output with the label, but layer '{output.name}' has "
                f"{y.shape[1]} neurons and num_classes is {classes}: make them equal, or use a label-only rule"
            )
        scale = 1 / len(labels) if self.reduction == "mean" else 1.0
        label: Tensor | None = None
        roots: list[Root] = []
        for layer in self._layers:
            if layer is output or not layer.has_past:
                continue
            spikes = layer.spikes[0]
            if label is None:  # one label for all layers
                label = self.propagation.label(labels.to(spikes.device), classes, layer.steps, spikes.dtype)
            B_l = self.feedback.matrix(layer.name, spikes.shape[1:], like=spikes)
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


def _output_roots(output: Recording, loss: Tensor) -> list[Root]:
    """Where the output layer's gradient starts."""
    if not output.leaves:
        return [(loss, None)]
    # The output layer was found out in this very sequence, so its spikes too were handed on detached: take the loss
    # back to there first. Later sequences leave the output layer alone.
    loss.backward(retain_graph=True)
    pairs = zip(output.spikes, output.leaves, strict=True)
    return [(spikes, leaf.grad) for spikes, leaf in pairs if leaf.grad is not None]


def _layers_of(net: nn.Module, output: str | None) -> dict[str, nn.Module]:
    layers = spiking_layers(net)
    if len(layers) < 2:
        raise ValueError(
            f"{type(net).__name__} has {len(layers)} spiking layers, and a local rule needs at least two: a hidden one "
            "that it trains and an output. Put a neuron, such as RefractoryLeaky(), behind each layer"
        )
    if output is not None and output not in layers:
        raise ValueError(f"output='{output}' is not a spiking layer of the network; there are: {', '.join(layers)}")
    return layers


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


class _PreHook:
    """Tells the handle which states a layer is about to continue from."""

    def __init__(self, handle: Attached, layer: Recording) -> None:
        self.handle, self.layer = handle, layer

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = [state for state in (*args[1:], *kwargs.values()) if isinstance(state, Tensor)]
        held = [state for state in (getattr(module, name, None) for name in _STATES) if isinstance(state, Tensor)]
        self.handle._before(self.layer, given or held)


_STATES = ("mem", "syn", "spk", "syn_exc", "syn_inh")


class _ForwardHook:
    """Hands what a layer did to the handle, and the layer's spikes on to the next layer."""

    def __init__(self, handle: Attached, layer: Recording) -> None:
        self.handle, self.layer = handle, layer

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return self.handle._after(self.layer, args[0], output)
