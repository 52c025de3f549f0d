"""Random convolutional networks under attach: plain autograd's gradients, and each layer's own; nothing else changes.

Under ``Backprop`` every gradient is PyTorch's. Under ``BRP`` a hidden layer has the gradient that it gets alone, run on
the inputs that it had, with its row of B_l on its spikes. Outputs, names and training flags are as without attach.
"""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable

import pytest
import snntorch as snn
import torch
from mutate import Tell, numbers
from networks import K, grads, mse, spread
from snntorch import surrogate
from torch import Tensor, nn

from snntorch_brp import BRP, Backprop, RefractoryLeaky, attach, boxcar, reset_state

B, T = 3, 4
SURROGATES: list[Callable[[], object]] = [
    lambda: None, boxcar, surrogate.atan, surrogate.fast_sigmoid, surrogate.sigmoid, surrogate.triangular,
    surrogate.straight_through_estimator,
]  # fmt: skip


def neuron(draw: random.Random, size: int) -> nn.Module:
    """Any neuron with hidden states, and any of its options."""
    options = {"init_hidden": True, "spike_grad": draw.choice(SURROGATES)()}
    threshold, beta = draw.choice((0.2, 0.5, 1.0)), draw.choice((0.0, 0.3, 0.9, 1.0))
    reset = draw.choice(("zero", "subtract", "none"))
    learn = {"learn_beta": draw.random() < 0.3, "learn_threshold": draw.random() < 0.3}
    made: list[Callable[[], nn.Module]] = [
        lambda: snn.Leaky(beta, threshold, reset_mechanism=reset, **options, **learn),
        lambda: snn.Leaky(torch.full((), beta), threshold, reset_delay=draw.random() < 0.5, **options),
        lambda: RefractoryLeaky(
            beta, threshold, tau_ref=draw.randint(1, 4), v_rest=draw.choice((0.0, 0.1)),
            v_reset=draw.choice((0.0, -0.2)), detach_reset=draw.random() < 0.5, **options, **learn,
        ),
        lambda: snn.Synaptic(0.6, beta, threshold=threshold, reset_mechanism=reset, **options),
        lambda: snn.Lapicque(beta=0.7, threshold=threshold, reset_mechanism=reset, **options),
        lambda: snn.RLeaky(
            beta, all_to_all=False, V=0.3, threshold=threshold, reset_mechanism=reset,
            learn_recurrent=draw.random() < 0.5, **options,
        ),
    ]  # fmt: skip
    return draw.choice(made)()


def convolution(draw: random.Random, channels: int) -> nn.Module:
    groups = draw.choice((1, channels))
    return nn.Conv2d(
        channels,
        channels * draw.choice((1, 2)),
        draw.choice((1, 2, 3, (3, 2))),
        stride=draw.choice((1, 2)),
        padding=draw.choice((0, 1, 2)),
        dilation=draw.choice((1, 1, 2)),
        groups=groups,
        bias=draw.random() < 0.7,
        padding_mode=draw.choice(("zeros", "reflect", "replicate", "circular")),
    )


def between(draw: random.Random, shape: tuple[int, ...]) -> list[nn.Module]:
    """Modules without spikes that may stand before or behind a layer's weights."""
    if len(shape) == 1:
        kinds = [nn.Identity, lambda: nn.LayerNorm(shape[0]), lambda: nn.BatchNorm1d(shape[0]), nn.Tanh]
    else:
        kinds = [
            lambda: nn.AvgPool2d(2, ceil_mode=draw.random() < 0.5), lambda: nn.MaxPool2d(2, stride=1),
            lambda: nn.AdaptiveAvgPool2d(3), lambda: nn.BatchNorm2d(shape[0]), lambda: nn.GroupNorm(1, shape[0]),
            lambda: nn.LPPool2d(1, 2),
            nn.ReLU,
        ]  # fmt: skip
    return [draw.choice(kinds)() for _ in range(draw.choice((0, 0, 1, 2)))]


def shape_behind(net: nn.Sequential, x: Tensor) -> tuple[int, ...]:
    with torch.no_grad():
        out = copy.deepcopy(net)(x)
    return tuple(out.shape[1:])


def drawn(draw: random.Random) -> tuple[list[nn.Sequential], Tensor]:
    """A network in blocks, each of weights, what stands around them and a neuron, and an input ``[T, B, *]``."""
    image = draw.random() < 0.7
    shape: tuple[int, ...] = (draw.choice((1, 2)), draw.choice((5, 7, 8)), draw.choice((5, 6, 9))) if image else (7,)
    generator = torch.Generator().manual_seed(draw.randrange(2**31))
    x = torch.rand(T, B, *shape, generator=generator)
    x = x if draw.random() < 0.3 else (x < 0.4).to(x.dtype)
    blocks: list[nn.Sequential] = []
    probe = x[0]
    layers = draw.randint(2, 4)
    for layer in range(layers):
        parts = between(draw, tuple(probe.shape[1:]))
        last = layer == layers - 1
        flat = shape_behind(nn.Sequential(*parts), probe)
        if len(flat) == 3 and not last and draw.random() < 0.7:
            parts.append(convolution(draw, flat[0]))
        else:
            out = K if last else draw.choice((4, 6))
            size = torch.Size(flat).numel()
            parts += [*([nn.Flatten()] if len(flat) == 3 else []), nn.Linear(size, out, bias=draw.random() < 0.7)]
        if draw.random() < 0.3:
            parts += between(draw, shape_behind(nn.Sequential(*parts), probe)) if not last else []
        size = torch.Size(shape_behind(nn.Sequential(*parts), probe)).numel()
        block = nn.Sequential(*parts, neuron(draw, size))
        blocks.append(spread(block, draw.randrange(1000), scale=draw.choice((0.3, 0.8))))  # type: ignore[arg-type]
        probe = torch.zeros(B, *shape_behind(nn.Sequential(*parts), probe))
    return blocks, x


