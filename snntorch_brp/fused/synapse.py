"""What leads from one layer's spikes to the next layer's currents, forward and back, for all steps at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from snntorch_brp.fused.events import convolution_gradients, convolve, worth_it
from snntorch_brp.fused.memory import recycled
from snntorch_brp.fused.products import linear, matrix_units_available, weight_gradient
from snntorch_brp.standardize import Standardize


@dataclass
class Passed:
    """What the way back needs of one pass: the input and, where autograd takes it, the output with its graph."""

    source: Tensor
    current: Tensor | None = None
    parts: int = 3
    by_events: bool = False
    steady: bool = False  # one step of the input stood for all


class Synapse:
    """All modules between two neurons.

    A lone Linear or Conv behind parameterless modules is done by hand: one product over all steps and samples each
    way, added straight to ``.grad``; a Linear swallows a :class:`Standardize` before it. Everything else, and all that
    true backpropagation needs, goes through autograd.

    Args:
        modules: In the order in which they run.
        behind_neuron: A neuron comes before, and not the network's input.

    Attributes:
        pool: Height and width of an average pooling that comes first, which the layer before can do as it fires;
            (1, 1) for none.
    """

    def __init__(self, modules: Sequence[nn.Module], *, behind_neuron: bool) -> None:
        self.modules = nn.Sequential(*modules)
        self.last = modules[-1] if modules else nn.Identity()
        self._norms = [module for module in modules if isinstance(module, _BatchNorm)]
        self.by_hand = _by_hand(self.last) and not any(list(module.parameters()) for module in modules[:-1])
        self._pool = _pooling(modules[0]) if self.by_hand and behind_neuron else (1, 1)
        self.receive(())

    def receive(self, shape: Sequence[int]) -> None:
        """Be told the shape ``[*]`` of the neurons before: not all of them can pool what they send."""
        modules, flat = self.modules, bool(len(self.modules)) and isinstance(self.modules[0], nn.AvgPool1d)
        self.pool = self._pool if len(shape) == (2 if flat else 3) else (1, 1)
        before = list(modules)[0 if self.pool == (1, 1) else 1 : -1]
        swallowed = before[-1] if self.by_hand and isinstance(self.last, nn.Linear) and before else None
        self._norm: Standardize | None = None
        if isinstance(swallowed, Standardize) and len(swallowed.mean) == self.last.in_features:
            self._norm = swallowed
        self._before = nn.Sequential(*(before if self._norm is None else before[:-1]))

    def intake(self, dtype: torch.dtype, parts: int) -> tuple[tuple[int, int], torch.dtype]:
        """How the spikes are best handed over: already pooled over which window, and in which dtype.

        In bfloat16 for the matrix units; else in one byte each, unless pooling makes fractions of them.

        Args:
            dtype: The network's.
            parts: Precision of products with bfloat16 spikes, see :mod:`snntorch_brp.fused.products`.
        """
        among = math.prod(self.pool)  # sums of spikes over a power of two are exact up to the 8 bits of bfloat16
        exact = parts == 1 or (among.bit_count() == 1 and among <= 256)
        matrix_units = (
            isinstance(self.last, nn.Linear)
            and self.by_hand
            and self.last.weight.dtype is torch.float32
            and self.last.weight.device.type == "cpu"
            and all(isinstance(module, nn.Flatten | nn.Identity) for module in self._before)
            and matrix_units_available()
        )
        if exact and matrix_units:
            return self.pool, torch.bfloat16
        return self.pool, torch.uint8 if self.by_hand and self.pool == (1, 1) else dtype

    @property
    def learns(self) -> bool:
        """Whether any parameter is to be trained."""
        return any(p.requires_grad for p in self.modules.parameters())

    @property
    def steady(self) -> bool:
        """Whether an input that stays the same from step to step gives currents that do."""
        return self.by_hand and not any(isinstance(m, nn.modules.dropout._DropoutNd) for m in self.modules)

    @property
    def couples_samples(self) -> bool:
        """Whether samples see each other: batch statistics, which belong to one step of the whole batch."""
        return any(norm.training or not norm.track_running_stats for norm in self._norms)

    def forward(
        self, x: Tensor, *, learning: bool = True, through: bool = False, passing: bool = False, parts: int = 3
    ) -> tuple[Tensor, Passed]:
        """Currents ``[T, B, *]`` from spikes ``[T, B, *]``, which may be views of sample-major memory.

        Args:
            x: Spikes, after the pooling ``pool`` unless ``through``.
            learning: The way back will be gone.
            through: The gradient will be wanted at ``x`` too.
            passing: The currents will have been used before the next call, of any synapse.
            parts: Precision of products with bfloat16 spikes, see :mod:`snntorch_brp.fused.products`.
        """
        if self.by_hand and not through:
            with torch.no_grad():
                z, (B, T) = _batched(x)
                z = self._before(z.to(next(self.last.parameters()).dtype) if z.dtype is torch.uint8 else z)
                if isinstance(self.last, nn.Linear):
                    rows = self._linear(z.flatten(0, -2), parts=parts, passing=passing)
                    return _unbatched(rows.unflatten(0, z.shape[:-1]), B, T), Passed(z, parts=parts)
                if worth_it(z, self.last):
                    assert isinstance(self.last, nn.Conv1d | nn.Conv2d)
                    return _unbatched(convolve(z, self.last, passing=passing), B, T), Passed(z, by_events=True)
                return _unbatched(self.last(z), B, T), Passed(z)
        with torch.set_grad_enabled(learning):
            source = x.detach().requires_grad_(through)
            if self.couples_samples:
                current = torch.stack([self.modules(x_t) for x_t in source])
            else:
                z, (B, T) = _batched(source)
                current = _unbatched(self.modules(z), B, T)
        return current.detach().clone(), Passed(source, current)

    def backward(self, a: Tensor, passed: Passed) -> Tensor | None:
        """Add the weight changes of ``a = ∂L/∂I``, ``[T, B, *]``, to ``.grad``; gives ∂L/∂x where it was asked for."""
        if passed.current is not None:
            if passed.current.requires_grad:
                passed.current.backward(a)
            return passed.source.grad
        if passed.steady:
            a = a.sum(0, keepdim=True)
        a, _ = _batched(a)
        if isinstance(self.last, nn.Linear):
            self._linear_backward(a.flatten(0, -2), passed.source.flatten(0, -2), parts=passed.parts)
            return None
        assert isinstance(self.last, nn.Conv1d | nn.Conv2d)
        gradients = convolution_gradients if passed.by_events else _convolution_gradients
        weight_grad, bias_grad = gradients(a, passed.source, self.last)
        _accumulate(self.last.weight, weight_grad)
        _accumulate(self.last.bias, bias_grad)
        return None

    def _linear(self, z: Tensor, *, parts: int, passing: bool) -> Tensor:
        assert isinstance(self.last, nn.Linear)
        weight, bias = self.last.weight, self.last.bias
        if self._norm is not None:  # W (x - μ) σ⁻¹ + b, as one map of the spikes
            scaled = weight * self._norm.scale
            offset = scaled @ self._norm.mean
            weight, bias = scaled, -offset if bias is None else bias - offset  # type: ignore[assignment]
        if z.dtype is torch.bfloat16 and weight.dtype is torch.float32:
            return linear(z, weight, bias, parts=parts, passing=passing)
        return F.linear(z, weight, bias)

    def _linear_backward(self, rows: Tensor, z: Tensor, *, parts: int) -> None:
        assert isinstance(self.last, nn.Linear)
        weight, total, norm = self.last.weight, rows.sum(0), self._norm
        if weight.requires_grad and z.dtype is torch.bfloat16 and weight.dtype is torch.float32:
            gradient = weight_gradient(rows, z, weight.grad if norm is None else None, parts=parts)
        elif weight.requires_grad:
            gradient = torch.mm(rows.T, z, out=recycled(weight.shape, like=z))
        if weight.requires_grad and norm is not None:
            gradient.addr_(total, norm.mean, alpha=-1).mul_(norm.scale)
        if weight.requires_grad and gradient is not weight.grad:
            _accumulate(weight, gradient)
        _accumulate(self.last.bias, total)


def _by_hand(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return isinstance(module, nn.Linear)


def _pooling(module: nn.Module) -> tuple[int, int]:
    """Window of a plain average pooling, (1, 1) for any other module."""
    if not isinstance(module, nn.AvgPool1d | nn.AvgPool2d) or module.ceil_mode:
        return 1, 1
    flat = isinstance(module, nn.AvgPool1d)
    size, stride, padding = (_pair(value, flat) for value in (module.kernel_size, module.stride, module.padding))
    plain = (
        size == stride
        and padding[-1] == 0
        and padding[0] in (0, int(flat))
        and getattr(module, "divisor_override", None) is None
    )
    return size if plain else (1, 1)


def _pair(value: int | Sequence[int], flat: bool) -> tuple[int, int]:
    """Height and width, from any spelling that PyTorch takes: 2, (2,), [2], (2, 2)."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return (1, values[-1]) if flat else (values[0], values[-1])


def _batched(x: Tensor) -> tuple[Tensor, tuple[int, int]]:
    T, B = x.shape[:2]
    return x.transpose(0, 1).flatten(0, 1), (B, T)  # sample-major: a view where the memory is


def _unbatched(z: Tensor, B: int, T: int) -> Tensor:
    return z.unflatten(0, (B, T)).transpose(0, 1)


def _accumulate(parameter: Tensor | None, gradient: Tensor | None) -> None:
    if parameter is None or gradient is None or not parameter.requires_grad:
        return
    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)


def _convolution_gradients(a: Tensor, z: Tensor, conv: nn.Conv1d | nn.Conv2d) -> tuple[Tensor, Tensor | None]:
    """∇W and ∇b, without the gradient of the input, which no local rule needs."""
    bias = conv.bias is not None
    shape = [conv.out_channels] if bias else None
    geometry = (conv.stride, conv.padding, conv.dilation, False, [0] * len(conv.stride), conv.groups)
    _, weight_grad, bias_grad = torch.ops.aten.convolution_backward(
        a, z, conv.weight, shape, *geometry, [False, True, bias]
    )
    return weight_grad, bias_grad
