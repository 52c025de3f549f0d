"""The block of deep networks, convolution, batch norm and pooling, over all steps and samples at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from snntorch_brp.fused import block, spike_conv
from snntorch_brp.fused.autograd_synapse import by_step, track
from snntorch_brp.fused.block import Affine
from snntorch_brp.fused.block_batch import BlockBatch, Pass, SavedRows
from snntorch_brp.fused.sparse_conv import NO_POOL, Pool
from snntorch_brp.fused.synapse import (
    Request,
    Saved,
    Synapse,
    accumulate,
    batched,
    plain_windows,
    pooled_spikes,
    pools,
    unbatched,
    weight_with_its_way_back,
)

Stage = tuple[_BatchNorm | None, Pool]  # a batch norm and a pooling behind it, or one of them


class BlockSynapse(Synapse):
    """A Conv1d or Conv2d behind modules without parameters, with a batch norm and a pooling behind it, in any order.

    Spikes go through the convolution by :mod:`snntorch_brp.fused.spike_conv`, other numbers as PyTorch has it.
    Gradients go straight to ``.grad``; there is none for the input.

    Args:
        modules: In the order in which they run.
        behind_neuron: A neuron comes before, and not the network's input.
        place: Where among the modules the convolution is.
        stages: What is done with its outputs.
    """

    channels_last = True

    def __init__(
        self, modules: Sequence[nn.Module], *, behind_neuron: bool, place: int, stages: Sequence[Stage]
    ) -> None:
        super().__init__(modules, behind_neuron=behind_neuron)
        conv = modules[place]
        assert isinstance(conv, nn.Conv1d | nn.Conv2d)
        self.conv: nn.Conv1d | nn.Conv2d = conv
        self._stages = tuple(stages)
        self._place = place
        self.receive(())

    @property
    def couples_samples(self) -> bool:
        """Batch statistics are of the whole batch."""
        return any(by_step(module) for module in self.modules)

    def receive(self, shape: Sequence[int]) -> None:
        """Leave a first average pooling to the neurons where they have a height and a width."""
        self._before = self.leave_pooling(list(self.modules)[: self._place], shape)

    def preferred_input(self, dtype: torch.dtype, bf16_terms: int) -> tuple[tuple[int, int], torch.dtype]:
        """In one byte each, unless pooling makes fractions of them."""
        return self.pool, torch.uint8 if self.pool == (1, 1) else dtype

    def gather(self, x: Tensor, request: Request) -> BlockBatch:
        """The convolution and the statistics of the whole batch."""
        z, weight, y, (B, T) = self._convolved(x)
        flat = y.dim() == 3
        y = y.unsqueeze(1) if flat else y
        passed: list[Pass] = []
        for norm, pool in self._stages:
            if passed:
                y = block.forward(*passed[-1][:3])
            affine = block.nothing(y, T) if norm is None else normalizing(y, norm, T, request.repeats)
            passed.append(Pass(y, affine, pool, norm))
        learn = partial(self._learn, z, weight)
        return BlockBatch(passed, samples=B, flat=flat, learn=learn)

    def forward(self, x: Tensor, request: Request) -> tuple[Tensor, Saved]:
        """See :class:`Synapse`."""
        if not self._stages:
            z, weight, y, (B, T) = self._convolved(x)
            return unbatched(y.movedim(-1, 1), B, T), Saved(z, weight)
        batch = self.gather(x, request)
        current, saved = batch.forward(slice(0, x.shape[1]))
        assert isinstance(saved, SavedRows)
        return current, replace(saved, batch=batch)

    def backward(self, a: Tensor, saved: Saved) -> None:
        """See :class:`Synapse`."""
        if isinstance(saved, SavedRows) and saved.batch is not None:
            saved.batch.backward(a, saved)
            saved.batch.finish()
        else:
            assert saved.weight is not None
            self._learn(saved.source, saved.weight, batched(a)[0].movedim(1, -1).contiguous(), None)

    def _learn(self, z: Tensor, weight: Tensor, g: Tensor, bias: Tensor | None) -> None:
        """Add the convolution's weight changes to ``.grad``, from the gradient of its output, ``[M, *, C]``."""
        if self.conv.bias is not None:
            accumulate(self.conv.bias, g.flatten(0, -2).sum(0) if bias is None else bias)
        if weight.requires_grad:
            accumulate(weight, self._weight_gradient(g, z))

    def _images(self, z: Tensor) -> Tensor:
        """The inputs ``[M, *, C]`` with channels last: bytes where all are 0 or 1."""
        dtype = self.conv.weight.dtype
        for module in self._before:
            z = pooled_spikes(z, module) if z.dtype is torch.uint8 and pools(module) else module(z.to(dtype))
        z = z.movedim(1, -1)
        if z.dtype is not torch.uint8 and _all_spikes(z):
            z = z.to(torch.uint8)
        return z.contiguous()

    def _convolved(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
        """Images, weights and their convolution ``[B T, *, C]``, and (B, T)."""
        z, shape = batched(x)
        z, weight = self._images(z), weight_with_its_way_back(self.conv)
        if z.dtype is torch.uint8:
            return z, weight, spike_conv.convolve(z, self.conv, weight), shape
        y = self.conv._conv_forward(z.movedim(-1, 1), weight, self.conv.bias)
        return z, weight, y.movedim(1, -1).contiguous(), shape

    def _weight_gradient(self, a: Tensor, z: Tensor) -> Tensor:
        if z.dtype is torch.uint8:
            return spike_conv.weight_gradient(a, z, self.conv)
        conv = self.conv
        geometry = (conv.stride, conv.padding, conv.dilation, False, [0] * len(conv.stride), conv.groups)
        a, z = a.movedim(-1, 1), z.movedim(-1, 1)
        only = [False, True, False]
        return torch.ops.aten.convolution_backward(a, z, conv.weight, None, *geometry, only)[1]


def normalizing(y: Tensor, norm: _BatchNorm, T: int, repeats: int) -> Affine:
    """A batch norm as it is applied to ``y``, ``[B T, H, W, C]``; its running statistics are brought up to date."""
    own = by_step(norm)
    if own:
        values = y[..., 0].numel() // T
        if values == 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(y.shape)}")
        mean, variance = block.statistics(y, T)
        if norm.running_mean is not None and norm.training:
            track(norm, mean.to(y.dtype), (variance * (values / (values - 1))).to(y.dtype), repeats)
    else:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = (x.double().expand(T, -1) for x in (norm.running_mean, norm.running_var))
    sigma = (variance + norm.eps).sqrt()
    scale = 1 / sigma if norm.weight is None else norm.weight.detach().double() / sigma
    shift = -mean * scale if norm.bias is None else norm.bias.detach().double() - mean * scale
    return Affine(scale.to(y.dtype), shift.to(y.dtype), mean, sigma, own)


