"""What attaching must not do to a network: change it, leave anything on it, touch another, or grow."""

from __future__ import annotations

import copy
import gc
import io
import warnings
import weakref
from itertools import pairwise

import pytest
import snntorch as snn
import torch
import torch.nn.functional as F
from networks import K, Looped, batch, grads, mlp, mse, run, spread
from torch import Tensor, nn

from snntorch_brp import (
    BRP,
    STDP,
    Attached,
    Backprop,
    ErrorProjection,
    OutputOnly,
    RefractoryLeaky,
    RewardPrediction,
    SignProjection,
    attach,
    reset_state,
)

RULES = [BRP(), RewardPrediction(), ErrorProjection(), SignProjection(), Backprop(), OutputOnly()]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def step(brp: Attached, net: nn.Module, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """One sequence of a network that is called once a step; the gradients it leaves."""
    net.zero_grad()
    brp.reset()
    brp.backward(mse(run(net, x), labels), labels)
    return grads(net)


def hooks(net: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules())


class Conv1d(nn.Module):
    """1-D convolution, functional pooling, batch norm and dropout in between; explicit state."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.lif1 = nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), RefractoryLeaky()
        self.drop, self.fc, self.lif2 = nn.Dropout(0.2), nn.Linear(8, K), RefractoryLeaky()

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2, out = self.lif1.reset_mem(), self.lif2.reset_mem(), []
        for x_t in x:
            spk, mem1 = self.lif1(self.norm(F.max_pool1d(self.conv(x_t), 2)), mem1)
            spk, mem2 = self.lif2(self.fc(self.drop(spk).flatten(1)), mem2)
            out.append(spk)
        return torch.stack(out)


# -- the network stays what it was ------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_outputs_keys_and_mode_are_unchanged(rule) -> None:
    net = spread(Conv1d())
    x, labels = batch(inputs=(2, 6))
    keys, attributes = list(net.state_dict()), {name: set(vars(m)) for name, m in net.named_modules()}
    torch.manual_seed(5)
    before = copy.deepcopy(net)(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with attach(net, rule, num_classes=K) as brp:
            for i in range(2):  # while the output layer is being found out, and once it is known
                torch.manual_seed(5)
                spikes = net(x)
                if i == 0:
                    assert torch.equal(spikes, before)
                brp.backward(mse(spikes, labels), labels)
                assert list(net.state_dict()) == keys
                assert net.training
    assert hooks(net) == 0
    assert list(net.state_dict()) == keys
    assert net.training
    assert {name: set(vars(m)) for name, m in net.named_modules()} == attributes


def test_no_hook_is_left_after_an_exception() -> None:
    net = mlp()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), attach(net, BRP(), num_classes=K):
        run(net, batch(inputs=(7,))[0])
    assert hooks(net) == 0
    with attach(net, BRP(), num_classes=K) as brp:  # and it can be attached again
        assert set(step(brp, net, *batch())) == {name for name, _ in net.named_parameters()}


def test_attaching_twice_names_the_layer_and_leaves_the_first_alone() -> None:
    net = mlp()
    with attach(net, BRP(), num_classes=K) as brp:
        with pytest.raises(RuntimeError, match="layer '1' is attached already"):
            attach(net, BRP(), num_classes=K).register()
        assert "0.weight" in step(brp, net, *batch())
    assert hooks(net) == 0


def test_a_handle_can_be_left_and_entered_again() -> None:
    net = spread(mlp())
    handle = attach(net, BRP(), num_classes=K)
    with handle:
        first = step(handle, net, *batch())
    with handle:
        second = step(handle, net, *batch())
    for name in first:
        torch.testing.assert_close(first[name], second[name])


def test_copies_and_files_of_an_attached_network_belong_to_no_handle() -> None:
    net = spread(mlp())
    x, labels = batch()
    with attach(net, BRP(), num_classes=K, generator=seeded()) as brp:
        with pytest.warns(UserWarning, match="nothing was learned from it"):  # noqa: PT031
            run(net, x)  # in mid-sequence
            brp.reset()
        run(net, x)
        twin = copy.deepcopy(net)
        file = io.BytesIO()
        torch.save(net, file)
        expected = step(brp, net, x, labels)
        with attach(twin, BRP(), num_classes=K, generator=seeded()) as other:
            got = step(other, twin, x, labels)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    reset_state(loaded)
    reset_state(twin)
    assert torch.equal(run(loaded, x), run(twin, x))
    for name in expected:
        assert torch.equal(expected[name], got[name])


# -- and no other is touched --------------------------------------------------------------------------------------


def test_two_networks_at_once_do_not_touch_each_other() -> None:
    nets = [spread(mlp(hidden=(8,)), 1), spread(mlp(hidden=(5,)), 2)]
    data = [batch(size=4, seed=1), batch(size=3, seed=2)]
    rules = [BRP(), ErrorProjection()]
    alone = []
    for net, rule, (x, labels) in zip(nets, rules, data, strict=True):
        with attach(net, rule, num_classes=K, generator=seeded()) as brp:
            alone.append(step(brp, net, x, labels))
    a, b = (attach(net, rule, num_classes=K, generator=seeded()) for net, rule in zip(nets, rules, strict=True))
    with a, b:
        for net in nets:
            net.zero_grad()
        a.reset()
        b.reset()
        out: tuple[list[Tensor], list[Tensor]] = ([], [])
        for x_a, x_b in zip(data[0][0], data[1][0], strict=True):  # step by step, interleaved
            out[0].append(nets[0](x_a))
            out[1].append(nets[1](x_b))
        b.backward(mse(torch.stack(out[1]), data[1][1]), data[1][1])
        assert all(p.grad is None for p in nets[0].parameters())
        a.backward(mse(torch.stack(out[0]), data[0][1]), data[0][1])
    for net, expected in zip(nets, alone, strict=True):
        for name, gradient in grads(net).items():
            torch.testing.assert_close(gradient, expected[name])


# -- only training is heard -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["no_grad", "eval"])
def test_inert_outside_training(how: str) -> None:
    net = spread(Looped())
    x, labels = batch()
    with attach(net, BRP(), num_classes=K) as brp:
        net.train(how == "no_grad")
        with torch.set_grad_enabled(how == "eval"):
            spikes, _ = net(x)
        if how == "eval":  # ordinary backpropagation, uncut
            mse(spikes, labels).backward()
            assert net.fc1.weight.grad is not None
        net.train()
        with pytest.raises(RuntimeError, match="no spiking layer has run"):
            brp.backward(torch.ones((), requires_grad=True), labels)


def test_an_evaluation_in_mid_sequence_is_not_heard() -> None:
    net = spread(Looped())
    x, labels = batch()
    with attach(net, BRP(), num_classes=K, generator=seeded()) as brp:
        brp.backward(mse(net(x)[0], labels), labels)
        expected = grads(net)
        net.zero_grad()
        loss = mse(net(x)[0], labels)
        with torch.no_grad():
            net(x[:2, :1])
        net.eval()
        net(x[:3])
        net.train()
        brp.backward(loss, labels)
    for name, gradient in grads(net).items():
        torch.testing.assert_close(gradient, expected[name])


# -- nothing is kept longer than needed -------------------------------------------------------------------------------


def test_the_first_sequence_keeps_no_more_bytes_than_the_next() -> None:
    """It reads from the graph who hears whom; the values of membranes, one a neuron and step, it need not keep."""
    sizes = (6, 40, 30, K)
    layers = [(nn.Linear(a, b), snn.Leaky(0.9, init_hidden=True)) for a, b in pairwise(sizes)]
    net = spread(nn.Sequential(*(module for pair in layers for module in pair)))
    x, labels = batch(steps=12)
    shown: list[weakref.ref[Tensor]] = []
    for _, neurons in layers:
        neurons.register_forward_hook(lambda module, args, out: shown.append(weakref.ref(module.mem)))
    kept = []
    with attach(net, BRP(), num_classes=K) as brp:
        for _ in range(2):
            brp.reset()
            shown.clear()
            spikes = torch.stack([net(x_t) for x_t in x])
            gc.collect()
            kept.append(sum(membrane.nbytes for ref in shown if (membrane := ref()) is not None))
            brp.backward(mse(spikes, labels), labels)
    assert kept[0] == kept[1] == x.shape[1] * sum(sizes[1:]) * 4  # the last membranes, which the modules hold


def test_state_is_freed_after_backward_and_at_the_next_sequence() -> None:
    net = spread(Looped())
    x, labels = batch()
    emitted: list[weakref.ref[Tensor]] = []  # what the neurons gave, before attach hands on something else
    for lif in (net.lif1, net.lif2, net.lif3):
        lif.register_forward_hook(lambda module, args, out: emitted.append(weakref.ref(out[0])))

    def still_there() -> int:
        gc.collect()
        return sum(ref() is not None for ref in emitted)

    with attach(net, BRP(), num_classes=K) as brp:
        brp.backward(mse(net(x)[0], labels), labels)
        once = grads(net)
        assert still_there() == 0
        net(x)  # a sequence that nobody learns from
        assert still_there() == 3 * len(x)
        with pytest.warns(UserWarning, match="nothing was learned from it"):
            spikes, _ = net(x)
        assert still_there() == 3 * len(x)  # of the new sequence alone
        net.zero_grad()
        brp.backward(mse(spikes, labels), labels)
        del spikes
        assert still_there() == 0
    for name, gradient in grads(net).items():
        assert torch.equal(gradient, once[name])  # nothing of the sequence that was dropped


@pytest.mark.filterwarnings("ignore:a sequence ran")
@pytest.mark.parametrize("learns", [True, False])
def test_memory_does_not_grow_over_200_steps(learns: bool) -> None:
    net = spread(mlp())
    x, labels = batch()
    with attach(net, BRP(), num_classes=K) as brp:

        def live() -> int:
            gc.collect()
            return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

        for i in range(200):
            reset_state(net)
            spikes = run(net, x)
            if learns:
                net.zero_grad()
                brp.backward(mse(spikes, labels), labels)
            del spikes
            if i == 10:
                before = live()
        # One tensor a step kept would be 189 more; a few come and go with whatever else this process has run.
        assert live() < before + 90


# -- whatever the style, the same gradients -------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_finding_the_output_out_equals_naming_it(rule) -> None:
    net = spread(mlp(hidden=(8, 7)))
    x, labels = batch()
    found, named = [], []
    with attach(net, rule, num_classes=K, generator=seeded()) as brp:
        found = [step(brp, net, x, labels) for _ in range(2)]
    with attach(net, rule, num_classes=K, generator=seeded(), output="5") as brp:
        named = [step(brp, net, x, labels) for _ in range(2)]
    for other in (found[1], named[0], named[1]):
        assert other.keys() == found[0].keys()
        for name in other:
            torch.testing.assert_close(other[name], found[0][name])


@pytest.mark.parametrize("neuron", [RefractoryLeaky, snn.Leaky])
def test_time_loop_inside_equals_one_step_a_call(neuron: type[nn.Module]) -> None:
    looped = spread(Looped(neuron, beta=0.5, threshold=0.5))
    lifs = [neuron(beta=0.5, threshold=0.5, init_hidden=True) for _ in range(3)]
    outside = nn.Sequential(looped.fc1, lifs[0], looped.fc2, lifs[1], looped.fc3, lifs[2])
    x, labels = batch()
    handle = attach(looped, BRP(), num_classes=K, generator=seeded())
    names = ("lif1", "lif2", "lif3")
    with handle:
        handle.backward(mse(looped(x)[0], labels), labels)
    expected = [p.grad.clone() for p in looped.parameters()]
    outside.zero_grad()
    with attach(outside, BRP(), num_classes=K) as brp:
        for number, name in zip(("1", "3"), names, strict=False):  # the same feedback under other names
            matrix = handle.feedback.matrix(name, {"lif1": (8,), "lif2": (7,)}[name])
            brp.feedback.set_matrix(number, matrix)
        brp.backward(mse(run(outside, x), labels), labels)
    for p, gradient in zip(looped.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient)


def test_states_detached_by_the_user_go_on_with_the_sequence() -> None:
    """Truncated credit: every step learns, also where the membrane is detached in between."""
    net = spread(mlp())
    x, labels = batch()

    def spikes() -> Tensor:
        out = []
        for x_t in x:
            out.append(net(x_t))
            for lif in (net[1], net[3]):
                lif.mem = lif.mem.detach()
        return torch.stack(out)

    mse(spikes(), labels).backward()  # the output layer as without attach
    plain = grads(net)
    net.zero_grad()
    reset_state(net)
    with attach(net, BRP(), num_classes=K) as brp:
        brp.backward(mse(spikes(), labels), labels)
        delta = brp.feedback.matrix("1", (8,))[labels] / len(labels)
    torch.testing.assert_close(net[2].weight.grad, plain["2.weight"])
    learned = net[0].weight.grad.clone()
    net.zero_grad()
    reset_state(net)
    for x_t in x:  # a hidden layer that learns at every step from that step alone
        (delta * net[1](net[0](x_t))).sum().backward()
        net[1].mem = net[1].mem.detach()
    torch.testing.assert_close(learned, net[0].weight.grad)


# -- what does not fit ends in a clear error --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 2, 3]), r"0\.\.2 \(num_classes=3\), got 0\.\.3"),
        (torch.tensor([0, 1, 2, -1]), r"got -1\.\.2"),
        (torch.tensor([0.0, 1.0, 2.0, 0.0]), r"labels\.long\(\)"),
        (torch.tensor([0, 1, 2]), "ran 4 samples, but there are 3 labels"),
        (torch.zeros(0, dtype=torch.long), "non-empty vector"),
        (torch.zeros(4, 3, dtype=torch.long), "ran 4 samples, but there are 3 labels"),  # one for every step
        (torch.zeros(7, 4, dtype=torch.long), "targets for 7 steps, but the network ran 5"),
        (torch.zeros(2, 7, 4, dtype=torch.long), r"got \(2, 7, 4\)"),
        (torch.zeros(4, 7), r"real-valued targets must be \[B, K=3\].*encode_targets"),
        ([0, 1, 2, 0], "got list"),
    ],
)
def test_bad_labels_change_nothing(labels, message: str) -> None:
    net = spread(mlp())
    x, good = batch()
    with attach(net, BRP(), num_classes=K) as brp:
        loss = mse(run(net, x), good)
        with pytest.raises(ValueError, match=message):
            brp.backward(loss, labels)
        assert all(p.grad is None for p in net.parameters())
        brp.backward(loss, good)  # the sequence is still there


@pytest.mark.parametrize("rule", [BRP(), Backprop()], ids=["BRP", "Backprop"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_inf_in_the_input_are_found_though_they_never_spike(rule, bad: float) -> None:
    net = spread(mlp())
    x, labels = batch()
    x[1, 2, 3] = bad
    with attach(net, rule, num_classes=K) as brp:
        loss = mse(run(net, x), labels)
        with pytest.raises(ValueError, match="membrane of layer '1' is not finite"):
            brp.backward(loss, labels)
    assert all(p.grad is None for p in net.parameters())


def test_losses_that_cannot_be_learned_from() -> None:
    net = spread(mlp())
    x, labels = batch()
    with attach(net, BRP(), num_classes=K) as brp:
        spikes = run(net, x)
        with pytest.raises(ValueError, match=r"scalar tensor, got shape \(4, 3\)"):
            brp.backward(spikes.mean(0), labels)
        with pytest.raises(ValueError, match="does not depend on the network"):
            brp.backward(mse(spikes, labels).detach(), labels)
        with pytest.raises(ValueError, match="loss is nan"):
            brp.backward(mse(spikes, labels) * float("nan"), labels)
    assert all(p.grad is None for p in net.parameters())


def test_no_spiking_layer() -> None:
    with pytest.raises(ValueError, match="Linear has no spiking layer"):
        attach(nn.Linear(2, 2), BRP(), num_classes=K)


def test_nothing_is_hidden() -> None:
    net, (x, labels) = mlp(hidden=()), batch()
    with attach(net, BRP(), num_classes=K) as brp, pytest.raises(RuntimeError, match="has no hidden spiking layer"):
        brp.backward(mse(run(net, x), labels), labels)
    assert net[0].weight.grad is None


def test_options_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="output='9' is not a module of the network; there are: 0, 1, 2, 3"):
        attach(mlp(), BRP(), num_classes=K, output="9")
    with pytest.raises(ValueError, match="the output Linear is not a module of the network"):
        attach(mlp(), BRP(), num_classes=K, output=nn.Linear(2, 2))
    with pytest.raises(ValueError, match="reduction must be"):
        attach(mlp(), BRP(), num_classes=K, reduction="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_classes must be at least 1"):
        attach(mlp(), BRP(), num_classes=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"net": mlp}, "net must be a network"),
        ({"propagation": STDP()}, r"propagation must be a Propagation such as BRP\(\), got STDP"),
        ({"consolidation": BRP}, r"consolidation must be a Consolidation such as PseudoGradient\(\), got .*BRP"),
        ({"num_classes": "3"}, "num_classes must be a whole number, got '3'"),
        ({"output": 3}, "output must be a module of the network or its name"),
        ({"output": [3]}, "output must be a module of the network or its name"),
    ],
)
def test_wrong_kinds_of_arguments_get_a_sentence(arguments: dict[str, object], message: str) -> None:
    good = {"net": mlp(), "propagation": BRP(), "num_classes": K}
    with pytest.raises(TypeError, match=message):
        attach(**{**good, **arguments})  # type: ignore[arg-type]


def test_a_class_stands_for_the_rule_with_its_defaults() -> None:
    handle = attach(mlp(), BRP, num_classes=K, consolidation=STDP)
    assert (handle.propagation, handle.consolidation) == (BRP(), STDP())


def test_names_stand_for_rules_too() -> None:
    handle = attach(mlp(), "dfa", num_classes=K, consolidation="stdp")
    assert (handle.propagation, handle.consolidation) == (ErrorProjection(), STDP())
    with pytest.raises(ValueError, match="there is no propagation 'bpr'; there are: brp"):
        attach(mlp(), "bpr", num_classes=K)


def test_a_sequence_that_starts_where_the_last_one_ended_is_refused() -> None:
    net = spread(mlp())
    x, labels = batch()
    with attach(net, BRP(), num_classes=K) as brp:
        brp.backward(mse(run(net, x), labels), labels)
        with pytest.raises(RuntimeError, match=r"'1' was not reset since the last sequence: call brp\.reset\(\)"):
            run(net, x)
        for lif in (net[1], net[3]):
            lif.mem = lif.mem.detach()  # truncated credit, said
        brp.backward(mse(run(net, x), labels), labels)


def test_a_layer_that_is_never_called_is_named() -> None:
    net = spread(Looped())
    net.spare = RefractoryLeaky()
    x, labels = batch()
    with attach(net, BRP(), num_classes=K) as brp, pytest.raises(RuntimeError, match="'spare' was never called"):
        brp.backward(mse(net(x)[0], labels), labels)


def test_a_neuron_at_several_places_is_named() -> None:
    lif = RefractoryLeaky(init_hidden=True)
    net = nn.Sequential(nn.Linear(6, 8), lif, nn.Linear(8, 8), lif, nn.Linear(8, K), RefractoryLeaky(init_hidden=True))
    x, labels = batch()
    with attach(net, BRP(), num_classes=K) as brp, pytest.raises(RuntimeError, match="'1' was called 10 times and"):
        brp.backward(mse(run(net, x), labels), labels)


@pytest.mark.filterwarnings("ignore:a sequence ran")
def test_two_batches_without_a_reset_are_named() -> None:
    net = mlp()
    with attach(net, BRP(), num_classes=K):
        run(net, batch(size=4)[0])
        with pytest.raises(RuntimeError, match=r"layer '1' ran neurons of shape \(4, 8\) and now \(3, 8\)"):
            run(net, batch(size=3)[0])


def test_an_output_of_another_size_than_the_label() -> None:
    net = spread(mlp())
    x, labels = batch()
    with attach(net, ErrorProjection(), num_classes=5) as brp, pytest.raises(ValueError, match="3 neurons and num_"):
        brp.backward(mse(run(net, x), labels), labels)


def test_unreached_parameters_are_named_once() -> None:
    net = spread(Looped())
    net.unused = nn.Linear(2, 2)
    x, labels = batch()
    with attach(net, BRP(), num_classes=K) as brp:
        with pytest.warns(UserWarning, match=r"reaches unused\.weight, unused\.bias"):
            brp.backward(mse(net(x)[0], labels), labels)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            brp.backward(mse(net(x)[0], labels), labels)


def test_frozen_layers_are_left_out() -> None:
    net = spread(Looped())
    for p in net.fc1.parameters():
        p.requires_grad_(False)
    x, labels = batch()
    with attach(net, BRP(), num_classes=K) as brp:
        for _ in range(2):
            with torch.no_grad():
                net(x)  # nobody learns from this one
            brp.backward(mse(net(x)[0], labels), labels)
    assert net.fc1.weight.grad is None
    assert net.fc2.weight.grad.abs().sum() > 0
    assert net.fc3.weight.grad.abs().sum() > 0


def test_outputs_may_be_several() -> None:
    """Two heads on one hidden layer: both learn from the loss, the hidden layer from the label."""

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.lif1 = nn.Linear(6, 8), RefractoryLeaky(init_hidden=True)
            self.fc2, self.head2 = nn.Linear(8, K), RefractoryLeaky(init_hidden=True)
            self.fc3, self.head3 = nn.Linear(8, K), RefractoryLeaky(init_hidden=True)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            spk = self.lif1(self.fc1(x))
            return self.head2(self.fc2(spk)), self.head3(self.fc3(spk))

    net = spread(Heads())
    x, labels = batch()
    got = []
    for rule in (BRP(), Backprop()):
        net.zero_grad()
        reset_state(net)
        with attach(net, rule, num_classes=K, output=("head2", "head3")) as brp:
            out2, out3 = (torch.stack(spikes) for spikes in zip(*[net(x_t) for x_t in x], strict=True))
            brp.backward(mse(out2, labels) + 2 * mse(out3, labels), labels)
        got.append(grads(net))
    for name in ("fc2.weight", "fc3.bias"):
        torch.testing.assert_close(got[0][name], got[1][name])
    assert not torch.allclose(got[0]["fc1.weight"], got[1]["fc1.weight"])


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda net: nn.DataParallel(torch.compile(net))])
def test_wrappers_do_not_rename_layers(wrap) -> None:
    """torch.compile and the parallel wrappers put a word before every name; feedback and ``output`` ignore it."""
    nets = [spread(mlp(hidden=(8, 7))) for _ in range(2)]
    layers = [attach(net, BRP(), num_classes=K, output="5", generator=seeded()) for net in (nets[0], wrap(nets[1]))]
    x, labels = batch()
    for net, handle in zip(nets, layers, strict=True):  # the hooks are on the network itself
        with handle:
            handle.backward(mse(run(net, x), labels), labels)
    assert layers[0].feedback.state_dict().keys() == layers[1].feedback.state_dict().keys()
    assert torch.equal(layers[0].feedback.matrix("1", (8,)), layers[1].feedback.matrix("1", (8,)))


@pytest.mark.parametrize("rule", [BRP(), Backprop()], ids=["BRP", "Backprop"])
def test_batches_accumulate_and_scale(rule) -> None:
    """Two halves of a batch, each scaled by a half, give the gradient of the whole."""
    net = spread(mlp())
    x, labels = batch(size=4)
    with attach(net, rule, num_classes=K, generator=seeded()) as brp:
        expected = step(brp, net, x, labels)
        net.zero_grad()
        for half in (slice(0, 2), slice(2, 4)):
            brp.reset()
            brp.backward(mse(run(net, x[:, half]), labels[half]), labels[half], scale=0.5)
    for name, gradient in grads(net).items():
        torch.testing.assert_close(gradient, expected[name])


def test_under_a_grad_scaler_the_weights_change_as_without() -> None:
    x, labels = batch()
    weights = []
    for scaled in (False, True):
        net = spread(mlp())
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=scaled)
        with attach(net, BRP(), num_classes=K, generator=seeded()) as brp:
            for _ in range(2):
                brp.reset()
                optimizer.zero_grad()
                brp.backward(mse(run(net, x), labels), labels, scale=scaler.scale(torch.ones(())))
                scaler.step(optimizer)
                scaler.update()
        weights.append([p.detach().clone() for p in net.parameters()])
    for plain, same in zip(*weights, strict=True):
        torch.testing.assert_close(plain, same)
