"""attach's gradients against the plain oracle of tests/oracle.py, in float64."""

from __future__ import annotations

import itertools

import oracle
import pytest
import snntorch as snn
import torch
from networks import K, batch, mse, run, spread
from torch import Tensor, nn

from snntorch_brp import (
    BRP,
    Backprop,
    ErrorProjection,
    OutputOnly,
    Propagation,
    PseudoGradient,
    RefractoryLeaky,
    RewardPrediction,
    SignProjection,
    StateDifference,
    attach,
    boxcar,
    reset_state,
)
from snntorch_brp.consolidation import Consolidation

RULES: list[Propagation] = [BRP(), RewardPrediction(), ErrorProjection(), SignProjection(), Backprop(), OutputOnly()]
NAMES = [type(rule).__name__ for rule in RULES]
# Sums of a few hundred products of order 1 in float64, in another order: 1e-12 is some thousand roundings.
CLOSE = {"rtol": 0, "atol": 1e-12}


def refractory(**options: object) -> tuple[list[nn.Module], oracle.Neuron]:
    neurons = [RefractoryLeaky(0.25, 0.5, init_hidden=True, **options) for _ in range(3)]  # type: ignore[arg-type]
    return neurons, oracle.Neuron(0.25, 0.5, **options)  # type: ignore[arg-type]


def plain_leaky(reset: str) -> tuple[list[nn.Module], oracle.Neuron]:
    options = {"spike_grad": boxcar(), "reset_mechanism": reset, "init_hidden": True}
    return [snn.Leaky(0.25, 0.5, **options) for _ in range(3)], oracle.Neuron(0.25, 0.5, detach_reset=True, reset=reset)


def linear_net(neurons: list[nn.Module]) -> nn.Sequential:
    lif1, lif2, lif3 = neurons
    return nn.Sequential(nn.Linear(6, 8), lif1, nn.Linear(8, 7), lif2, nn.Linear(7, K), lif3)


def conv_net(neurons: list[nn.Module]) -> nn.Sequential:
    lif1, lif2, lif3 = neurons
    return nn.Sequential(
        nn.Conv2d(2, 3, 2), lif1, nn.Conv2d(3, 2, 2), lif2, nn.Flatten(), nn.Linear(2 * 2 * 3, K), lif3
    )


def wired(module: nn.Module, size: tuple[int, ...]) -> oracle.Synapse:
    weight, bias = (p.detach().numpy() for p in (module.weight, module.bias))  # type: ignore[union-attr, operator]
    return oracle.linear(weight, bias) if weight.ndim == 2 else oracle.conv2d(weight, bias, *size)


def compare(
    net: nn.Sequential,
    neuron: oracle.Neuron,
    rule: Propagation,
    x: Tensor,
    labels: Tensor,
    sizes: list[tuple[int, ...]],
    *,
    reduction: str = "sum",
    consolidation: Consolidation | None = None,
) -> None:
    """Gradients of attach against the oracle's, in the first sequence (output layer found out) and in a second."""
    synapses = [module for module in net if isinstance(module, nn.Linear | nn.Conv2d)]
    layers = [(wired(module, size), neuron) for module, size in zip(synapses, sizes, strict=True)]
    with attach(
        net,
        rule,
        num_classes=K,
        reduction=reduction,
        consolidation=consolidation,
        generator=torch.Generator().manual_seed(7),
    ) as brp:
        for _ in range(2):
            net.zero_grad()
            reset_state(net)
            spikes = run(net, x)
            brp.backward(mse(spikes, labels), labels)
        # The rules see B_l in float64; it is drawn in float32, so nothing is lost.
        names = [name for name, module in net.named_modules() if isinstance(module, snn.SpikingNeuron)]
        shapes = [module.mem.shape[1:] for module in net if isinstance(module, snn.SpikingNeuron)]
        feedback = [
            brp.feedback.matrix(name, shape).double().flatten(1).numpy()
            for name, shape in zip(names[:-1], shapes, strict=False)
        ]
    expected = oracle.gradients(
        layers,
        x.flatten(2).numpy(),
        labels.tolist(),
        type(rule).__name__,
        feedback,
        consolidation="rate" if isinstance(consolidation, StateDifference) else "PseudoGradient",
    )
    assert 0 < spikes.mean() < 1
    hidden_scale = 1 / len(labels) if reduction == "mean" and rule.local else 1.0
    for module, gradient in zip(synapses, expected, strict=True):
        if gradient is None:
            assert module.weight.grad is None
            assert module.bias.grad is None
            continue
        assert abs(gradient[0]).max() > 0, "the case is not worth testing: nothing is learned"
        scale = 1.0 if module is synapses[-1] else hidden_scale
        dw, db = (torch.as_tensor(g) * scale for g in gradient)
        torch.testing.assert_close(module.weight.grad.flatten(), dw, **CLOSE)
        torch.testing.assert_close(module.bias.grad, db, **CLOSE)


