"""Where a network starts, from a few samples without their labels: filters that see, and layers that all fire."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp.neurons import is_spiking, reset_state
from snntorch_brp.standardize import Standardize
from snntorch_brp.weight_standardization import WSConv1d, WSConv2d, WSLinear

PATCHES = 100_000  # that the whitening is estimated from


@torch.no_grad()
def patch_filters(
    conv: nn.Conv2d,
    images: Tensor,
    *,
    epsilon: float = 0.1,
    both_polarities: bool = False,
    generator: torch.Generator | None = None,
) -> None:
    """Make the filters of a convolution whitened random patches of the images.

    Filters and whitening are one linear map: with the patches' mean μ and ZCA whitening Z, a filter is ``Z p`` of a
    whitened unit patch p, its bias ``-p·Zμ``. No label is used, and nothing is learned. Random patches do nearly as
    well as learned dictionaries (Coates and Ng, "The Importance of Encoding Versus Training with Sparse Coding and
    Vector Quantization", ICML 2011).

    Args:
        conv: The convolution, with a square kernel and one group; changed in place.
        images: What it will take in, ``[N, C, H, W]``.
        epsilon: Added to the variances before whitening, in parts of their mean.
        both_polarities: Filters in pairs, one for a patch and one for its negative, as cells of the retina answer to
            light and to its absence: a spike says that a filter's answer is large, and not that it is far below zero.
        generator: Draws the patches.

    Raises:
        ValueError: If the convolution is of another kind, or the images have other channels or are too small.

    Example:
        >>> conv = nn.Conv2d(3, 16, 5)
        >>> patch_filters(conv, torch.rand(20, 3, 32, 32))
        >>> conv(torch.rand(1, 3, 32, 32)).shape
        torch.Size([1, 16, 28, 28])
    """
    kernel = conv.kernel_size[0]
    if conv.kernel_size != (kernel, kernel) or conv.groups != 1 or conv.bias is None:
        raise ValueError(f"patch filters need a square kernel, one group and a bias, got {conv}")
    if images.dim() != 4 or images.shape[1] != conv.in_channels or min(images.shape[2:]) < kernel:
        raise ValueError(f"{conv} cannot take patches of images of shape {tuple(images.shape)}")
    whole = min(len(images), max(1, 4 * PATCHES // (images.shape[2] * images.shape[3])))
    patches = F.unfold(images[torch.randperm(len(images), generator=generator)[:whole]], kernel)
    patches = patches.transpose(1, 2).flatten(0, 1)
    patches = patches[torch.randperm(len(patches), generator=generator)[:PATCHES]]
    mean = patches.mean(0)
    variances, axes = torch.linalg.eigh(torch.cov(patches.T))
    variances = variances.clamp(min=0)  # rounding makes tiny ones negative
    whitening = axes @ torch.diag((variances + epsilon * variances.mean()).rsqrt()) @ axes.T
    contrast = (patches - mean).norm(dim=1)
    patches = patches[contrast > contrast.median() / 2]  # an even patch has no direction
    count = (conv.out_channels + 1) // 2 if both_polarities else conv.out_channels
    picked = patches[torch.randint(len(patches), (count,), generator=generator)]
    units = F.normalize((picked - mean) @ whitening, dim=1)
    filters = units @ whitening
    if both_polarities:
        filters = torch.cat([filters, -filters])[: conv.out_channels]
    conv.weight.copy_(filters.view_as(conv.weight))
    conv.bias.copy_(-(filters @ mean))


@torch.no_grad()
def calibrate(net: nn.Sequential, x: Tensor, *, mean: float = -0.2, std: float = 1.0) -> dict[str, float]:
    """Scale weights and biases layer by layer so that every neuron fires, and measure every :class:`Standardize`.

    Each synapse's currents get the mean ``mean·θ`` and the standard deviation ``std·θ`` over samples, steps and, in a
    convolution, places (after Krähenbühl et al., "Data-dependent Initializations of Convolutional Neural Networks",
    ICLR 2016). No label is used. A recurrent layer's weights among its own neurons stay as they are.

    Args:
        net: Synapses, neurons that keep their own state and stateless modules, one step a call; changed in place.
        x: The network's input for some samples, ``[T, B, *]``.
        mean: Of the currents, in units of the threshold behind them.
        std: Likewise.

    Returns:
        The mean rate of each layer of neurons, by name.

    Raises:
        ValueError: If a synapse leads to no neuron; the network is as it was then.

    Example:
        >>> rates = calibrate(mlp([64, 100, 10]), (torch.rand(20, 8, 64) < 0.3).float())
        >>> {name: 0.05 < rate < 0.5 for name, rate in rates.items()}
        {'fc1_lif': True, 'fc2_lif': True}
    """
    before = {name: value.clone() for name, value in net.state_dict().items()}
    training = {module: module.training for module in net.modules()}
    net.eval()
    try:
        return _calibrated(net, x, mean=mean, std=std)
    except BaseException:
        net.load_state_dict(before)
        raise
    finally:
        reset_state(net)
        for module, was in training.items():
            module.training = was


def _in_order(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Neurons, with what is in them, and the modules that hold no others."""
    if is_spiking(module) or not list(module.children()):
        yield name, module
        return
    for key, child in module.named_children():
        yield from _in_order(child, f"{name}.{key}" if name else key)


def _calibrated(net: nn.Sequential, x: Tensor, *, mean: float, std: float) -> dict[str, float]:
    rates: dict[str, float] = {}
    leaves = list(_in_order(net))
    for place, (name, module) in enumerate(leaves):
        if is_spiking(module):
            reset_state(module)
            x = torch.stack([module(x_t) for x_t in x])
            rates[name] = x.mean().item()
            continue
        if isinstance(module, Standardize):
            module.measure(x.mean(0))
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            neuron = next((neuron for _, neuron in leaves[place:] if is_spiking(neuron)), None)
            if neuron is None:
                raise ValueError(f"'{name}' leads to no neuron: what should its currents be scaled to?")
            threshold = float(neuron.threshold)  # type: ignore[arg-type]
            _scale(module, x, mean=mean * threshold, std=std * threshold)
        x = module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return rates


def _scale(synapse: nn.Linear | nn.Conv1d | nn.Conv2d, x: Tensor, *, mean: float, std: float) -> None:
    current = synapse(x.flatten(0, 1))
    over = [0, *range(2, current.dim())]
    factor = std / current.std(over, correction=0).clamp(min=1e-6)
    if isinstance(synapse, WSLinear | WSConv1d | WSConv2d):  # which forgets the scale of its weights
        synapse.gain.mul_(factor)
    else:
        synapse.weight.mul_(factor.view(-1, *[1] * (synapse.weight.dim() - 1)))
    if synapse.bias is not None:
        synapse.bias.copy_((synapse.bias - current.mean(over)) * factor + mean)
