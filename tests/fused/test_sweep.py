"""Random networks through both engines: both answers equal, or both refused.

What is drawn: layers and their strides, dilation, groups, padding and its modes, odd sizes, poolings in all spellings
before and after the neurons, norms, dropout that drops nothing, kinds of neurons, surrogates, resets, constants of
one's own for each neuron, learned or not, dtypes, channels-last weights, direct coding, frozen weights, hooks and
parametrizations, loops over time in the network's own forward, readouts that do not spike.
"""

from __future__ import annotations

import copy
import os
import random
import time
from collections.abc import Callable

import pytest
import snntorch as snn
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from snntorch import surrogate
from torch import Tensor, nn

from snntorch_brp import BRPTrainer
from snntorch_brp.adaptive import AdaptiveLeaky
from snntorch_brp.composition import PerLayer, Sum
from snntorch_brp.consolidation import Correlation, PseudoGradient, SimilarityMatching, StateDifference
from snntorch_brp.neurons import RefractoryLeaky
from snntorch_brp.propagation import BRP, Backprop, ErrorProjection, OutputOnly, RewardPrediction, SignProjection
from snntorch_brp.reading import PooledReading
from snntorch_brp.standardize import Standardize
from snntorch_brp.surrogate import boxcar
from snntorch_brp.weight_standardization import WSConv1d, WSConv2d, WSLinear

K = 4
RULES = [BRP(), BRP(centered=True), RewardPrediction(), ErrorProjection(), SignProjection(), Backprop(), OutputOnly()]
RULES += [PooledReading(places=2), PooledReading(center="batch")]
CONSOLIDATIONS = [PseudoGradient(), PseudoGradient(), StateDifference(), Correlation(), SimilarityMatching()]
CONSOLIDATIONS += [
    SimilarityMatching(center="sample", places=2, target="label"),
    SimilarityMatching(places="std"),
    Sum([(0.5, SimilarityMatching(places=2, target="label")), (0.5, StateDifference())]),
    PerLayer({"0": StateDifference(), "*": PseudoGradient()}),
]
SURROGATES = [
    boxcar(),
    boxcar(0.2),
    surrogate.atan(),
    surrogate.fast_sigmoid(slope=5),
    surrogate.sigmoid(slope=3),
    surrogate.triangular(),
    surrogate.straight_through_estimator(),
    surrogate.spike_rate_escape(),
    surrogate.SFS(slope=2, B=0.1),
    surrogate.custom_surrogate(lambda u, g, s: g / (1 + u.abs())),
    lambda u: torch.sigmoid(4 * u),
]


