# %% [markdown]
# # How a layer learns: the consolidations side by side
#
# The signal that reaches a layer is one thing, what the layer makes of it another. This trains the same network on
# scikit-learn's handwritten digits with each consolidation, and with the hidden layer at rest: the bar to clear. (A
# layer at rest does better if it starts calibrated, so it is a low bar.)

# %%
from __future__ import annotations

import argparse

import torch

from snntorch_brp import (
    STDP,
    BRPTrainer,
    Consolidation,
    Correlation,
    DifferentialHebb,
    OutputOnly,
    Propagation,
    PseudoGradient,
    RateEncoder,
    RewardPrediction,
    SimilarityMatching,
    StateDifference,
)
from snntorch_brp.data.images import load_digits
from snntorch_brp.data.loader import batches
from snntorch_brp.models import mlp
from snntorch_brp.propagation import BRP, ErrorProjection

CONSOLIDATIONS: dict[str, Consolidation] = {
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
PROPAGATIONS: list[Propagation] = [BRP(), RewardPrediction(), ErrorProjection()]


# %%
def accuracy(
    propagation: Propagation, consolidation: Consolidation, *, epochs: int, hidden: int, steps: int, seed: int
) -> float:
    """Test accuracy of a 64-``hidden``-10 network on the digits."""
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


# %%
def main(argv: list[str] | None = None) -> dict[str, list[float]]:
    parser = argparse.ArgumentParser(description="Consolidations side by side on the digits")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=300)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="as the tests run it: one short epoch of a small network")
    settings = vars(parser.parse_args(argv))
    if settings.pop("quick"):
        settings |= {"epochs": 1, "hidden": 10, "steps": 4}

    bar = accuracy(OutputOnly(), PseudoGradient(), **settings)
    print(f"hidden layer at rest: {bar:.1%}")
    print(" " * 28 + "".join(f"{type(rule).__name__:>20}" for rule in PROPAGATIONS))
    table = {}
    for name, consolidation in CONSOLIDATIONS.items():
        table[name] = [accuracy(rule, consolidation, **settings) for rule in PROPAGATIONS]
        print(f"{name:<28}" + "".join(f"{value:>20.1%}" for value in table[name]))
    return table


if __name__ == "__main__":
    main()
