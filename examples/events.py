# %% [markdown]
# # Event-camera data: spikes from the start
#
# Recordings become frames of spikes, time first, and go into the network as they are. A few
# gestures are simulated here, which is no substitute for data but runs anywhere; name the folder that holds N-MNIST's
# recordings, in NMNIST/{Train,Test}, for those.
#
# Events are sparse: weights as torch draws them leave these neurons below their threshold, silent for ever. `calibrate`
# scales them on a few recordings, without their labels. And 64 recordings are few steps, so the output learns fast, and
# the hidden layers at a tenth of its rate. (Both rates, and the start, were chosen on other simulated recordings than
# the ones shown here.)

# %%
from pathlib import Path

import numpy as np
import snntorch as snn
import torch
from torch import nn
from torch.utils.data import TensorDataset

from snntorch_brp import Backprop, BRPTrainer, RewardPrediction, calibrate, observe, parameter_groups, unroll
from snntorch_brp.data.event_files import as_events
from snntorch_brp.data.events import EventSpikes, Frames, find_nmnist, load_frames
from snntorch_brp.data.loader import batches
from snntorch_brp.data.simulate import simulate_gesture
from snntorch_brp.plots import spike_raster

nmnist = None  # the folder of N-MNIST
samples = 24  # simulated recordings of each kind of gesture
steps = 30
epochs = 8


# %%
def recorded(folder):
    recordings = find_nmnist(Path(folder))
    frames = Frames(steps, sensor=(34, 34), size=(34, 34))
    used, packed, _ = load_frames(recordings, frames)
    labels = torch.tensor([recording.label for recording in used])
    training = torch.tensor([recording.split == "train" for recording in used])
    return [TensorDataset(packed[part], labels[part]) for part in (training, ~training)], 34, 10


def simulated(kinds=4):
    frames, rng = Frames(steps, sensor=(128, 128), size=(32, 32)), np.random.default_rng(0)
    labels = np.tile(np.arange(kinds), samples)
    packed = np.stack([frames(as_events(*simulate_gesture(int(label), rng=rng).T)) for label in labels])
    data, labels, third = torch.tensor(packed), torch.tensor(labels), len(labels) // 3
    return [TensorDataset(data[third:], labels[third:]), TensorDataset(data[:third], labels[:third])], 32, kinds


(train, test), size, num_classes = recorded(nmnist) if nmnist else simulated()


# %%
def make_net():
    after = (size - 4) // 2 // 2
    return nn.Sequential(
        nn.Conv2d(2, 12, 5),
        nn.MaxPool2d(2),
        snn.Leaky(beta=0.5, init_hidden=True),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(12 * after**2, 100),
        snn.Leaky(beta=0.5, init_hidden=True),
        nn.Linear(100, num_classes),
        snn.Leaky(beta=0.5, init_hidden=True),
    )


for rule in (Backprop(), RewardPrediction()):  # the one-line change
    torch.manual_seed(0)
    net = make_net()
    encode = EventSpikes(width=size)
    calibrate(net, encode(train.tensors[0][:16]))
    trainer = BRPTrainer(
        net,
        num_classes=num_classes,
        propagation=rule,
        optimizer=torch.optim.Adam(parameter_groups(net, lr=1e-2, hidden_lr=1e-3)),
        encoder=encode,
    )
    trainer.fit(batches(train, 16, shuffle=True), epochs=epochs, progress=False)
    print(f"{type(rule).__name__}: {trainer.evaluate(batches(test, 50))}")

# %%
spikes = encode(test.tensors[0][:1])
net.eval()
with torch.no_grad():
    activity = observe(net, lambda: unroll(net, spikes))
spike_raster(activity, inputs=spikes, title="one recording").savefig("events.png")
print("figure: events.png")
