"""The Triton kernels against their definition: on a CUDA device, or under Triton's interpreter on the CPU.

Not collected by itself: test_triton.py runs it in processes of its own, with TRITON_INTERPRET=1, which Triton reads
when it is imported, and without.
"""

from __future__ import annotations

import os

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from snntorch import surrogate
from torch import nn

from snntorch_brp.consolidation import StateDifference
from snntorch_brp.feedback import Feedback
from snntorch_brp.fused import FusedEngine, dispatch, triton_neuron
from snntorch_brp.fused.scan import Leaky, adjoint, scan
from snntorch_brp.neurons import RefractoryLeaky
from snntorch_brp.propagation import BRP, Backprop, ErrorProjection, RewardPrediction
from snntorch_brp.surrogate import boxcar
from snntorch_brp.training import rate_mse

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"

EXACT_PSI = [boxcar(), boxcar(0.2), surrogate.straight_through_estimator(), surrogate.triangular(0.3)]
SMOOTH_PSI = [
    *(surrogate.atan(), surrogate.fast_sigmoid(), surrogate.sigmoid(4), surrogate.spike_rate_escape()),
    *(surrogate.SFS(slope=5, B=0.1), lambda u: surrogate.atan(1.5)(u)),  # the last is told by no name
]


def leaky(beta, threshold, spike_grad, **options):
    return Leaky(torch.tensor(beta, device=DEVICE), torch.tensor(threshold, device=DEVICE), spike_grad, **options)


@st.composite
def layers(draw):
    """Currents of a layer and its constants."""
    pool = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 3), (3, 2)]))
    shape = draw(st.sampled_from([(5, 7, 6), (2, 9), (530,), (64,)])) if pool == (1, 1) else (3, 7, 8)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))
    T, B = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    current = torch.randn(B, T, *shape, generator=generator).to(DEVICE)
    if draw(st.booleans()):  # time-major, and not sample-major as the engine has it
        current = current.transpose(0, 1).contiguous().transpose(0, 1)
    current = current.transpose(0, 1)
    reset = draw(st.sampled_from(["forget", "forget", "subtract", "none"]))
    of_the_paper = reset == "forget"  # snn.Leaky knows neither rest nor refractory period
    beta, threshold = torch.tensor(draw(st.sampled_from([0.2, 0.9]))), torch.tensor(draw(st.sampled_from([0.1, 0.5])))
    if draw(st.booleans()):
        beta = torch.rand(shape, generator=generator)
        threshold = threshold + 0.3 * torch.rand(shape[-1], generator=generator)
    neuron = Leaky(
        beta.to(DEVICE),
        threshold.to(DEVICE),
        draw(st.sampled_from(EXACT_PSI + SMOOTH_PSI)),
        reset=reset,
        tau_ref=draw(st.sampled_from([1, 1, 2, 3, 16])) if of_the_paper else 1,
        v_rest=draw(st.sampled_from([0.0, 0.6])) if of_the_paper else 0.0,
        v_reset=draw(st.sampled_from([0.0, -0.3])) if of_the_paper else 0.0,
        detach_reset=draw(st.booleans()) if of_the_paper else True,
    )
    return current, neuron, pool, generator


def pooled(fired, pool, how="average"):
    if pool == (1, 1):
        return fired
    way = F.avg_pool2d if how == "average" else F.max_pool2d
    return way(fired.flatten(0, 1), pool).unflatten(0, fired.shape[:2])


@settings(max_examples=50, deadline=None)
@given(
    layers(), st.sampled_from(["none", "constant", "steps"]), st.sampled_from(["none", "constant", "steps"]),
    st.sampled_from(["average", "max"]),
)  # fmt: skip
def test_kernels_equal_the_definition(layer, of_spikes, of_membrane, how):
    current, neuron, pool, generator = layer
    expected = scan(current, neuron)
    fired = (expected > neuron.threshold).float()

    spikes = torch.full_like(pooled(fired, pool), torch.nan)
    membrane, rate = triton_neuron.scan_(current.clone(), neuron, spikes, pool, how=how)
    torch.testing.assert_close(membrane, expected, rtol=0, atol=0)  # the same arithmetic in the same order
    torch.testing.assert_close(spikes, pooled(fired, pool, how), rtol=1e-6, atol=0)
    torch.testing.assert_close(rate, fired.mean(0), rtol=1e-6, atol=0)

    def gradient(kind):
        steps = {"none": 0, "constant": 1, "steps": len(current)}[kind]
        return torch.randn(steps, *current.shape[1:], generator=generator).to(DEVICE) if steps else None

    gradients = {"grad_spikes": gradient(of_spikes), "grad_membrane": gradient(of_membrane)}
    expected = adjoint(membrane.clone(), neuron, **gradients)
    got = triton_neuron.adjoint_(membrane, neuron, **gradients)
    # a smooth ψ may be rounded otherwise: a few ulp, of sums of at most τ_ref + 2 terms
    epsilon = 0 if neuron.spike_grad in EXACT_PSI else 60 * torch.finfo(torch.float32).eps
    torch.testing.assert_close(got, expected, rtol=epsilon, atol=epsilon)


