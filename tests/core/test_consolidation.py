"""How a layer learns, formula by formula; the whole chain is held to the oracle in test_attach_oracle.py."""

from __future__ import annotations

import itertools

import pytest
import snntorch as snn
import torch
from networks import K, batch, mse, run, spread
from torch import nn

from snntorch_brp import (
    BRP,
    STDP,
    Correlation,
    DifferentialHebb,
    PseudoGradient,
    RefractoryLeaky,
    SimilarityMatching,
    StateDifference,
    attach,
    consolidation_named,
    trace,
)
from snntorch_brp.activity import Activity
from snntorch_brp.consolidation import CONSOLIDATIONS

T, B, N = 3, 2, 4
SPIKES = (torch.rand(T, B, N, generator=torch.Generator().manual_seed(0)) < 0.5).float()
MEMBRANE = torch.randn(T, B, N, generator=torch.Generator().manual_seed(1))
DELTA = torch.randn(1, B, N, generator=torch.Generator().manual_seed(2))


def test_pseudo_gradient_puts_delta_in_the_place_of_the_spike_gradient() -> None:
    got = PseudoGradient().gradients(DELTA, Activity(SPIKES))
    assert torch.equal(got.spikes, DELTA)
    assert got.membrane is got.current is None


@pytest.mark.parametrize("gain", [1.0, 5.0])
@pytest.mark.parametrize("state", ["membrane", "rate"])
def test_state_difference_is_the_gradient_of_its_objective(state: str, gain: float) -> None:
    """½‖h - δ‖² of eq. 8, differentiated by autograd; the membrane's is summed over the steps."""
    spikes, membrane = SPIKES.clone().requires_grad_(), MEMBRANE.clone().requires_grad_()
    h = membrane if state == "membrane" else spikes.mean(0)
    (0.5 * (h - gain * DELTA).square().sum()).backward()
    got = StateDifference(state=state, gain=gain).gradients(DELTA, Activity(SPIKES, membrane=MEMBRANE))  # type: ignore[arg-type]
    if state == "membrane":
        torch.testing.assert_close(got.membrane, membrane.grad)
        assert got.spikes is None
    else:
        torch.testing.assert_close(got.spikes.expand(T, B, N), spikes.grad)
        assert got.membrane is None


def test_state_must_be_known() -> None:
    with pytest.raises(ValueError, match="state must be 'membrane' or 'rate', got 'spike'"):
        StateDifference(state="spike")  # type: ignore[arg-type]


def test_window_takes_steps_or_tensors_and_names_what_it_did_not_keep() -> None:
    lists, tensor = Activity(list(SPIKES), membrane=list(MEMBRANE)), Activity(SPIKES, membrane=MEMBRANE)
    torch.testing.assert_close(lists.rate, SPIKES.mean(0))
    torch.testing.assert_close(tensor.rate, SPIKES.mean(0))
    assert torch.equal(lists.spikes, tensor.spikes)
    assert torch.equal(lists.membrane, tensor.membrane)
    assert lists.steps == tensor.steps == T
    assert Activity(SPIKES, rate=torch.ones(B, N)).rate.mean() == 1
    with pytest.raises(
        AttributeError, match=r"kept no current: add it to the rule, `keeps = frozenset\(\{'current'\}\)`"
    ):
        _ = tensor.current


def pairs(lam: float, potentiation: float, depression: float, x: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """STDP of one sample, pair of spikes by pair of spikes: ``[N, inputs]``."""
    dw = torch.zeros(N, x.shape[1])
    for i, j, post, pre in itertools.product(range(N), range(x.shape[1]), range(T), range(T)):
        if SPIKES[post, 0, i] and x[pre, j]:
            if pre <= post:  # the input came first, or together
                dw[i, j] += delta[post, i] * potentiation * lam ** (post - pre)
            else:  # it came after the layer's own spike, whose trace is one step old by then
                dw[i, j] -= delta[pre, i] * depression * lam ** (pre - post - 1)
    return dw


@pytest.mark.parametrize("stepwise", [False, True])
def test_stdp_counts_every_pair_of_spikes(stepwise: bool) -> None:
    x = (torch.rand(T, 5, generator=torch.Generator().manual_seed(3)) < 0.6).float()
    delta = torch.randn(T, B, N, generator=torch.Generator().manual_seed(4)) if stepwise else DELTA
    got = STDP(decay=0.7, potentiation=0.9, depression=0.4).gradients(delta, Activity(SPIKES)).current
    expected = pairs(0.7, 0.9, 0.4, x, delta[:, 0].expand(T, N))
    torch.testing.assert_close(torch.einsum("ti,tj->ij", got[:, 0], x), expected)


def test_differential_hebb_follows_the_change_of_the_trace() -> None:
    s_bar = torch.zeros(T + 1, B, N)
    for t in range(T):
        s_bar[t + 1] = 0.7 * s_bar[t] + SPIKES[t]
    got = DifferentialHebb(decay=0.7).gradients(DELTA, Activity(SPIKES)).current
    torch.testing.assert_close(got, DELTA * (s_bar[1:] - s_bar[:-1]))


@pytest.mark.parametrize("rule", [STDP(), DifferentialHebb()], ids=["STDP", "DifferentialHebb"])
def test_a_gradient_on_the_current_reaches_any_synapse(rule) -> None:
    """Convolution and pooling: ∇W as autograd gives it when the rule's gradient is put on the current by hand."""
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.AvgPool2d(2), RefractoryLeaky(init_hidden=True), nn.Flatten(),
        nn.Linear(12, K), RefractoryLeaky(init_hidden=True),
    )  # fmt: skip
    spread(net)
    x, labels = batch(inputs=(1, 6, 6))
    with attach(net, BRP(), num_classes=K, consolidation=rule, reduction="sum") as brp:
        brp.backward(mse(run(net, x), labels), labels)
        B_1 = brp.feedback.matrix("2", (3, 2, 2))
    got = net[0].weight.grad.clone()
    net.zero_grad()
    net[2].reset_mem()
    currents = [net[1](net[0](x_t)) for x_t in x]
    spikes = torch.stack([net[2](current) for current in currents])
    gradients = rule.gradients(B_1[labels].unsqueeze(0), Activity(spikes)).current
    torch.autograd.backward(currents, list(gradients))
    assert got.abs().sum() > 0
    torch.testing.assert_close(got, net[0].weight.grad)


