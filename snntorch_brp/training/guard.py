"""Nothing goes wrong in silence: numbers that are not finite, and layers that never or always fire."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snntorch_brp.neurons import spiking_layers
from snntorch_brp.runtime.distributed import add_up, rank
from snntorch_brp.training.executor import Executor

logger = logging.getLogger(__name__)


class NotFinite(ValueError):
    """A gradient or a weight has become NaN or infinite."""


def check_gradients(net: nn.Module) -> None:
    """Raise :class:`NotFinite`, with the parameter's name, if a gradient is not finite."""
    _check({name: p.grad for name, p in net.named_parameters() if p.grad is not None}, "gradient")


def check_weights(net: nn.Module) -> None:
    """Raise :class:`NotFinite`, with its name, if a parameter is not finite."""
    _check({name: p.detach() for name, p in net.named_parameters()}, "weight")


def _check(tensors: dict[str, Tensor], kind: str) -> None:
    if not tensors or torch.stack([tensor.sum().float() for tensor in tensors.values()]).isfinite().all():
        return
    for name, tensor in tensors.items():  # a sum may also overflow
        bad = int((~tensor.isfinite()).sum())
        if bad:
            raise NotFinite(
                f"the {kind} of '{name}' is not finite, in {bad} of {tensor.numel()} places: lower the learning rate, "
                "or clip gradients (clip_norm=1.0)"
            )


class FiringWatch:
    """Finds the layers that never fire, or always fire, for a whole epoch.

    It looks at a layer only until it has seen both a spike and a rest, mostly in the first step.

    Args:
        executor: What runs the layers.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.layers = list(spiking_layers(executor.net))
        self._fired: set[str] = set()
        self._rested: set[str] = set()
        self._told: set[tuple[str, str]] = set()  # a layer is named once, not every epoch
        self.start()

    def start(self) -> None:
        """Start an epoch."""
        self._fired.clear()
        self._rested.clear()

    def report(self, epoch: int, device: torch.device) -> list[str]:
        """Log a warning about every layer that never or always fired, once each; returns their names."""
        seen = [[name in self._fired, name in self._rested] for name in self.layers]
        odd, everywhere = [], add_up(torch.tensor(seen, device=device).long()).tolist()
        if not any(map(any, everywhere)):  # no step was left of this epoch when the run was resumed
            return []
        for name, (fired, rested) in zip(self.layers, everywhere, strict=True):
            if fired and rested:
                continue
            odd.append(name)
            did, cure = ("always", "higher") if fired else ("never", "lower")
            if rank() == 0 and (name, did) not in self._told:
                self._told.add((name, did))
                logger.warning(
                    "layer '%s' %s fired in epoch %d: it learns nothing; try a %s threshold or other initial weights",
                    *(name, did, epoch, cure),
                )
        return odd

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at what fires in the block, where there is still something to find out."""
        open_layers = [name for name in self.layers if name not in self._fired or name not in self._rested]
        if not open_layers:
            yield
            return
        fused, hooks = self.executor.fused, []
        if fused is None:
            modules = spiking_layers(self.executor.net)
            hooks = [self._hook(name, modules[name]) for name in open_layers]
        else:
            fused.watch = self._see
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            if fused is not None:
                fused.watch = None

    def _see(self, name: str, rate: Tensor) -> None:
        if name not in self._fired and bool((rate > 0).any()):
            self._fired.add(name)
        if name not in self._rested and bool((rate < 1).any()):
            self._rested.add(name)

    def _hook(self, name: str, module: nn.Module) -> RemovableHandle:
        def see(module: nn.Module, inputs: Any, output: Any) -> None:
            self._see(name, (output[0] if isinstance(output, tuple) else output).detach())

        return module.register_forward_hook(see)
