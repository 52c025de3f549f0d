# %% [markdown]
# # What is sent: the learning curves of the rules
#
# One network, one data set (scikit-learn's handwritten digits), and every rule for what reaches the hidden layer: the
# label alone, the reward prediction error, the output's error or its sign, the true gradient; and nothing at all, the
# bar that a rule must clear.

# %%
import matplotlib.pyplot as plt
import torch

from snntorch_brp import (
    BRP,
    Backprop,
    BRPTrainer,
    ErrorProjection,
    OutputOnly,
    RateEncoder,
    RewardPrediction,
    SignProjection,
)
from snntorch_brp.data.images import load_digits
from snntorch_brp.data.loader import batches
from snntorch_brp.models import mlp

hidden = 300  # neurons
steps = 20
epochs = 12
train, test = load_digits(train=True), load_digits(train=False)

# %%
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for rule in (BRP(), RewardPrediction(), SignProjection(), ErrorProjection(), Backprop(), OutputOnly()):
    torch.manual_seed(0)
    net = mlp([64, hidden, 10])
    trainer = BRPTrainer(
        net,
        num_classes=10,
        propagation=rule,
        optimizer=torch.optim.Adam(net.parameters(), 1e-3),
        encoder=RateEncoder(steps),
    )
    loader = batches(train, 50, shuffle=True)
    results = trainer.fit(loader, epochs=epochs, validation=batches(test, 200), progress=False)
    curve = [result.validation.accuracy for result in results]
    ax.plot(range(1, epochs + 1), curve, label=type(rule).__name__)
    print(f"{type(rule).__name__:<18}{curve[-1]:.1%}")
ax.set(xlabel="epoch", ylabel="test accuracy")
ax.legend()
figure.savefig("propagations.png")
print("figure: propagations.png")
