"""attach's promise: no hidden layer's weights ever get a gradient from anything behind it, or there is an error."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import snntorch as snn
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import K, batch, grads, mse, run, spread
from snntorch import functional as SF
from torch import Tensor, nn

from snntorch_brp import (
    BRP,
    Backprop,
    ErrorProjection,
    OutputOnly,
    RefractoryLeaky,
    RewardPrediction,
    attach,
    reset_state,
)

N_IN, N = 6, 8


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def leaky(**options: object) -> snn.Leaky:
    return snn.Leaky(0.8, 0.5, init_hidden=True, **options)


def integrator() -> snn.Leaky:
    """A membrane that never fires: the usual leaky readout."""
    return snn.Leaky(0.9, reset_mechanism="none", init_hidden=True, output=True)


# -- a random network, and what each of its layers does alone ---------------------------------------------------------

NEURONS: dict[str, Callable[..., nn.Module]] = {
    "Leaky": lambda n, **o: snn.Leaky(0.8, 0.5, **o),
    "zero": lambda n, **o: snn.Leaky(0.8, 0.5, reset_mechanism="zero", learn_beta=True, **o),
    "RefractoryLeaky": lambda n, **o: RefractoryLeaky(0.5, 0.4, tau_ref=2, **o),
    "Synaptic": lambda n, **o: snn.Synaptic(0.6, 0.8, threshold=0.5, **o),
    "RLeaky": lambda n, **o: snn.RLeaky(0.8, linear_features=n, threshold=0.5, **o),
}
SEES = ("spikes", "membrane", "both")
READOUTS = ("spikes", "membrane", "linear", "linear on membranes", "integrator", "pooled", "two heads")


@dataclass(frozen=True)
class Spec:
    """A network: its hidden layers' neurons, what each layer sees of those before it, and how it is read."""

    neurons: tuple[str, ...]
    sees: tuple[tuple[int, str], ...]  # for each layer but the first: how many layers before it, and what of them
    readout: str
    explicit: bool  # states are handed on by the network itself
    seed: int


def at_rest(neuron: nn.Module) -> tuple[Tensor, ...]:
    states = neuron.reset_mem()
    return states if isinstance(states, tuple) else (states,)


