"""To neuromorphic hardware, through the Neuromorphic Intermediate Representation (NIR)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import snntorch as snn
import torch
from torch import Tensor, nn

from snntorch_brp.neurons import RefractoryLeaky, reset_state, spiking_layers
from snntorch_brp.weight_standardization import WSConv1d, WSConv2d, WSLinear

if TYPE_CHECKING:
    import nir


def export_nir(net: nn.Module, sample: Tensor) -> nir.NIRGraph:
    """A trained network as a NIR graph, by ``snntorch.export_nir``, refused where NIR would compute something else.

    NIR's LIF node resets to zero and knows no refractory period, so it expresses a :class:`RefractoryLeaky` of
    τ_ref = 1 and zero potentials. ``snntorch.import_nir.import_from_nir`` brings the graph back (in snnTorch
    1.0.0 its ``Flatten`` takes the batch for a dimension of the sample, so run one sample at a time there).

    Args:
        net: A network of linear and 2-D convolutional layers, average pooling and neurons with ``init_hidden=True``;
            it is put to rest.
        sample: An input of one step, ``[B, *]``, from which the shapes are read.

    Raises:
        ImportError: If ``nir`` or ``nirtorch`` is missing.
        ValueError: If NIR cannot express a neuron; the message names its layer.

    Example:
        >>> net = nn.Sequential(nn.Linear(784, 10), RefractoryLeaky(init_hidden=True))
        >>> sorted(export_nir(net, torch.zeros(1, 784)).nodes)
        ['0', '1', 'input', 'output']
    """
    for name, layer in spiking_layers(net).items():
        if reason := _inexpressible(layer):
            raise ValueError(f"layer '{name}' cannot be exported to NIR: {reason}")
    try:
        from snntorch.export_nir import export_to_nir
    except ImportError as error:
        raise ImportError(f"{error}: pip install 'snntorch-brp[nir]'") from error

    reset_state(net)  # a running state has a graph, which cannot be copied
    net = copy.deepcopy(net).eval()
    with torch.no_grad():
        net(sample)
    for synapse in net.modules():
        if isinstance(synapse, WSLinear | WSConv1d | WSConv2d):  # NIR knows no standardized weights, but their values
            synapse.weight.data = synapse.standardized().detach()
    for layer in spiking_layers(net).values():
        for name in ("beta", "threshold"):  # a NIR node knows its shape from its parameters: each neuron gets its own
            value = getattr(layer, name).detach().expand(layer.mem.shape[1:]).clone()  # type: ignore[index]
            delattr(layer, name)
            layer.register_buffer(name, value)
    for pool in net.modules():
        if isinstance(pool, nn.AvgPool2d):  # NIR wants pairs
            pool.kernel_size, pool.stride = _pair(pool.kernel_size), _pair(pool.stride)
    reset_state(net)
    return export_to_nir(net, sample[:1], ignore_dims=[0])


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _inexpressible(layer: nn.Module) -> str | None:
    if isinstance(layer, RefractoryLeaky):
        if layer.tau_ref > 1:
            return f"its LIF node has no refractory period, and this has tau_ref={layer.tau_ref}: train with tau_ref=1"
        if layer.v_rest or layer.v_reset:
            return f"snnTorch exports zero potentials, and this has v_rest={layer.v_rest}, v_reset={layer.v_reset}"
    elif type(layer) is not snn.Leaky or layer.reset_mechanism != "zero":
        return "only RefractoryLeaky and snn.Leaky(reset_mechanism='zero') equal its LIF node"
    if bool((layer.graded_spikes_factor != 1).any()):  # type: ignore[union-attr]
        return "its LIF node's spikes are 1, and these are graded: fold the factor into the weights behind them"
    if not layer.init_hidden:
        return "it must keep its own state: use init_hidden=True"
    return None
