"""What is sent, formula by formula; the whole chain is held to the oracle in test_attach_oracle.py."""

from __future__ import annotations

import math

import pytest
import torch

from snntorch_brp import (
    BRP,
    Backprop,
    ErrorProjection,
    OutputOnly,
    RewardPrediction,
    SignProjection,
    propagation_named,
)
from snntorch_brp.activity import Activity
from snntorch_brp.propagation import PROPAGATIONS, Propagation, project

LABELS = torch.tensor([2, 0])
WINDOW = Activity(torch.tensor([[[1.0, 0, 1, 0], [0, 0, 0, 1]], [[1, 0, 0, 0], [0, 1, 0, 1]]]))  # [T=2, B=2, N=4]
FEEDBACK = torch.tensor([[0.5, -0.5, 0, 0], [0, 1, 1, 0], [-1, 0, 0.25, 2]])
Y = torch.tensor([[0.5, 0.0, 1.0], [0.25, 0.0, 0.75]])


def send(rule: Propagation, steps: int = 2) -> torch.Tensor | None:
    label = rule.label(LABELS, 3, steps, torch.float32)
    return rule.signal(label, window=WINDOW, feedback=FEEDBACK, output=Y if rule.needs_output else None)


def test_project_is_a_product_for_any_neuron_shape_and_number_of_steps() -> None:
    B_l, TP = torch.randn(3, 2, 5), torch.randn(7, 4, 3)
    assert torch.allclose(project(TP, B_l), torch.einsum("tbk,kcn->tbcn", TP, B_l), atol=1e-6)
    assert project(TP[:1], B_l).shape == (1, 4, 2, 5)


def test_brp_sends_the_label() -> None:
    assert send(BRP()).tolist() == [[[0, 0, 1], [1, 0, 0]]]


def test_brp_with_bernoulli_label_spikes() -> None:
    mean = send(BRP(label_rate=0.25, generator=torch.Generator().manual_seed(0)), steps=4000)
    assert mean.shape == (1, 2, 3)
    assert mean[0, 0, 2].item() == pytest.approx(0.25, abs=0.03)  # standard error √(0.19/4000) = 0.007
    assert mean[0, 0, :2].tolist() == [0, 0]
    by_step = send(BRP(label_rate=0.25, stepwise=True, generator=torch.Generator().manual_seed(0)), steps=4000)
    assert by_step.shape == (4000, 2, 3)
    assert torch.allclose(by_step.mean(0, keepdim=True), mean)


def test_reward_prediction() -> None:
    got = send(RewardPrediction(kappa=2.0))
    rates = [[1.0, 0, 0.5, 0], [0, 0.5, 0, 1]]
    norm = (math.sqrt(0.5) + math.sqrt(2) + math.sqrt(1 + 0.0625 + 4)) / 3
    for b, rate in enumerate(rates):
        z = [2.0 * sum(w * r for w, r in zip(row, rate, strict=True)) / norm**2 for row in FEEDBACK.tolist()]
        p = [math.exp(v) / sum(math.exp(u) for u in z) for v in z]
        p[int(LABELS[b])] -= 1
        assert got[0, b].tolist() == pytest.approx(p, abs=1e-6)


def test_error_and_its_sign() -> None:
    assert send(ErrorProjection()).tolist() == [[[0.5, 0, 0], [-0.75, 0, 0.75]]]
    assert send(SignProjection()).tolist() == [[[1, 0, 0], [-1, 0, 1]]]


def test_baselines_send_nothing() -> None:
    assert send(Backprop()) is None
    assert send(OutputOnly()) is None


def test_label_only_rules_say_so() -> None:
    waits = {rule: rule.needs_output for rule in (BRP, RewardPrediction, OutputOnly, ErrorProjection, SignProjection)}
    assert list(waits.values()) == [False, False, False, True, True]
    assert [rule for rule in (*waits, Backprop) if not rule.local] == [Backprop]


def test_centered_labels_push_nothing_all_classes_have_in_common() -> None:
    rule = BRP(centered=True)
    label = rule.label(torch.arange(4), num_classes=4, steps=3, dtype=torch.float64)
    sent = rule.signal(label, window=Activity(torch.zeros(3, 4, 2)), feedback=torch.ones(4, 2), output=None)
    assert sent.sum(-1).abs().max() < 1e-12
    torch.testing.assert_close(sent.sum(1), torch.zeros(1, 4, dtype=torch.float64))


def test_the_cosine_reading_sees_the_direction_of_the_activity_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    rate, B_l = torch.rand(5, 40, generator=generator), torch.randn(3, 40, generator=generator)
    label = torch.eye(3)[torch.tensor([0, 1, 2, 0, 1])][None]
    rule = RewardPrediction(kappa=10, cosine=True)

    def sent(rate: torch.Tensor, feedback: torch.Tensor) -> torch.Tensor:
        return rule.signal(label, window=Activity(torch.zeros(2, 5, 40), rate=rate), feedback=feedback, output=None)

    got = sent(rate, B_l)
    torch.testing.assert_close(sent(0.3 * rate + 0.1, 7 * B_l), got)  # neither scale nor offset
    cosine = torch.cosine_similarity((rate - rate.mean(1, keepdim=True))[:, None], B_l[None], dim=2)
    torch.testing.assert_close(got[0], torch.softmax(10 * cosine, 1) - label[0])
    assert sent(B_l[torch.tensor([0, 1, 2, 0, 1])], B_l).abs().max() < 0.1  # its class's own direction: all but silent
    assert torch.isfinite(sent(torch.zeros(5, 40), B_l)).all()


def test_centered_labels_are_reward_prediction_without_a_reading() -> None:
    """But for the sign; and κ approaches that limit linearly, as the softmax does around 0."""
    limit = -send(BRP(centered=True))
    torch.testing.assert_close(send(RewardPrediction(kappa=0.0)), limit)
    far, near = ((send(RewardPrediction(kappa=kappa)) - limit).abs().max().item() for kappa in (1e-2, 1e-3))
    assert near == pytest.approx(far / 10, rel=0.02)  # the next term is of order κ


@pytest.mark.parametrize("rule", [ErrorProjection(), SignProjection()])
def test_rules_that_compare_say_what_is_missing(rule: Propagation) -> None:
    with pytest.raises(ValueError, match=f"{type(rule).__name__} compares the network's output rate y with the label"):
        rule.signal(torch.eye(3)[None], window=WINDOW, feedback=FEEDBACK, output=None)


def test_options_have_names() -> None:
    for rule in (BRP, RewardPrediction):
        with pytest.raises(TypeError, match="positional"):
            rule(0.5)


def test_rules_by_name() -> None:
    for name, rule in PROPAGATIONS.items():
        assert propagation_named(name) == propagation_named(name.upper()) == rule.make()
    assert {alias: type(propagation_named(alias)) for rule in PROPAGATIONS.values() for alias in rule.aliases} == {
        "drtp": BRP,
        "dfa": ErrorProjection,
        "error-projection": ErrorProjection,
        "sdfa": SignProjection,
        "sign-projection": SignProjection,
        "bptt": Backprop,
        "bp": Backprop,
        "shallow": OutputOnly,
    }
    with pytest.raises(ValueError, match=r"no propagation 'stdp'; there are: brp, error, .*drtp = brp"):
        propagation_named("stdp")