@settings(max_examples=15, deadline=None)
@given(layers(), st.booleans())
def test_one_byte_a_step_holds_all_that_the_adjoint_needs(layer, constant):
    current, neuron, pool, generator = layer
    neuron = Leaky(**{**vars(neuron), "spike_grad": boxcar(0.3), "detach_reset": True})
    membrane = scan(current, neuron)
    fired = (membrane > neuron.threshold).float()
    spikes = torch.empty_like(pooled(fired, pool))
    assert triton_neuron.bits_suffice(neuron)
    bits, rate = triton_neuron.scan_(current.clone(), neuron, spikes, pool, keep="bits")
    assert bits.dtype is torch.uint8
    assert torch.equal((bits & 1).float(), fired)
    assert torch.equal(((bits >> 1) & 1).float(), neuron.psi(membrane))
    torch.testing.assert_close(rate, fired.mean(0), rtol=1e-6, atol=0)
    delta = torch.randn(1 if constant else len(current), *current.shape[1:], generator=generator).to(DEVICE)
    expected = adjoint(membrane, neuron, grad_spikes=delta)
    torch.testing.assert_close(triton_neuron.adjoint_(bits, neuron, grad_spikes=delta), expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("keep", ["membrane", "bits"])
def test_sixteen_bit_currents_meet_a_float32_state(dtype, keep):
    torch.manual_seed(0)
    current, delta = (torch.randn(steps, 2, 40).to(DEVICE, dtype) for steps in (5, 1))
    neuron = leaky(0.9, 0.3, boxcar(), detach_reset=True)
    membrane, spikes = scan(current.float(), neuron), torch.empty_like(current)
    tape, rate = triton_neuron.scan_(current.clone(), neuron, spikes, keep=keep)
    fired = membrane > neuron.threshold
    assert torch.equal(spikes, fired.to(dtype))
    assert rate.dtype is torch.float32
    if keep == "membrane":
        assert torch.equal(tape, membrane)
    expected = adjoint(membrane, neuron, grad_spikes=delta.float())
    got = triton_neuron.adjoint_(tape, neuron, grad_spikes=delta, dtype=dtype)
    # the interpreter cuts bits off where a GPU rounds to bfloat16 (test_triton.py looks at its instructions)
    cut = INTERPRETED and dtype is torch.bfloat16
    torch.testing.assert_close(got, expected.to(dtype), rtol=2**-7 if cut else 0, atol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.bfloat16])
def test_spikes_are_written_as_the_next_layer_takes_them(dtype):
    torch.manual_seed(0)
    current, neuron = torch.randn(4, 3, 50, device=DEVICE), leaky(0.9, 0.3, boxcar())
    spikes = torch.empty(4, 3, 50, dtype=dtype, device=DEVICE)
    triton_neuron.scan_(current.clone(), neuron, spikes)
    assert torch.equal(spikes, (scan(current, neuron) > neuron.threshold).to(dtype))


def test_what_is_not_asked_for_stays_untouched():
    torch.manual_seed(0)
    neuron = leaky(0.9, 0.3, boxcar())
    all_current, all_spikes = torch.randn(6, 5, 37, device=DEVICE), torch.full((6, 5, 37), 7.0, device=DEVICE)
    before = all_current.clone()
    triton_neuron.scan_(all_current[:, 1:3], neuron, all_spikes[:, 1:3])
    assert torch.equal(all_current[:, 1:3], scan(before[:, 1:3], neuron))
    for other in (slice(0, 1), slice(3, 5)):
        assert torch.equal(all_current[:, other], before[:, other])
        assert (all_spikes[:, other] == 7).all()


def test_a_sigmoid_far_from_the_threshold_does_not_overflow():
    neuron = leaky(0.9, 0.5, surrogate.sigmoid(25), reset="none", detach_reset=True)
    membrane, delta = torch.full((1, 1, 3), -8.0, device=DEVICE), torch.ones(1, 1, 3, device=DEVICE)
    assert (triton_neuron.adjoint_(membrane, neuron, grad_spikes=delta) < 1e-30).all()


def test_refusals_say_why():
    neuron = leaky(0.9, 0.3, surrogate.atan())
    current = torch.randn(4, 3, 8, device=DEVICE)
    with pytest.raises(ValueError, match="keep='membrane'"):
        triton_neuron.scan_(current, neuron, torch.empty_like(current), keep="bits")
    with pytest.raises(ValueError, match=r"\[4, 3, 8\]"):
        triton_neuron.scan_(current, neuron, torch.empty(4, 3, 7, device=DEVICE))
    assert not triton_neuron.can_run(current.double(), neuron)
    assert not triton_neuron.can_run(current, Leaky(neuron.beta, neuron.threshold, boxcar(), tau_ref=17))


