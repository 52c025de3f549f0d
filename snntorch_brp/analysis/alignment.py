"""How close a rule's weight changes come to the true gradient's, layer by layer (Fig. 5 of the paper)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snntorch_brp.attachment import attach
from snntorch_brp.consolidation import Consolidation
from snntorch_brp.feedback import Feedback
from snntorch_brp.neurons import reset_state, unwrapped
from snntorch_brp.propagation import Backprop, Propagation
from snntorch_brp.sequence import spikes_of, unroll
from snntorch_brp.training import Loss, rate_mse


def layer_gradients(
    net: nn.Module,
    x: Tensor,
    labels: Tensor,
    propagation: Propagation,
    *,
    num_classes: int,
    feedback: Feedback | None = None,
    consolidation: Consolidation | None = None,
    loss: Loss | None = None,
    loops_inside: bool | None = None,
    output: str | Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """What each layer's parameters would be changed by, under a rule, for one batch.

    The network itself is left as it is (a copy runs), except that its neurons are put to rest.

    Args:
        net: The network.
        x: Input spikes, time first, ``[T, B, *]``.
        labels: Class numbers, ``[B]``.
        propagation: The rule.
        num_classes: Number of classes K.
        feedback: The fixed matrices B_l, such as ``trainer.feedback``; drawn from ``seed`` when None.
        consolidation: As in :func:`snntorch_brp.attachment`.
        loss: Loss of the output spikes and labels; the paper's mean squared error when None.
        loops_inside: Whether ``net(x)`` runs all steps; when None, everything but an ``nn.Sequential`` does.
        output: As in :func:`snntorch_brp.attachment`.
        seed: Of torch's random numbers while the network runs, so that every rule sees the same dropout.

    Returns:
        By name of the module that owns the parameters: their gradients in one vector. Modules without a gradient
        are left out.
    """
    net = unwrapped(net)
    reset_state(net)  # a copy cannot take a running sequence's graph along
    net = copy.deepcopy(net).train()
    net.zero_grad()
    if loops_inside is None:
        loops_inside = not isinstance(net, nn.Sequential)
    with torch.random.fork_rng([x.device] if x.is_cuda else []), torch.enable_grad():
        torch.manual_seed(seed)
        with attach(net, propagation, num_classes=num_classes, consolidation=consolidation, output=output) as handle:
            handle.feedback = feedback or handle.feedback
            spikes = spikes_of(net(x)) if loops_inside else unroll(net, x)
            handle.backward((loss or rate_mse)(spikes, labels), labels)
    gradients = {}
    for name, module in net.named_modules():
        own = [p.grad.flatten() for p in module.parameters(recurse=False) if p.grad is not None]
        if own:
            gradients[name] = torch.cat(own)
    return gradients


def gradient_angles(
    net: nn.Module,
    x: Tensor,
    labels: Tensor,
    propagation: Propagation,
    *,
    num_classes: int,
    feedback: Feedback | None = None,
    consolidation: Consolidation | None = None,
    loss: Loss | None = None,
    loops_inside: bool | None = None,
    output: str | Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Angle between a rule's change of each layer and the true gradient's, in degrees.

    0 is the same direction; below 90 a small step lowers the loss; 90 is what random directions have. The output
    layer learns from its own loss under every rule: its angle is 0.

    Args:
        net: As the other arguments, see :func:`layer_gradients`.
        x: Input spikes.
        labels: Class numbers.
        propagation: The rule.
        num_classes: Number of classes K.
        feedback: The fixed matrices.
        consolidation: How a layer learns.
        loss: Loss of the output.
        loops_inside: Whether ``net(x)`` runs all steps.
        output: Name of the output, or names.
        seed: Of torch's random numbers.

    Returns:
        Angles by module name, 0..180; NaN where one of the two changes is zero (or, as under ``OutputOnly``, absent).

    Example:
        >>> net = mlp([64, 100, 10])
        >>> angles = gradient_angles(net, torch.ones(10, 8, 64), torch.arange(8), BRP(), num_classes=10)
        >>> list(angles), round(angles["fc2"], 1)
        (['fc1', 'fc2'], 0.0)
    """
    rule, truth = (
        layer_gradients(
            net,
            x,
            labels,
            rule,
            num_classes=num_classes,
            feedback=feedback,
            consolidation=consolidation,
            loss=loss,
            loops_inside=loops_inside,
            output=output,
            seed=seed,
        )
        for rule in (propagation, Backprop())
    )
    return {name: angle(rule[name], true) if name in rule else math.nan for name, true in truth.items()}


def angle(a: Tensor, b: Tensor) -> float:
    """Angle between two vectors in degrees, exact also near 0; NaN if one of them is zero.

    Example:
        >>> round(angle(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])), 4)
        45.0
    """
    a, b = a.double(), b.double()
    if not a.any() or not b.any():
        return math.nan
    a, b = a / a.norm(), b / b.norm()
    return math.degrees(2 * math.atan2(float((a - b).norm()), float((a + b).norm())))
