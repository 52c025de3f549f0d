# %% [markdown]
# # BRP in PyTorch Lightning: attach, and manual optimization
#
# A LightningModule keeps its network and its loop; only `manual_backward(loss)` becomes `brp.backward(loss, labels)`.
# Lightning is not a dependency of this package: `pip install lightning`, then run this.

# %%
from __future__ import annotations

import importlib.util

import snntorch as snn
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp import BRP, RateEncoder, attach, unroll
from snntorch_brp.data.images import load_digits
from snntorch_brp.data.loader import batches

# %%
if importlib.util.find_spec("lightning") is None:
    raise SystemExit("This example needs Lightning: pip install lightning")

import lightning


class Digits(lightning.LightningModule):
    """An ordinary module; only ``manual_backward(loss)`` has become ``brp.backward(loss, labels)``."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 200), snn.Leaky(beta=0.9, init_hidden=True),
            nn.Linear(200, 10), snn.Leaky(beta=0.9, init_hidden=True),
        )  # fmt: skip
        self.encode = RateEncoder(steps=20)
        self.brp = attach(self.net, BRP(), num_classes=10)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> None:
        x, labels = batch
        optimizer = self.optimizers()
        optimizer.zero_grad()
        with self.brp as brp:
            y = unroll(self.net, self.encode(x)).mean(0)
            loss = F.mse_loss(y, F.one_hot(labels, 10).float())
            brp.backward(loss, labels)
        optimizer.step()
        self.log("loss", loss.detach(), prog_bar=True)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        x, labels = batch
        right = unroll(self.net, self.encode(x)).mean(0).argmax(1) == labels
        self.log("accuracy", right.float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.net.parameters(), lr=1e-3)


if __name__ == "__main__":
    trainer = lightning.Trainer(max_epochs=5, logger=False, enable_checkpointing=False)
    train, test = load_digits(train=True), load_digits(train=False)
    trainer.fit(Digits(), batches(train, 50, shuffle=True), batches(test, 250))