class Loop(nn.Module):
    """A sequence in the form that people write: a loop over steps, pooling by functions, all at rest before it."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        out = []
        for t in range(x.shape[0]):
            z = x[t]
            for module in self.layers:
                if type(module) is nn.MaxPool2d:
                    z = F.max_pool2d(z, module.kernel_size, module.stride, module.padding, ceil_mode=module.ceil_mode)
                elif type(module) is nn.Flatten:
                    z = z.reshape(len(z), -1)
                else:
                    z = module(z)
            out.append(z)
        return torch.stack(out)


class Draw:
    """A network and its batch, from a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        torch.manual_seed(seed)
        self.dtype = rng.choice([torch.float32, torch.float32, torch.float64])
        self.boxcars = self.dtype is torch.float64 or rng.random() < 0.3
        shape = rng.choice([(7,), (3, 11), (2, 9, 8), (3, 7, 10), (1, 6, 6)])
        self.T, self.B = rng.randint(1, 6), rng.randint(1, 6)
        x = (torch.rand(self.T, self.B, *shape) < rng.choice([0.05, 0.2, 0.6])).to(self.dtype)
        self.x = x[:1].expand(x.shape) if rng.random() < 0.2 else x
        self.labels = torch.randint(K, (self.B,))
        self.rule, self.consolidation = rng.choice(RULES), rng.choice(CONSOLIDATIONS)
        if self.dtype is torch.float32:  # some may divide rounding by rounding
            if isinstance(self.consolidation, Correlation | SimilarityMatching | Sum):
                self.consolidation = PseudoGradient()
            self.rule = BRP() if isinstance(self.rule, PooledReading) else self.rule
        self.net = self.network(shape)
        self.loops = rng.random() < 0.25
        if self.loops:
            self.net = Loop(self.net)

    def network(self, shape: tuple[int, ...]) -> nn.Sequential:
        layers: list[nn.Module] = []
        z = torch.zeros(2, *shape)
        for _ in range(self.rng.randint(1, 3)):
            if z.dim() > 2 and self.rng.random() < 0.3:
                layers.append(nn.Flatten())
                z = z.flatten(1)
            for module in (*self.around(z), self.core(z)):
                z = self.grown(layers, module, z)
            for module in self.around(z):
                z = self.grown(layers, module, z)
            layers.append(self.neuron(z.shape[1:]))
        z = self.grown(layers, nn.Flatten(), z)
        output = [] if self.rng.random() < 0.15 else [self.neuron((K,))]
        net = nn.Sequential(*layers, nn.Linear(z.shape[1], K), *output)
        for module in net:
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
                module.weight.data *= self.rng.choice([1, 3])
        net = net.to(self.dtype)
        return net.to(memory_format=torch.channels_last) if z.dim() == 4 and self.rng.random() < 0.5 else net

    def grown(self, layers: list[nn.Module], module: nn.Module, z: Tensor) -> Tensor:
        """The network with one module more, unless that does not fit."""
        try:
            with torch.no_grad():
                out = copy.deepcopy(module).eval()(z)
        except (RuntimeError, ValueError, IndexError):
            return z
        if out.numel() == 0:
            return z
        layers.append(module)
        return out

    def core(self, z: Tensor) -> nn.Module:
        rng = self.rng
        if z.dim() == 2 or rng.random() < 0.1:
            linear = nn.Linear if rng.random() < 0.8 or z.shape[-1] < 2 else WSLinear
            return linear(z.shape[-1], rng.choice([5, 8, 17]), bias=rng.random() < 0.7)
        groups = rng.choice([1, 1, 1, z.shape[1]])
        options = {
            "kernel_size": rng.choice([1, 2, 3, 5]),
            "stride": rng.choice([1, 1, 1, 2]),
            "dilation": rng.choice([1, 1, 1, 2]),
            "groups": groups,
            "bias": rng.random() < 0.7,
            "padding": rng.choice([0, 0, 1, 2]),
            "padding_mode": rng.choice(["zeros", "zeros", "zeros", "circular", "reflect"]),
        }
        if options["stride"] == 1 and rng.random() < 0.1:
            options["padding"] = rng.choice(["same", "valid"])
        plain = rng.random() < 0.7 or z.shape[1] // groups * options["kernel_size"] < 2
        kinds = (nn.Conv1d, nn.Conv2d) if plain else (WSConv1d, WSConv2d)
        kind = kinds[z.dim() - 3]
        return kind(z.shape[1], groups * rng.choice([1, 4, 17]), **options)

    def around(self, z: Tensor) -> list[nn.Module]:
        """What may stand before and behind a layer of weights."""
        rng, found = self.rng, []
        if rng.random() < 0.25 and z.dim() > 1:
            norm = nn.BatchNorm2d if z.dim() == 4 else nn.BatchNorm1d
            options = {"affine": rng.random() < 0.6, "momentum": rng.choice([0.1, None])}
            found.append(norm(z.shape[1], track_running_stats=rng.random() < 0.8, **options))
        if rng.random() < 0.1:
            standardize = Standardize(z.shape[1])
            standardize.mean.uniform_()
            standardize.scale.uniform_(0.5, 2)
            found.append(standardize)
        if rng.random() < 0.6:
            found.append(self.pooling(z))
        if rng.random() < 0.1:
            found.append(nn.Dropout(0.0))
        if rng.random() < 0.1:
            found.append(nn.Identity())
        rng.shuffle(found)
        return found

    def pooling(self, z: Tensor) -> nn.Module:
        rng = self.rng
        flat = z.dim() < 4 if rng.random() < 0.95 else rng.random() < 0.5
        if rng.random() < 0.1:
            name = rng.choice(["AdaptiveAvgPool", "AdaptiveMaxPool"])
            return getattr(nn, f"{name}{1 if flat else 2}d")(rng.choice([1, 2, 3]))
        size = rng.choice([1, 2, 2, 2, 3, (2,), [2]] if flat else [1, 2, 2, 2, 3, (2, 2), [2, 2], (1, 2), (3, 2)])
        options = {"ceil_mode": rng.random() < 0.1}
        if rng.random() < 0.1:
            options |= {"stride": rng.choice([1, 2])}
        if rng.random() < 0.1:
            options |= {"padding": 1}
        return getattr(nn, rng.choice(["AvgPool", "MaxPool"]) + ("1d" if flat else "2d"))(size, **options)

    def neuron(self, shape: tuple[int, ...]) -> nn.Module:
        rng = self.rng
        own = rng.random() < 0.2
        beta = torch.rand(shape) if own else rng.choice([0.2, 0.9, 1.0])
        threshold = torch.rand(shape) + 0.1 if own and rng.random() < 0.5 else rng.choice([0.1, 0.5])
        spike_grad = rng.choice(SURROGATES[:2] if self.boxcars else SURROGATES)
        learned = {"learn_beta": rng.random() < 0.15, "learn_threshold": rng.random() < 0.15}
        if rng.random() < 0.4:
            return RefractoryLeaky(
                beta,
                threshold,
                tau_ref=rng.choice([1, 1, 2, 4]),
                v_rest=rng.choice([0.0, 0.05, 0.6]),
                v_reset=rng.choice([0.0, -0.2]),
                detach_reset=rng.random() < 0.5,
                spike_grad=spike_grad,
                init_hidden=True,
                **learned,
            )
        options = {
            "spike_grad": spike_grad,
            "reset_mechanism": rng.choice(["subtract", "zero", "none"]),
            "inhibition": len(shape) == 1 and rng.random() < 0.1,
            "init_hidden": True,
        }
        kind = rng.choice([snn.Leaky] * 6 + [snn.Synaptic, snn.Alpha, snn.Lapicque])
        if kind is snn.Lapicque:
            return snn.Lapicque(R=rng.choice([1.0, 2.0]), C=rng.choice([1.5, 4.0]), threshold=threshold, **options)
        if kind is snn.Alpha:
            return snn.Alpha(rng.choice([0.9, 0.7]), rng.choice([0.6, 0.2]), threshold, **options, **learned)
        if rng.random() < 0.15:
            del options["inhibition"]  # which it has not
            return AdaptiveLeaky(beta, threshold, adaptation=rng.choice([0.2, 1.0]), rho=0.9, **options, **learned)
        options["reset_delay"] = rng.random() < 0.8
        if kind is snn.Synaptic:
            alpha = torch.rand(shape) if own else rng.choice([0.5, 1.0])
            return snn.Synaptic(alpha, beta, threshold, learn_alpha=rng.random() < 0.3, **options, **learned)
        return snn.Leaky(beta, threshold, **options, **learned)

    def disturb(self) -> Callable[[nn.Module], None]:
        """Something that people do to networks."""
        rng = self.rng
        where, what = rng.randrange(len(self.net.layers if self.loops else self.net)), rng.random()

        def change(net: nn.Module) -> None:
            module = (net.layers if self.loops else net)[where]
            weights = list(module.parameters(recurse=False))
            if what < 0.05:
                module.register_forward_hook(lambda module, args, out: out * 1.5 if isinstance(out, Tensor) else None)
            elif what < 0.1 and weights:
                weights[0].register_hook(lambda gradient: gradient * 2)
            elif what < 0.15 and hasattr(module, "weight") and module.weight is not None and module.weight.dim() > 1:
                nn.utils.parametrizations.weight_norm(module)
            elif what < 0.25:
                module.requires_grad_(False)

        return change


