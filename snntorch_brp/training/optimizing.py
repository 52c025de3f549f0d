"""Whether an optimizer trains the network that it is given with."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn


def check_optimizer(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    """Warn of parameters of the network that the optimizer leaves alone.

    Raises:
        TypeError: If it is none.
        ValueError: If it is one that cannot be used, or holds no parameter of the network that is trained.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer must be one of PyTorch's, made with the network's parameters, as in "
            f"torch.optim.Adam(net.parameters(), lr=1e-3), got {optimizer!r}"
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError("LBFGS evaluates the loss several times a step, which a local rule cannot: use Adam or SGD")
    left = left_alone(optimizer, net)
    if left and len(left) == sum(p.requires_grad for p in net.parameters()):
        raise ValueError(
            "the optimizer holds no parameter of this network: make it with the network's own, as in "
            "torch.optim.Adam(net.parameters(), lr=1e-3)"
        )
    if left:
        warnings.warn(
            f"the optimizer lacks {', '.join(left)}: they will not be trained (freeze them with requires_grad_(False) "
            "if that is meant)",
            stacklevel=3,
        )


def left_alone(optimizer: torch.optim.Optimizer, net: nn.Module) -> list[str]:
    """The parameters of a network that are to be trained, and that the optimizer does not hold."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return [name for name, p in net.named_parameters() if p.requires_grad and id(p) not in held]


def check_scheduler(scheduler: object) -> None:
    """Raise a ValueError for a schedule that waits for a metric."""
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise ValueError("ReduceLROnPlateau wants a metric, and schedules here advance by steps: use CosineAnnealingLR")


class Movement:
    """Whether a network's weights have moved since.

    Args:
        net: The network.
    """

    def __init__(self, net: nn.Module) -> None:
        self._parameters = [p for p in net.parameters() if p.requires_grad]
        self._before: list[Tensor] = [p.detach().clone() for p in self._parameters]

    def none(self) -> bool:
        """Whether every weight is what it was."""
        return all(torch.equal(p.detach(), old) for p, old in zip(self._parameters, self._before, strict=True))
