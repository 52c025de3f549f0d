"""Every neuron of snnTorch 1.0 under attach, against autograd on the hidden layer alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import snntorch as snn
import torch
from networks import K, mse, spread
from neurons_of_snntorch import STEPWISE, Make
from torch import Tensor, nn

from snntorch_brp import BRP, attach, reset_state
from snntorch_brp.neurons import takes_sequence

T, B, N_IN, N = 6, 4, 6, 8

WHOLE: dict[str, Make] = {
    "LeakyParallel": lambda n_in, n: snn.LeakyParallel(n_in, n, threshold=0.3),
    "LeakyParallel learned": lambda n_in, n: snn.LeakyParallel(n_in, n, beta=0.5, learn_beta=True, threshold=0.3),
    "StateLeaky": lambda n_in, n: nn.Sequential(nn.Linear(n_in, n), snn.StateLeaky(0.7, n, threshold=0.3)),
    "LinearLeaky": lambda n_in, n: snn.LinearLeaky(0.7, n_in, n, threshold=0.3),
    "AssociativeLeaky": lambda n_in, n: snn.AssociativeLeaky(n_in, n, 1, n, use_q_projection=False),
    "AssociativeLeaky, read out": lambda n_in, n: snn.AssociativeLeaky(n_in, n // 2, n // 2, n * n // 4),
}


class Explicit(nn.Module):
    """A synapse and a neuron whose state is passed by hand, one step a call, remembered by this wrapper."""

    def __init__(self, n_in: int, n: int, make: Make) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(n_in, n), make(n)

    def start(self) -> None:
        states = self.lif.reset_mem()
        pair = isinstance(self.lif, snn.DeltaLeaky)
        self.states = (states,) if pair or not isinstance(states, tuple) else states

    def forward(self, x: Tensor) -> Tensor:
        out = self.lif(self.fc(x), *self.states)
        recurrent = isinstance(self.lif, snn.RLeaky | snn.RSynaptic)  # they are handed their own spikes too
        self.states = out if recurrent else out[1:]
        return out[0]


class First(nn.Module):
    """The spikes: DeltaLeaky returns its membrane too, also with ``init_hidden``."""

    def forward(self, out: Tensor | tuple[Tensor, ...]) -> Tensor:
        return out[0] if isinstance(out, tuple) else out


def sequence() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return (torch.rand(T, B, N_IN, generator=generator) < 0.5).float(), torch.tensor([0, 1, 2, 1])


def whole(net: nn.Module, x: Tensor) -> Tensor:
    """Layer by layer, where some return (spikes, membrane)."""
    if isinstance(net, nn.Sequential):
        for layer in net:
            x = whole(layer, x)
        return x
    out = net(x)
    return out[0] if isinstance(out, tuple) else out


def run(net: nn.Module, x: Tensor) -> Tensor:
    """Spikes [T, B, *] of a network or layer, from rest, whatever its style."""
    reset_state(net)
    for module in net.modules():
        if isinstance(module, Explicit):
            module.start()
    if any(takes_sequence(module) for module in net.modules()):
        return whole(net, x)
    return torch.stack([net(x_t) for x_t in x])


def alone(twin: nn.Module, weights: dict[str, Tensor], x: Tensor, delta: Tensor) -> dict[str, Tensor]:
    """Gradients of one layer with nothing attached, where δ is put by hand on its spikes at every step."""
    twin.load_state_dict(weights)
    twin.zero_grad()
    spikes = run(twin, x)
    assert 0 < spikes.count_nonzero() < spikes.numel(), "not worth testing"
    (delta * spikes).sum().backward()
    return {name: p.grad for name, p in twin.named_parameters() if p.grad is not None}


def check(build: Callable[[], nn.Sequential], name: str, count: int) -> None:
    """Train a network for some steps, compare its first layer's gradients, and see the loss fall."""
    torch.manual_seed(2)
    net, twin = build(), build()[0]
    hidden = net[0]
    x, labels = sequence()
    optimizer, losses = torch.optim.Adam(net.parameters(), 0.01), []
    with attach(net, BRP(), num_classes=K, generator=torch.Generator().manual_seed(1)) as brp:
        for _ in range(25):
            optimizer.zero_grad()
            spikes = run(net, x)
            loss = mse(spikes, labels)
            brp.backward(loss, labels)
            if len(losses) < 3:  # the sequence in which the output is found out, and two after it
                delta = brp.feedback.matrix(name, (count,))[labels] / B
                expected = alone(twin, hidden.state_dict(), x, delta)
                got = {key: p.grad for key, p in hidden.named_parameters() if p.grad is not None}
                assert got.keys() == expected.keys()
                for key, gradient in expected.items():
                    torch.testing.assert_close(got[key], gradient, msg=lambda m, key=key: f"{key}: {m}")
            optimizer.step()
            losses.append(loss.item())
    assert min(losses) < losses[0], losses


