"""A learning rate of their own for hidden layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import snntorch as snn
from torch import Tensor, nn

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


def hidden_weights(net: nn.Module) -> dict[str, Tensor]:
    """The parameters of all layers but the output, by name; the output as :func:`parameter_groups` finds it."""
    taught = {id(parameter) for module in _last(net) for parameter in module.parameters()}
    return {name: parameter for name, parameter in net.named_parameters() if id(parameter) not in taught}


LARGE_STEP = 0.25  # of the norm of a layer's weights; at 1e-2 and 784 inputs Adam's first step is 0.4 of it


class FirstStep:
    """Notices that an optimizer's first step moves weights by a large part of their size, as Adam's does at high rates.

    Local rules collapse there: the layers saturate. A few hundred numbers of each weight are kept until then.

    Example:
        >>> weight, watch = nn.Parameter(torch.ones(10, 10)), FirstStep()
        >>> watch.look({"fc1.weight": weight})
        >>> weight.data -= 0.5
        >>> print(watch.look({"fc1.weight": weight}).partition(":")[0])
        the first step of the optimizer moved 'fc1.weight' by 50 % of its size
    """

    def __init__(self) -> None:
        self._before: dict[str, Tensor] = {}
        self._looks = 0

    def look(self, weights: Mapping[str, Tensor]) -> str | None:
        """Look before a step, and after it; gives the sentence to say, once, or None."""
        self._looks += 1
        if self._looks > 4:  # it has been seen, or nobody takes steps
            return None
        found = {name: _some(weight).clone() for name, weight in weights.items() if weight.dim() > 1}
        before, self._before = self._before, found
        for name, old in before.items():
            share = float((found[name] - old).norm() / old.norm()) if name in found and old.any() else 0.0
            if share > 0:
                self._looks = 5
            if share > LARGE_STEP:
                return (
                    f"the first step of the optimizer moved {name!r} by {share:.0%} of its size: local rules collapse "
                    "at such rates; start at lr=1e-3 or below, or give the layers rates of their own, "
                    "Adam(parameter_groups(net, lr=1e-3, hidden_lr=1e-4))"
                ).replace("%", " %", 1)
        return None


def _some(weight: Tensor) -> Tensor:
    return weight.detach().flatten()[:: max(1, weight.numel() // 500)]


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
