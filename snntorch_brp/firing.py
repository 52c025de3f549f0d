"""When a layer's firing leaves it nothing to learn from: silent and saturated layers, and what to do about them."""

from __future__ import annotations

from torch import Tensor

ALIVE = 0.001  # share of rates above 0 below which a layer counts as silent
FULL, FLOODED = 0.9, 0.5  # a rate that says nothing any more, and the share of such that makes a layer saturated
LEAST_STEPS = 10  # time steps below which a rate of 1 means little, so that no layer is called saturated

_LOWER = (
    "lower the learning rate, since every step of Adam moves each weight by about that much whatever the gradient: "
    "Adam(parameter_groups(net, lr=1e-3, hidden_lr=1e-4))"
)
_ADVICE = {
    "silent": "fires hardly ever, and learns nothing: lower its threshold, start from calibrate(net, x), or " + _LOWER,
    "saturated": "fires at nearly every step in most of its neurons, and tells little apart: " + _LOWER,
}


def firing_fault(rate: Tensor) -> str | None:
    """Whether a layer fires too little or too much to learn and to be learned from.

    A layer is silent where at most one rate in 1,000 is above 0, and saturated where more than half of them are above
    0.9. Blind BRP may train a network well and leave a third of them there, so nothing less is called a fault.

    Args:
        rate: Mean spike rates ``[B, *]`` of several samples over a window of at least some ten steps. Over a few steps
            a rate of 1 means little.

    Returns:
        "silent", "saturated", or None for a layer that is well, or of no neurons.

    Example:
        >>> firing_fault(torch.tensor([[0.0, 0.2], [0.1, 1.0]])) is None
        True
        >>> firing_fault(torch.ones(2, 2))
        'saturated'
    """
    if not rate.numel():
        return None
    alive, full = firing_shares(rate).tolist()  # the one place where a GPU is waited for
    return fault_of(alive, full)


def firing_shares(rate: Tensor) -> Tensor:
    """The shares of rates above 0 and above 0.9, two numbers that nobody has waited for yet."""
    return (rate.new_tensor([0.0, FULL]).view(2, *[1] * rate.dim()) < rate).flatten(1).float().mean(1)


def fault_of(alive: float, full: float) -> str | None:
    """What :func:`firing_fault` says of these :func:`firing_shares`."""
    if alive <= ALIVE:
        return "silent"
    return "saturated" if full > FLOODED else None


def firing_message(layer: str, fault: str) -> str:
    """One sentence that names a layer, what is wrong with its firing, and what to do.

    Args:
        layer: The layer's name in its network.
        fault: From :func:`firing_fault`.

    Example:
        >>> print(firing_message("lif1", "silent").partition(":")[0])
        layer 'lif1' is silent
    """
    return f"layer '{layer}' is {fault}: it {_ADVICE[fault]}"
