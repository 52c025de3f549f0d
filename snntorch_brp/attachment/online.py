"""Learning while the network runs, which only a label-only rule can: memory does not grow with the number of steps.

After every step of a layer its gradient is taken, and spikes and states go on without their graph. What reaches
back in time, where anything does, is a trace of the layer's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import snntorch as snn
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp.activity import Window
from snntorch_brp.attachment.handle import Handle
from snntorch_brp.attachment.record import LayerRecord, tensors_in
from snntorch_brp.consolidation import PseudoGradient
from snntorch_brp.encoding import check_labels
from snntorch_brp.neurons import takes_sequence
from snntorch_brp.propagation import Propagation, project

Synapse = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


class Online(Handle):
    """A network under a local rule that learns at every step; made by ``attach(..., credit="instant" or "trace")``.

    A layer's weights get ``Σ_t ψ_t δ_t x_tᵀ`` with instant credit, which is no credit through time, and with traces::

        ∇W = Σ_t ψ_t δ_t x̄_tᵀ,  x̄_t = g x̄_{t-1} + x_t

    Traces equal full credit where the membrane is a leaky sum of its inputs: ``snn.Leaky`` that resets by
    subtraction or not at all (its reset is detached), behind linear layers, convolutions and average pooling. Where
    a spike resets to zero (also :class:`RefractoryLeaky`), and through max pooling and batch norm, they are an
    approximation: the trace does not know that the neuron forgot.

    The output layer learns from the mean squared error of its rate so far, and so does what a rule sees of a layer's
    rate.

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
        if not propagation.local or propagation.needs_output:
            raise ValueError(
                f"{type(propagation).__name__} needs the output, and online learning does not wait for it: use "
                "a label-only rule such as BRP() or RewardPrediction(), or credit='full'"
            )
        if not isinstance(self.consolidation, PseudoGradient):
            raise ValueError(f"online learning knows PseudoGradient alone, got {self.consolidation}: use credit='full'")
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
        self._traces = {name: _Trace(m) for name, m in self.net.named_modules() if traces and isinstance(m, Synapse)}
        self.clear()

    def register(self) -> Online:
        """Put the hooks on the network, as entering the ``with`` block does.

        Raises:
            RuntimeError: If a spiking layer of the network is attached already.
        """
        super().register()
        for trace in self._traces.values():
            self._hooks.append(trace.synapse.register_forward_hook(_SynapseHook(self, trace)))
        return self

    def clear(self) -> None:
        """Forget the running sequence and what it was to be taught."""
        super().clear()
        self._labels: Tensor | None = None
        self._label: Tensor | None = None
        self._steps = 0
        self._progress: dict[str, _Progress] = {}
        self._called: list[_Trace] = []  # synapses since the last neuron: they belong to the next
        for trace in self._traces.values():
            trace.clear()

    def teach(self, labels: Tensor, *, steps: int) -> None:
        """Say what the sequence that comes is: from here on every step of the network adds to ``.grad``.

        Args:
            labels: Class numbers of the batch, integers ``[B]`` in 0..K-1.
            steps: Number of time steps T that will be run.

        Raises:
            ValueError: If labels or steps do not fit.
        """
        check_labels(labels, self.feedback.num_classes)
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
        if spikes.requires_grad:
            progress = self._progress.setdefault(layer.name, _Progress())
            progress.add(spikes)
            delta = self._delta(layer, spikes, progress)
            if delta is not None:
                torch.autograd.backward([spikes], [delta.to(spikes.dtype)])
        for trace in self._called:
            trace.neuron = layer.module
        self._called.clear()
        # In place, so that nothing that shares these tensors (the module, the user's lists) keeps the graph alive.
        held = (value for value in (*vars(layer.module).values(), *layer.module._buffers.values()))
        for tensor in tensors_in([output, *held]):
            if tensor.grad_fn is not None:
                tensor.detach_()
        return None

    def _delta(self, layer: LayerRecord, spikes: Tensor, progress: _Progress) -> Tensor | None:
        """What stands in the place of ∂L/∂s_t."""
        if self._labels is None:
            raise RuntimeError("online learning must know the labels: call .teach(labels, steps=T) before a sequence")
        if progress.steps > self._steps:
            raise RuntimeError(
                f"layer '{layer.name}' ran step {progress.steps} of a sequence of {self._steps}: call .teach() before "
                "each sequence, and give each place in the network a neuron of its own"
            )
        labels = self._labels.to(spikes.device)
        if len(spikes) != len(labels):
            raise ValueError(f"layer '{layer.name}' ran {len(spikes)} samples, but there are {len(labels)} labels")
        rate = progress.rate
        if layer in self._outputs:
            y = rate.flatten(1).float().requires_grad_()
            if y.shape[1] != self.feedback.num_classes:
                raise ValueError(
                    f"the output layer '{layer.name}' has {y.shape[1]} neurons, and online learning needs one for each "
                    f"of the {self.feedback.num_classes} classes: use credit='full', or name the output"
                )
            with torch.enable_grad():
                loss = F.mse_loss(y, F.one_hot(labels.long(), self.feedback.num_classes).to(y.dtype))
                return torch.autograd.grad(loss, y)[0].view_as(spikes) / self._steps
        if self._label is None:
            self._label = self.propagation.label(labels, self.feedback.num_classes, self._steps, rate.dtype)
        label = self._label if len(self._label) == 1 else self._label[progress.steps - 1, None]
        B_l = self.feedback.matrix(layer.name, spikes.shape[1:], like=rate)
        window = Window(spikes.unsqueeze(0), rate=rate)
        signal = self.propagation.signal(label, window=window, feedback=B_l, output=None)
        scale = 1 / len(labels) if self.reduction == "mean" else 1.0
        return None if signal is None else project(signal, B_l)[0] * scale


