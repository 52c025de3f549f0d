"""Any modules between neurons, by autograd: what has no synapse of its own, and all of true backpropagation."""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from snntorch_brp.fused import sparse_conv
from snntorch_brp.fused.synapse import Request, Saved, Synapse, batched, rounding, stateless, unbatched
from snntorch_brp.weight_standardization import effective_weight


class AutogradSynapse(Synapse):
    """All steps at once through the modules themselves, with their graph.

    Batch statistics belong to one step: in training a batch norm sees each step's channels as channels of their own.
    """

    @property
    def couples_samples(self) -> bool:
        """Batch statistics are of the whole batch."""
        return any(by_step(module) for module in self.modules)

    def forward(self, x: Tensor, request: Request) -> tuple[Tensor, Saved]:
        """See :class:`Synapse`."""
        with torch.set_grad_enabled(request.keep_for_backward), rounding(x, request.bf16_terms):
            source = x.detach().requires_grad_(request.input_grad)
            z, (B, T) = batched(source)
            for module in self.modules:
                if by_step(module):
                    z = batch_normby_step(z, module, T, request.repeats)
                elif isinstance(module, nn.Conv1d | nn.Conv2d) and self._sparse(z, module):
                    z = sparse_conv.SparseConvolution.apply(z, effective_weight(module), module.bias, module)
                else:
                    z = module(z)
            current = unbatched(z, B, T)
        fresh = len(self.modules) > 0 and stateless(self.modules[-1]).fresh
        return current.detach() if fresh else current.detach().clone(), Saved(source, current=current)

    @staticmethod
    def _sparse(z: Tensor, conv: nn.Module) -> bool:
        return not z.requires_grad and sparse_conv.worth_it(z, conv)

    def backward(self, a: Tensor, saved: Saved) -> Tensor | None:
        """See :class:`Synapse`."""
        if saved.current is not None and saved.current.requires_grad:
            saved.current.backward(a)
        return saved.source.grad


def by_step(module: nn.Module) -> TypeGuard[_BatchNorm]:
    """Whether a module is a batch norm that takes its statistics from each step of a batch."""
    return isinstance(module, _BatchNorm) and (module.training or module.running_mean is None)


def batch_normby_step(z: Tensor, norm: _BatchNorm, T: int, repeats: int = 1) -> Tensor:
    """``[B T, C, *]`` normalized with the statistics of each step, which the module sees one after the other.

    Args:
        z: Inputs, sample-major.
        norm: The module; its running statistics are brought up to date.
        T: Number of steps.
        repeats: Number of steps that each step stands for.

    Raises:
        ValueError: If a step has one value a channel, which is no statistics.
    """
    B, C = len(z) // T, z.shape[1]
    values = B * z[0, 0].numel()
    if values == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(z.shape)}")
    weight, bias = (None if p is None else p.repeat(T) for p in (norm.weight, norm.bias))
    steps = z.reshape(B, T * C, *z.shape[2:])
    out, mean, scale = torch.native_batch_norm(steps, weight, bias, None, None, True, 0.0, norm.eps)
    if norm.running_mean is not None and norm.training:
        with torch.no_grad():
            variance = (scale.double() ** -2 - norm.eps).clamp(min=0) * (values / (values - 1))
            track(norm, mean.detach().view(T, C), variance.to(z.dtype).view(T, C), repeats)
    return out.reshape(z.shape)


def track(norm: _BatchNorm, means: Tensor, variances: Tensor, repeats: int) -> None:
    """Bring running statistics up to date with those of all steps, ``[T, C]``, variances corrected, one by one."""
    for mean, variance in zip(means, variances, strict=True):
        for _ in range(repeats):
            norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            share = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum  # type: ignore[arg-type]
            for running, value in ((norm.running_mean, mean), (norm.running_var, variance)):
                running.mul_(1 - share).add_(value.to(running.dtype), alpha=share)  # type: ignore[union-attr]
