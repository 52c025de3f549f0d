"""What qualifies for the fast path, and what the refusals say."""

from __future__ import annotations

import pytest
import snntorch as snn
import torch
from torch import nn

from snntorch_brp.fused import FusedEngine, NotFusible, plan
from snntorch_brp.models import mlp, mnist_net
from snntorch_brp.neurons import RefractoryLeaky
from snntorch_brp.propagation import BRP
from snntorch_brp.training import BRPTrainer, rate_mse


def lif(**kw):
    return RefractoryLeaky(init_hidden=True, **kw)


def test_nested_sequentials_keep_their_names():
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 3), lif()), nn.Linear(3, 2), lif(output=True))
    assert [layer.name for layer in plan(net)] == ["0.1", "2"]
    assert [layer.name for layer in plan(mnist_net())] == ["conv1_lif", "fc1_lif", "fc2_lif"]


class Loops(nn.Module):
    pass


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Loops(), "'the network' is a Loops"),
        (nn.Sequential(nn.Linear(2, 2), lif(), Loops(), lif()), "'2' is a Loops"),
        (
            nn.Sequential(nn.Linear(2, 2), snn.RLeaky(0.5, linear_features=2, init_hidden=True), lif()),
            "'1' is a RLeaky",
        ),
        (nn.Sequential(snn.LeakyParallel(2, 2), lif(), lif()), "'0' is a LeakyParallel"),
        (nn.Sequential(nn.Linear(2, 2), snn.Leaky(0.5), lif()), "'1' does not keep its own state"),
        (nn.Sequential(nn.Linear(2, 2), lif(graded_spikes_factor=2), lif()), "'1' has graded spikes"),
        (
            nn.Sequential(nn.Linear(2, 2), snn.Lapicque(torch.tensor(0.5), learn_beta=True, init_hidden=True), lif()),
            "beta",
        ),
        (nn.Sequential(nn.Linear(2, 2), lif(output=True), lif()), "'1' returns its membrane too"),
        (nn.Sequential(nn.Linear(2, 2), lif()), "has 1 spiking layers"),
        (nn.Sequential(lif(), nn.Linear(2, 2), lif(), nn.Flatten()), "Flatten follows the last neuron '2'"),
        (nn.Sequential(nn.Linear(2, 2), lif(), nn.Flatten(0), lif()), "'2' flattens from dimension 0"),
        (nn.Sequential(nn.Linear(2, 2), shared := lif(), nn.Linear(2, 2), shared), "'3' is used twice"),
    ],
)
def test_the_module_in_the_way_is_named(net, message):
    with pytest.raises(NotFusible, match=message):
        plan(net)


def test_hooks_are_in_the_way():
    net = mlp([2, 3, 2])
    net.fc1.register_forward_hook(lambda *_: None)
    with pytest.raises(NotFusible, match="'fc1' carries hooks"):
        plan(net)


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (torch.rand(4, 3, 7), [0, 1, 0], "does not fit layer 'fc1_lif'"),
        (torch.rand(3, 4, 6), [0, 1, 0], "time first"),
        (torch.rand(4, 3, 6), [0, 1, 5], "labels must lie in"),
        (torch.rand(0, 3, 6), [0, 1, 0], "time first"),
    ],
)
def test_bad_batches_change_nothing(x, labels, message):
    net = mlp([6, 5, 2])
    engine = FusedEngine(net, BRP(), num_classes=2, loss_fn=rate_mse)
    with pytest.raises(ValueError, match=message):
        engine.step(x, torch.tensor(labels))
    assert all(p.grad is None for p in net.parameters())


def test_a_network_with_another_number_of_outputs_is_refused():
    engine = FusedEngine(mlp([6, 5, 3]), BRP(), num_classes=2, loss_fn=rate_mse)
    with pytest.raises(ValueError, match=r"K=2.* 'fc2_lif' has neurons of shape \(3,\)"):
        engine.step(torch.rand(4, 3, 6), torch.tensor([0, 1, 0]))


def test_the_trainer_takes_the_fast_path_where_it_can():
    x, labels = (torch.rand(4, 3, 6) < 0.5).float(), torch.tensor([0, 1, 0])
    results = []
    for engine in ("auto", "fused", "attach"):
        torch.manual_seed(0)
        net = mlp([6, 5, 2])
        trainer = BRPTrainer(net, num_classes=2, engine=engine)
        results.append((trainer.step(x, labels).loss, [p.grad for p in net.parameters()], trainer.predict(x)))
        assert bool(net.fc1_lif.mem.numel()) is (engine == "attach")  # the fast path leaves no state on the modules
    for loss, gradients, predicted in results[1:]:
        assert loss == pytest.approx(results[0][0], abs=1e-6)
        torch.testing.assert_close(gradients, results[0][1])
        assert torch.equal(predicted, results[0][2])


def test_the_trainer_says_what_is_in_the_way():
    recurrent = snn.RLeaky(0.5, linear_features=5, init_hidden=True)
    net = nn.Sequential(nn.Linear(6, 5), recurrent, nn.Linear(5, 2), lif())
    with pytest.raises(NotFusible, match="'1' is a RLeaky"):
        BRPTrainer(net, num_classes=2, engine="fused")
    BRPTrainer(net, num_classes=2).step(torch.rand(4, 3, 6), torch.tensor([0, 1, 0]))  # attach instead
    with pytest.raises(ValueError, match="engine must be"):
        BRPTrainer(net, num_classes=2, engine="fast")


def test_what_is_left_to_attach_is_said_once(caplog):
    net = mlp([6, 5, 2])
    trainer = BRPTrainer(net, num_classes=2)
    net.fc1_lif.register_forward_hook(lambda *_: None)
    with caplog.at_level("INFO", logger="snntorch_brp"):
        for _ in range(3):
            trainer.step(torch.rand(4, 3, 6), torch.tensor([0, 1, 0]))
    said = [record.message for record in caplog.records if "fused engine" in record.message]
    assert len(said) == 1
    assert "several times faster: 'fc1_lif' carries hooks" in said[0]


def test_hooks_put_on_later_are_called():
    net, called = mlp([6, 5, 2]), []
    trainer = BRPTrainer(net, num_classes=2)
    with net.fc1_lif.register_forward_hook(lambda *_: called.append(1)):
        trainer.step(torch.rand(4, 3, 6), torch.tensor([0, 1, 0]))
    assert len(called) == 4


def test_gradients_survive_a_loss_that_fails():
    net = mlp([6, 5, 2])
    x, labels = torch.rand(4, 3, 6), torch.tensor([0, 1, 0])
    FusedEngine(net, BRP(), num_classes=2, loss_fn=rate_mse).step(x, labels)
    before = [p.grad.clone() for p in net.parameters()]
    engine = FusedEngine(net, BRP(), num_classes=2, loss_fn=lambda spikes, _: spikes.sum() / 0)
    with pytest.raises(ValueError, match="loss is"):
        engine.step(x, labels)
    with torch.no_grad():
        net.fc1.bias[0] = float("nan")
    with pytest.raises(ValueError, match="membrane of layer 'fc1_lif' is not finite"):
        engine.step(x, labels)
    torch.testing.assert_close([p.grad for p in net.parameters()], before, rtol=0, atol=0)
