# %% [markdown]
# # Shifting Learning: computing with the times of single spikes
#
# Here a neuron fires once, and *when* is all it says. An input value x becomes a spike at z = exp(1 - x), so a larger
# value comes earlier; the answer of a network is the output that fires first. A layer solves
#
#     z_out = Σ_C w_i z_i / (Σ_C w_i - 1)
#
# over its causal set C, the inputs that came in time to make it fire, and a synapse learns from two times that it can
# see, its input's and its neuron's, and one signal that it is sent, the error δ of its neuron: Δw_i ∝ δ (z_i - z_out).

# %%
import torch

from snntorch_brp.shifting import ShiftingNetwork, accuracy, encode, fit, recipes
from snntorch_brp.shifting.raster import spike_times

# %% [markdown]
# One layer by hand: three inputs, two neurons. The first neuron is strongly driven and fires before the last input
# comes, which is therefore not in its causal set; the second needs all three.

# %%
net = ShiftingNetwork((3, 2), generator=torch.Generator().manual_seed(0))
(layer,) = net.layers
layer.weight.data = torch.tensor([[1.5, 0.4], [1.5, 0.4], [1.5, 0.4]])
z = encode(torch.tensor([[1.0, 0.9, 0.0]]))
fired = layer.fire(layer.sort(z))
print("inputs at ", [round(t, 3) for t in z[0].tolist()])
print("outputs at", [round(t, 3) for t in fired.z[0].tolist()])
print("the last input that each has heard came at", [round(t, 3) for t in fired.last[0].tolist()])

# %% [markdown]
# ## Exclusive or
#
# Two inputs, eight hidden neurons, two outputs. `net.learn` puts the local updates into `.grad`, and any optimizer
# takes it from there; `fit` does that for the epochs of a recipe.

# %%
spikes, labels = recipes.xor()
generator = torch.Generator().manual_seed(0)
net = recipes.XOR.network(generator=generator)
print(f"before: {accuracy(net, spikes, labels):.0%} right")
for epoch, share in enumerate(fit(net, spikes, labels, recipes.XOR.schedule, generator=generator)):
    if epoch % 100 == 99:
        print(f"epoch {epoch + 1}: {share:.0%} right")

# %% [markdown]
# Who fires when, for the input (0, 1). The circle marks the answer, the earliest output.

# %%
figure = spike_times(net, spikes[1:2], title="exclusive or of 0 and 1")
figure.savefig("shifting_learning.png")
print("figure: shifting_learning.png")

# %% [markdown]
# The error of the hidden neurons came back through the forward weights, `feedback="symmetric"`, as the authors have
# it; a brain has no such copy of its weights. A fixed random matrix carries it too, if not quite as far: this task is
# solved from 38 of 40 starts, and from all 40 with the forward weights (`snntorch-brp shift xor --feedback random`).

# %%
generator.manual_seed(0)
net = recipes.XOR.network(feedback="random", generator=generator)
history = list(fit(net, spikes, labels, recipes.XOR.schedule, generator=generator))
print(f"random feedback: {history[-1]:.0%} right")
