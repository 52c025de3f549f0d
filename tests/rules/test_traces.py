"""Eligibility traces: what a membrane keeps of its input, forwards in time and folded back."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import snntorch as snn
import torch
from networks import K, batch, grads, mse, run, spread
from torch import Tensor, nn

from snntorch_brp import BRP, AdaptiveLeaky, attach, boxcar, rules
from snntorch_brp.activity import Activity
from snntorch_brp.eligibility_trace import trace_of
from snntorch_brp.traces import cascade, fold


@pytest.mark.parametrize("decays", [(), (0.6,), (0.6, 0.3)])
def test_a_folded_gradient_pairs_with_inputs_as_the_gradient_does_with_their_traces(decays: tuple[float, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x, g = torch.rand(2, 7, 5, generator=generator, dtype=torch.float64)
    torch.testing.assert_close((g * cascade(x, decays)).sum(), (fold(g, decays) * x).sum(), rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("neuron", "options"), [(snn.Leaky, {"beta": 0.75}), (snn.Synaptic, {"alpha": 0.5, "beta": 0.75})]
)
def test_the_trace_of_the_input_is_what_the_membrane_keeps_of_it(neuron: type[nn.Module], options: dict) -> None:
    """A neuron that never fires sums its input up with the decays that are read from it."""
    lif = neuron(**options, threshold=100.0, init_hidden=True)
    x, _ = batch(steps=9)
    states = None
    for x_t in x:
        lif(x_t)
        states = trace_of(lif).step(x_t, states, lambda: pytest.fail("a leaky trace needs no ψ"))
        torch.testing.assert_close(states[0], lif.mem)


@pytest.mark.parametrize("neuron", [snn.Alpha(0.8, 0.5), snn.LeakyParallel(8, 8)])
def test_a_neuron_with_another_memory_is_told(neuron: nn.Module) -> None:
    with pytest.raises(ValueError, match=f"a {type(neuron).__name__} has no eligibility trace"):
        trace_of(neuron)


def test_a_trace_goes_on_from_window_to_window() -> None:
    x = torch.rand(6, 2, 3)
    whole = Activity(x)
    memory: dict[str, Tensor] = {}
    for delayed in (False, True):
        memory.clear()
        steps = [Activity(x_t[None], memory=memory).trace(x_t[None], 0.5, name="x", delayed=delayed) for x_t in x]
        torch.testing.assert_close(torch.cat(steps), whole.trace(x, 0.5, name="x", delayed=delayed))


def synaptic() -> nn.Module:
    return snn.Synaptic(0.5, 0.75, threshold=0.5, spike_grad=boxcar(), init_hidden=True)


def recurrent(neurons: int) -> nn.Module:
    options = {"linear_features": neurons, "threshold": 0.5, "spike_grad": boxcar(), "init_hidden": True}
    return snn.RSynaptic(0.5, 0.75, **options)


def gradients(net: nn.Module, rule, x: Tensor, labels: Tensor, credit: str) -> dict[str, Tensor]:
    net.zero_grad()
    with attach(net, rule, num_classes=K, credit=credit, generator=torch.Generator().manual_seed(1)) as handle:
        handle.reset()
        if credit == "full":
            handle.backward(mse(run(net, x), labels), labels)
        else:
            handle.teach(labels, steps=len(x))
            run(net, x)
    return grads(net)


def test_two_traces_are_exact_behind_a_synaptic_current() -> None:
    """Autograd through a Synaptic layer's own time against its cascade, to some roundings of float64."""
    net = spread(nn.Sequential(nn.Linear(6, 8), synaptic(), nn.Linear(8, K), synaptic()).double())
    x, labels = batch(steps=8, dtype=torch.float64)
    exact = gradients(net, BRP(), x, labels, "full")
    for rule, credit in ((BRP(), "trace"), (rules.ETLP(label_rate=1.0), "full"), (rules.ETLP(label_rate=1.0), "trace")):
        found = gradients(net, rule, x, labels, credit)
        for name in ("0.weight", "0.bias"):
            assert exact[name].abs().max() > 0
            torch.testing.assert_close(found[name], exact[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", [rules.DECOLLE(), rules.EProp(), rules.STLLR()], ids=lambda rule: rule.facts.name)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_recurrent_synaptic_layer_learns_the_same_at_every_step_and_at_once(rule, reduction: str) -> None:
    net = spread(nn.Sequential(nn.Linear(6, 8), recurrent(8), nn.Linear(8, K), synaptic()).double(), scale=0.5)
    x, labels = batch(steps=8, dtype=torch.float64)
    at_once, stepwise = (gradients(net, rule, x, labels, credit) for credit in ("full", "trace"))
    for name in ("0.weight", "0.bias", "1.recurrent.weight", "1.recurrent.bias"):
        assert at_once[name].abs().max() > 0
        torch.testing.assert_close(stepwise[name], at_once[name], rtol=0, atol=1e-12)


def adaptive(neurons: int) -> nn.Module:
    return AdaptiveLeaky(0.75, 0.5, init_hidden=True)


@pytest.mark.parametrize("hidden", [recurrent, adaptive])
@pytest.mark.parametrize("rule", [rules.DECOLLE(), rules.EProp(), rules.STLLR(), rules.OTTT()], ids=str)
def test_memory_does_not_grow_with_the_number_of_steps(rule, hidden: Callable[[int], nn.Module]) -> None:
    """What is alive after a step is the same after 10 and after 100."""
    net = spread(nn.Sequential(nn.Linear(6, 8), hidden(8), nn.Linear(8, 7), synaptic(), nn.Linear(7, K), synaptic()))
    generator = torch.Generator().manual_seed(0)
    alive = {}
    with attach(net, rule, num_classes=K, credit="trace") as handle:
        handle.reset()
        handle.teach(torch.tensor([0, 1]), steps=100)
        for t in range(1, 101):
            net((torch.rand(2, 6, generator=generator) < 0.5).float())
            if t in (10, 100):
                gc.collect()
                alive[t] = sum(issubclass(type(o), Tensor) for o in gc.get_objects())
    assert alive[100] < alive[10] + 45  # one tensor a step kept would be 90 more
    assert all(buffer.grad_fn is None for buffer in net.buffers())
