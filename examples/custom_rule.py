# %% [markdown]
# # Your own rule
#
# What is sent and how a layer learns from it are one small class each. Nothing of the package is touched, and both
# work with `attach`, the trainer and every kind of layer.

# %%
import sys
from dataclasses import dataclass

import torch

from snntorch_brp import BRPTrainer, Consolidation, Propagation, PseudoGradient, RateEncoder
from snntorch_brp.consolidation import Gradients
from snntorch_brp.data.images import load_digits
from snntorch_brp.data.loader import batches
from snntorch_brp.models import mlp

# %% [markdown]
# A layer reads every class's reward from its own rate and is taught only where it is wrong: the perceptron's rule.


# %%
@dataclass(frozen=True)
class Perceptron(Propagation):
    def signal(self, label, *, window, feedback, output):
        reading = window.rate.flatten(1) @ feedback.flatten(1).T  # [B, K]
        guess = torch.nn.functional.one_hot(reading.argmax(1), reading.shape[1])
        return guess - label  # [1, B, K]; zero where the guess is right


# %% [markdown]
# A layer learns only from the second half of the sequence, when its rate has settled.


# %%
@dataclass(frozen=True)
class LateHalf(Consolidation):
    def gradients(self, delta, window):
        late = torch.arange(window.steps, device=delta.device) >= window.steps // 2
        return Gradients(spikes=delta * late.view(-1, *[1] * (delta.dim() - 1)).to(delta.dtype))


# %%
QUICK = "--quick" in sys.argv  # as the tests run it
for consolidation in (PseudoGradient(), LateHalf()):
    torch.manual_seed(0)
    net = mlp([64, 30 if QUICK else 300, 10])
    trainer = BRPTrainer(
        net,
        num_classes=10,
        propagation=Perceptron(),
        consolidation=consolidation,
        optimizer=torch.optim.Adam(net.parameters(), 1e-3),
        encoder=RateEncoder(steps=5 if QUICK else 20),
    )
    trainer.fit(batches(load_digits(train=True), 50, shuffle=True), epochs=1 if QUICK else 12, progress=False)
    print(f"Perceptron, {type(consolidation).__name__}: {trainer.evaluate(batches(load_digits(train=False), 200))}")
