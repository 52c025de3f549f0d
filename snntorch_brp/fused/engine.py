"""One training step, layer by layer and in chunks of samples.

A label-only rule needs nothing from later layers and samples are independent, so a chunk of samples runs all T steps
of a layer, gives the layer its gradient and is forgotten before the next one starts.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from snntorch_brp.activity import Activity
from snntorch_brp.consolidation import Consolidation, PseudoGradient
from snntorch_brp.encoding import check_labels
from snntorch_brp.feedback import Feedback
from snntorch_brp.finite import check_loss, check_membranes
from snntorch_brp.fused.buffers import sample_major
from snntorch_brp.fused.dispatch import fire, fire_back, holds_bits, spikes_on
from snntorch_brp.fused.dynamics import Dynamics
from snntorch_brp.fused.layers import Layer, NotFusible, Signature, dtype_of, neuron_shapes, plan
from snntorch_brp.fused.matmul import matrix_units_available
from snntorch_brp.fused.neuron_kernels import pooled
from snntorch_brp.fused.scan import state_dtype
from snntorch_brp.fused.synapse import Batch, Request, Saved, Synapse
from snntorch_brp.layer_view import LayerView
from snntorch_brp.propagation import Propagation
from snntorch_brp.runtime.graph import reach
from snntorch_brp.runtime.verdicts import together

logger = logging.getLogger(__name__)

LossOn = Literal["spikes", "membranes"]

CHUNK_BYTES = 10_000_000  # of membranes, which stay in cache
LARGE_CHUNK_BYTES = 32_000_000  # where larger products bring more than that
DEVICE_CHUNK_BYTES = 256_000_000  # off the CPU: many times what moves through memory while a kernel is launched


@dataclass
class Chunk:
    """What some samples did in one layer."""

    rows: slice
    tape: Tensor  # [T, b, *], the membranes or what else the neurons' way back needs
    dtype: torch.dtype  # of the currents
    neuron: Dynamics
    synapse: Synapse | Batch
    saved: Saved
    rate: Tensor  # [b, *]
    constant_input: bool = False  # one step of the input stood for all
    current: Tensor | None = None


class FusedEngine:
    """Runs and trains a sequential network under any rule; the gradients are those of :func:`snntorch_brp.attachment`.

    Args:
        net: A network that :func:`plan` accepts.
        propagation: What is sent to the hidden layers.
        num_classes: Number of classes K.
        loss_fn: Scalar loss of what the output gives ``[T, B, K]`` and the labels ``[B]``.
        loss_on: What the loss looks at: the output's "spikes" (of a readout that does not spike, what it gives) or its
            "membranes". The class predicted is that of the largest mean over time of the same.
        layers: Gives the network's layers, anew when it has changed; those of :func:`plan` when None.
        output: The name of the output, as for :func:`snntorch_brp.attach`, where it was named.
        consolidation: How a layer learns; ``PseudoGradient()`` when None.
        feedback: The fixed matrices B_l; drawn anew when None.
        reduction: "mean" takes hidden gradients as the mean over the batch; "sum" is the authors' code.
        chunk: Samples that run through a layer at a time; what fits in cache when None.
        precision: "bfloat16" rounds weights and gradients in the products of float32 networks, on processors with
            matrix units and on any other device, there the currents, too; sums, membranes and the weights themselves
            stay in float32.

    Raises:
        NotFusible: If the network does not qualify; the message names the module in the way.

    Example:
        >>> net = mlp([784, 100, 10])
        >>> engine = FusedEngine(net, BRP(), num_classes=10, loss_fn=rate_mse)
        >>> loss, rate = engine.step((torch.rand(20, 8, 784) < 0.3).float(), torch.arange(8))
        >>> net.fc1.weight.grad.shape, rate.shape
        (torch.Size([100, 784]), torch.Size([8, 10]))
    """

    def __init__(
        self,
        net: nn.Module,
        propagation: Propagation,
        *,
        num_classes: int,
        loss_fn: Callable[[Tensor, Tensor], Tensor],
        loss_on: LossOn = "spikes",
        layers: Callable[[], list[Layer]] | None = None,
        output: Sequence[str] | None = None,
        consolidation: Consolidation | None = None,
        feedback: Feedback | None = None,
        reduction: Literal["mean", "sum"] = "mean",
        chunk: int | None = None,
        precision: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be 'float32' or 'bfloat16', got {precision!r}")
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be at least 1 sample, got {chunk}")
        if loss_on not in ("spikes", "membranes"):
            raise ValueError(f"loss_on must be 'spikes' or 'membranes', got {loss_on!r}")
        self.net = net
        self.loss_on = loss_on
        self.output = output
        self.propagation = propagation
        self._plan = layers or partial(plan, net)
        self.layers = self._planned()
        self._signature = Signature.of(net)
        self.consolidation = consolidation or PseudoGradient()
        for rule in (self.propagation, self.consolidation):
            if not rule.fusible or "inputs" in rule.keeps or getattr(rule, "every_step", False):
                raise NotFusible(f"{type(rule).__name__} sees what the fused engine does not keep: use attach")
        self.loss_fn = loss_fn
        self.feedback = feedback or Feedback(num_classes)
        self.reduction = reduction
        self.chunk = chunk
        self.bf16_terms = {"float32": 3, "bfloat16": 1}[precision]
        on_cpu = all(p.device.type == "cpu" for p in net.parameters())
        if precision == "bfloat16" and on_cpu and not matrix_units_available():
            logger.warning("no bfloat16 matrix units here: the fused engine computes its products in float32")
        self.steps = 0  # time steps of the last input that was learned from
        self.watch: Callable[[str, Tensor], None] | None = None  # is told a layer's name and rates, [b, *]
        self._key: object = None  # the input for which the numbers of neurons are known
        self._neurons: dict[str, int] = {}
        self._dtype = dtype_of(net)

    def _planned(self) -> list[Layer]:
        """The network's layers, seen to give what loss and rule ask the output for."""
        layers = self._plan()
        last = layers[-1]
        if self.output not in (None, (last.name,)):
            raise NotFusible(f"the output {self.output} is not the last layer, '{last.name}'")
        if self.loss_on == "membranes" and not last.shows_membrane:
            raise NotFusible(f"'{last.name}' gives no membranes for a loss on them: make it a neuron with output=True")
        compares = self.propagation.needs_output and self.propagation.local
        if compares and not last.spikes and self.output is None:
            raise NotFusible(f"the output '{last.name}' does not spike, and is not named for a rule that compares it")
        return layers

    def step(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Fill ``.grad`` of every parameter from one batch; gradients add up as in PyTorch.

        Args:
            x: Input spikes, ``[T, B, *]``.
            labels: Class numbers, integers ``[B]``.

        Returns:
            The loss, a scalar, and the output rate y (the mean over time of what the loss looks at), ``[B, K]``.

        Raises:
            ValueError: If the batch does not fit, the message says why; no gradient has changed then.
            NotFusible: If the network has changed and does not qualify any more, or does not take this input.
        """
        with together():
            return self._step(x, labels)

    def _step(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        labels = check_labels(labels, self.feedback.num_classes)
        if x.dim() < 2 or len(x) == 0 or x.shape[1] != len(labels):
            raise ValueError(f"x must be time first, [T, B={len(labels)}, ...], got shape {tuple(x.shape)}")
        self.steps = len(x)
        self._refresh_plan(x)
        if not self.layers[-1].learns:
            raise NotFusible(f"nothing that leads to the output '{self.layers[-1].name}' is to be trained")
        before = {p: p.grad for p in self.net.parameters()}
        for p in before:
            p.grad = None
        try:
            with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
                result = self._learn_from(x, labels)
        except BaseException:
            for p, gradient in before.items():
                p.grad = gradient
            raise
        for p, gradient in before.items():
            if gradient is not None:
                p.grad = gradient if p.grad is None else p.grad.add_(gradient)
        return result

    def _learn_from(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        label = self.propagation.label(labels, self.feedback.num_classes, len(x), state_dtype(x.dtype))
        at_once = self.propagation.local and not self.propagation.needs_output
        *hidden, output = self.layers
        kept: list[list[Chunk]] = []
        x = self.cast_input(x)
        for layer, following in pairwise(self.layers):
            x, chunks = self._run(layer, x, following, learn=label if at_once else None, keep=not at_once)
            kept.append(chunks)
        spikes, (last,) = self._run(output, x, None, keep=True)
        loss, y, grad_x = self._learn_output(spikes, last, labels)
        if not self.propagation.local:
            for chunks in reversed(kept):
                grad_y = grad_x
                assert grad_y is not None
                for chunk in chunks:  # of which only the first layer, whose input wants no gradient, has several
                    grad_x = self._backward(chunk, grad_spikes=grad_y[:, chunk.rows])
        elif not at_once:
            for layer, chunks in zip(hidden, kept, strict=True):
                for chunk in chunks:
                    self._learn(layer, chunk, label, self._compared(spikes))
        return loss, y

    def _learn_output(self, spikes: Tensor, chunk: Chunk, labels: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The output's way back from the loss: the loss, the output rate y, and the gradient of its input."""
        given = self._given(spikes, chunk)
        loss, gradient = self._loss(given, labels)
        y = self._rates(given)  # before the membranes are overwritten
        on_spikes = self.loss_on == "spikes"
        grad_x = self._backward(chunk, **{"grad_spikes" if on_spikes else "grad_membrane": gradient})
        return loss, y, grad_x

    def _given(self, spikes: Tensor, chunk: Chunk) -> Tensor:
        """What the loss looks at, ``[T, B, K]``."""
        return spikes if self.loss_on == "spikes" else chunk.tape

    def _compared(self, spikes: Tensor) -> Tensor:
        """What rules compare with the label, ``[B, K]``; of a readout that does not spike, its prediction."""
        y = self._rates(spikes)
        return y if self.layers[-1].spikes else torch.softmax(y, dim=-1)

    @torch.no_grad()
    def learn_hidden(self, place: int, x: Tensor, label: Tensor) -> Tensor:
        """Run one hidden layer and fill its gradient from the label alone, as a stage of a pipeline does.

        Args:
            place: Which of ``layers``.
            x: What it takes in, ``[T, B, *]``.
            label: ȳ, from the rule.

        Returns:
            What it hands on to the next layer, ``[T, B, *]``.
        """
        return self._run(self.layers[place], x, self.layers[place + 1], learn=label)[0]

    @torch.no_grad()
    def forward_hidden(self, place: int, x: Tensor) -> Tensor:
        """What a hidden layer hands on to the next, as :meth:`learn_hidden` does, without learning."""
        return self._run(self.layers[place], x, self.layers[place + 1])[0]

    @torch.no_grad()
    def learn_output(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Run the output layer and fill its gradient; gives the loss and the output rate y ``[B, K]``."""
        spikes, (last,) = self._run(self.layers[-1], x, None, keep=True)
        return self._learn_output(spikes, last, labels)[:2]

    @property
    def _looks_at_membranes(self) -> bool:
        return "membrane" in self.propagation.keeps | self.consolidation.keeps

    def _rates(self, spikes: Tensor) -> Tensor:
        """The output rate y, ``[B, K]``; where several neurons code for a class (a population code), their mean."""
        return spikes.mean(0).unflatten(1, (self.feedback.num_classes, -1)).mean(-1)

    def prepare(self, sample: Tensor) -> None:
        """See that inputs like ``sample``, ``[T, B, *]`` (it may have no values), fit the network.

        Raises:
            ValueError: If they do not; the message names the layer.
        """
        self._refresh_plan(sample)

    def run(self, x: Tensor) -> Tensor:
        """What the loss looks at, ``[T, B, K]``, of a batch ``[T, B, *]``, without learning."""
        self._refresh_plan(x)
        with torch.no_grad():
            x = self.cast_input(x)
            for layer, following in pairwise(self.layers):
                x, _ = self._run(layer, x, following)
            spikes, (last,) = self._run(self.layers[-1], x, None)
            return self._given(spikes, last).clone()  # membranes may lie in a shared buffer

    def _refresh_plan(self, x: Tensor) -> None:
        """See that network and input (still) fit; hooks, for one, may have come and gone since the last step."""
        now = Signature.of(self.net)
        if not self._signature.holds(now):
            self.layers, self._signature, self._key = self._planned(), now, None
        key = x.shape[2:], x.dtype
        if key == self._key:
            return
        self._dtype = dtype_of(self.net)
        if x.dtype is not self._dtype:
            raise NotFusible(f"the input is {x.dtype} and the network {self._dtype}")
        shapes = neuron_shapes(self.layers, *key)
        for layer, shape in zip(self.layers, shapes, strict=True):
            if not math.prod(shape):
                raise ValueError(f"layer '{layer.name}' has no neurons, shape {shape}: give it at least one")
        if len(shapes[-1]) != 1 or shapes[-1][0] % self.feedback.num_classes:
            raise ValueError(
                f"the network must give spikes [T, B, K={self.feedback.num_classes}], or a multiple of K, but its "
                f"output '{self.layers[-1].name}' has neurons of shape {shapes[-1]}"
            )
        for shape, layer in zip(shapes, self.layers[1:], strict=False):
            layer.synapse.receive(shape)
        self._neurons = {layer.name: math.prod(shape) for layer, shape in zip(self.layers, shapes, strict=True)}
        self._key = key

    def _run(
        self, layer: Layer, x: Tensor, following: Layer | None, *, learn: Tensor | None = None, keep: bool = False
    ) -> tuple[Tensor, list[Chunk]]:
        """What a layer hands on to the ``following`` one, chunk by chunk.

        Each chunk learns at once from the label ``learn``, or is kept for later; the output's only one always is.
        """
        kept: list[Chunk] = []
        spikes: Tensor | None = None
        whole_network = keep and not self.propagation.local  # true backpropagation goes through all that is between
        input_grad = whole_network and layer is not self.layers[0]
        synapse: Synapse = layer.by_autograd if input_grad else layer.synapse
        constant = _same_at_every_step(x) and synapse.deterministic and not input_grad
        learns = keep or learn is not None
        repeats = len(x) if constant else 1
        request = Request(learns, input_grad, transient=not keep, bf16_terms=self.bf16_terms, repeats=repeats)
        seen = x[:1] if constant else x
        batch = synapse.gather(seen, request) if synapse.couples_samples and not keep else None
        whole = input_grad or following is None or (synapse.couples_samples and batch is None)
        for rows in self._rows(layer, x, whole=whole):
            current, saved = synapse.forward(seen[:, rows], request) if batch is None else batch.forward(rows)
            state = state_dtype(current.dtype)
            held = current.to(state, copy=True) if "current" in self.consolidation.keeps else None
            held = held.expand(len(x), *held.shape[1:]) if constant and held is not None else held
            pool, dtype = (1, 1), self._dtype
            if following is not None and not whole_network:
                pool, dtype = following.synapse.preferred_input(dtype, self.bf16_terms)
            if spikes is None:
                last = following is not None and following.synapse.channels_last and max(pool) == 1
                size = (*x.shape[:2], *pooled(current.shape, pool)[2:])
                spikes = sample_major(size, like=current, dtype=dtype, channels_last=last)
            neuron = layer.dynamics(current.new_empty((), dtype=state))
            membranes = self._looks_at_membranes or (following is None and self.loss_on == "membranes")
            tape, rate = fire(current, neuron, spikes[:, rows], pool, learns=learns, membranes=membranes)
            check_membranes({layer.name: rate if holds_bits(tape) else tape[-1]})
            if self.watch is not None and layer.spikes:
                self.watch(layer.name, rate)
            chunk = Chunk(rows, tape, current.dtype, neuron, batch or synapse, saved, rate, constant, held)
            if learn is not None:
                self._learn(layer, chunk, learn, None)
            if keep or following is None:
                kept.append(chunk)
        if batch is not None and learn is not None:
            batch.finish()
        assert spikes is not None
        return spikes, kept

    def cast_input(self, x: Tensor) -> Tensor:
        """The input ``[T, B, *]`` in the dtype that the first layer takes, where nothing is lost."""
        if _same_at_every_step(x):
            return self.cast_input(x[:1]).expand(x.shape)
        _, dtype = self.layers[0].synapse.preferred_input(x.dtype, self.bf16_terms)
        if dtype is not torch.bfloat16:
            return x
        rounded = x.to(dtype)
        return rounded if self.bf16_terms == 1 or torch.equal(rounded.to(x.dtype), x) else x

    def _rows(self, layer: Layer, x: Tensor, *, whole: bool) -> Iterator[slice]:
        T, B = x.shape[:2]
        large = layer.synapse.large_products and not _same_at_every_step(x)
        cache = LARGE_CHUNK_BYTES if large else CHUNK_BYTES
        cache = cache if x.device.type == "cpu" else DEVICE_CHUNK_BYTES
        size = self.chunk or max(cache // (T * self._neurons[layer.name] * x.element_size()), 1)
        compares = self.consolidation.compares_samples or self.propagation.compares_samples
        size = B if whole or compares else -(-B // -(-B // size))  # as many chunks as there must be, of one size
        return (slice(start, min(start + size, B)) for start in range(0, B, size))

    def _learn(self, layer: Layer, chunk: Chunk, label: Tensor, y: Tensor | None) -> None:
        """The rule: what is sent to the layer, where its consolidation puts it, and the layer's own way back."""
        if not layer.learns:
            return
        tape, rows = chunk.tape, chunk.rows
        B_l = self.feedback.matrix(layer.name, tape.shape[2:], like=chunk.rate)
        view = LayerView(layer.name, layer.neuron)
        window = Activity(
            chunk.neuron.fired if hasattr(chunk.neuron, "fired") else _Spikes(tape, chunk.neuron),
            membrane=None if holds_bits(tape) else tape,
            current=chunk.current,
            rate=chunk.rate,
            layer=view,
            label=label[:, rows],
        )
        output = None if y is None else y[rows]
        delta = self.propagation.delta(label[:, rows], window=window, feedback=B_l, output=output)
        if delta is None:
            return
        scale = 1 / label.shape[1] if self.reduction == "mean" else 1.0
        gradients = self.consolidation.gradients(delta, window).folded(self.consolidation, window)
        spikes, membrane, current = (None if gradient is None else gradient * scale for gradient in gradients[:3])
        self._backward(chunk, grad_spikes=spikes, grad_membrane=membrane, grad_current=current)

    def _backward(
        self,
        chunk: Chunk,
        *,
        grad_spikes: Tensor | None = None,
        grad_membrane: Tensor | None = None,
        grad_current: Tensor | None = None,
    ) -> Tensor | None:
        a = fire_back(
            chunk.tape,
            chunk.neuron,
            grad_spikes=grad_spikes,
            grad_membrane=grad_membrane,
            summed=chunk.constant_input,
            dtype=chunk.dtype,
        )
        if grad_current is not None:
            times = len(chunk.tape) if chunk.constant_input and len(grad_current) == 1 else 1
            a += times * grad_current.sum(0) if chunk.constant_input else grad_current
        return chunk.synapse.backward(a, chunk.saved)

    def _loss(self, spikes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of what the output gives, and its gradient there."""
        with torch.enable_grad():
            leaf = spikes.detach().requires_grad_()
            loss = self.loss_fn(leaf.clone(), labels)  # which may be written into, as what a network gives
            check_loss(loss)
            if reach([loss.grad_fn]).leaves.keys() & {id(p) for p in self.net.parameters()}:
                raise NotFusible("the loss looks at the network's weights, and not at its output alone")
            loss.backward()
        if leaf.grad is None:
            raise ValueError("loss does not depend on what the output gives: compute it from what it is given")
        return loss.detach(), leaf.grad


def _same_at_every_step(x: Tensor) -> bool:
    """Direct coding: one step, seen T times (:class:`snntorch_brp.encoding.DirectEncoder`)."""
    return len(x) > 1 and x.stride(0) == 0


class _Spikes(Sequence[Tensor]):
    """The spikes of a window, made of its tape when a rule asks for them."""

    def __init__(self, tape: Tensor, neuron: Dynamics) -> None:
        self.tape, self.neuron = tape, neuron

    def __len__(self) -> int:
        return len(self.tape)

    def __getitem__(self, t: int) -> Tensor:  # type: ignore[override]
        if not -len(self) <= t < len(self):
            raise IndexError(t)
        return spikes_on(self.tape[t], self.neuron)