def step(neuron: nn.Module, current: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return neuron(current, *states)


class Drawn(nn.Module):
    """The network of a :class:`Spec`; one step a call, or with explicit states the whole sequence."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        reads_spikes = spec.readout in ("spikes", "membrane", "two heads", "pooled")
        neurons = [*spec.neurons, "Leaky"] if reads_spikes else list(spec.neurons)
        self.synapses, self.neurons = nn.ModuleList(), nn.ModuleList()
        for i, kind in enumerate(neurons):
            size = K if reads_spikes and i == len(neurons) - 1 else N
            size = 2 * K if size == K and spec.readout == "pooled" else size
            inputs = N_IN if i == 0 else sum(N * (2 if what == "both" else 1) for _, what in self.sources(i))
            self.synapses.append(nn.Linear(inputs, size))
            self.neurons.append(NEURONS[kind](size, **({} if spec.explicit else {"init_hidden": True, "output": True})))
        if spec.readout == "two heads":
            self.second = nn.Sequential(nn.Linear(N, K), leaky())
        elif not reads_spikes:
            self.readout = nn.Sequential(nn.Linear(N, K), *([integrator()] if spec.readout == "integrator" else []))
        spread(self, spec.seed)
        self.fed: list[list[Tensor]]  # what entered each layer
        self.start()

    def start(self) -> None:
        """Put all states to rest."""
        reset_state(self)
        self.fed = [[] for _ in self.neurons]
        self.states = [at_rest(neuron) for neuron in self.neurons]

    def sources(self, i: int) -> list[tuple[int, str]]:
        """Layer i hears the one before it, and perhaps an earlier one."""
        back, what = self.spec.sees[min(i, len(self.spec.sees)) - 1]
        return list(dict.fromkeys([(i - 1, what), (max(0, i - back), what)]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What a loss of spikes and one of membranes see, each ``[B, K]``."""
        done: list[tuple[Tensor, ...]] = []
        for i, (synapse, neuron) in enumerate(zip(self.synapses, self.neurons, strict=True)):
            inputs = x
            if i:
                parts = [
                    done[j][k]
                    for j, what in self.sources(i)
                    for k in {"spikes": [0], "membrane": [-1]}.get(what, [0, -1])
                ]
                inputs = torch.cat(parts, 1)
            self.fed[i].append(inputs.detach().clone())
            done.append(step(neuron, synapse(inputs), self.states[i] if self.spec.explicit else ()))
            self.states[i] = done[-1] if isinstance(neuron, snn.RLeaky) else done[-1][1:]  # they take their own spikes
        spikes, membrane = done[-1][0], done[-1][-1]
        match self.spec.readout:
            case "linear":
                out = self.readout(spikes)
            case "linear on membranes":
                out = self.readout(membrane)
            case "integrator":
                return self.readout(spikes)[1], self.readout[1].mem
            case "pooled":
                return F.avg_pool1d(spikes, 2), F.max_pool1d(membrane, 2)
            case "two heads":
                return spikes + self.second(done[-2][0]), membrane
            case _:
                return spikes, membrane
        return out, out


def specs() -> st.SearchStrategy[Spec]:
    layers = st.integers(1, 3)
    return layers.flatmap(
        lambda n, **o: st.builds(
            Spec,
            neurons=st.tuples(*[st.sampled_from(list(NEURONS))] * n),
            sees=st.tuples(*[st.tuples(st.integers(1, 2), st.sampled_from(SEES))] * max(n, 1)),
            readout=st.sampled_from(READOUTS),
            explicit=st.booleans(),
            seed=st.integers(0, 50),
        )
    )


def output_of(net: Drawn, x: Tensor) -> tuple[Tensor, Tensor]:
    net.start()
    spikes, membranes = zip(*[net(x_t) for x_t in x], strict=True)
    return torch.stack(spikes), torch.stack(membranes)


LOSSES: list[tuple[int, Callable[[Tensor, Tensor], Tensor]]] = [
    (0, mse),
    (0, lambda out, labels: F.cross_entropy(out.mean(0), labels)),
    (1, lambda out, labels: F.cross_entropy(out[-1], labels)),
    (0, SF.ce_rate_loss()),
    (0, SF.ce_count_loss()),
    (0, SF.mse_count_loss(correct_rate=0.8, incorrect_rate=0.2)),
    (1, SF.ce_max_membrane_loss()),
    (1, SF.mse_membrane_loss()),
]


def hidden_of(net: Drawn) -> list[int]:
    """Places of the hidden layers."""
    reads_spikes = net.spec.readout in ("spikes", "membrane", "two heads", "pooled")
    return list(range(len(net.synapses) - reads_spikes))


def learned(net: Drawn, rule, x: Tensor, labels: Tensor, of: int, loss, times: int = 2):
    """Gradients of the last of some sequences under a rule: the first, in which the output is found out, and after."""
    with attach(net, rule, num_classes=K, generator=seeded()) as brp:
        for _ in range(times):
            net.zero_grad()
            brp.backward(loss(output_of(net, x)[of], labels), labels)
        feedback = {i: brp.feedback.matrix(f"neurons.{i}", (N,)) for i in hidden_of(net)}
    return grads(net), feedback


def of_layer(gradients: dict[str, Tensor], i: int) -> dict[str, Tensor]:
    own = (f"synapses.{i}.", f"neurons.{i}.")
    return {name: gradient for name, gradient in gradients.items() if name.startswith(own)}


def alone(net: Drawn, i: int, signal: Callable[[Tensor], Tensor], inputs: list[Tensor]) -> dict[str, Tensor]:
    """The gradients of one layer that runs by itself, on the inputs it had, with δ put on its spikes by hand."""
    inputs = list(inputs)
    reset_state(net)
    layer = copy.deepcopy(nn.ModuleDict({"synapses": net.synapses[i], "neurons": net.neurons[i]}))
    layer.zero_grad()
    synapse, neuron = layer["synapses"], layer["neurons"]
    out, states = [], at_rest(neuron)
    for x_t in inputs:
        done = step(neuron, synapse(x_t), () if neuron.init_hidden else states)
        states = done if isinstance(neuron, snn.RLeaky) else done[1:]
        out.append(done[0])
    spikes = torch.stack(out)
    (signal(spikes.detach().mean(0)) * spikes).sum().backward()
    return {
        f"{part}.{i}.{name}": p.grad
        for part, module in layer.items()
        for name, p in module.named_parameters()
        if p.grad is not None
    }


@settings(max_examples=40, deadline=None)
@given(spec=specs(), which=st.integers(0, len(LOSSES) - 1), rule=st.sampled_from([BRP(), RewardPrediction()]))
def test_hidden_layers_learn_from_the_label_and_themselves_alone(spec: Spec, which: int, rule) -> None:
    net = Drawn(spec)
    x, labels = batch()
    of, loss = LOSSES[which]
    for times in (1, 2):
        got, feedback = learned(net, rule, x, labels, of, loss, times)
        for i in hidden_of(net):
            B_l = feedback[i]

            def signal(rate: Tensor, B_l: Tensor = B_l) -> Tensor:
                label = F.one_hot(labels, K).float()
                if isinstance(rule, RewardPrediction):
                    label = torch.softmax(rule.kappa * rate @ B_l.T / B_l.norm(dim=1).mean() ** 2, 1) - label
                return label @ B_l / len(labels)

            expected = alone(net, i, signal, net.fed[i])
            own = of_layer(got, i)
            assert own.keys() == expected.keys()
            for name, gradient in expected.items():
                # Sums of at most a few hundred float32 products of order 1 in another order.
                torch.testing.assert_close(own[name], gradient, atol=1e-5, rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(spec=specs(), which=st.integers(0, len(LOSSES) - 1))
def test_at_rest_no_hidden_weight_moves_and_all_behind_learns_as_under_backpropagation(spec: Spec, which: int) -> None:
    net = Drawn(spec)
    x, labels = batch()
    of, loss = LOSSES[which]
    host = copy.deepcopy(net)
    loss(output_of(host, x)[of], labels).backward()
    for times in (1, 2):
        got, _ = learned(net, OutputOnly(), x, labels, of, loss, times)
        hidden = {name for i in hidden_of(net) for name, _ in net.named_parameters() if of_layer({name: x}, i)}
        assert not hidden & got.keys()
        for name, gradient in grads(host).items():
            if name not in hidden:
                torch.testing.assert_close(got[name], gradient, atol=1e-6, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    spec=specs(),
    losses=st.tuples(*[st.integers(0, len(LOSSES) - 1)] * 2),
    rule=st.sampled_from([BRP(), RewardPrediction()]),
)
def test_nothing_behind_a_layer_changes_what_it_learns(spec: Spec, losses: tuple[int, int], rule) -> None:
    net = Drawn(spec)
    x, labels = batch()
    before, _ = learned(net, rule, x, labels, *LOSSES[losses[0]])
    net.start()
    for i in hidden_of(net):
        other = copy.deepcopy(net)
        with torch.no_grad():
            for name, p in other.named_parameters():
                behind = not any(of_layer({name: p}, j) for j in range(i + 1))
                p.mul_(-0.7 if behind else 1.0)
        after, _ = learned(other, rule, x, labels, *LOSSES[losses[1]])
        for name, gradient in of_layer(before, i).items():
            torch.testing.assert_close(after[name], gradient)


# -- the cases that were found -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [1, 2])
@pytest.mark.parametrize("named", [None, "module", "name"])
@pytest.mark.parametrize("rule", [BRP(), ErrorProjection(), OutputOnly()], ids=lambda rule: type(rule).__name__)
def test_a_linear_readout_is_the_output(hidden: int, named: str | None, rule) -> None:
    layers = [m for i in range(hidden) for m in (nn.Linear(N_IN if i == 0 else N, N), leaky())]
    net = spread(nn.Sequential(*layers, nn.Linear(N, K)))
    x, labels = batch()
    host = copy.deepcopy(net)
    F.cross_entropy(run(host, x).mean(0), labels).backward()
    output = {None: None, "module": net[-1], "name": str(2 * hidden)}[named]
    with attach(net, rule, num_classes=K, output=output) as brp:
        for _ in range(2):
            net.zero_grad()
            brp.reset()
            loss = F.cross_entropy(run(net, x).mean(0), labels)
            if isinstance(rule, ErrorProjection) and named is None:
                with pytest.raises(
                    ValueError, match=r"the output is no spiking layer: name it, attach\(\.\.\., output="
                ):
                    brp.backward(loss, labels)
                return
            brp.backward(loss, labels)
            torch.testing.assert_close(net[-1].weight.grad, host[-1].weight.grad)
            if isinstance(rule, OutputOnly):
                assert set(grads(net)) == {f"{2 * hidden}.weight", f"{2 * hidden}.bias"}
            else:
                assert not torch.allclose(net[2 * hidden - 2].weight.grad, host[2 * hidden - 2].weight.grad)


def test_the_error_of_a_named_readout_is_that_of_its_softmax() -> None:
    net = spread(nn.Sequential(nn.Linear(N_IN, N), leaky(), nn.Linear(N, K)))
    x, labels = batch()
    with attach(net, ErrorProjection(), num_classes=K, output="2") as brp:
        logits = run(net, x)
        brp.backward(F.cross_entropy(logits.mean(0), labels), labels)
        B_1 = brp.feedback.matrix("1", (N,))
    error = torch.softmax(logits.detach().mean(0), 1) - F.one_hot(labels, K)
    layer = copy.deepcopy(net[:2])
    layer.zero_grad()
    (error @ B_1 / len(labels) * run(layer, x) if reset_state(layer) is None else x).sum().backward()
    torch.testing.assert_close(net[0].weight.grad, layer[0].weight.grad)


def test_the_error_of_a_regression_is_that_of_the_named_readout_itself() -> None:
    net = spread(nn.Sequential(nn.Linear(N_IN, N), leaky(), nn.Linear(N, K)))
    x, _ = batch()
    targets = torch.randn(4, K, generator=torch.Generator().manual_seed(4))
    with attach(net, ErrorProjection(), num_classes=K, output=net[2]) as brp:
        values = run(net, x)
        brp.backward(F.mse_loss(values.mean(0), targets), targets)
        B_1 = brp.feedback.matrix("1", (N,))
    layer = copy.deepcopy(net[:2])
    layer.zero_grad()
    reset_state(layer)
    ((values.detach().mean(0) - targets) @ B_1 / len(targets) * run(layer, x)).sum().backward()
    torch.testing.assert_close(net[0].weight.grad, layer[0].weight.grad)


def test_membranes_read_from_the_module_are_cut_too() -> None:
    class Peeks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.lif1, self.fc2, self.lif2 = nn.Linear(N_IN, N), leaky(), nn.Linear(N, K), leaky()

        def forward(self, x: Tensor) -> Tensor:
            self.lif1(self.fc1(x))
            return self.lif2(self.fc2(self.lif1.mem))

    net = spread(Peeks())
    x, labels = batch()
    with attach(net, OutputOnly(), num_classes=K) as brp:
        for _ in range(2):
            brp.reset()
            brp.backward(mse(run(net, x), labels), labels)
    assert set(grads(net)) == {"fc2.weight", "fc2.bias"}


def test_an_old_loop_that_calls_loss_backward_is_told_once() -> None:
    net = spread(nn.Sequential(nn.Linear(N_IN, N), leaky(), nn.Linear(N, K), leaky()))
    x, labels = batch()
    with attach(net, BRP(), num_classes=K) as brp:
        with pytest.warns(UserWarning, match=r"call brp\.backward\(loss, labels\) in place of loss\.backward\(\)"):  # noqa: PT031
            for _ in range(2):
                reset_state(net)
                mse(run(net, x), labels).backward()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reset_state(net)
            mse(run(net, x), labels).backward()
            brp.reset()
    with (  # noqa: PT031
        pytest.warns(UserWarning, match="nothing was learned"),
        attach(net, BRP(), num_classes=K),
    ):
        reset_state(net)
        mse(run(net, x), labels).backward()


class Shortcut(nn.Module):
    """Two hidden layers; the loss, or a layer, may see more than it should."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.fc1, self.lif1, self.fc2, self.lif2 = nn.Linear(N_IN, N), leaky(), nn.Linear(N, N), leaky()
        self.fc3, self.lif3 = nn.Linear(N, K, bias=False), leaky()
        self.extra = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        current = self.fc1(x)
        first = self.lif1(current)
        second = self.lif2(self.fc2(first) + (current if self.kind == "past a hidden neuron" else 0))
        weight = self.fc2.weight[:K] if self.kind == "tied" else self.fc3.weight
        third = self.lif3(F.linear(second + (current if self.kind == "to the output" else 0), weight))
        self.extra = {"hidden spikes": first.mean(), "the last hidden spikes": second.mean()}.get(
            self.kind, torch.zeros(())
        )
        self.extra = self.extra + (self.fc1.weight.square().sum() if self.kind == "penalty" else 0)
        return third


@pytest.mark.parametrize("when", [0, 1], ids=["at once", "later"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("past a hidden neuron", "enters layer 'lif1' also goes past it to layer 'lif2'"),
        ("to the output", "reaches the weights of hidden layer 'lif1' past its neurons"),
        ("tied", "reaches the weights of hidden layer 'lif2' past its neurons"),
        ("penalty", "reaches the weights of hidden layer 'lif1' past its neurons.*weight_decay"),
        ("hidden spikes", "depends on the spikes or states of 'lif1'"),
        ("the last hidden spikes", "depends on the spikes or states of 'lif2'"),
    ],
)
def test_ways_around_the_neurons_are_refused(kind: str, message: str, when: int) -> None:
    if when and kind == "past a hidden neuron":
        pytest.skip("who hears whom is read once, in the first sequence")
    net = spread(Shortcut("none" if when else kind))
    x, labels = batch()
    with attach(net, BRP(), num_classes=K) as brp:
        for _ in range(when):
            loss = mse(run(net, x), labels)
            brp.backward(loss, labels)
            brp.reset()
            net.zero_grad()
        net.kind = kind
        out, extra = [], torch.zeros(())
        for x_t in x:
            out.append(net(x_t))
            extra = extra + net.extra
        with pytest.raises(RuntimeError, match=message):
            brp.backward(mse(torch.stack(out), labels) + 0.1 * extra, labels)
        assert all(p.grad is None for p in net.parameters())


def test_a_penalty_on_the_output_weights_is_the_users_own() -> None:
    net = spread(Shortcut("none"))
    x, labels = batch()
    with attach(net, BRP(), num_classes=K) as brp:
        for _ in range(2):
            net.zero_grad()
            brp.reset()
            brp.backward(mse(run(net, x), labels) + net.fc3.weight.square().sum(), labels)
    assert (net.fc3.weight.grad - 2 * net.fc3.weight).abs().max() < net.fc3.weight.abs().max()


def test_two_heads_are_found_out() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(N_IN, N), leaky())
            self.heads = nn.ModuleList(nn.Sequential(nn.Linear(N, K), leaky()) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.body(x)
            return torch.stack([head(hidden) for head in self.heads])

    net = spread(Heads())
    x, labels = batch()
    results = []
    for rule in (BRP(), Backprop()):
        with attach(net, rule, num_classes=K) as brp:
            for _ in range(2):
                net.zero_grad()
                brp.reset()
                out = run(net, x)
                brp.backward(mse(out[:, 0], labels) + 2 * mse(out[:, 1], labels), labels)
        results.append(grads(net))
    for name, gradient in results[0].items():
        assert torch.allclose(gradient, results[1][name]) == name.startswith("heads")


# -- other targets than one class a sample -------------------------------------------------------------------------


def taught(labels: Tensor, rule=BRP(), **options: object) -> dict[str, Tensor]:  # noqa: B008 (rules are frozen)
    net = spread(nn.Sequential(nn.Linear(N_IN, N), leaky(), nn.Linear(N, K), leaky()))
    x, classes = batch()
    with attach(net, rule, num_classes=K, generator=seeded(), **options) as brp:
        brp.backward(mse(run(net, x), classes), labels)
    return grads(net)


def test_one_hot_targets_equal_class_numbers_in_every_form() -> None:
    labels = batch()[1]
    one_hot = F.one_hot(labels, K).float()
    expected = taught(labels)
    for same in (one_hot, labels.expand(5, -1), one_hot.expand(5, -1, -1)):
        for name, gradient in taught(same).items():
            torch.testing.assert_close(gradient, expected[name])
    encoded = taught(labels.float()[:, None], encode_targets=lambda target: F.one_hot(target[:, 0].long(), K).float())
    for name, gradient in encoded.items():
        torch.testing.assert_close(gradient, expected[name])


def test_a_label_at_every_step_reaches_the_layer_at_that_step() -> None:
    net = spread(nn.Sequential(nn.Linear(N_IN, N), leaky(), nn.Linear(N, K), leaky()))
    x, _ = batch()
    labels = torch.randint(0, K, x.shape[:2], generator=torch.Generator().manual_seed(2))
    with attach(net, ErrorProjection(), num_classes=K, generator=seeded()) as brp:
        out = run(net, x)
        brp.backward(F.mse_loss(out, F.one_hot(labels, K).float()), labels)
        B_1 = brp.feedback.matrix("1", (N,))
    layer = copy.deepcopy(net[:2])
    layer.zero_grad()
    reset_state(layer)
    delta = (out.detach() - F.one_hot(labels, K)) @ B_1 / x.shape[1]
    (delta * run(layer, x)).sum().backward()
    torch.testing.assert_close(net[0].weight.grad, layer[0].weight.grad)


def test_regression_targets_are_sent_as_they_are_and_a_reading_of_classes_says_no() -> None:
    targets = torch.randn(4, K, generator=torch.Generator().manual_seed(4))
    got, double = taught(targets), taught(2 * targets)
    torch.testing.assert_close(double["0.weight"], 2 * got["0.weight"])
    with pytest.raises(ValueError, match="RewardPrediction predicts classes, and the real-valued targets are no dist"):
        taught(targets, RewardPrediction())
    taught(torch.softmax(targets, 1), RewardPrediction())  # soft labels are


def test_a_population_code_is_compared_class_by_class() -> None:
    net = spread(nn.Sequential(nn.Linear(N_IN, N), leaky(), nn.Linear(N, 2 * K), leaky()))
    x, labels = batch()
    loss = SF.mse_count_loss(0.8, 0.2, population_code=True, num_classes=K)
    with attach(net, ErrorProjection(), num_classes=K) as brp:
        out = run(net, x)
        brp.backward(loss(out, labels), labels)
        B_1 = brp.feedback.matrix("1", (N,))
    y = out.detach().mean(0).unflatten(1, (K, 2)).mean(2)
    layer = copy.deepcopy(net[:2])
    layer.zero_grad()
    reset_state(layer)
    ((y - F.one_hot(labels, K)) @ B_1 / len(labels) * run(layer, x)).sum().backward()
    torch.testing.assert_close(net[0].weight.grad, layer[0].weight.grad)


def test_layers_that_never_fire_are_named_once() -> None:
    net = nn.Sequential(nn.Linear(N_IN, N), snn.Leaky(0.8, 100.0, init_hidden=True), nn.Linear(N, K), leaky())
    x, labels = batch()
    told = []
    with attach(spread(net), "brp", num_classes=K) as brp:
        for _ in range(20):
            brp.reset()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                brp.backward(mse(run(net, x), labels), labels)
            told += [str(warning.message) for warning in caught if "is silent" in str(warning.message)]
    assert [message.split(":")[0] for message in told if "'1'" in message] == ["layer '1' is silent"]


def test_behind_layers_without_weights_a_readout_learns_alone() -> None:
    net = nn.Sequential(nn.AvgPool1d(2), snn.Leaky(0.9, init_hidden=True), nn.Flatten(), nn.Linear(3, K))
    alone = copy.deepcopy(net)
    x, labels = torch.rand(4, 2, 1, 6), torch.tensor([0, 1])
    gradients = []
    for one in (net, alone):
        reset_state(one)
        with attach(one, BRP(), num_classes=K) if one is net else nullcontext() as brp:
            out = torch.stack([one(x_t) for x_t in x])
            loss = mse(out, labels)
            brp.backward(loss, labels) if one is net else loss.backward()
        gradients.append(one[3].weight.grad)
    assert torch.equal(*gradients)
