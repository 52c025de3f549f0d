# %% [markdown]
# # A network you already have, without backpropagation
#
# The fully connected network of snnTorch's MNIST tutorial: explicit state, a time loop inside `forward`, static images
# shown at every step. First it learns by backpropagation through time, then by reward propagation. The model is the
# same class, untouched; what changes is one line of the training loop.
#
# It runs on scikit-learn's 8x8 digits; name the folder with the MNIST files below for those.

# %%
import matplotlib.pyplot as plt
import snntorch as snn
import snntorch.functional as SF
import torch
from snntorch import spikeplot
from torch import nn

from snntorch_brp import RewardPrediction, attach
from snntorch_brp.data.images import load_digits, load_mnist
from snntorch_brp.data.loader import batches

mnist = None  # the folder with the MNIST files
num_hidden = 1000 if mnist else 300
num_steps = 25
epochs = 1 if mnist else 8

train, test = (load_mnist(mnist, train=t) if mnist else load_digits(train=t) for t in (True, False))
num_inputs = train.tensors[0][0].numel()


# %%
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(num_inputs, num_hidden)
        self.lif1 = snn.Leaky(beta=0.95)
        self.fc2 = nn.Linear(num_hidden, 10)
        self.lif2 = snn.Leaky(beta=0.95)

    def forward(self, x):
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        spk1_rec, spk2_rec, mem2_rec = [], [], []
        for _ in range(num_steps):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk1_rec.append(spk1)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec), torch.stack(mem2_rec), torch.stack(spk1_rec)


loss_fn = SF.ce_rate_loss()


# %% [markdown]
# The training loop, once for both. With a handle, `brp.backward(loss, labels)` takes the place of `loss.backward()`.


# %%
def train_for(epochs, net, brp=None):
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-4)
    for _ in range(epochs):
        for images, labels in batches(train, 128, shuffle=True):
            spikes, _, _ = net(images.flatten(1))
            loss = loss_fn(spikes, labels)
            optimizer.zero_grad()
            if brp is None:
                loss.backward()
            else:
                brp.backward(loss, labels)
            optimizer.step()


@torch.no_grad()
def accuracy(net):
    hits = [(net(images.flatten(1))[0].sum(0).argmax(1) == labels).float() for images, labels in batches(test, 500)]
    return torch.cat(hits).mean().item()


# %%
torch.manual_seed(0)
bptt = Net()
train_for(epochs, bptt)
print(f"backpropagation through time: {accuracy(bptt):.1%}")

torch.manual_seed(0)
net = Net()
with attach(net, RewardPrediction(), num_classes=10) as brp:  # the one-line change
    train_for(epochs, net, brp)
print(f"reward propagation:           {accuracy(net):.1%}")

# %% [markdown]
# What the hidden layer does for one image, under both.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3), sharey=True, layout="constrained")
image = test.tensors[0][:1].flatten(1)
for ax, model, title in zip(axes, (bptt, net), ("BPTT", "reward propagation"), strict=True):
    with torch.no_grad():
        hidden = model(image)[2][:, 0, :100]
    spikeplot.raster(hidden, ax, s=4, c="black")
    ax.set(title=title, xlabel="time step", ylabel="hidden neuron")
figure.savefig("mnist_dense.png")
print("figure: mnist_dense.png")
