"""Training in stages: layers that are done stand still, and what they fire is kept, one bit a spike.

Under a label-only rule a layer never hears of the layers behind it. So the lower ones may be trained first, or be at
rest from the start, and run over all samples once; the others then learn from what is kept, as they would have learned
behind layers that do not change, in a fraction of the time.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch import Tensor, nn

from snntorch_brp.fused import FusedEngine, NotFusible
from snntorch_brp.neurons import RefractoryLeaky
from snntorch_brp.propagation import OutputOnly
from snntorch_brp.sequence import spikes_of, unroll
from snntorch_brp.training.executor import rate_mse

BATCH = 100  # samples that run through the front at a time


def split_behind(net: nn.Sequential, name: str) -> tuple[nn.Sequential, nn.Sequential]:
    """A network's layers up to ``name``, and the others, which keep their names and so their B_l.

    Both parts share their modules with the network: what one of them learns, it has learned.

    Args:
        net: The network.
        name: The last module of the first part, such as the neurons of a layer.

    Raises:
        ValueError: If there is no such module, or nothing stands behind it.

    Example:
        >>> front, rest = split_behind(network("Conv3x3x8-FC50-FC10", (1, 8, 8)), "conv1_lif")
        >>> list(dict(rest.named_children()))
        ['flatten', 'fc1', 'fc1_lif', 'fc2', 'fc2_lif']
    """
    modules = list(net.named_children())
    names = [key for key, _ in modules]
    if name not in names[:-1]:
        raise ValueError(f"a network is split behind one of {', '.join(names[:-1])}, got {name!r}")
    place = names.index(name) + 1
    front, rest = (nn.Sequential(OrderedDict(part)) for part in (modules[:place], modules[place:]))
    return front, rest


class PackedSpikes:
    """What layers at rest fire, one bit a spike; also the encoder that makes spikes of it again.

    Args:
        front: The layers, one step a call, the last of them neurons, or a maximum over places behind them. They run as
            in evaluation: batch normalization takes its running statistics.
        encoder: Samples ``[B, *]`` to the network's input ``[T, B, *]``.
        sample: One sample, or more, ``[B, *]``: tells how many spikes there are.

    Example:
        >>> net = network("Conv3x3x8-FC50-FC10", (1, 8, 8))
        >>> front, rest = split_behind(net, "conv1_lif")
        >>> images = torch.rand(100, 1, 8, 8)
        >>> spikes = PackedSpikes(front, DirectEncoder(steps=4), images[:1])
        >>> bits = spikes.pack(images)
        >>> bits.shape, spikes(bits[:10]).shape  # 4 steps of 8·8·8 neurons take 256 bytes a sample
        (torch.Size([100, 256]), torch.Size([4, 10, 8, 8, 8]))
    """

    def __init__(self, front: nn.Module, encoder: Callable[[Tensor], Tensor], sample: Tensor) -> None:
        self.front, self.encoder = front, encoder
        with evaluating(front):
            self._shape = tuple(run(front, encoder(sample[:1])).transpose(0, 1).shape[1:])  # of a sample, [T, *]

    def pack(self, samples: Tensor) -> Tensor:
        """Spikes of all samples ``[N, *]``, as bytes ``[N, ⌈spikes of a sample / 8⌉]``.

        Raises:
            ValueError: If what the layers give is not 0 or 1 alone.
        """
        with evaluating(self.front):
            return torch.cat([self._packed(some) for some in samples.split(BATCH)])

    def _packed(self, samples: Tensor) -> Tensor:
        spikes = run(self.front, self.encoder(samples)).transpose(0, 1)
        if not ((spikes == 0) | (spikes == 1)).all():
            raise ValueError(
                "only spikes, 0 or 1, are packed: split the network behind neurons, and in front of an average pooling"
            )
        return torch.from_numpy(np.packbits(spikes.flatten(1).bool().cpu().numpy(), axis=1))

    def __call__(self, bits: Tensor) -> Tensor:
        """Packed samples ``[B, bytes]`` to spikes ``[T, B, *]`` in the default dtype."""
        spikes = np.unpackbits(bits.cpu().numpy(), axis=1, count=math.prod(self._shape))
        unpacked = torch.from_numpy(spikes).to(bits.device, torch.get_default_dtype())
        return unpacked.unflatten(1, self._shape).transpose(0, 1)


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Inside the block all modules are in evaluation mode; behind it, each is as it was."""
    training = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


@torch.no_grad()
def run(front: nn.Module, x: Tensor) -> Tensor:
    """What layers without an output give for a sequence ``[T, B, *]``, by the fused engine where they qualify."""
    if isinstance(front, nn.Sequential):
        size = spikes_of(unroll(front, x[:1, :1])).numel()
        output = ("flat", nn.Flatten()), ("readout", nn.Linear(size, 2)), ("out", RefractoryLeaky(init_hidden=True))
        net = nn.Sequential(OrderedDict([*front.named_children(), *output]))  # the output never runs
        net.to(x.device, x.dtype)
        with suppress(NotFusible):
            engine = FusedEngine(net, OutputOnly(), num_classes=2, loss_fn=rate_mse)
            engine.prepare(x)
            given = engine.cast_input(x)
            for place in range(len(engine.layers) - 1):
                given = engine.forward_hidden(place, given)
            return given.to(x.dtype)
    return spikes_of(unroll(front, x))
