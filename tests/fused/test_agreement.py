"""The two executors agree: the fused engine against attach, on spikes, loss and every gradient."""

from __future__ import annotations

import pytest
import snntorch as snn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from snntorch import surrogate
from torch import nn

from snntorch_brp.adaptive import AdaptiveLeaky
from snntorch_brp.attachment import attach
from snntorch_brp.composition import PerLayer, Sum
from snntorch_brp.consolidation import Correlation, PseudoGradient, SimilarityMatching, StateDifference
from snntorch_brp.feedback import Feedback
from snntorch_brp.fused import FusedEngine
from snntorch_brp.models import mlp
from snntorch_brp.neurons import RefractoryLeaky
from snntorch_brp.propagation import (
    BRP,
    Backprop,
    ErrorProjection,
    OutputOnly,
    RewardPrediction,
    SignProjection,
)
from snntorch_brp.reading import PooledReading
from snntorch_brp.sequence import unroll
from snntorch_brp.surrogate import boxcar
from snntorch_brp.training import rate_mse

CLASSES = 3

rules = st.sampled_from(
    [
        *(BRP(), RewardPrediction(), ErrorProjection(), SignProjection(), Backprop(), OutputOnly()),
        *(BRP(label_rate=0.5), BRP(centered=True), RewardPrediction(kappa=10, cosine=True)),
        *(PooledReading(places=2), PooledReading(center="batch")),
    ]
)
consolidations = st.sampled_from(
    [
        PseudoGradient(),
        StateDifference(),
        StateDifference(state="rate"),
        Correlation(rectify=True),
        SimilarityMatching(),
        SimilarityMatching(center="sample", places="std", target="label"),
        Sum([(0.5, SimilarityMatching(places=2, target="label")), (0.5, PseudoGradient())]),
        PerLayer({"1": StateDifference(), "*": PseudoGradient()}),
    ]
)
refractory = st.builds(
    dict,
    beta=st.sampled_from([0.2, 0.9]),
    threshold=st.sampled_from([0.1, 0.5]),
    tau_ref=st.integers(1, 3),
    v_rest=st.sampled_from([0.0, 0.05, 0.6]),
    v_reset=st.sampled_from([0.0, -0.2]),
    detach_reset=st.booleans(),
    spike_grad=st.sampled_from([boxcar(), boxcar(0.2)]),
)
leaky = st.builds(
    dict,
    beta=st.sampled_from([0.2, 0.9]),
    threshold=st.sampled_from([0.1, 0.5]),
    reset_mechanism=st.sampled_from(["subtract", "zero", "none"]),
    # snnTorch's own surrogates give float32 spikes, which its neurons cannot add to a float64 membrane
    spike_grad=st.sampled_from([boxcar(), boxcar(2.0)]),
)
adaptive = st.builds(dict, adaptation=st.sampled_from([0.0, 0.2]), rho=st.sampled_from([0.5, 0.97]))
neurons = (
    refractory.map(lambda kw: lambda: RefractoryLeaky(**kw, init_hidden=True))
    | leaky.map(lambda kw: lambda: snn.Leaky(**kw, init_hidden=True))
    | st.tuples(leaky, adaptive).map(lambda both: lambda: AdaptiveLeaky(**both[0], **both[1], init_hidden=True))
)


@st.composite
def networks(draw):
    """A network and the shape of one sample at one step."""
    neuron = draw(neurons)
    bias = draw(st.booleans())
    kind = draw(st.sampled_from(["linear", "conv1d", "conv2d"]))
    groups, stride, dilation, padding = (draw(st.integers(1, 2)) for _ in range(4))
    conv_kw = {"stride": stride, "padding": padding - 1, "dilation": dilation, "groups": groups, "bias": bias}
    pool, norm = draw(st.sampled_from(["avg", "max", "none"])), draw(st.sampled_from([True, False, False]))
    if kind == "linear":
        shape, first = (2, 3), [nn.Flatten(), nn.Linear(6, 4, bias=bias)]
    elif kind == "conv1d":
        shape, first = (2, 9), [nn.Conv1d(2, 4, 3, **conv_kw)]
    else:
        shape, first = (2, 7, 8), [nn.Conv2d(2, 4, 3, **conv_kw)]
    if norm:
        first.append((nn.BatchNorm2d if kind == "conv2d" else nn.BatchNorm1d)(4))
    layers = [nn.Sequential(*first), neuron()]
    if kind != "linear" and pool != "none":
        layers.append(getattr(nn, f"{pool.title()}Pool{kind[-2]}d")(2))
    layers += [nn.Flatten(), nn.Dropout(0.0)]
    if draw(st.booleans()):
        layers += [nn.LazyLinear(5), neuron()]
    layers += [nn.LazyLinear(CLASSES, bias=bias), neuron()]
    return nn.Sequential(*layers), shape


