"""The network of a run: in the paper's notation, or made by a function of the user's own."""

from __future__ import annotations

from functools import partial

from torch import nn

from snntorch_brp.models import network, paper_neuron
from snntorch_brp.named import load
from snntorch_brp.tasks.base import Task


def network_of(model: str, task: Task, *, detach_reset: bool = False) -> nn.Module:
    """A freshly drawn network for a task.

    Args:
        model: As ``Conv5x5x28-S2-FC1000-FC10``, or ``module:function`` of your own. The function is called with the
            keyword arguments ``input_shape``, that of one sample at one step, and ``num_classes``; it returns a module
            that takes one step ``[B, *input_shape]`` a call and ends with one neuron a class.
        task: What it is for.
        detach_reset: Whether its neurons take their reset as a constant on the way back.

    Raises:
        ValueError: If a layer cannot be read, or the function does not return a module, or its neurons, which are its
            own, were to be changed.
    """
    if ":" not in model:
        return network(model, task.input_shape, neuron=partial(paper_neuron, detach_reset=detach_reset))
    if detach_reset:
        raise ValueError(f"model {model!r} makes its neurons itself: give them detach_reset=True there")
    make = load(model, "model")
    if not callable(make):
        raise ValueError(f"model {model!r} is no function, but {type(make).__name__}")
    try:
        net = make(input_shape=task.input_shape, num_classes=task.num_classes)
    except TypeError as error:
        raise ValueError(
            f"model {model!r} could not be made with input_shape={task.input_shape} and "
            f"num_classes={task.num_classes}: {error}"
        ) from error
    if not isinstance(net, nn.Module):
        raise ValueError(f"model {model!r} must return a torch.nn.Module, got {type(net).__name__}")
    return net
