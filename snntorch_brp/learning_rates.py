"""A learning rate of their own for hidden layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import snntorch as snn
from torch import nn

from snntorch_brp.neurons import is_spiking, unwrapped


def parameter_groups(
    net: nn.Module, *, lr: float, hidden_lr: float | None = None, output: nn.Module | Iterable[nn.Module] | None = None
) -> list[dict[str, Any]]:
    """Parameters for any of torch's optimizers, in two groups: hidden layers, and the output.

    Adam moves each weight by about the learning rate at every step, however small the gradient. Its first step is up to
    ``lr √(3 fan_in)`` of the norm of weights that torch has drawn: half of it at 1e-2 and 784 inputs. Blind BRP goes on
    pushing as long as it is sent labels, so that more and more hidden neurons fire; and a step of the output's weights
    moves its membranes by about ``lr`` times the number of them. Where training collapses at a tutorial's 1e-2, lower
    the output's rate first, to 1e-3, and then see whether the hidden layers want another.

    Args:
        net: The network.
        lr: Learning rate of the output.
        hidden_lr: Learning rate of all other layers; a tenth of ``lr`` when None.
        output: The modules that the loss teaches. When None, the last module with weights in the order in which they
            were registered, whatever was registered behind it, and the last spiking layer.

    Returns:
        ``[{"params": hidden, "lr": hidden_lr}, {"params": output, "lr": lr}]``; each parameter stands in one group, and
        a group without parameters is left out.

    Raises:
        ValueError: If a learning rate is negative, or the output has no parameters of this network.

    Example:
        >>> net = nn.Sequential(nn.Linear(784, 100), RefractoryLeaky(), nn.Linear(100, 10), RefractoryLeaky())
        >>> optimizer = torch.optim.Adam(parameter_groups(net, lr=1e-3, hidden_lr=1e-4))
        >>> [(group["lr"], len(group["params"])) for group in optimizer.param_groups]
        [(0.0001, 2), (0.001, 2)]
    """
    hidden_lr = lr / 10 if hidden_lr is None else hidden_lr
    if lr < 0 or hidden_lr < 0:
        raise ValueError(f"learning rates must not be negative, got lr={lr}, hidden_lr={hidden_lr}")
    modules = _last(net) if output is None else [output] if isinstance(output, nn.Module) else list(output)
    taught = {parameter for module in modules for parameter in module.parameters()}
    hidden = [parameter for parameter in net.parameters() if parameter not in taught]
    rest = [parameter for parameter in net.parameters() if parameter in taught]
    if not rest:
        raise ValueError(
            f"the output has no parameters of {type(net).__name__}: name the modules that the loss teaches, "
            "output=[net.fc2, net.lif2]"
        )
    groups = [{"params": hidden, "lr": hidden_lr}, {"params": rest, "lr": lr}]
    return [group for group in groups if group["params"]]


def _last(net: nn.Module) -> list[nn.Module]:
    """The last module with weights, those behind it, and the last spiking layer."""
    units = list(_units(unwrapped(net)))
    weighted = [place for place, unit in enumerate(units) if _is_synapse(unit)]
    spiking = [place for place, unit in enumerate(units) if is_spiking(unit)]
    if not weighted:
        return units
    behind = [place for place in range(weighted[-1], len(units)) if place not in spiking]
    return [units[place] for place in {weighted[-1], *behind, *spiking[-1:]}]


def _is_synapse(unit: nn.Module) -> bool:
    """Whether weights in it lead to it from the layer before, and not only back from its own spikes, as RLeaky's do."""
    own = not is_spiking(unit) or isinstance(unit, snn.LeakyParallel | snn.SLSTM | snn.SConv2dLSTM)
    return own and any(parameter.dim() > 1 for parameter in unit.parameters())


def _units(module: nn.Module) -> Iterator[nn.Module]:
    """Spiking layers, whole, and all other modules that have no children, in the order of registration."""
    if is_spiking(module) or not list(module.children()):
        yield module
        return
    for child in module.children():
        yield from _units(child)
