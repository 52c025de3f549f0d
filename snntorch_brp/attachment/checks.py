"""Whether the layers have run one sequence that can be learned from."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from snntorch_brp.attachment.record import LayerRecord
from snntorch_brp.finite import check_membranes


def check_sequence(layers: Sequence[LayerRecord], last: LayerRecord | None, batch: int | None) -> LayerRecord | None:
    """Check that the layers have run one sequence of ``batch`` samples (of as many as there are where None).

    Args:
        layers: The layers.
        last: The one that was called last.
        batch: Number of samples.

    Returns:
        ``last``; None where nothing that leads to a spiking layer is to be trained, and a readout alone learns.

    Raises:
        RuntimeError: If none ran, one was left out, or some were called at several places.
        ValueError: If the batch had another size.
    """
    if last is None and not any(layer.called for layer in layers):
        raise RuntimeError(
            "no spiking layer has run: call the network inside `with attach(...)`, in training mode and with gradients "
            "enabled, before .backward()"
        )
    for layer in layers:
        if not layer.called:
            raise RuntimeError(f"spiking layer '{layer.name}' was never called: call it, or take it off the network")
        if last is not None and layer.steps and layer.steps != last.steps:
            raise RuntimeError(
                f"layer '{layer.name}' was called {layer.steps} times and '{last.name}' {last.steps} times: each place "
                "in the network needs a neuron of its own"
            )
        if layer.steps and batch is not None and layer.batch != batch:
            raise ValueError(f"layer '{layer.name}' ran {layer.batch} samples, but there are {batch} labels")
    return last


def check_last_membranes(layers: Sequence[LayerRecord]) -> None:
    """Raise :class:`snntorch_brp.finite.NotFinite` if a membrane is not finite when the sequence is over."""
    last = {layer.name: getattr(layer.module, "mem", None) if layer.state is None else layer.state for layer in layers}
    check_membranes({name: membrane for name, membrane in last.items() if isinstance(membrane, Tensor)})
