"""Numbers that are not finite: found before they spread, and told by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from snntorch_brp.runtime.verdicts import insist

LOOK = "look for NaN or inf in the input, or lower the learning rate"
CLIP = "lower the learning rate, or clip gradients (clip_norm=1.0)"


class NotFinite(ValueError):
    """A loss, a membrane, a gradient or a weight has become NaN or infinite."""


def check_finite(tensors: Mapping[str, Tensor], cure: str, *, lasting: bool = True) -> None:
    """Raise :class:`NotFinite` if one of some tensors is not finite; a GPU is waited for once.

    Args:
        tensors: By what they are, such as "the gradient of 'fc1.weight'".
        cure: What to do about it.
        lasting: They can be held until the answer is there (:func:`snntorch_brp.runtime.verdicts.together`), as
            weights can and what would be forgotten before cannot; all their sums are looked at then, and only in case
            of need each number.

    Example:
        >>> check_finite({"the sum": torch.tensor([1.0, float("nan")])}, "use fewer")
        Traceback (most recent call last):
        ...
        snntorch_brp.finite.NotFinite: the sum is not finite, in 1 of 2 places: use fewer
    """
    if not tensors:
        return
    if lasting:
        sums = [tensor.detach().sum().float() for tensor in tensors.values()]
        doubtful = ~torch.stack([each.to(sums[0].device) for each in sums]).isfinite().all()
        insist(doubtful, lambda _: check_finite(tensors, cure, lasting=False))  # a sum may have overflowed
        return
    for name, tensor in tensors.items():
        insist((~tensor.isfinite()).sum(), partial(_tell, name, tensor.numel(), cure))


def _tell(name: str, places: int, cure: str, bad: int) -> None:
    raise NotFinite(f"{name} is not finite, in {bad} of {places} places: {cure}")


def check_membranes(membranes: Mapping[str, Tensor]) -> None:
    """Raise :class:`NotFinite` if a layer's membrane is not finite, at the last step of a sequence.

    A NaN never spikes, so no loss shows it; but it stays in the membrane until the end.

    Args:
        membranes: Potentials ``[B, *]`` by the name of the layer.
    """
    named = {f"the membrane of layer '{name}'": membrane.detach() for name, membrane in membranes.items()}
    check_finite(named, LOOK, lasting=all(membrane.device.type == "cpu" for membrane in named.values()))


def check_loss(loss: Tensor) -> None:
    """Check that a loss is one number that the network can learn from.

    Raises:
        ValueError: If it is no scalar tensor, or depends on nothing that learns.
        NotFinite: If it is not finite.
    """
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"loss must be a scalar tensor, got {got}: use loss.mean() or loss.sum()")
    if not loss.requires_grad:
        raise ValueError(
            "loss does not depend on the network: compute it from the output of a forward pass in training mode, with "
            "gradients enabled"
        )
    value = loss.detach()
    insist(~value.isfinite().all(), lambda _: _tell_loss(value))


def _tell_loss(value: Tensor) -> None:
    raise NotFinite(f"loss is {value.item()}: {LOOK}, or mend the loss function")