@pytest.mark.parametrize("rule", [STDP, DifferentialHebb])
def test_decay_is_checked(rule) -> None:
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\), got 1"):
        rule(decay=1)


@pytest.mark.parametrize("rectify", [False, True])
def test_correlation_is_the_gradient_of_its_objective(rectify: bool) -> None:
    """-corr(rate, code) of each sample, by numpy's definition of it, differentiated by autograd."""
    rate = torch.rand(B, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64, requires_grad=True)
    delta = torch.randn(1, B, 7, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    code = delta[0].relu() if rectify else delta[0]
    correlations = [torch.corrcoef(torch.stack([r, c]))[0, 1] for r, c in zip(rate, code, strict=True)]
    (-sum(correlations)).backward()
    window = Activity(torch.zeros(T, B, 7), rate=rate.detach())
    got = Correlation(rectify=rectify).gradients(delta, window)
    torch.testing.assert_close(got.spikes, rate.grad[None], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("center", ["batch", "sample"])
def test_similarity_matching_is_the_gradient_of_its_objective(center: str) -> None:
    """¼ mean_ij (cos(rate_i, rate_j) - cos(δ_i, δ_j))²; the executor divides by B.

    The batch's mean rate is held fixed, a sample's own mean is not.
    """
    rate = torch.rand(5, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64, requires_grad=True)
    delta = torch.randn(1, 5, 7, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    centered = rate - (rate.detach().mean(0) if center == "batch" else rate.mean(1, keepdim=True))
    alike = torch.cosine_similarity(centered[:, None], centered[None], dim=2)
    wanted = torch.cosine_similarity(delta[0][:, None], delta[0][None], dim=2)
    (0.25 * (alike - wanted).square().mean()).backward()
    window = Activity(torch.zeros(T, 5, 7), rate=rate.detach())
    got = SimilarityMatching(center=center).gradients(delta, window).spikes  # type: ignore[arg-type]
    assert got.abs().max() > 0.01
    torch.testing.assert_close(got / 5, rate.grad[None], rtol=1e-9, atol=1e-12)


def test_center_must_be_known() -> None:
    with pytest.raises(ValueError, match="center must be 'batch' or 'sample', got 'row'"):
        SimilarityMatching(center="row")  # type: ignore[arg-type]


def test_silent_layers_get_finite_gradients_from_directions() -> None:
    for rule in (Correlation(), Correlation(rectify=True), SimilarityMatching(), SimilarityMatching(center="sample")):
        spikes = rule.gradients(DELTA, Activity(torch.zeros(T, B, N))).spikes
        assert torch.isfinite(spikes).all()


def test_only_what_is_compared_is_kept() -> None:
    assert StateDifference(state="membrane").keeps == {"membrane"}
    assert StateDifference(state="rate").keeps == set()


def test_the_rate_of_a_layer_that_shows_no_membrane_can_be_asked_for() -> None:
    """LeakyParallel gives spikes alone: a rule for its membrane is refused, one for its rate is not."""
    net = nn.Sequential(snn.LeakyParallel(6, 4), nn.Linear(4, K), snn.StateLeaky(0.5, channels=K))
    x, labels = batch(inputs=(6,))
    for rule in (StateDifference(state="rate", gain=3), StateDifference()):
        with attach(net, BRP(), num_classes=K, consolidation=rule) as brp:
            if "membrane" in rule.keeps:
                with pytest.raises(RuntimeError, match="shows no membrane to learn from"):
                    net(x)
                continue
            brp.backward(mse(net(x)[0], labels), labels)
            assert net[0].rnn.weight_ih_l0.grad.abs().max() > 0


def test_trace_is_a_sum_over_the_past() -> None:
    x = torch.rand(T, B, N, generator=torch.Generator().manual_seed(5))
    expected = torch.stack([sum(0.7 ** (t - k) * x[k] for k in range(t + 1)) for t in range(T)])
    torch.testing.assert_close(trace(x, 0.7), expected)


def test_consolidations_by_name() -> None:
    for name, line in CONSOLIDATIONS.items():
        assert consolidation_named(name) == consolidation_named(name.upper()) == line.make()
    with pytest.raises(ValueError, match="no consolidation 'hebb'; there are: pseudo-gradient, state-difference"):
        consolidation_named("hebb")
    with pytest.raises(TypeError, match="positional"):
        STDP(0.5)