Outcome = tuple[float, Tensor, list[Tensor | None], list[Tensor]] | str
"""Loss, output rates, gradients and running statistics; or the error."""


def outcome(net: nn.Module, draw: Draw, engine: str) -> Outcome:
    """Loss, output rates, gradients and running statistics; or the error."""
    try:
        trainer = BRPTrainer(
            net,
            num_classes=K,
            engine=engine,
            propagation=draw.rule,
            consolidation=draw.consolidation,
            generator=torch.Generator().manual_seed(1),
        )
        loss, y = trainer.executor.learn(draw.x, draw.labels)
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    statistics = [buffer for name, buffer in net.named_buffers() if "running" in name or "num_batches" in name]
    return float(loss), y, [p.grad for p in net.parameters()], statistics


def difference(seed: int) -> str | None:
    """What the engines disagree about on one network, or None."""
    draw = Draw(seed)
    change = draw.disturb()
    nets = [copy.deepcopy(draw.net) for _ in range(2)]
    for net in nets:
        change(net)
    expected, got = (outcome(net, draw, engine) for net, engine in zip(nets, ("attach", "auto"), strict=True))
    found = unequal(expected, got, draw)
    return found and f"seed {seed}: {draw.net}, {tuple(draw.x.shape)}, {draw.rule}, {draw.consolidation}\n{found}"


