"""Weight standardization: what a normalization of currents does, done to the weights, so that samples stay alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPSILON = 1e-4  # added to the variance of a filter times its fan-in, as in Brock et al.


class _Standardizing(nn.Module):
    """What WSLinear, WSConv1d and WSConv2d have in common."""

    weight: Tensor
    gain: nn.Parameter

    def _give_gain(self) -> None:
        if self.weight[0].numel() < 2:
            raise ValueError(f"a filter of one weight has no variance to standardize: {self}")
        self.gain = nn.Parameter(torch.ones_like(self.weight[:, :1].flatten(1)[:, 0]))

    def standardized(self) -> Tensor:
        """Ŵ, in the shape of ``weight``, with its way back to ``weight`` and ``gain``."""
        return standardize_weight(self.weight, self.gain)


def standardize_weight(weight: Tensor, gain: Tensor) -> Tensor:
    """Filters of zero mean whose squared norm is the gain squared::

        Ŵ_i = γ_i (W_i - μ_i) / sqrt(n σ_i² + ε)

    with mean μ_i and variance σ_i² over the n weights that lead to output i (Qiao, Wang, Liu, Shen and Yuille,
    "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization", 2019; with the gain and the
    1/n as in Brock, De and Smith, "Characterizing Signal Propagation to Close the Performance Gap in Unnormalized
    ResNets", ICLR 2021). For inputs of unit variance that do not hang together, each output then has the variance
    γ_i².

    Args:
        weight: W, ``[outputs, *]``.
        gain: γ, ``[outputs]``.

    Returns:
        Ŵ, the shape of ``weight``.

    Example:
        >>> weight = standardize_weight(torch.tensor([[1.0, 3.0, 8.0]]), 2 * torch.ones(1))
        >>> f"{weight.sum():.2f} {weight.square().sum():.2f}"
        '0.00 4.00'
    """
    rows = weight.flatten(1)
    variance, mean = torch.var_mean(rows, 1, correction=0)
    scale = gain * torch.rsqrt(variance * rows.shape[1] + EPSILON)
    shape = (-1,) + (1,) * (weight.dim() - 1)
    return (weight - mean.view(shape)) * scale.view(shape)


def effective_weight(synapse: nn.Module) -> Tensor:
    """What a synapse multiplies its inputs with: its weight, or the standardized one with its way back."""
    return synapse.standardized() if isinstance(synapse, _Standardizing) else synapse.weight  # type: ignore[return-value]


class WSLinear(_Standardizing, nn.Linear):
    """``nn.Linear`` whose weights are standardized, by :func:`standardize_weight`, with a learned gain per output.

    Example:
        >>> layer = WSLinear(784, 100)
        >>> layer(torch.rand(8, 784)).shape, layer.gain.shape
        (torch.Size([8, 100]), torch.Size([100]))
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        nn.Linear.__init__(self, in_features, out_features, bias)
        self._give_gain()

    def forward(self, x: Tensor) -> Tensor:
        """``[B, *, in_features]`` to ``[B, *, out_features]``."""
        return nn.functional.linear(x, self.standardized(), self.bias)


class WSConv1d(_Standardizing, nn.Conv1d):
    """``nn.Conv1d`` whose filters are standardized, by :func:`standardize_weight`, with a learned gain per filter.

    Takes what ``nn.Conv1d`` takes.

    Example:
        >>> conv = WSConv1d(3, 16, 5)
        >>> conv(torch.rand(1, 3, 30)).shape, conv.gain.shape
        (torch.Size([1, 16, 26]), torch.Size([16]))
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int], **options: object) -> None:
        nn.Conv1d.__init__(self, in_channels, out_channels, kernel_size, **options)  # type: ignore[arg-type]
        self._give_gain()

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in_channels, length]`` to ``[B, out_channels, *]``."""
        return self._conv_forward(x, self.standardized(), self.bias)


class WSConv2d(_Standardizing, nn.Conv2d):
    """``nn.Conv2d`` whose filters are standardized, by :func:`standardize_weight`, with a learned gain per filter.

    Takes what ``nn.Conv2d`` takes. Unlike behind batch norm, samples do not see each other, training and testing do
    the same, and it costs no more than the plain convolution, since it works on the weights alone.

    Example:
        >>> conv = WSConv2d(3, 16, 3, padding=1)
        >>> conv(torch.rand(1, 3, 8, 8)).shape, conv.gain.shape
        (torch.Size([1, 16, 8, 8]), torch.Size([16]))
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], **options: object
    ) -> None:
        nn.Conv2d.__init__(self, in_channels, out_channels, kernel_size, **options)  # type: ignore[arg-type]
        self._give_gain()

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in_channels, height, width]`` to ``[B, out_channels, *]``."""
        return self._conv_forward(x, self.standardized(), self.bias)
