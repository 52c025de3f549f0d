"""What leads from one layer's spikes to the next layer's currents, forward and back, for all steps at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass
class Passed:
    """What the way back needs of one pass: the input and, where autograd takes it, the output with its graph."""

    source: Tensor
    current: Tensor | None = None


class Synapse:
    """All modules between two neurons.

    A lone Linear or Conv behind parameterless modules is done by hand: one product over all steps and samples each
    way, added straight to ``.grad``. Everything else, and all that true backpropagation needs, goes through autograd.

    Args:
        modules: In the order in which they run.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = nn.Sequential(*modules)
        self.before = nn.Sequential(*modules[:-1])
        self.last = modules[-1] if modules else nn.Identity()
        self.by_hand = _by_hand(self.last) and not any(True for _ in self.before.parameters())
        self._norms = [module for module in modules if isinstance(module, _BatchNorm)]

    @property
    def learns(self) -> bool:
        """Whether any parameter is to be trained."""
        return any(p.requires_grad for p in self.modules.parameters())

    @property
    def couples_samples(self) -> bool:
        """Whether samples see each other: batch statistics, which belong to one step of the whole batch."""
        return any(norm.training or not norm.track_running_stats for norm in self._norms)

    def forward(self, x: Tensor, *, through: bool = False) -> tuple[Tensor, Passed]:
        """Currents ``[T, B, *]`` from spikes ``[T, B, *]``, which may be views of sample-major memory.

        Args:
            x: Spikes.
            through: The gradient will be wanted at ``x`` too.
        """
        if self.by_hand and not through:
            with torch.no_grad():
                z, (B, T) = _batched(x)
                z = self.before(z)
                return _unbatched(self.last(z), B, T), Passed(z)
        with torch.enable_grad():
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
        a, _ = _batched(a)
        if isinstance(self.last, nn.Linear):
            rows = a.flatten(0, -2)
            if self.last.weight.requires_grad:
                _accumulate(self.last.weight, rows.T @ passed.source.flatten(0, -2))
            _accumulate(self.last.bias, rows.sum(0))
            return None
        assert isinstance(self.last, nn.Conv1d | nn.Conv2d)
        for parameter, gradient in zip(
            self.last.parameters(), _conv_gradients(a, passed.source, self.last), strict=True
        ):
            _accumulate(parameter, gradient)
        return None


def _by_hand(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return isinstance(module, nn.Linear)


def _batched(x: Tensor) -> tuple[Tensor, tuple[int, int]]:
    T, B = x.shape[:2]
    return x.transpose(0, 1).flatten(0, 1), (B, T)  # sample-major: a view where the memory is


def _unbatched(z: Tensor, B: int, T: int) -> Tensor:
    return z.unflatten(0, (B, T)).transpose(0, 1)


def _accumulate(parameter: Tensor | None, gradient: Tensor | None) -> None:
    if parameter is None or gradient is None or not parameter.requires_grad:
        return
    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)


def _conv_gradients(a: Tensor, z: Tensor, conv: nn.Conv1d | nn.Conv2d) -> list[Tensor]:
    """∇W, and ∇b where there is a bias, without the gradient of the input, which no local rule needs."""
    bias = conv.bias is not None
    _, weight_grad, bias_grad = torch.ops.aten.convolution_backward(
        a,
        z,
        conv.weight,
        [conv.out_channels] if bias else None,
        conv.stride,
        conv.padding,
        conv.dilation,
        False,
        [0] * len(conv.stride),
        conv.groups,
        [False, True, bias],
    )
    return [weight_grad, bias_grad] if bias else [weight_grad]
