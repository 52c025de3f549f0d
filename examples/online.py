# %% [markdown]
# # Learning while the network runs
#
# A rule that needs nothing but the label can learn at every step: with `credit="trace"` a trace of each layer's input
# carries what reaches back in time, with `credit="instant"` nothing does. Neither keeps the past, so memory does not
# grow with the number of steps. Each way has a fresh process of its own, which runs the short sequences first. Freed
# memory goes back to the system at once there, so that the peak is what was alive; the input is drawn step by step.

# %%
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import snntorch as snn
import torch
import torch.nn.functional as F

from snntorch_brp import BRP, attach
from snntorch_brp.models import mnist_net

batch = 20
lengths = (10, 100, 1000)  # of the sequences, in steps; with full credit 1000 would take some 10 GiB


# %%
def peak():
    """Peak memory of this process in MiB, as Linux tells it; ``resource`` would count the one that started it, too."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def peaks(credit, batch, lengths):
    """Peak memory in MiB, beyond what the network and the libraries take, up to the end of each sequence."""
    torch.manual_seed(0)
    net = mnist_net(neuron=lambda: snn.Leaky(0.9, 0.5, init_hidden=True))
    labels = torch.arange(batch) % 10
    handle = attach(net, BRP(), num_classes=10, credit=credit).register()
    before = peak()
    for steps in lengths:
        handle.reset()
        frames = ((torch.rand(batch, 1, 28, 28) < 0.2).float() for _ in range(steps))
        if credit == "full":
            rate = sum(net(frame) for frame in frames) / steps
            handle.backward(F.mse_loss(rate, F.one_hot(labels, 10).float()), labels)
        else:
            handle.teach(labels, steps=steps)
            for frame in frames:
                net(frame)
        yield peak() - before


# %%
if "--measure" in sys.argv:
    print(json.dumps(list(peaks(sys.argv[2], int(sys.argv[3]), [int(steps) for steps in sys.argv[4:]]))))
else:
    print(f"peak memory in MiB of {batch} samples; the numbers of steps are {', '.join(map(str, lengths))}")
    for credit in ("instant", "trace", "full"):
        measured = [steps for steps in lengths if credit != "full" or steps < 1000]
        command = [sys.executable, __file__, "--measure", credit, str(batch), *map(str, measured)]
        alive = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # glibc's
        row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=alive).stdout)
        spread = max(row) / max(1, min(row)) - 1
        print(f"{credit:<10}" + "".join(f"{mib:>10.0f}" for mib in row) + f"   {spread:.0%} apart")