@pytest.mark.parametrize("neuron", STEPWISE)
@pytest.mark.parametrize("style", ["explicit", "init_hidden"])
def test_one_step_a_call(neuron: str, style: str) -> None:
    make = STEPWISE[neuron]

    def build() -> nn.Sequential:
        if style == "explicit":
            net = nn.Sequential(Explicit(N_IN, N, make), Explicit(N, K, make))
        else:
            hidden = nn.Sequential(nn.Linear(N_IN, N), make(N, init_hidden=True), First())
            net = nn.Sequential(hidden, nn.Linear(N, K), make(K, init_hidden=True), First())
        for module in net.modules():
            if isinstance(module, nn.Linear):
                spread(module)
        return net

    check(build, "0.lif" if style == "explicit" else "0.1", N)


@pytest.mark.parametrize("neuron", WHOLE)
def test_whole_sequences(neuron: str) -> None:
    count = 16 if "read out" in neuron else N

    def build() -> nn.Sequential:
        first = WHOLE[neuron](N_IN, N)
        if "Associative" in neuron:
            first.threshold.fill_(0.1)
        return nn.Sequential(first, WHOLE["LinearLeaky"](count, K))

    check(build, "0.1" if neuron == "StateLeaky" else "0", count)


def test_convolutional_lstm_with_pooling() -> None:
    torch.manual_seed(0)
    lstm = snn.SConv2dLSTM(2, 3, 3, max_pool=2, threshold=0.01, init_hidden=True)
    net = nn.Sequential(lstm, nn.Flatten(), nn.Linear(12, K), snn.Leaky(0.9, init_hidden=True))
    x, labels = torch.rand(T, B, 2, 4, 4, generator=torch.Generator().manual_seed(1)), sequence()[1]
    twin = copy.deepcopy(lstm)
    with attach(net, BRP(), num_classes=K) as brp:
        brp.backward(mse(run(net, x), labels), labels)
        expected = alone(twin, lstm.state_dict(), x, brp.feedback.matrix("0", (3, 2, 2))[labels] / B)
    torch.testing.assert_close(lstm.conv.weight.grad, expected["conv.weight"])


# -- neurons that snnTorch 1.0.0 itself gets wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (snn.RSynaptic(0.6, 0.8, linear_features=8, reset_delay=False), "layer '1'.*reset_delay=False"),
        (snn.SLSTM(8, 5), r"layer '1'.*SLSTM\(8, 5\).*loses its state"),
        (snn.StateLeaky(0.7, 8, output=False), "layer '1'.*output=False.*no spikes"),
    ],
)
def test_broken_hosts_are_named_at_once(broken: nn.Module, message: str) -> None:
    net = nn.Sequential(nn.Linear(6, 8), broken, nn.Linear(8, K), snn.Leaky(0.9))
    with pytest.raises(ValueError, match=message):
        attach(net, BRP(), num_classes=K)


def test_the_hosts_are_still_broken() -> None:
    """When one of these starts to fail, snnTorch has mended it and the check above can go."""
    with pytest.raises((TypeError, UnboundLocalError)):
        snn.RSynaptic(0.6, 0.8, linear_features=2, init_hidden=True, reset_delay=False)(torch.ones(1, 2))
    torch.manual_seed(0)
    lstm = snn.SLSTM(4, 3, init_hidden=True)
    lstm(torch.ones(1, 4))
    first = lstm.mem.clone()
    lstm(torch.ones(1, 4))
    assert torch.equal(lstm.mem, first)  # two steps from rest, and the second knows nothing of the first