@dataclass
class _Progress:
    """What a layer has done so far."""

    steps: int = 0
    total: Tensor | None = None

    def add(self, spikes: Tensor) -> None:
        self.steps += 1
        self.total = spikes.detach().clone() if self.total is None else self.total.add_(spikes.detach())

    @property
    def rate(self) -> Tensor:
        assert self.total is not None
        return self.total / self.steps


class _Trace:
    """The trace x̄ of a synapse's input, and b̄, the same of the constant 1 that its bias sees."""

    def __init__(self, synapse: Synapse) -> None:
        self.synapse = synapse
        self.neuron: nn.Module | None = None  # whose membrane decides how fast the trace decays
        self.clear()

    def clear(self) -> None:
        self.x_bar: Tensor | None = None
        self.b_bar = 0.0

    def output(self, x: Tensor, output: Tensor) -> Tensor:
        """The synapse's output, unchanged, with the gradient of its weights taken at x̄ in place of x."""
        g = float(self.neuron.beta.clamp(0, 1)) if self.neuron is not None else 0.0  # type: ignore[operator]
        self.x_bar = x.detach() if self.x_bar is None else g * self.x_bar + x.detach()
        self.b_bar = g * self.b_bar + 1
        weight, bias = self.synapse.weight, self.synapse.bias
        if x.requires_grad:  # another synapse right before this one
            output = _apply(self.synapse, x, weight.detach(), None if bias is None else bias.detach())
        else:
            output = output.detach()
        traced = _apply(self.synapse, self.x_bar, weight, None if bias is None else bias * self.b_bar)
        return output + (traced - traced.detach())


def _apply(synapse: Synapse, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The synapse with other weights, past its hooks."""
    return F.linear(x, weight, bias) if isinstance(synapse, nn.Linear) else synapse._conv_forward(x, weight, bias)


class _SynapseHook:
    """Puts a trace behind a synapse."""

    def __init__(self, handle: Online, trace: _Trace) -> None:
        self.handle, self.trace = handle, trace

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if not self.handle._listening or not output.requires_grad:
            return None
        self.handle._called.append(self.trace)
        return self.trace.output(args[0], output)


def _fault(module: nn.Module, traces: bool) -> str | None:
    """Why a neuron cannot learn online, and the way out."""
    if takes_sequence(module):
        return "runs a whole sequence at once: use credit='full'"
    reason = None
    if not isinstance(module, snn.Leaky) or isinstance(module, snn.DeltaLeaky):
        reason = "has more to its memory than one leaky membrane"
    elif module.beta.numel() != 1:
        reason = "has a decay for each neuron, where a trace of the input needs one for the layer"
    elif not module.reset_delay:
        reason = "resets within the step"
    return f"{reason}: use credit='instant' or 'full'" if traces and reason else None
