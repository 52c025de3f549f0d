"""A saved state is taken over as a whole or not at all."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from snntorch_brp.feedback import Feedback


@contextmanager
def unchanged_on_error(
    net: nn.Module, feedback: Feedback, optimizer: torch.optim.Optimizer, scheduler: LRScheduler | None
) -> Iterator[None]:
    """If the block raises, weights, feedback, optimizer and schedule are what they were before it."""
    parts: list[Any] = [net, optimizer, *([] if scheduler is None else [scheduler])]
    before = [copy.deepcopy(part.state_dict()) for part in parts]
    matrices = {name: value.clone() for name, value in feedback._buffers.items() if value is not None}
    try:
        yield
    except BaseException:
        for part, state in zip(parts, before, strict=True):
            part.load_state_dict(state)
        feedback._buffers.clear()
        feedback._buffers.update(matrices)
        raise


_ELEMENTWISE = {
    "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "square_avg", "grad_avg", "acc_delta",
    "sum", "mu", "ax", "prev", "step_size",
}  # fmt: skip
"""What torch's optimizers keep of every weight by itself."""


def check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Raise a ValueError if what an optimizer keeps of every weight, such as a mean of gradients, is of another shape.

    torch itself looks at the number of parameters alone, and fails in the next step.
    """
    for group in optimizer.param_groups:
        for p in group["params"]:
            for name, value in optimizer.state.get(p, {}).items():
                if name in _ELEMENTWISE and isinstance(value, Tensor) and value.dim() and value.shape != p.shape:
                    raise ValueError(
                        f"the optimizer's {name!r} of a parameter of shape {tuple(p.shape)} has shape "
                        f"{tuple(value.shape)}"
                    )