def test_bits_tell_by_the_rate_what_the_membranes_would_have_told():
    current, neuron = torch.zeros(6, 1, 4, device=DEVICE), leaky(0.9, 0.3, boxcar(), detach_reset=True)
    current[1, 0, 0], current[2, 0, 1], current[5, 0, 2] = torch.nan, torch.inf, -torch.inf
    _, rate = triton_neuron.scan_(current, neuron, torch.empty_like(current), keep="bits")
    assert rate.isnan().tolist() == [[True, True, True, False]]


def convolutional(dtype, **options):
    torch.manual_seed(0)

    def neuron(**own):
        return RefractoryLeaky(beta=0.5, threshold=0.3, init_hidden=True, **own, **options)

    net = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), neuron(tau_ref=2), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(36, 20), neuron(spike_grad=surrogate.fast_sigmoid()), nn.Linear(20, 3), neuron()),
    )
    return net.to(DEVICE, dtype)


def gradients(net, rule, **options):
    """Of all parameters after a step, the loss and the output rate."""
    first = net[0].weight
    x = (torch.rand(5, 4, 1, 8, 8, generator=torch.Generator().manual_seed(2)) < 0.5).to(first)
    feedback = Feedback(3, generator=torch.Generator().manual_seed(3))
    engine = FusedEngine(net, rule, num_classes=3, loss_fn=rate_mse, feedback=feedback, **options)
    net.zero_grad()
    result = engine.step(x, torch.tensor([0, 1, 2, 0], device=DEVICE))
    return [*(p.grad for p in net.parameters()), *result]


@pytest.fixture
def kernels(monkeypatch):
    """As on a GPU: no C++ kernels and, at first, no Triton; ``use()`` brings it in and gives all calls from then on."""
    monkeypatch.setattr(dispatch, "can_run", lambda *_: False)
    can_run, calls = triton_neuron.can_run, []
    monkeypatch.setattr(triton_neuron, "can_run", lambda *_: False)

    def use():
        monkeypatch.setattr(triton_neuron, "can_run", can_run)
        for name in ("scan_", "adjoint_"):
            kernel = getattr(triton_neuron, name)

            def called(tape, *args, name=name, kernel=kernel, **options):
                calls.append((name, tape.dtype, options.get("keep")))
                return kernel(tape, *args, **options)

            monkeypatch.setattr(triton_neuron, name, called)
        return calls

    return use


RULES = [BRP(), RewardPrediction(), ErrorProjection(), Backprop()]


KINDS = [
    *((rule, torch.float32, False) for rule in RULES),
    *((rule, torch.bfloat16, True) for rule in RULES),
    *((RULES[0], dtype, detach) for dtype, detach in [(torch.float32, True), (torch.float16, False)]),
]


@pytest.mark.parametrize(("rule", "dtype", "detach_reset"), KINDS, ids=str)
def test_the_engine_trains_alike_on_the_triton_kernels(rule, dtype, detach_reset, kernels):
    net = convolutional(dtype, detach_reset=detach_reset)
    expected = gradients(net, rule)
    calls = kernels()
    # 16 bits: sums of products in one order, gradients rounded once; the interpreter cuts bfloat16 where a GPU rounds
    rtol = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 2**-6}[dtype]
    for got, expect in zip(gradients(net, rule), expected, strict=True):
        assert got.dtype is expect.dtype
        scale = max(float(expect.abs().max()), 1e-6)
        torch.testing.assert_close(got, expect, rtol=0, atol=rtol * scale)
    forward, back = ([call for call in calls if call[0] == name] for name in ("scan_", "adjoint_"))
    assert [call[1] for call in forward] == [dtype] * 3
    # ψ of fast_sigmoid is no bit, and a gradient through the reset wants the membrane
    kinds = ["membrane" if layer == 1 or not detach_reset else "bits" for layer in range(3)]
    assert [call[2] for call in forward] == kinds
    assert {call[1] for call in back} == {torch.uint8 if kind == "bits" else torch.float32 for kind in kinds}


@pytest.mark.parametrize("consolidation", [StateDifference(), StateDifference(state="rate")], ids=str)
def test_who_looks_at_membranes_gets_them(consolidation, kernels):
    net = convolutional(torch.float32, detach_reset=True)
    expected = gradients(net, BRP(), consolidation=consolidation)
    calls = kernels()
    for got, expect in zip(gradients(net, BRP(), consolidation=consolidation), expected, strict=True):
        torch.testing.assert_close(got, expect, rtol=1e-5, atol=1e-6)
    assert ("scan_", torch.float32, "bits") not in calls or consolidation.state == "rate"


def test_bits_of_a_membrane_that_is_not_finite_stop_the_step(kernels):
    net = convolutional(torch.float32, detach_reset=True)
    kernels()
    with torch.no_grad():
        net[0].bias[1] = torch.nan
    with pytest.raises(ValueError, match="membrane of layer '1' is not finite"):
        gradients(net, BRP())