def linear_case(neurons: list[nn.Module], neuron: oracle.Neuron, rule: Propagation, **options: object) -> None:
    net = spread(linear_net(neurons).double())
    compare(net, neuron, rule, *batch(dtype=torch.float64, steps=7), [(), (), ()], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
@pytest.mark.parametrize(("tau_ref", "detach"), list(itertools.product([1, 3], [False, True])))
def test_linear_layers_match_the_equations(rule: Propagation, tau_ref: int, detach: bool) -> None:
    linear_case(*refractory(tau_ref=tau_ref, detach_reset=detach), rule)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
@pytest.mark.parametrize("tau_ref", [1, 3])
def test_convolutions_match_the_equations(rule: Propagation, tau_ref: int) -> None:
    neurons, neuron = refractory(tau_ref=tau_ref)
    net = spread(conv_net(neurons).double(), scale=0.6)
    x, labels = batch(dtype=torch.float64, size=3, inputs=(2, 4, 5))
    compare(net, neuron, rule, x, labels, [(4, 5), (3, 4), ()])


@pytest.mark.parametrize("tau_ref", [1, 3])
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize(("v_rest", "v_reset"), [(0.1, 0.0), (0.0, -0.25), (0.1, -0.25)])
def test_rest_and_reset_potentials(tau_ref: int, detach: bool, v_rest: float, v_reset: float) -> None:
    neurons, neuron = refractory(tau_ref=tau_ref, detach_reset=detach, v_rest=v_rest, v_reset=v_reset)
    linear_case(neurons, neuron, BRP())


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_plain_leaky_detaches_its_reset(rule: Propagation, reset: str) -> None:
    linear_case(*plain_leaky(reset), rule)


@pytest.mark.parametrize("rule", [BRP(), ErrorProjection(), Backprop()], ids=lambda rule: type(rule).__name__)
def test_mean_divides_hidden_gradients_by_the_batch(rule: Propagation) -> None:
    linear_case(*refractory(), rule, reduction="mean")


@pytest.mark.parametrize("rule", RULES[:4], ids=NAMES[:4])
def test_rate_difference_descends_its_local_objective(rule: Propagation) -> None:
    linear_case(*refractory(), rule, consolidation=StateDifference(state="rate"))


def test_membrane_difference_descends_its_local_objective() -> None:
    """½ Σ_t ‖v_t - δ‖² of the first layer, differentiated by autograd on that layer alone."""
    neurons, _ = refractory(tau_ref=2, v_rest=0.1)
    net = spread(linear_net(neurons).double())
    x, labels = batch(dtype=torch.float64)
    with attach(net, BRP(), num_classes=K, consolidation=StateDifference(), reduction="sum") as brp:
        brp.backward(mse(run(net, x), labels), labels)
        B_1 = brp.feedback.matrix("1", (8,)).double()
    alone, lif = nn.Linear(6, 8).double(), RefractoryLeaky(0.25, 0.5, tau_ref=2, v_rest=0.1)
    alone.load_state_dict(net[0].state_dict())
    mem, objective = lif.reset_mem(), torch.zeros((), dtype=torch.float64)
    for x_t in x:
        _, mem = lif(alone(x_t), mem)
        objective = objective + 0.5 * (mem - B_1[labels]).square().sum()
    objective.backward()
    torch.testing.assert_close(net[0].weight.grad, alone.weight.grad, **CLOSE)
    torch.testing.assert_close(net[0].bias.grad, alone.bias.grad, **CLOSE)


def test_stepwise_label_spikes_reach_the_layer_step_by_step() -> None:
    rule = BRP(label_rate=0.5, stepwise=True, generator=torch.Generator().manual_seed(3))
    net = spread(linear_net(refractory()[0]).double())
    x, labels = batch(dtype=torch.float64)
    with attach(net, rule, num_classes=K, consolidation=PseudoGradient(), reduction="sum") as brp:
        brp.backward(mse(run(net, x), labels), labels)
        B_1 = brp.feedback.matrix("1", (8,)).double().numpy()
    label_t = rule.__class__(label_rate=0.5, stepwise=True, generator=torch.Generator().manual_seed(3)).label(
        labels, K, len(x), torch.float64
    )
    synapse, neuron = wired(net[0], ()), refractory()[1]
    dw = 0.0
    for b in range(len(labels)):
        trace = oracle.run(synapse, neuron, x[:, b].tolist())
        a = oracle.adjoint(neuron, trace, (label_t[:, b].numpy() @ B_1).tolist())
        dw = dw + oracle.weight_gradient(synapse, trace.x, a)[0]
    assert 0 < label_t.mean() * K < 1
    torch.testing.assert_close(net[0].weight.grad.flatten(), torch.as_tensor(dw), **CLOSE)