def assert_agree(net, x, labels, rule, consolidation, *, chunk, rtol):
    seed = 5
    feedback_seed = torch.Generator().manual_seed(1)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    with attach(net, rule, num_classes=CLASSES, consolidation=consolidation, generator=feedback_seed) as handle:
        torch.manual_seed(seed)  # for rules that draw label spikes
        spikes = unroll(net, x)
        loss = rate_mse(spikes, labels)
        handle.backward(loss, labels)
    expected = {name: p.grad for name, p in net.named_parameters()}
    buffers = {name: value.clone() for name, value in net.state_dict().items()}
    net.load_state_dict(state)
    net.zero_grad()

    engine = FusedEngine(
        net,
        rule,
        num_classes=CLASSES,
        loss_fn=rate_mse,
        consolidation=consolidation,
        feedback=handle.feedback,
        chunk=chunk,
    )
    torch.manual_seed(seed)
    fused_loss, rate = engine.step(x, labels)
    torch.testing.assert_close(rate, spikes.detach().mean(0), rtol=0, atol=1e-7)  # the same spikes
    torch.testing.assert_close(fused_loss, loss.detach(), rtol=rtol, atol=0)
    # Of the largest gradient anywhere: some are sums that cancel, such as a bias in front of a batch norm.
    # Where all gradients cancel, terms of size 1e-4 and more are what was rounded.
    scale = max([1e-4, *(float(g.abs().max()) for g in expected.values() if g is not None)])
    for name, p in net.named_parameters():
        if expected[name] is None:
            assert p.grad is None or not p.grad.any(), name
        else:
            torch.testing.assert_close(p.grad, expected[name], rtol=0, atol=rtol * scale, msg=name)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, buffers[name], msg=name)  # batch norm saw the same statistics


@settings(max_examples=120, deadline=None)
@given(
    networks(),
    rules,
    consolidations,
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(0, 2**31 - 1),
)
def test_both_executors_give_the_same_gradients(network, rule, consolidation, steps, batch, chunk, seed):
    torch.manual_seed(seed)
    net, shape = network
    net = net.double()
    if any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in net.modules()):
        batch = max(batch, 2)  # one sample has no batch statistics
    x = (torch.rand(steps, batch, *shape, dtype=torch.float64) < 0.5).double()
    net(x[0])  # lets the lazy layers find their shapes
    labels = torch.randint(CLASSES, (batch,))
    # float64 sums in another order: some 10 ulp of the largest term
    assert_agree(net, x, labels, rule, consolidation, chunk=chunk, rtol=1e-11)


def test_float32_and_a_snntorch_surrogate():
    torch.manual_seed(0)

    def neuron():
        return snn.Leaky(0.7, threshold=0.4, spike_grad=surrogate.atan(), init_hidden=True)

    net = nn.Sequential(nn.Conv2d(1, 4, 3), neuron(), nn.Flatten(), nn.Linear(144, CLASSES), neuron())
    x, labels = (torch.rand(8, 4, 1, 8, 8) < 0.4).float(), torch.tensor([0, 1, 2, 0])
    for rule in (BRP(), Backprop()):
        assert_agree(net, x, labels, rule, PseudoGradient(), chunk=2, rtol=1e-5)
        net.zero_grad()


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("kind", ["1d", "2d"])
def test_sparse_float32_convolutions(kind, pooled):
    torch.manual_seed(0)
    conv, pool = (getattr(nn, name + kind) for name in ("Conv", "AvgPool"))
    net = nn.Sequential(
        *(conv(2, 4, 3, padding=1), RefractoryLeaky(init_hidden=True), pool(2) if pooled else nn.Identity()),
        *(conv(4, 6, 3), RefractoryLeaky(init_hidden=True), nn.Flatten()),
        *(nn.LazyLinear(CLASSES), RefractoryLeaky(init_hidden=True)),
    )
    x = (torch.rand(8, 4, 2, *(8,) * int(kind[0])) < 0.1).float()
    labels = torch.tensor([0, 1, 2, 0])
    unroll(net, x)  # lets the lazy layer see its inputs
    for rule in (BRP(), RewardPrediction(), ErrorProjection()):
        for consolidation in (PseudoGradient(), StateDifference()):
            assert_agree(net, x, labels, rule, consolidation, chunk=3, rtol=1e-5)
            net.zero_grad()


def test_bfloat16_products_stay_near_float32():
    torch.manual_seed(0)
    net = mlp([20, 30, CLASSES])
    x, labels = (torch.rand(8, 4, 20) < 0.4).float(), torch.tensor([0, 1, 2, 0])
    gradients = []
    feedback = Feedback(CLASSES)
    for precision in ("float32", "bfloat16"):
        engine = FusedEngine(net, BRP(), num_classes=CLASSES, loss_fn=rate_mse, feedback=feedback, precision=precision)
        engine.step(x, labels)
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
        net.zero_grad()
    exact, rounded = gradients
    assert torch.cosine_similarity(exact, rounded, dim=0) > 0.95  # a membrane at the threshold may fall to either side


def test_gradients_add_up_and_frozen_layers_rest():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 5), RefractoryLeaky(init_hidden=True), nn.Linear(5, 3), RefractoryLeaky(init_hidden=True)
    )
    x, labels = torch.rand(4, 3, 6), torch.tensor([0, 1, 2])
    engine = FusedEngine(net, BRP(), num_classes=CLASSES, loss_fn=rate_mse)
    engine.step(x, labels)
    once = net[0].weight.grad.clone()
    engine.step(x, labels)
    torch.testing.assert_close(net[0].weight.grad, 2 * once)

    net.zero_grad()
    net[0].requires_grad_(False)
    engine.step(x, labels)
    assert net[0].weight.grad is None
    assert net[2].weight.grad is not None
