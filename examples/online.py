# %% [markdown]
# # Learning while the network runs
#
# A rule that needs nothing but the label can learn at every step: with `credit="trace"` a trace of each layer's input
# carries what reaches back in time, with `credit="instant"` nothing does. Neither keeps the past, so memory does not
# grow with the number of steps. Every number is a fresh process of its own, whose freed memory goes back to the system
# at once, so that its peak is what was alive; the input is drawn step by step.

# %%
import json
import os
import resource
import subprocess
import sys

import snntorch as snn
import torch
import torch.nn.functional as F

from snntorch_brp import BRP, attach
from snntorch_brp.models import mnist_net

QUICK = "--quick" in sys.argv  # as the tests run it
BATCH, LENGTHS = (2, (2, 4)) if QUICK else (20, (10, 100, 1000))


# %%
def peak(credit, steps):
    """Peak memory in MiB, beyond what the network and the libraries take, of one sequence of the MNIST network."""
    torch.manual_seed(0)
    net = mnist_net(neuron=lambda: snn.Leaky(0.9, 0.5, init_hidden=True))
    labels = torch.arange(BATCH) % 10
    handle = attach(net, BRP(), num_classes=10, credit=credit).register()
    frames = ((torch.rand(BATCH, 1, 28, 28) < 0.2).float() for _ in range(steps))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if credit == "full":
        rate = sum(net(frame) for frame in frames) / steps
        handle.backward(F.mse_loss(rate, F.one_hot(labels, 10).float()), labels)
    else:
        handle.teach(labels, steps=steps)
        for frame in frames:
            net(frame)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


# %%
if "--measure" in sys.argv:
    at = sys.argv.index("--measure")
    print(json.dumps(peak(sys.argv[at + 1], int(sys.argv[at + 2]))))
else:
    print(f"peak memory in MiB of {BATCH} samples; the numbers of steps are {', '.join(map(str, LENGTHS))}")
    for credit in ("instant", "trace", "full"):
        row = []
        for steps in LENGTHS:
            if QUICK:
                row.append(peak(credit, steps))
            elif credit == "full" and steps > 100:
                break  # some 10 GiB
            else:
                command = [sys.executable, __file__, "--measure", credit, str(steps)]
                alive = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # glibc's
                row.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=alive).stdout))
        spread = max(row) / max(1, min(row)) - 1
        print(f"{credit:<10}" + "".join(f"{mib:>10.0f}" for mib in row) + f"   {spread:.0%} apart")
