# %% [markdown]
# # Targets that are no classes: an autoencoder without backpropagation between layers
#
# A spiking network sees an image for T steps and draws it again. Its readout, a linear layer behind the last neuron,
# learns from the loss. Each hidden layer learns from the target alone: `encode_targets` turns it into K signals, which
# reach the layer through its own fixed random matrix, in the place of the label.

# %%
import snntorch as snn
import torch
import torch.nn.functional as F
from torch import nn

from snntorch_brp import attach, reset_state, unroll
from snntorch_brp.data.images import load_digits
from snntorch_brp.data.loader import batches

epochs = 10
T = 10  # steps
train, test = load_digits(train=True), load_digits(train=False)


# %% [markdown]
# The network is an ordinary snnTorch one. 64 pixels go through 24 neurons and come out again.


# %%
def autoencoder() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(64, 100), snn.Leaky(0.9, init_hidden=True),
        nn.Linear(100, 24), snn.Leaky(0.9, init_hidden=True),
        nn.Linear(24, 64),
    )  # fmt: skip


def drawn(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The image that the network draws, [B, 64]: the mean of its readout over T steps."""
    return unroll(net, images.expand(T, *images.shape)).mean(0)


# %% [markdown]
# `"dfa"` sends the readout's error, so it must be told what the readout is; `"output-only"` leaves hidden layers as
# they were drawn. What is to beat is the mean image.

# %%
x_test = test.tensors[0].flatten(1)
mean_image = train.tensors[0].flatten(1).mean(0)
print(f"the mean image      {F.mse_loss(mean_image.expand_as(x_test), x_test):.4f}")
for rule in ("output-only", "brp", "dfa", "backprop"):
    torch.manual_seed(0)
    net = autoencoder()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    with attach(net, rule, num_classes=64, output=net[-1], encode_targets=lambda images: images.flatten(1)) as brp:
        for _ in range(epochs):
            for images, _ in batches(train, 50, shuffle=True):
                loss = F.mse_loss(drawn(net, images.flatten(1)), images.flatten(1))
                brp.backward(loss, images)
                optimizer.step()
                optimizer.zero_grad()
    net.eval()
    with torch.no_grad():
        print(f"{rule:<20}{F.mse_loss(drawn(net, x_test), x_test):.4f}")
    reset_state(net)
