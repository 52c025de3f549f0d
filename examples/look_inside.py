# %% [markdown]
# # Looking inside a network while it learns
#
# How much of a network takes part, what does it cost, and does it learn in the right direction? Two monitors measure a
# fixed batch after every epoch: one counts spikes, silent neurons and synaptic operations, the other compares the
# rule's weight changes with the true gradient. They work on any snnTorch network, and change nothing about training.

# %%
import torch

from snntorch_brp import BRP, BRPTrainer, ErrorProjection, RateEncoder, RewardPrediction
from snntorch_brp.analysis import ActivityMonitor, AlignmentMonitor
from snntorch_brp.data.images import load_digits
from snntorch_brp.data.loader import batches, head
from snntorch_brp.models import mlp

epochs = 4

# %% [markdown]
# Both monitors are callbacks of the trainer, and look at the first 100 training images.

# %%
torch.manual_seed(0)
net = mlp([64, 300, 10])
trainer = BRPTrainer(
    net,
    num_classes=10,
    propagation=BRP(),
    encoder=RateEncoder(steps=20),
    optimizer=torch.optim.Adam(net.parameters(), lr=1e-3),
)
train = load_digits(train=True)
x, labels = next(iter(batches(head(train, 100), 100)))
activity = ActivityMonitor(x)
alignment = AlignmentMonitor(x, labels, rules={"BRP": BRP(), "TP_err": ErrorProjection(), "RP": RewardPrediction()})
trainer.fit(batches(train, 50, shuffle=True), epochs=epochs, callbacks=[activity, alignment], progress=False)

# %% [markdown]
# How much of the hidden layer takes part, and what a sample costs.

# %%
print("epoch  rate of fc1  silent in fc1  operations a sample")
for epoch, seen in activity.history:
    layer = seen.layers["fc1_lif"]
    print(f"{epoch:>5}  {layer.rate:>11.3f}  {layer.silent_share:>13.1%}  {seen.operations:>19,.0f}")

# %% [markdown]
# The angle between a rule's change of fc1 and the true gradient; 90° is no better than chance.

# %%
for epoch, rule, angles in alignment.history:
    print(f"epoch {epoch}, {rule:<6} {angles['fc1']:.0f}°")

# %% [markdown]
# Everything that was counted after the last epoch.

# %%
print(activity.history[-1][1])