def run(blocks: list[nn.Sequential], x: Tensor) -> list[Tensor]:
    """What every block gives, ``[T, B, *]`` each."""
    out: list[list[Tensor]] = [[] for _ in blocks]
    for x_t in x:
        for i, block in enumerate(blocks):
            x_t = block(x_t)
            out[i].append(x_t)
    return [torch.stack(steps) for steps in out]


def close(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Sums of at most some hundred float32 products, perhaps in another order; relative to the block's largest.

    Behind a norm some gradients are 0, and what is left of them is rounding. snnTorch's sigmoid gives NaN far from the
    threshold: where it does, attach must too.
    """
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.equal(got[name].isnan(), gradient.isnan()), f"the gradient of {name} is NaN in other places"
    got, expected = ({name: value.nan_to_num() for name, value in found.items()} for found in (got, expected))
    largest: dict[str, float] = {}
    for name, gradient in expected.items():
        block = name.partition(".")[0]
        largest[block] = max(largest.get(block, 1e-6), float(gradient.abs().max()))
    for name, gradient in expected.items():
        off = float((got[name] - gradient).abs().max()) / largest[name.partition(".")[0]]
        assert off < 1e-4, f"the gradient of {name} is off by {off:.1e} of its block's largest"


def attempt(draw: random.Random) -> str:
    """One network; which of the promises it tried. Raises AssertionError where one is broken."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            blocks, x = drawn(draw)
    except (RuntimeError, ValueError):  # torch refuses the sizes
        return "no network"
    labels = torch.randint(0, K, (B,), generator=torch.Generator().manual_seed(draw.randrange(1000)))
    net = nn.Sequential(*blocks)
    plain = copy.deepcopy(net)
    reset_state(plain)
    spikes = run(list(plain), x)
    mse(spikes[-1], labels).backward()
    rule = draw.choice((BRP(), BRP(), Backprop()))
    flags = [module.training for module in net.modules()]
    names = list(net.state_dict())
    alone = [copy.deepcopy(block) for block in blocks]
    reset_state(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # silent layers are the rule here
        with attach(net, rule, num_classes=K, generator=torch.Generator().manual_seed(1)) as brp:
            out = torch.stack([net(x_t) for x_t in x])
            assert torch.equal(out, spikes[-1]), "other outputs"
            brp.backward(mse(out, labels), labels)
            last = [len(block) - 1 for block in blocks]
            shapes = [tuple(step.shape[2:]) for step in spikes[:-1]]
            B_l = [brp.feedback.matrix(f"{i}.{last[i]}", shape) for i, shape in enumerate(shapes)]
    assert list(net.state_dict()) == names
    assert [module.training for module in net.modules()] == flags
    if isinstance(rule, Backprop):
        close(grads(net), grads(plain))
        return "backprop"
    inputs = [x, *(step.detach() for step in spikes[:-1])]
    expected: dict[str, Tensor] = {}
    for i, (block, entering) in enumerate(zip(alone, inputs, strict=True)):
        reset_state(block)
        (spikes_alone,) = run([block], entering)
        if i == len(blocks) - 1:
            mse(spikes_alone, labels).backward()
        elif spikes_alone.requires_grad:
            (B_l[i][labels] / B * spikes_alone).sum().backward()
        expected |= {f"{i}.{name}": gradient for name, gradient in grads(block).items()}
    close(grads(net), expected)
    return "brp"


def trial(*, cases: int | None = None, seconds: float = 0.0) -> dict[str, int]:
    """Try so many, or for so long; how many of each kind."""
    found: dict[str, int] = {}
    for number in numbers(cases, seconds):
        try:
            kind = attempt(random.Random(f"network {number}"))
        except Exception as error:
            raise AssertionError(f"case {number}: {type(error).__name__}: {error}") from error
        found[kind] = found.get(kind, 0) + 1
    return found


def test_random_networks_learn_as_their_layers_do_alone() -> None:
    found = trial(cases=60)
    assert min(found["brp"], found["backprop"]) > 8


@pytest.mark.hostile(weight=3)
def test_random_networks_for_long(seconds: float, tell: Tell) -> None:
    found = trial(seconds=seconds)
    tell("networks under attach", sum(found.values()), str(found))
