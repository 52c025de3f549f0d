"""Shifting Learning against a plain, slow, written-out version, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from snntorch_brp.shifting import (
    DIVIDED,
    EXACT,
    PUBLISHED,
    SILENT,
    Events,
    Rule,
    ShiftingLayer,
    ShiftingNetwork,
    compiled,
    encode,
    first_spikes,
    one_spike_each,
    output_error,
    several_spikes,
    target_times,
)
from snntorch_brp.shifting.spikes import causal_error, causal_update

LOOPS = [pytest.param(False, id="torch"), pytest.param(True, id="compiled")]


@pytest.fixture(params=LOOPS, autouse=True)
def loops(request, monkeypatch):
    """Every test here runs with both versions of the loops."""
    if request.param and compiled.numba is None:
        pytest.skip("the compiled loops need numba")
    if not request.param:
        monkeypatch.setattr(compiled, "numba", None)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(spikes: list[tuple[float, int]], w: list[float]) -> tuple[float, set[int], float]:
    """The paper's rule for one neuron, candidate by candidate: (z_out, causal set of spike numbers, Σ_C w - 1)."""
    spikes = [s for s in spikes if s[0] < SILENT]
    order = sorted(range(len(spikes)), key=lambda n: spikes[n][0])
    best, causal, excess = SILENT, set(), 1.0
    for k in range(1, len(order) + 1):
        heard = [spikes[n] for n in order[:k]]
        if k < len(order) and spikes[order[k]][0] == heard[-1][0]:
            continue  # what arrives together is heard together
        total = sum(w[i] for _, i in heard)
        if total <= 1:
            continue
        z = sum(w[i] * t for t, i in heard) / (total - 1)
        if z >= heard[-1][0] and z < best:
            best, causal, excess = z, set(order[:k]), total - 1
    return best, causal, excess


def times_and_weights(case: str) -> tuple[Tensor, Tensor]:
    g = generator(1)
    z = encode(torch.rand(5, 40, generator=g, dtype=torch.float64))
    w = torch.rand(40, 13, generator=g, dtype=torch.float64) * 8 / 40
    if case == "ties":
        z = encode((torch.rand(5, 40, generator=g, dtype=torch.float64) * 4).round() / 4)
    if case == "image":  # most inputs at the latest time
        z = z.masked_fill(torch.rand(5, 40, generator=g) < 0.8, math.e)
        w = w * 5
    if case == "negative":
        w = (w - 0.05) * 3
    if case == "silent":
        z[0] = SILENT
        z[1, ::2] = math.inf
        z[2, :39] = SILENT
    if case == "one":
        z = z[:1]
    return z, w


