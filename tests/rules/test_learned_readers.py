"""Rules that keep something for each layer between sequences, against plain loops in float64: readers and echoes."""

from __future__ import annotations

import numpy as np
import pytest
import rule_oracle as plain
import torch
from networks import K, batch, mse, run, spread
from rule_cases import CLOSE, NEURON, B, T, check, dense, lif, onehot, projected, seeded, summed, weights_of
from torch import Tensor, nn

from snntorch_brp import BRPTrainer, attach, rules
from snntorch_brp.rules.espp import echo_batches
from snntorch_brp.training.parallel import check_shareable

CREDITS = ["full", "trace"]


def sequences(net: nn.Module, rule, data: list[tuple[Tensor, Tensor]], credit: str):
    """Learn from several batches in turn; the gradients of the last, and the handle."""
    handle = attach(net, rule, num_classes=K, reduction="sum", generator=seeded(), credit=credit)
    with handle:
        for x, labels in data:
            net.zero_grad()
            handle.reset()
            if credit == "full":
                handle.backward(mse(run(net, x), labels), labels)
            else:
                handle.teach(labels, steps=len(x))
                run(net, x)
    return handle


def learned(handle, layer: int, key: str) -> np.ndarray:
    return handle.feedback.state_dict()[f"learned:{layer}:{key}"].double().numpy()


def B_l(handle, layer: int) -> np.ndarray:
    return handle.feedback.state_dict()[f"layer:{layer}"].double().numpy()


def three_batches(seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    return [batch(steps=T, size=B, dtype=torch.float64, seed=seed + n) for n in range(3)]


def reader_gradient(net: nn.Module, data: tuple[Tensor, Tensor], layer: int, read) -> np.ndarray:
    """The mean over samples of what ``read(trace, target)`` gives as a reader's gradient."""
    x, labels = data
    total = 0.0
    for b in range(B):
        trace = plain.run_layers(weights_of(net), NEURON, x[:, b].numpy())[layer]
        total = total + read(trace, onehot(labels)[b])[1] / B
    return total


@pytest.mark.parametrize("credit", CREDITS)
@pytest.mark.parametrize("feedback", ["own", "random"])
def test_ell_and_fell(credit: str, feedback: str) -> None:
    """In the third sequence: the classifier has taken two steps of Adam by then. Weights stand still throughout."""
    net, data = dense(), three_batches()
    rule = rules.ELL(learning_rate=0.05, feedback=feedback, decay=0.3, threshold=0.4)
    handle = sequences(net, rule, data, credit)
    classifiers = []
    for layer in (0, 1):
        V = B_l(handle, 2 * layer + 1)
        taught: list[np.ndarray] = []
        for here in data[:2]:
            now = plain.adam(V, taught, 0.05)
            read = classifier_of(now)
            taught.append(reader_gradient(net, here, layer, read))
        classifiers.append(plain.adam(V, taught, 0.05))
        np.testing.assert_allclose(learned(handle, 2 * layer + 1, "classifier"), classifiers[-1], **CLOSE)
    x, labels = data[2]

    def sample(b: int, layer: int, traces) -> np.ndarray:
        errors, _ = classifier_of(classifiers[layer])(traces[layer], onehot(labels)[b])
        back = classifiers[layer] if feedback == "own" else B_l(handle, 2 * layer + 1)
        return plain.instant(NEURON, traces[layer], lambda t, i: projected(back, errors[t], i))

    check(net, summed(net, x, sample))


def classifier_of(V: np.ndarray):
    constants = {"decay": 0.3, "theta": 0.4, "half_width": NEURON.half_width}
    return lambda trace, target: plain.spiking_classifier(trace, V, target, **constants)


@pytest.mark.parametrize("credit", CREDITS)
@pytest.mark.parametrize("loss", ["mse", "smooth-l1"])
def test_decolle_with_a_readout_that_learns(credit: str, loss: str) -> None:
    net, data = dense(), three_batches()
    handle = sequences(net, rules.DECOLLE(learning_rate=0.05, loss=loss), data, credit)
    readouts = []
    for layer in (0, 1):
        G, taught = B_l(handle, 2 * layer + 1), []
        for here in data[:2]:
            now = plain.adam(G, taught, 0.05)
            read = lambda trace, target, G=now: plain.learned_reader(NEURON, trace, G, target, loss)  # noqa: E731
            taught.append(reader_gradient(net, here, layer, read))
        readouts.append(plain.adam(G, taught, 0.05))
        np.testing.assert_allclose(learned(handle, 2 * layer + 1, "readout"), readouts[-1], **CLOSE)
    x, labels = data[2]

    def sample(b: int, layer: int, traces) -> np.ndarray:
        errors, _ = plain.learned_reader(NEURON, traces[layer], readouts[layer], onehot(labels)[b], loss)
        return plain.three_factor(NEURON, traces[layer], lambda t, i: projected(readouts[layer], errors[t], i))

    check(net, summed(net, x, sample))


@pytest.mark.parametrize("credit", CREDITS)
def test_espp(credit: str) -> None:
    """Every row of the second batch is compared with the same row of the first; the classes of some are the same."""
    net = dense()
    (first, before), (x, _) = three_batches()[:2]
    before, labels = torch.tensor([0, 1, 2]), torch.tensor([0, 2, 2])
    constants = {"similar": 0.9, "different": -0.2, "least_input": 0.3}
    sequences(net, rules.ESPP(**constants), [(first, before), (x, labels)], credit)

    def sample(b: int, layer: int, traces) -> np.ndarray:
        echo = plain.echo_of(plain.run_layers(weights_of(net), NEURON, first[:, b].numpy())[layer])
        y = 1 if before[b] == labels[b] else -1
        return plain.predictive(NEURON, traces[layer], echo, y, c={1: 0.9, -1: -0.2}, least=0.3)

    check(net, summed(net, x, sample))


def test_espp_learns_nothing_from_a_first_sample_and_takes_a_smaller_batch() -> None:
    net, (x, labels) = dense(), batch(steps=T, size=B, dtype=torch.float64)
    handle = sequences(net, rules.ESPP(), [(x, labels)], "full")
    assert net[0].weight.grad.abs().max() == 0
    for size, fits in ((B - 1, True), (B + 1, False)):
        more, more_labels = batch(steps=T, size=size, dtype=torch.float64)
        with handle:
            handle.reset()
            loss = mse(run(net, more), more_labels)
            if fits:
                handle.backward(loss, more_labels)
            else:
                with pytest.raises(ValueError, match="layer '1' has echoes of 3 samples, and the batch 4"):
                    handle.backward(loss, more_labels)
                handle.clear()


@pytest.mark.parametrize("name", ["ell", "espp"])
def test_what_a_rule_keeps_is_resumed_with_the_trainer(name: str) -> None:
    """Three batches in one go, and two, a new trainer, and the third: the same weights to the last bit."""

    def trainer() -> BRPTrainer:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 8), lif(), nn.Linear(8, K), lif())
        rule = rules.RULES[name]()
        return BRPTrainer(
            net, num_classes=K, propagation=rule, optimizer=torch.optim.Adam(net.parameters(), 0.05), generator=seeded()
        )

    data = [(x.float(), labels) for x, labels in three_batches()]
    whole, one, other = trainer(), trainer(), trainer()
    for x, labels in data:
        whole.step(x, labels)
    for x, labels in data[:2]:
        one.step(x, labels)
    other.load_state_dict(one.state_dict())
    other.step(*data[2])
    for p, q in zip(whole.net.parameters(), other.net.parameters(), strict=True):
        assert torch.equal(p, q)


