"""Small networks and batches that several tests share."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp import RefractoryLeaky

K = 3


def mlp(*, hidden: tuple[int, ...] = (8,), inputs: int = 6, **neuron: object) -> nn.Sequential:
    """Linear layers with ``init_hidden`` neurons."""
    layers: list[nn.Module] = []
    sizes = (inputs, *hidden, K)
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), RefractoryLeaky(init_hidden=True, **neuron)]  # type: ignore[arg-type]
    return nn.Sequential(*layers)


class Looped(nn.Module):
    """Explicit state and a time loop inside ``forward``, as in snnTorch's tutorials."""

    def __init__(self, neuron: type[nn.Module] = RefractoryLeaky, **options: object) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(6, 8), neuron(**options)
        self.fc2, self.lif2 = nn.Linear(8, 7), neuron(**options)
        self.fc3, self.lif3 = nn.Linear(7, K), neuron(**options)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2, mem3 = (lif.reset_mem() for lif in (self.lif1, self.lif2, self.lif3))
        spikes, membranes = [], []
        for x_t in x:
            spk1, mem1 = self.lif1(self.fc1(x_t), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk3, mem3 = self.lif3(self.fc3(spk2), mem3)
            spikes.append(spk3)
            membranes.append(mem3)
        return torch.stack(spikes), torch.stack(membranes)


def batch(
    *, steps: int = 5, size: int = 4, inputs: tuple[int, ...] = (6,), dtype: torch.dtype = torch.float32, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Random input spikes ``[T, B, *]`` and labels ``[B]``."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(steps, size, *inputs, generator=generator) < 0.5).to(dtype)
    return x, torch.randint(0, K, (size,), generator=generator)


def spread(net: nn.Module, seed: int = 0, scale: float = 0.8) -> nn.Module:
    """Draw weights large enough that every layer of a tiny network spikes and misses its threshold often."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.rand(p.shape, generator=generator, dtype=p.dtype).mul_(2).sub_(1).mul_(scale))
    return net


def mse(spikes: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error between the output rate and the one-hot label; spikes ``[T, B, K]``."""
    return F.mse_loss(spikes.mean(0), F.one_hot(labels, K).to(spikes.dtype))


def run(net: nn.Module, x: Tensor) -> Tensor:
    """Output spikes ``[T, B, K]`` of a network that is called once a step."""
    return torch.stack([net(x_t) for x_t in x])


def grads(net: nn.Module) -> dict[str, Tensor]:
    """A copy of every gradient, by parameter name."""
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
