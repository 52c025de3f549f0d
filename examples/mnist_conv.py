# %% [markdown]
# # A convolutional network in one `nn.Sequential`
#
# The convolutional network of snnTorch's tutorial: neurons with `init_hidden=True`, one step a call, max pooling and
# batch norm in between, `snntorch.utils.reset` before every batch. `BRPTrainer` does the loop this time; the same
# network trains by backpropagation through time with `Backprop()` in the place of the rule.
#
# It runs on scikit-learn's 8x8 digits; name the folder with the MNIST files below for those.

# %%
import snntorch as snn
import torch
from torch import nn

from snntorch_brp import Backprop, BRPTrainer, RateEncoder, RewardPrediction, observe, unroll
from snntorch_brp.data.images import load_digits, load_mnist
from snntorch_brp.data.loader import batches
from snntorch_brp.plots import spike_raster

mnist = None  # the folder with the MNIST files
steps = 10
epochs = 1 if mnist else 10

train, test = (load_mnist(mnist, train=t) if mnist else load_digits(train=t) for t in (True, False))
kernel, padding = (5, 0) if mnist else (3, 1)
width = 4 * 4 if mnist else 2 * 2  # of a feature map, after two halvings (and the borders that convolution loses)


# %%
def make_net():
    beta = 0.5
    return nn.Sequential(
        nn.Conv2d(1, 12, kernel, padding=padding),
        nn.BatchNorm2d(12),
        nn.MaxPool2d(2),
        snn.Leaky(beta=beta, init_hidden=True),
        nn.Conv2d(12, 64, kernel, padding=padding),
        nn.MaxPool2d(2),
        snn.Leaky(beta=beta, init_hidden=True),
        nn.Flatten(),
        nn.Linear(64 * width, 10),
        snn.Leaky(beta=beta, init_hidden=True),
    )


# %%
for rule in (Backprop(), RewardPrediction()):
    torch.manual_seed(0)
    net = make_net()
    trainer = BRPTrainer(
        net,
        num_classes=10,
        propagation=rule,
        optimizer=torch.optim.Adam(net.parameters(), lr=2e-3),
        encoder=RateEncoder(steps),
    )
    trainer.fit(batches(train, 64, shuffle=True), epochs=epochs, progress=False)
    print(f"{type(rule).__name__}: {trainer.evaluate(batches(test, 200))}")

# %% [markdown]
# All layers at work on one image.

# %%
spikes = RateEncoder(steps)(test.tensors[0][:1])
net.eval()
with torch.no_grad():
    activity = observe(net, lambda: unroll(net, spikes))
spike_raster(activity, inputs=spikes, title="one image").savefig("mnist_conv.png")
print("figure: mnist_conv.png")