SOME = 64  # images that are looked at before all are


def _all_spikes(z: Tensor) -> bool:
    """Whether all numbers are 0 or 1."""
    return all(bool(((x == 0) | (x == 1)).all()) for x in (z[:: max(len(z) // SOME, 1)], z))


def stages_of(conv: nn.Module, after: Sequence[nn.Module]) -> list[Stage] | None:
    """What comes behind a convolution, a pass over memory each, or None where it is more than a norm and a pooling."""
    dimensions = len(getattr(conv, "kernel_size", ()))
    norms: tuple[type[nn.Module], ...] = {1: (nn.BatchNorm1d,), 2: (nn.BatchNorm2d,)}.get(dimensions, ())
    maxima = {1: nn.MaxPool1d, 2: nn.MaxPool2d}.get(dimensions, ())
    averages = {1: nn.AvgPool1d, 2: nn.AvgPool2d}.get(dimensions, ())
    found: list[Stage] = []
    for module in after:
        if isinstance(module, nn.Identity):
            continue
        if isinstance(module, norms) and isinstance(module, _BatchNorm):
            if any(norm is not None for norm, _ in found) or module.num_features != conv.out_channels:
                return None
            found.append((module, NO_POOL))
        elif isinstance(module, (maxima, averages)) and plain_windows(module) != (1, 1):
            if any(pool != NO_POOL for _, pool in found):
                return None
            pool = Pool(*plain_windows(module), isinstance(module, maxima))
            norm = found.pop()[0] if found else None
            found.append((norm, pool))
        else:
            return None
    return found
