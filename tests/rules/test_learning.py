"""Each rule teaches hidden layers something: it beats the same network with its hidden layers at rest.

Two passes over the digits of scikit-learn, from one seed; a learning rate for each rule, found by trying three. At rest
the network names some 66 % of the test digits, and a rule has to name 3 % more, some two standard deviations of 360
draws. Not among them are DRTP, ETLP and OSTTP, which in so short a time come out level with rest, and reward-modulated
STDP, which comes out below it: one number for all neurons says little.
"""

from __future__ import annotations

import functools

import pytest
import snntorch as snn
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp import OutputOnly, attach, parameter_groups, rate_encode, reset_state, rules
from snntorch_brp.data.images import load_digits

STEPS = 15
LEARNING_RATES = {
    "dfa": 5e-4,
    "decolle": 1e-3,
    "e-prop": 5e-4,
    "s-tllr": 5e-4,
    "ccl": 1e-3,
    "similarity": 5e-4,
    "ottt": 5e-4,
    "ostl": 5e-4,
}


@functools.cache
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    parts = []
    for train in (True, False):
        x, labels = zip(*load_digits(train=train), strict=True)
        parts += [torch.stack([torch.as_tensor(image) for image in x]).flatten(1), torch.tensor(labels)]
    return tuple(parts)  # type: ignore[return-value]


def lif() -> nn.Module:
    return snn.Leaky(0.9, threshold=1.0, init_hidden=True)


def run(net: nn.Module, x: Tensor) -> Tensor:
    return torch.stack([net(x_t) for x_t in x])


def accuracy(rule, hidden_lr: float, *, neuron=lif) -> float:
    """Share of the test digits named right, in %, after two passes."""
    x, labels, test_x, test_labels = digits()
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 150), neuron(), nn.Linear(150, 150), neuron(), nn.Linear(150, 10), lif())
    optimizer = torch.optim.Adam(parameter_groups(net, lr=2e-3, hidden_lr=hidden_lr))
    online = getattr(rule, "propagation", rule).spatial
    credit = "trace" if online else "full"
    with attach(net, rule, num_classes=10, credit=credit, generator=torch.Generator().manual_seed(1)) as handle:
        for rows in [rows for _ in range(2) for rows in torch.randperm(len(x), generator=generator).split(50)]:
            spikes, here = rate_encode(x[rows], STEPS, generator=generator), labels[rows]
            optimizer.zero_grad()
            handle.reset()
            if online:
                handle.teach(here, steps=STEPS)
                run(net, spikes)
            else:
                loss = F.mse_loss(run(net, spikes).mean(0), F.one_hot(here, 10).float())
                handle.backward(loss, here)
            optimizer.step()
    with torch.no_grad():
        reset_state(net)
        y = run(net, rate_encode(test_x, STEPS, generator=generator)).mean(0)
    return 100 * (y.argmax(1) == test_labels).float().mean().item()


@functools.cache
def at_rest() -> float:
    return accuracy(OutputOnly(), 1e-3)


@pytest.mark.parametrize("name", LEARNING_RATES)
def test_a_rule_beats_hidden_layers_at_rest(name: str) -> None:
    assert accuracy(rules.RULES[name](), LEARNING_RATES[name]) > at_rest() + 3