def unequal(expected: Outcome, got: Outcome, draw: Draw) -> str | None:
    """What two outcomes of one network differ in, or None."""
    if isinstance(expected, str) or isinstance(got, str):
        return None if isinstance(expected, str) and isinstance(got, str) else f"{expected}\n{got}"
    # float64: some 10 ulp of the largest term; float32: sums of some 1000 terms in another order, which a batch norm
    # of little variance makes larger
    rtol = 1e-9 if draw.dtype is torch.float64 else 1e-3
    if isinstance(draw.rule, PooledReading):  # divides differences of rates, down to 1e-6 of them
        rtol = max(rtol, 1e-6)
    gradients = [(p, q) for p, q in zip(expected[2], got[2], strict=True) if p is not None or q is not None]
    if any(torch.isnan(p).any() for p, _ in gradients if p is not None):
        return None  # a surrogate that overflows in autograd, as torch's own exponential does
    scale = max([1e-3, *(float(p.abs().max()) for p, _ in gradients if p is not None)])
    for p, q in gradients:
        zero = torch.zeros_like(q if p is None else p)
        one, other = (zero if g is None else g for g in (p, q))
        if not torch.allclose(one, other, rtol=0, atol=rtol * scale):
            return f"a gradient of {tuple(one.shape)} differs by {float((one - other).abs().max())} of {scale}"
    if not torch.allclose(expected[1], got[1], atol=1e-6):
        return "rates differ"
    for one, other in zip(expected[3], got[3], strict=True):
        if not torch.allclose(one.double(), other.double(), rtol=1e-4, atol=1e-5):
            return f"running statistics differ: {one}, {other}"
    return None


def settled(seed: int) -> str | None:
    """As :func:`difference`; in single precision a membrane at its threshold may fall to either side, but not often."""
    found = difference(seed)
    if found is None or enlarges_rounding(seed):
        return None
    return found if Draw(seed).dtype is torch.float64 or all(difference_of_others(seed)) else None


def enlarges_rounding(seed: int) -> bool:
    """Whether attach alone finds other gradients where each weight is rounded otherwise.

    So it is behind some norms, and where a maximum is one of two currents that are the same but for rounding.
    """
    draw = Draw(seed)
    change = draw.disturb()
    outcomes = []
    for nudge in range(4):
        net = copy.deepcopy(draw.net)
        for p in net.parameters():
            p.data *= 1 + nudge / 2 * torch.finfo(p.dtype).eps * torch.randn_like(p)
        change(net)
        outcomes.append(outcome(net, draw, "attach"))
    return any(unequal(outcomes[0], other, draw) for other in outcomes[1:])


def difference_of_others(seed: int) -> list[str | None]:
    """The same architecture with other numbers, drawn by torch alone."""
    found = []
    manual_seed = torch.manual_seed
    for other in (1, 2):
        torch.manual_seed = lambda given, other=other: manual_seed(given + 10**9 * other)
        try:
            found.append(difference(seed))
        finally:
            torch.manual_seed = manual_seed
    return found


IGNORED = pytest.mark.filterwarnings("ignore:no hidden layer and no output reaches", "ignore:Inhibition is")


@IGNORED
@settings(max_examples=int(os.environ.get("SWEEP_EXAMPLES", "150")), deadline=None, derandomize=True)
@given(st.integers(0, 2**31 - 1))
def test_random_networks(seed):
    assert settled(seed) is None


@IGNORED
@pytest.mark.hostile(weight=4)
def test_random_networks_for_long(seconds, tell):
    end, seed, tried = time.monotonic() + seconds, random.randrange(2**31), 0
    while time.monotonic() < end:
        found = settled(seed + tried)
        assert found is None, found
        tried += 1
    assert tried > 0
    tell("networks, attach against fused", tried, f"from seed {seed}")