@pytest.mark.parametrize("case", ["plain", "ties", "image", "negative", "silent", "one"])
def test_spike_times_and_updates_are_the_written_out_ones(case: str) -> None:
    z, w = times_and_weights(case)
    delta = torch.randn(len(z), 13, generator=generator(2), dtype=torch.float64)
    events = one_spike_each(z)
    fired = first_spikes(events, w)
    update, error = torch.zeros_like(w), torch.zeros_like(z)
    for b in range(len(z)):
        spikes = [(float(t), i) for i, t in enumerate(z[b])]
        numbers = [i for t, i in spikes if t < SILENT]
        for j in range(13):
            z_out, causal, excess = plain(spikes, w[:, j].tolist())
            # 1e-9: sums of 40 terms in float64, divided by an excess that can be as small as 1e-3
            assert fired.z[b, j].item() == pytest.approx(z_out, rel=1e-9)
            assert fired.excess[b, j].item() == pytest.approx(excess, rel=1e-9)
            assert {n for n, i in enumerate(numbers) if z[b, i] <= fired.last[b, j]} == causal
            for i in (numbers[n] for n in causal):
                update[i, j] += delta[b, j] * (z[b, i] - z_out)
                error[b, i] += delta[b, j] * w[i, j]
    torch.testing.assert_close(causal_update(events, fired, delta), update, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(causal_error(z, fired, delta, w), error, rtol=1e-12, atol=1e-12)


def test_long_inputs_stop_early_without_changing_anything() -> None:
    g = generator(3)
    z, w = encode(torch.rand(3, 400, generator=g, dtype=torch.float64)), torch.rand(400, 4, generator=g).double()
    fired = first_spikes(one_spike_each(z), w)  # Σ w = 200: all fire after a few inputs
    for b in range(3):
        for j in range(4):
            z_out, causal, _ = plain([(float(t), i) for i, t in enumerate(z[b])], w[:, j].tolist())
            assert len(causal) < 100
            assert fired.z[b, j].item() == pytest.approx(z_out, rel=1e-9)


def test_single_precision_agrees_to_rounding() -> None:
    z, w = times_and_weights("image")
    double, single = (first_spikes(one_spike_each(z.to(d)), w.to(d)) for d in (torch.float64, torch.float32))
    both = (double.z < 100) & (single.z < 100)  # Σ w barely above 1: the time itself is ill-conditioned
    assert both.float().mean() > 0.9
    torch.testing.assert_close(single.z.double()[both], double.z[both], rtol=1e-4, atol=0)


def test_a_neuron_fires_when_its_membrane_first_reaches_the_threshold() -> None:
    z, w = times_and_weights("plain")
    fired = first_spikes(one_spike_each(z), w)

    def membrane(at: Tensor) -> Tensor:
        brought = (1 - z[:, :, None] / at[:, None, :]).clamp(min=0)
        return (w * brought).sum(dim=1)

    spiked = fired.z < SILENT
    torch.testing.assert_close(membrane(fired.z)[spiked], torch.ones_like(fired.z)[spiked])
    assert (membrane(fired.z * 0.999)[spiked] < 1).all()


def test_inhibition_within_a_candidates_wait_is_not_heard() -> None:
    # the first input alone would fire the neuron at 2; the inhibition arrives at 1.5, before that
    w = torch.tensor([[2.0], [-5.0]])
    fired = first_spikes(one_spike_each(torch.tensor([[1.0, 1.5]])), w)
    assert fired.z.item() == 2.0
    assert fired.last.item() == 1.0


def test_order_of_simultaneous_inputs_does_not_matter() -> None:
    w = torch.tensor([[3.0], [-1.5], [0.5]])
    times = torch.tensor([[1.0, 1.0, 2.0]])
    there = first_spikes(one_spike_each(times), w)
    back = first_spikes(one_spike_each(times[:, [1, 0, 2]]), w[[1, 0, 2]])
    assert (
        there.z.item() == back.z.item() == 2.5
    )  # (1.5 · 1 + 0.5 · 2) / (2 - 1): earlier than 1.5 / 0.5 = 3 without the last


# several spikes per synapse -----------------------------------------------------------------------------------


def spike_lists(padded: bool) -> tuple[Tensor, Tensor, list[list[tuple[float, int]]]]:
    g = generator(4)
    lengths = [60, 35, 0] if padded else [60]
    times = torch.full((len(lengths), 60), math.inf, dtype=torch.float64)
    synapses = torch.zeros(len(lengths), 60, dtype=torch.long)
    plain_lists = []
    for b, n in enumerate(lengths):
        times[b, :n] = torch.rand(n, generator=g, dtype=torch.float64).exp().sort().values
        synapses[b, :n] = torch.randint(12, (n,), generator=g)
        plain_lists.append(list(zip(times[b, :n].tolist(), synapses[b, :n].tolist(), strict=True)))
    return times, synapses, plain_lists


@pytest.mark.parametrize("padded", [False, True])
def test_several_spikes_per_synapse(padded: bool) -> None:
    times, synapses, lists = spike_lists(padded)
    w = torch.rand(12, 5, generator=generator(5), dtype=torch.float64) * 0.2
    events = several_spikes(times, synapses, 12) if padded else several_spikes(times[0], synapses[0], 12)
    fired = first_spikes(events, w)
    delta = torch.randn(len(lists), 5, generator=generator(6), dtype=torch.float64)
    update = torch.zeros_like(w)
    for b, spikes in enumerate(lists):
        for j in range(5):
            z_out, causal, _ = plain(spikes, w[:, j].tolist())
            assert fired.z[b, j].item() == pytest.approx(z_out, rel=1e-9)
            for n in causal:
                update[spikes[n][1], j] += delta[b, j] * (spikes[n][0] - z_out)
    torch.testing.assert_close(causal_update(events, fired, delta), update, rtol=1e-9, atol=1e-9)


def test_one_spike_per_synapse_is_a_special_case_of_several() -> None:
    z, w = times_and_weights("plain")
    ordered, synapses = z.sort(dim=1)
    assert torch.equal(first_spikes(several_spikes(ordered, synapses, 40), w).z, first_spikes(one_spike_each(z), w).z)


# the gradient --------------------------------------------------------------------------------------------------


def numerical(function, at: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences of a scalar function, entry by entry."""
    gradient = torch.empty_like(at)
    for n in range(at.numel()):
        shifted = [at.clone(), at.clone()]
        shifted[0].view(-1)[n] += step
        shifted[1].view(-1)[n] -= step
        gradient.view(-1)[n] = (function(shifted[0]) - function(shifted[1])) / (2 * step)
    return gradient


def network(rule: Rule, **options) -> ShiftingNetwork:
    net = ShiftingNetwork((6, 7, 3), rule=rule, revive=0.0, generator=generator(7), **options).double()
    with torch.no_grad():
        for layer in net.layers:
            layer.passing.uniform_(0.8, 1.2, generator=generator(8))
    return net


def cross_entropy(net: ShiftingNetwork, z: Tensor, labels: Tensor) -> float:
    wanted = target_times(labels, 3).double().softmax(dim=1)
    return float(-(wanted * net(z).log_softmax(dim=1)).sum(dim=1).mean())


def test_exact_rule_is_the_numerical_gradient() -> None:
    net, z = network(EXACT), encode(torch.rand(4, 6, generator=generator(9), dtype=torch.float64))
    labels = torch.tensor([0, 1, 2, 0])
    assert (net.times(z)[0] < SILENT).all()
    net.learn(z, labels)
    for parameter in net.parameters():
        update, value = parameter.grad.clone(), parameter.data.clone()

        def loss(x: Tensor, parameter: Tensor = parameter) -> float:
            parameter.data.copy_(x)
            return cross_entropy(net, z, labels)

        gradient = numerical(loss, value)
        parameter.data.copy_(value)
        # 1e-7: central differences with step 1e-6 in float64
        torch.testing.assert_close(update, gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("rule", "divided"), [(PUBLISHED, False), (DIVIDED, True)])
def test_published_update_is_the_gradient_times_known_factors(rule: Rule, divided: bool) -> None:
    layer = network(rule).layers[0]
    z = encode(torch.rand(1, 6, generator=generator(10), dtype=torch.float64))
    delta = torch.randn(1, 7, generator=generator(11), dtype=torch.float64)
    events = layer.sort(z)
    fired = layer.fire(events)
    sent = layer.learn(events, fired, delta, rule=rule, revive=0.0)

    def handed_on(w: Tensor) -> float:
        return float((delta * layer.passing.detach() * first_spikes(events, w).z).sum())

    gradient = numerical(handed_on, layer.weight.detach())
    p, excess = layer.passing.detach(), fired.excess
    factor = p.exp() / p if divided else p.exp() * excess / p  # exp(p) (Σ_C w - 1) / p
    torch.testing.assert_close(layer.weight.grad, gradient * factor, rtol=1e-5, atol=1e-7)

    def from_inputs(x: Tensor) -> float:
        return float((delta * p * first_spikes(one_spike_each(x), layer.weight.detach()).z).sum())

    # each neuron's term of the error sent back is the exact one times (Σ_C w - 1) / p
    undone = sent * p if divided else sent * p / excess
    back = causal_error(z, fired, undone, layer.weight.detach())
    torch.testing.assert_close(back, numerical(from_inputs, z), rtol=1e-5, atol=1e-7)


def test_output_error_is_the_gradient_of_the_cross_entropy() -> None:
    z_out = torch.rand(3, 4, generator=generator(12), dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 3, 1])
    wanted = target_times(labels, 4).double().softmax(dim=1)
    (-(wanted * z_out.log_softmax(dim=1)).sum()).backward()
    torch.testing.assert_close(output_error(z_out.detach(), labels), z_out.grad)
    assert target_times(labels, 4)[0].tolist() == pytest.approx([math.exp(0.01)] + [math.exp(0.99)] * 3)


# feedback, dead neurons, edges ----------------------------------------------------------------------------------


def test_random_feedback_is_fixed_and_carries_the_error_past_the_weights() -> None:
    net = network(PUBLISHED, feedback="random")
    B = net.feedback.matrix("layers.0", (7,)).double()
    assert B.shape == (3, 7)
    assert not any("feedback" in name for name, _ in net.named_parameters())
    assert any(torch.equal(value.double(), B) for value in net.state_dict().values() if value.shape == B.shape)
    z, labels = encode(torch.rand(5, 6, generator=generator(13), dtype=torch.float64)), torch.tensor([0, 1, 2, 0, 1])
    z_out = net.learn(z, labels)
    hidden = net.layers[0]
    events = hidden.sort(z)
    fired = hidden.fire(events)
    output = net.layers[1].fire(net.layers[1].sort(hidden(z)))
    caused = hidden(z)[:, None, :] <= output.last[:, :, None]  # [B, K, hidden]
    assert 0 < caused.double().mean() < 1
    delta = (output_error(z_out, labels)[:, :, None] * B * caused).sum(dim=1) * (fired.z < SILENT)
    expected = causal_update(events, fired, delta * hidden.passing.detach().exp()) / 5
    torch.testing.assert_close(hidden.weight.grad, expected)


def test_a_neuron_silent_in_the_whole_batch_is_raised_by_what_it_heard() -> None:
    layer = ShiftingLayer(3, 2, generator=generator())
    layer.weight.data = torch.tensor([[0.1, 2.0], [0.1, 2.0], [0.1, 2.0]])  # Σ w = 0.3: neuron 0 never fires
    z = torch.tensor([[1.0, 2.0, SILENT]])
    events = layer.sort(z)
    fired = layer.fire(events)
    assert fired.z[0, 0] == SILENT
    layer.learn(events, fired, torch.ones(1, 2), rule=PUBLISHED, revive=0.1)
    assert layer.weight.grad[:, 0].tolist() == pytest.approx([-0.1, -0.1, 0.0])
    layer.learn(events, fired, torch.ones(1, 2), rule=PUBLISHED, revive=0.0)
    assert layer.weight.grad[:, 0].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("value", [SILENT, math.inf])
def test_all_silent_input_gives_silence_and_finite_updates(value: float) -> None:
    net = ShiftingNetwork((4, 5, 3), generator=generator())
    z = torch.full((2, 4), value)
    assert (net(z) == SILENT).all()
    assert net.predict(z).tolist() == [0, 0]
    net.learn(z, torch.tensor([0, 1]))
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)


def test_negative_weights_and_passing_times_stay_finite_over_training() -> None:
    net = ShiftingNetwork((4, 6, 2), generator=generator())
    with torch.no_grad():
        net.layers[0].weight.sub_(1.0)
        net.layers[0].passing[0] = -3.0
    optimizer = torch.optim.Adam(net.parameters(), 0.3, betas=(0.9, 0.9))
    x = encode(torch.rand(8, 4, generator=generator(14)))
    for _ in range(50):
        net.learn(x, torch.arange(8) % 2)
        optimizer.step()
    assert all(p.isfinite().all() for p in net.parameters())
    assert net(x).isfinite().all()


def test_a_batch_of_one_is_a_row_of_a_batch() -> None:
    net = ShiftingNetwork((6, 5, 3), generator=generator()).double()
    z = encode(torch.rand(4, 6, generator=generator(15), dtype=torch.float64))
    torch.testing.assert_close(torch.cat([net(row[None]) for row in z]), net(z))


@pytest.mark.parametrize("bad", [math.nan, 0.0, -1.0])
def test_times_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        ShiftingLayer(3, 2)(torch.tensor([[1.0, bad, 2.0]]))


def test_errors_name_what_was_given() -> None:
    with pytest.raises(ValueError, match="3 synapses a neuron, got input of 4"):
        ShiftingLayer(3, 2)(torch.ones(1, 4))
    with pytest.raises(ValueError, match="sorted early to late"):
        several_spikes(torch.tensor([2.0, 1.0]), torch.tensor([0, 0]), 3)
    with pytest.raises(ValueError, match=r"0\.\.2, got 0\.\.3"):
        several_spikes(torch.tensor([1.0, 2.0]), torch.tensor([0, 3]), 3)
    with pytest.raises(ValueError, match="times are \\[2\\], synapses \\[1\\]"):
        several_spikes(torch.tensor([1.0, 2.0]), torch.tensor([0]), 3)
    with pytest.raises(ValueError, match=r"\[B, N_in\]"):
        one_spike_each(torch.ones(3))
    with pytest.raises(ValueError, match="'symmetric' or 'random'"):
        ShiftingNetwork((2, 3), feedback="fixed")
    with pytest.raises(ValueError, match="two sizes"):
        ShiftingNetwork((2,))
    with pytest.raises(ValueError, match="exact gradient is divided"):
        Rule(exact=True)


def test_events_without_spikes() -> None:
    empty = Events(torch.empty(2, 0), torch.empty(2, 0, dtype=torch.long), 3)
    assert (first_spikes(empty, torch.ones(3, 2)).z == SILENT).all()
