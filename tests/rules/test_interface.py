"""What a rule of one's own may see and say, the same when the sequence is over and at every step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import snntorch as snn
import torch
from networks import K, batch, grads, mse, run, spread
from torch import Tensor, nn

import snntorch_brp
from snntorch_brp import (
    BRP,
    STDP,
    Activity,
    BRPTrainer,
    Consolidation,
    Gradients,
    Propagation,
    PseudoGradient,
    attach,
    boxcar,
    label_spikes,
    rules,
)
from snntorch_brp.fused import FusedEngine, NotFusible
from snntorch_brp.training import rate_mse


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def lif() -> nn.Module:
    return snn.Leaky(0.75, 0.5, spike_grad=boxcar(), init_hidden=True)


def dense() -> nn.Sequential:
    return spread(nn.Sequential(nn.Linear(6, 8), lif(), nn.Linear(8, K), lif()).double())


def learn(net: nn.Module, rule, x: Tensor, labels: Tensor, credit: str, **options) -> dict[str, Tensor]:
    net.zero_grad()
    settings = {"num_classes": K, "generator": seeded(), "credit": credit} | options
    with attach(net, rule, **settings) as handle:
        handle.reset()
        if credit == "full":
            handle.backward(mse(run(net, x), labels), labels)
        else:
            handle.teach(labels, steps=len(x))
            run(net, x)
    return grads(net)


@dataclass
class Witness(Consolidation):
    """Remembers what it was shown."""

    keeps: ClassVar[frozenset[str]] = frozenset({"membrane", "current", "inputs"})
    causal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.seen: list[Activity] = []

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        self.seen.append(window)
        return Gradients(spikes=delta)


@pytest.mark.parametrize("credit", ["full", "instant", "trace"])
def test_a_rule_sees_its_layer(credit: str) -> None:
    net, (x, labels), rule = dense(), batch(steps=5, dtype=torch.float64), Witness()
    learn(net, BRP(label_rate=0.5, stepwise=True, generator=seeded()), x, labels, credit, consolidation=rule)
    assert len(rule.seen) == (1 if credit == "full" else 5)
    layer = rule.seen[0].layer
    assert layer.name == "1"
    assert layer.neuron is net[1]
    assert layer.synapses == (net[0],)
    assert layer.threshold == 0.5
    assert [float(decay) for decay in layer.decays] == [0.75]
    assert torch.equal(layer.weights[0], net[0].weight)

    def whole(name: str) -> Tensor:
        return torch.cat([getattr(window, name) for window in rule.seen])

    v = whole("membrane")
    assert torch.equal(whole("psi"), ((v - 0.5).abs() < 0.5).double())
    assert torch.equal(whole("spikes"), (v > 0.5).double())
    assert torch.equal(torch.cat([window.inputs[0] for window in rule.seen]), x)
    torch.testing.assert_close(whole("current"), x @ net[0].weight.T + net[0].bias)
    assert torch.equal(whole("label"), label_spikes(labels, K, 5, rate=0.5, generator=seeded(), dtype=torch.float64))
    assert [window.first for window in rule.seen] == list(range(len(rule.seen)))


@dataclass(frozen=True)
class Oja(Consolidation):
    """Needs the weights themselves: Σ_t δ_i (s_i x_j - s_i² w_ij)."""

    keeps: ClassVar[frozenset[str]] = frozenset({"inputs"})
    causal: ClassVar[bool] = True

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        s, (x,), (w,) = delta * window.spikes, window.inputs, window.layer.weights
        return Gradients(weights=[torch.einsum("tbi,tbj->ij", s, x) - s.sum((0, 1))[:, None] * w])


@pytest.mark.parametrize("credit", ["full", "instant", "trace"])
def test_a_rule_can_say_the_weights_gradient_itself(credit: str) -> None:
    net, (x, labels) = dense(), batch(steps=5, dtype=torch.float64)
    found = learn(net, rules.Unmodulated(), x, labels, credit, consolidation=Oja())["0.weight"]
    witness = Witness()
    learn(net, BRP(), x, labels, "full", consolidation=witness)
    s, w = witness.seen[0].spikes, net[0].weight.detach()
    expected = torch.zeros_like(w)
    for t in range(5):
        for b in range(x.shape[1]):
            for i in range(8):
                expected[i] += s[t, b, i] * (x[t, b] - w[i]) / x.shape[1]
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_gradient_that_does_not_fit_the_weights_is_told() -> None:
    class Wrong(Oja):
        def gradients(self, delta: Tensor, window: Activity) -> Gradients:
            return Gradients(weights=[torch.zeros(2, 2)])

    net, (x, labels) = dense(), batch(dtype=torch.float64)
    with pytest.raises(
        ValueError, match=r"layer '1' has weights \[\(8, 6\)\], and its rule gave gradients \[\(2, 2\)\]"
    ):
        learn(net, BRP(), x, labels, "full", consolidation=Wrong())
    assert grads(net) == {}


CAUSAL = ["drtp", "decolle", "ell", "etlp", "osttp", "e-prop", "s-tllr"]  # beside those that learn at every step alone
WHOLE = ["r-stdp", "forward-forward", "ccl", "similarity", "predsim"]


@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_rule_learns_the_same_at_every_step_and_at_once(name: str) -> None:
    net, (x, labels) = dense(), batch(steps=6, dtype=torch.float64)
    found = {}
    for credit in ("full", "trace"):
        torch.manual_seed(0)  # for label spikes
        found[credit] = learn(net, rules.RULES[name](), x, labels, credit)["0.weight"]
    assert found["full"].abs().max() > 0
    torch.testing.assert_close(found["trace"], found["full"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", WHOLE)
def test_a_rule_that_needs_the_whole_sequence_says_so(name: str) -> None:
    with pytest.raises(ValueError, match=r"needs the whole sequence \(it is not causal\): use credit='full'"):
        attach(dense(), name, num_classes=K, credit="trace")


@pytest.mark.parametrize("name", ["dfa", "sdfa"])
def test_an_outputs_error_reaches_the_layers_in_the_same_step(name: str) -> None:
    """In the last step the rate so far is the rate: a sequence of one step is learned as a whole one is."""
    net, (x, labels) = dense(), batch(steps=1, dtype=torch.float64)
    full, trace = (learn(net, name, x, labels, credit) for credit in ("full", "trace"))
    assert full["0.weight"].abs().max() > 0
    for key, gradient in full.items():
        torch.testing.assert_close(trace[key], gradient, rtol=0, atol=1e-12)


def test_learned_values_are_saved_with_the_feedback() -> None:
    x, labels = batch(dtype=torch.float64)
    rule = rules.EProp(feedback="adaptive", learning_rate=0.1)

    def twice(save: bool) -> Tensor:
        net = dense()
        handle = attach(net, rule, num_classes=K, generator=seeded())
        for _ in range(2):
            with handle:
                net.zero_grad()
                handle.reset()
                handle.backward(mse(run(net, x), labels), labels)
            if save:
                state = handle.feedback.state_dict()
                handle = attach(net, rule, num_classes=K)
                handle.feedback.load_state_dict(state)
        return grads(net)["0.weight"]

    torch.testing.assert_close(twice(save=True), twice(save=False), rtol=0, atol=0)


def test_without_a_label_or_a_loss() -> None:
    """Unsupervised STDP in a network whose layers are all hidden, and in one whose output learns on."""
    x, labels = batch(steps=8, dtype=torch.float64)
    rule = {"propagation": rules.Unmodulated(strength=-1), "num_classes": 1, "consolidation": STDP()}
    net = dense()
    with attach(net, **rule) as handle:
        handle.reset()
        run(net, x)
        handle.backward(None)
        assert set(grads(net)) == {"0.weight", "0.bias", "2.weight", "2.bias"}
        net.zero_grad()
        handle.reset()
        handle.backward(mse(run(net, x), labels))
        taught = grads(net)
        net.zero_grad()
        handle.reset()
        run(net, x)
        handle.backward(None)
    assert set(taught) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert set(grads(net)) == {"0.weight", "0.bias"}  # the output is known now, and rests without a loss


def test_what_is_missing_is_told() -> None:
    net, (x, labels) = dense(), batch(dtype=torch.float64)
    with attach(net, BRP(), num_classes=K) as handle:
        handle.reset()
        loss = mse(run(net, x), labels)
        with pytest.raises(ValueError, match=r"BRP is taught by labels: call \.backward\(loss, labels\)"):
            handle.backward(loss)
        handle.backward(loss, labels)
    with attach(net, "dfa", num_classes=K) as handle:
        handle.reset()
        run(net, x)
        with pytest.raises(ValueError, match="compares the output with the label: give a loss"):
            handle.backward(None, labels)
        handle.clear()
    with pytest.raises(ValueError, match=r"gradient at one step.*use attach\(\.\.\., credit='trace'\)"):
        attach(net, rules.OTTT(), num_classes=K)
    with pytest.raises(ValueError, match=r"num_classes=2\), with the true label in the input"):
        learn(net, rules.SpikingForwardForward(), x, labels, "full")
    with pytest.raises(ValueError, match="symmetric feedback takes the weights of the readout of layer '1'"):
        learn(
            spread(nn.Sequential(nn.Linear(6, 8), lif(), nn.Linear(8, 7), lif(), nn.Linear(7, K), lif()).double()),
            rules.EProp(feedback="symmetric"),
            x,
            labels,
            "full",
        )


def test_rules_by_name_and_class() -> None:
    net = dense()
    for rule in ("decolle", "DECOLLE", rules.DECOLLE, rules.DECOLLE()):
        handle = attach(net, rule, num_classes=K)
        assert handle.propagation == rules.LocalReadout()
        assert handle.consolidation == rules.Eligibility()
    with pytest.raises(ValueError, match="DECOLLE says itself how a layer learns"):
        attach(net, rules.DECOLLE(), num_classes=K, consolidation=PseudoGradient())
    with pytest.raises(ValueError, match=r"no propagation 'decole'.*and the rules drtp, dfa"):
        attach(net, "decole", num_classes=K)


@pytest.mark.parametrize("name", ["decolle", "etlp", "osttp", "drtp", "dfa", "sdfa", "ccl", "similarity", "predsim"])
def test_the_fused_engine_learns_the_same(name: str) -> None:
    """Sums in another order, in float64: 1e-12 is some thousand roundings."""
    net, (x, labels) = dense(), batch(steps=6, size=5, dtype=torch.float64)
    rule = rules.RULES[name]()
    torch.manual_seed(0)
    handle = attach(net, rule, num_classes=K, generator=seeded())
    with handle:
        handle.reset()
        handle.backward(rate_mse(run(net, x), labels), labels)
    expected = grads(net)
    net.zero_grad()
    parts = {"consolidation": rule.consolidation, "feedback": handle.feedback, "num_classes": K, "loss_fn": rate_mse}
    torch.manual_seed(0)
    FusedEngine(net, rule.propagation, **parts, chunk=2).step(x, labels)
    for key, gradient in expected.items():
        torch.testing.assert_close(grads(net)[key], gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["e-prop", "s-tllr", "r-stdp", "ottt", "ell", "espp", "tp"])
def test_what_the_fused_engine_does_not_keep_is_left_to_attach(name: str) -> None:
    net, rule = dense(), rules.RULES[name]()
    with pytest.raises(NotFusible, match="sees what the fused engine does not keep: use attach"):
        FusedEngine(net, rule.propagation, consolidation=rule.consolidation, num_classes=K, loss_fn=rate_mse)


@pytest.mark.parametrize("name", ["decolle", "e-prop"])
def test_the_trainer_takes_a_rule(name: str) -> None:
    net = spread(nn.Sequential(nn.Linear(6, 8), lif(), nn.Linear(8, K), lif()))
    x, labels = batch(steps=6)
    trainer = BRPTrainer(net, num_classes=K, propagation=rules.RULES[name](), generator=seeded())
    before = net[0].weight.detach().clone()
    trainer.step(x, labels)
    assert (trainer.executor.fused is not None) == (name == "decolle")
    assert not torch.equal(net[0].weight, before)


def test_every_rule_states_its_facts_once() -> None:
    shown = rules.table().splitlines()
    assert len(shown) == 2 + len(rules.RULES)
    for (name, rule), row in zip(rules.RULES.items(), shown[2:], strict=True):
        facts = rule.facts
        assert row.count(" | ") == 5
        for said in (name, rule.__name__, facts.paper, facts.sees, facts.learns, facts.remembers, facts.transports):
            assert said in row
        assert rule.__doc__ is not None
        assert facts.paper.split(",")[0].split(" ")[0] in rule.__doc__, "the docstring names the paper"
    assert rules.table() in (Path(__file__).parents[2] / "docs" / "rules.md").read_text(), (
        "docs/rules.md is out of date"
    )


def test_public_names_suffice_to_write_a_rule() -> None:
    for name in ("Propagation", "Consolidation", "Gradients", "Activity", "rules"):
        assert name in snntorch_brp.__all__
    assert issubclass(rules.StepError, Propagation)
