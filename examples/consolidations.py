# %% [markdown]
# # How a layer learns: the consolidations side by side
#
# The signal that reaches a layer is one thing, what the layer makes of it another. This trains the same network on
# scikit-learn's handwritten digits with each consolidation, and with the hidden layer at rest: the bar to clear. (A
# layer at rest does better if it starts calibrated, so it is a low bar.)

# %%
import torch

from snntorch_brp import (
    BRP,
    STDP,
    BRPTrainer,
    Correlation,
    DifferentialHebb,
    ErrorProjection,
    OutputOnly,
    PseudoGradient,
    RateEncoder,
    RewardPrediction,
    SimilarityMatching,
    StateDifference,
)
from snntorch_brp.data.images import load_digits
from snntorch_brp.data.loader import batches
from snntorch_brp.models import mlp

hidden = 300  # neurons
steps = 20
epochs = 12
seed = 0

# %%
propagations = [BRP(), RewardPrediction(), ErrorProjection()]
consolidations = {
    "PseudoGradient": PseudoGradient(),
    "StateDifference, membrane": StateDifference(state="membrane"),
    "..., gain 20": StateDifference(state="membrane", gain=20),
    "StateDifference, rate": StateDifference(state="rate"),
    "..., gain 5": StateDifference(state="rate", gain=5),
    "Correlation": Correlation(),
    "..., rectified": Correlation(rectify=True),
    "SimilarityMatching": SimilarityMatching(),
    "STDP": STDP(),
    "DifferentialHebb": DifferentialHebb(),
}


# %%
def accuracy(propagation, consolidation=None):
    """Test accuracy of a 64-hidden-10 network on the digits."""
    torch.manual_seed(seed)
    net = mlp([64, hidden, 10])
    trainer = BRPTrainer(
        net,
        num_classes=10,
        propagation=propagation,
        consolidation=consolidation,
        optimizer=torch.optim.Adam(net.parameters(), 1e-3),
        encoder=RateEncoder(steps),
    )
    trainer.fit(batches(load_digits(train=True), 50, shuffle=True), epochs=epochs, progress=False)
    return trainer.evaluate(batches(load_digits(train=False), 200)).accuracy


print(f"hidden layer at rest: {accuracy(OutputOnly()):.1%}")
print(" " * 28 + "".join(f"{type(rule).__name__:>20}" for rule in propagations))
for name, consolidation in consolidations.items():
    print(f"{name:<28}" + "".join(f"{accuracy(rule, consolidation):>20.1%}" for rule in propagations))
