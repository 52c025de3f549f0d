"""What a network does whose products are of 16 bits and whose neurons hold a state of 32, in plain modules."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp.neurons import RefractoryLeaky


class WideState(RefractoryLeaky):
    """Takes currents of 16 bits and gives spikes of 16 bits."""

    def forward(self, input_, mem=None):
        return super().forward(input_.float(), mem).to(input_.dtype)


class RoundedLinear(nn.Linear):
    """Rounds inputs, weights and outputs to bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.bfloat16(), self.weight.bfloat16(), self.bias.bfloat16())


class RoundedConv2d(nn.Conv2d):
    """Rounds inputs, weights and outputs to bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x.bfloat16(), self.weight.bfloat16(), self.bias.bfloat16())


ROUNDED = {RefractoryLeaky: WideState, nn.Linear: RoundedLinear, nn.Conv2d: RoundedConv2d}


def with_wide_states(net: nn.Module) -> nn.Module:
    """The network with another class for its neurons."""
    return _changed(net, {RefractoryLeaky: WideState})


def with_rounded_products(net: nn.Module) -> nn.Module:
    """The network with other classes for its neurons and for what is between them."""
    return _changed(net, ROUNDED)


def _changed(net: nn.Module, classes: dict[type, type]) -> nn.Module:
    for module in net.modules():
        module.__class__ = classes.get(type(module), type(module))
    return net
