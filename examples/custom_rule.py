# %% [markdown]
# # Your own rule
#
# What is sent and how a layer learns from it are one small class each. Two published rules, written anew from what
# anyone can import; `snntorch_brp.rules` has both ready made, and this file checks that they give the same.

# %%
from dataclasses import dataclass

import torch

from snntorch_brp import BRPTrainer, Consolidation, Gradients, Propagation, RateEncoder, rules
from snntorch_brp.data.images import load_digits
from snntorch_brp.data.loader import batches
from snntorch_brp.models import mlp

# %% [markdown]
# **DECOLLE** (Kaiser, Mostafa, Neftci 2020): at every step the layer reads the classes from its spikes through the
# fixed random matrix that brings the label, and hears how far that was off. Its synapses learn by eligibility: the
# pseudo-derivative ψ of its own neurons times a trace of the input.


# %%
@dataclass(frozen=True)
class LocalReading(Propagation):
    def signal(self, label, *, window, feedback, output):
        reading = window.spikes.flatten(2) @ feedback.flatten(1).T  # [T, B, K]
        return reading - label


@dataclass(frozen=True)
class ThreeFactor(Consolidation):
    keeps = frozenset({"membrane", "current"})
    causal = True  # so that it also learns online: attach(..., credit="trace")

    def gradients(self, delta, window):
        return Gradients(traced=delta * window.psi)  # Σ_t δ_t ψ_t x̄_tᵀ, x̄ with the decay of the layer's neurons


# %% [markdown]
# **S-TLLR** (Apolinario and Roy): the error of the output at every step, and a trace that counts input before the
# neuron's activity for, and input after it against a connection.


# %%
@dataclass(frozen=True)
class OutputError(Propagation):
    needs_output = True
    every_step = True

    def signal(self, label, *, window, feedback, output):
        return output - label  # [T, B, K]


@dataclass(frozen=True)
class Timing(Consolidation):
    keeps = frozenset({"membrane", "current"})
    causal = True

    def trace(self, layer):
        return rules.LeakyTrace((0.75,))  # of the inputs, in the place of the neurons' own

    def gradients(self, delta, window):
        before = 0.2 * window.trace(window.psi, 0.2, name="psi", delayed=True)
        return Gradients(traced=delta * window.psi, current=-delta * before)


# %%
hidden = 300  # neurons
steps = 20
epochs = 12


def train(propagation, consolidation=None):
    torch.manual_seed(0)
    net = mlp([64, hidden, 10])
    trainer = BRPTrainer(
        net,
        num_classes=10,
        propagation=propagation,
        consolidation=consolidation,
        optimizer=torch.optim.Adam(net.parameters(), 5e-4),
        encoder=RateEncoder(steps),
    )
    trainer.fit(batches(load_digits(train=True), 50, shuffle=True), epochs=epochs, progress=False)
    return trainer.evaluate(batches(load_digits(train=False), 200)), next(net.parameters()).detach()


for name, own, ready in [
    ("DECOLLE", (LocalReading(), ThreeFactor()), rules.DECOLLE()),
    ("S-TLLR", (OutputError(), Timing()), rules.STLLR()),
]:
    result, weight = train(*own)
    same = torch.allclose(weight, train(ready)[1], atol=1e-6)
    print(f"{name}: {result}, the same as the ready made rule: {same}")