def test_batches_for_espp_repeat_classes_in_every_second_one() -> None:
    labels = torch.arange(60) % 3
    batches = list(echo_batches(labels, 10, generator=seeded()))
    assert [len(places) for places in batches] == [10] * 6
    for n in (0, 2, 4):
        assert torch.equal(labels[batches[n]], labels[batches[n + 1]])
    assert not torch.equal(labels[batches[1]], labels[batches[2]])


@pytest.mark.parametrize("credit", CREDITS)
def test_traces_propagation(credit: str) -> None:
    """Samples and targets as one batch; the output learns from the samples alone."""
    net = nn.Sequential(nn.Linear(K + 6, 8), lif(), nn.Linear(8, 7), lif(), nn.Linear(7, K), lif()).double()
    spread(net, seed=1)
    (x, _), labels = batch(steps=T, size=B, dtype=torch.float64), torch.tensor([0, 1, 1])
    given = rules.paired(x, labels, K)
    handle = attach(net, rules.TracesPropagation(decay=0.7), num_classes=K, credit=credit)
    with handle:
        handle.reset()
        if credit == "full":
            handle.backward(mse(run(net, given)[:, :B], labels))
        else:
            handle.teach(steps=T)
            run(net, given)
    rows = [plain.run_layers(weights_of(net), NEURON, given[:, b].numpy()) for b in range(2 * B)]
    expected = {}
    for layer in (0, 1):
        samples, targets = ([traces[layer] for traces in rows[part]] for part in (slice(B), slice(B, None)))
        expected[2 * layer] = plain.contrastive(NEURON, samples, targets, 0.7)
    check(net, expected)


def test_a_batch_without_targets_is_told() -> None:
    net, (x, labels) = dense(), batch(steps=T, size=B, dtype=torch.float64)
    with attach(net, "tp", num_classes=K) as handle:
        handle.reset()
        loss = mse(run(net, x), labels)
        with pytest.raises(ValueError, match=r"takes samples and their targets, paired\(x, labels, K\)"):
            handle.backward(loss)
        handle.clear()


@pytest.mark.parametrize("name", ["ottt", "ostl"])
def test_the_trainer_runs_rules_that_learn_at_every_step(name: str) -> None:
    """The same gradients as in a loop of one's own, one optimizer step a sequence."""
    x, labels = batch(steps=T, size=B)
    net = dense().float()
    with attach(net, name, num_classes=K, credit="trace") as handle:
        handle.reset()
        handle.teach(labels, steps=T)
        run(net, x)
    expected = {key: p.grad.clone() for key, p in net.named_parameters()}
    again = dense().float()
    trainer = BRPTrainer(
        again, num_classes=K, propagation=rules.RULES[name](), optimizer=torch.optim.SGD(again.parameters(), 0.1)
    )
    result = trainer.step(x, labels)
    assert 0 < result.loss < 1
    for key, p in again.named_parameters():
        assert torch.equal(p.grad, expected[key])
    with pytest.raises(
        ValueError, match="the output learns from rate_mse of its spikes as the network runs, so leave loss"
    ):
        BRPTrainer(again, num_classes=K, propagation=rules.OTTT(), loss=lambda spikes, labels: spikes.mean())
    with pytest.raises(ValueError, match="it learns while the network runs, step by step"):
        BRPTrainer(again, num_classes=K, propagation=rules.DECOLLE(), credit="trace", engine="fused")


@pytest.mark.parametrize("name", ["ell", "espp", "r-stdp", "e-prop"])
def test_several_processes_are_refused_what_each_would_learn_alone(name: str) -> None:
    rule = rules.RULES[name]()
    with pytest.raises(ValueError, match="compares the samples of a batch, and each of 2 processes has only its part"):
        check_shareable(dense(), rule.propagation, rule.consolidation, 2)
