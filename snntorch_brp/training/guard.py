"""Nothing goes wrong in silence: numbers that are not finite, and layers whose firing leaves nothing to learn from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snntorch_brp.finite import CLIP, check_finite
from snntorch_brp.firing import LEAST_STEPS, fault_of, firing_message, firing_shares
from snntorch_brp.neurons import constants, spiking_layers, takes_sequence
from snntorch_brp.runtime.distributed import all_reduce_sum, rank
from snntorch_brp.sequence import spikes_of
from snntorch_brp.training.executor import Executor

logger = logging.getLogger(__name__)


def check_gradients(net: nn.Module) -> None:
    """Raise :class:`NotFinite`, with the parameter's name, if a gradient is not finite."""
    check_finite(
        {f"the gradient of '{name}'": p.grad for name, p in net.named_parameters() if p.grad is not None}, CLIP
    )


def check_weights(net: nn.Module) -> None:
    """Raise :class:`NotFinite`, with its name, if a parameter is not finite."""
    check_finite({f"the weight of '{name}'": p.detach() for name, p in net.named_parameters()}, CLIP)


def check_numbers(net: nn.Module) -> None:
    """Raise :class:`NotFinite`, with its name, if a parameter or a constant of a neuron is not finite.

    A neuron whose threshold is NaN is silent, and its membrane does not show it.
    """
    check_weights(net)
    check_finite(
        {
            f"the {constant} of layer '{name}'": value
            for name, module in spiking_layers(net).items()
            for constant, value in constants(module).items()
        },
        "give it a number",
    )


class FiringWatch:
    """Names the layers that were silent or saturated in all batches of an epoch, each once.

    It looks at a layer only until there was a batch in which it was well, mostly the first. What it finds stays on the
    device: a GPU is waited for after steps 1, 2, 4, 8, ... of the epoch, as long as there is a layer to look at.

    Args:
        executor: What runs the layers.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.layers = spiking_layers(executor.net)
        self._told: set[tuple[str, str]] = set()  # a layer is named once, not every epoch
        self.start()

    def start(self) -> None:
        """Start an epoch."""
        self._faults: dict[str, str | None] = {}  # of the layers that were looked at; None for those that are well
        self._shares: list[tuple[str, int, Tensor]] = []  # layer, time steps and shares, not waited for yet
        self._steps = 0

    def report(self, epoch: int, device: torch.device) -> list[str]:
        """Log a warning about every layer that was never well, once each; returns their names."""
        self._judge()
        kinds = (None, "silent", "saturated")
        seen = [[name in self._faults and self._faults[name] == kind for kind in kinds] for name in self.layers]
        odd = []
        for name, counts in zip(
            self.layers, all_reduce_sum(torch.tensor(seen, device=device).long()).tolist(), strict=True
        ):
            well, silent, saturated = counts  # numbers of processes
            if well or not silent + saturated:
                continue
            odd.append(name)
            fault = "silent" if silent >= saturated else "saturated"
            if rank() == 0 and (name, fault) not in self._told:
                self._told.add((name, fault))
                logger.warning("epoch %d: %s", epoch, firing_message(name, fault))
        return odd

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at what fires in the block, one training step, where there is still something to find out."""
        self._steps += 1
        sought = [name for name in self.layers if self._faults.get(name, "") is not None]
        if not sought:
            yield
            return
        with self._watching_fused(sought) if self.executor.fused is not None else self._watching_modules(sought):
            yield
        if self._steps.bit_count() == 1:
            self._judge()

    def _judge(self) -> None:
        """Wait for the shares, and judge by them."""
        shares = torch.stack([shares for *_, shares in self._shares]).tolist() if self._shares else []
        for (name, steps, _), found in zip(self._shares, shares, strict=True):
            fault = fault_of(*found)
            if fault == "saturated" and steps < LEAST_STEPS:
                fault = None
            if self._faults.get(name, "") is not None:
                self._faults[name] = fault
        self._shares.clear()

    @contextmanager
    def _watching_fused(self, sought: Sequence[str]) -> Iterator[None]:
        """The fused engine tells the rates of a layer, some samples at a time."""
        rates: dict[str, list[Tensor]] = {name: [] for name in sought}
        fused = self.executor.fused
        assert fused is not None
        fused.watch = lambda name, rate: rates[name].append(rate.clone()) if name in rates else None
        try:
            yield
        finally:
            fused.watch = None
        for name, parts in rates.items():
            if parts:
                self._shares.append((name, self.executor.steps, firing_shares(torch.cat(parts))))

    @contextmanager
    def _watching_modules(self, sought: Sequence[str]) -> Iterator[None]:
        """Where the modules themselves run, they are called once a step, or with the whole sequence."""
        sums: dict[str, tuple[int, Tensor]] = {}

        def hook(name: str) -> Callable[..., None]:
            def see(module: nn.Module, inputs: Any, output: Any) -> None:
                spikes = spikes_of(output).detach()
                steps, total = (len(spikes), spikes.sum(0)) if takes_sequence(module) else (1, spikes)
                before, earlier = sums.get(name, (0, None))
                sums[name] = before + steps, total if earlier is None else earlier + total

            return see

        hooks = [self.layers[name].register_forward_hook(hook(name)) for name in sought]
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()
        for name, (steps, total) in sums.items():
            self._shares.append((name, steps, firing_shares(total / steps)))
