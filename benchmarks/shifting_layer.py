"""Memory and time of a Shifting Learning layer, 128 x 784 x 800, against the plain [B, N_in, N_out] expansion.

    python benchmarks/shifting_layer.py [--batch 128] [--inputs 784] [--neurons 800]

Both do one forward pass (spike times) and one weight update. Peak memory is what a fresh process needs beyond its
inputs (Linux only); times are medians of processor time, of runs that take turns. "image": four of five inputs come
last and together, as the background of a digit does; "dense": all inputs at times of their own.

The results are compared in float64. In float32 an input of next to no weight (1e-7) moves the spike time by less than
rounding, so that any version may or may not count it among the causes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from snntorch_brp.shifting import compiled, first_spikes, one_spike_each
from snntorch_brp.shifting.spikes import causal_update


def expanded(times: Tensor, w: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """The plain vectorized version: every candidate of every neuron at once."""
    ordered, order = times.sort(dim=1)
    w_sorted = w[order]  # [B, N_in, N_out]
    total = w_sorted.cumsum(dim=1)
    candidate = (w_sorted * ordered[..., None]).cumsum(dim=1) / (total - 1)
    valid = (total > 1) & (candidate >= ordered[..., None])
    z, k = candidate.masked_fill(~valid, 1e5).min(dim=1)
    last = ordered.gather(1, k).masked_fill(z >= 1e5, 0)
    causal = times[..., None] <= last[:, None, :]
    update = (causal * delta[:, None, :] * (times[..., None] - z[:, None, :])).sum(dim=0)
    return z, update


def running(times: Tensor, w: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """The package's version."""
    events = one_spike_each(times)
    fired = first_spikes(events, w)
    return fired.z, causal_update(events, fired, delta)


def running_in_torch(times: Tensor, w: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """The package's version where numba is not installed."""
    numba, compiled.numba = compiled.numba, None
    try:
        return running(times, w, delta)
    finally:
        compiled.numba = numba


METHODS = {"expanded": expanded, "running, torch": running_in_torch, "running, compiled": running}


def problem(case: str, batch: int, inputs: int, neurons: int) -> tuple[Tensor, Tensor, Tensor]:
    """Spike times, weights and errors."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, inputs, generator=generator)
    if case == "image":
        x *= torch.rand(batch, inputs, generator=generator) < 0.2
    w = torch.rand(inputs, neurons, generator=generator) * (100 if case == "image" else 8) / inputs
    return torch.exp(1 - x), w, torch.randn(batch, neurons, generator=generator)


def peak_memory(method: str, case: str, sizes: tuple[int, int, int]) -> float:
    """MB that a method needs beyond its inputs; run in a fresh process."""
    data = problem(case, *sizes)
    METHODS[method](*(t[:1].contiguous() if n != 1 else t for n, t in enumerate(data)))  # load and compile all
    before = resident("VmRSS")
    METHODS[method](*data)
    return resident("VmHWM") - before


def resident(field: str) -> float:
    """Resident memory of this process in MB, now (VmRSS) or at most so far (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+)", status)[1]) / 1024


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("batch", 128), ("inputs", 784), ("neurons", 800), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    sizes = (args.batch, args.inputs, args.neurons)
    methods = [m for m in METHODS if compiled.numba is not None or m != "running, compiled"]
    print(f"{args.batch} samples, {args.inputs} inputs, {args.neurons} neurons, {torch.get_num_threads()} threads")
    for case in ("image", "dense"):
        data = problem(case, *sizes)
        few = [t[:8].double() if t is not data[1] else t.double() for t in data]
        results = {m: METHODS[m](*few) for m in methods}
        seconds: dict[str, list[float]] = {m: [] for m in methods}
        for _ in range(args.repeats):
            for m in methods:
                start = time.process_time()
                METHODS[m](*data)
                seconds[m].append(time.process_time() - start)
        z, update = results["expanded"]
        for m in methods:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                memory = pool.apply(peak_memory, (m, case, sizes))
            median = statistics.median(seconds[m])
            ratio = statistics.median(seconds["expanded"]) / median
            off = float(((results[m][0] - z).abs() / z).max())
            off_update = float((results[m][1] - update).abs().max() / update.abs().max())
            print(
                f"{case:6} {m:18} {1e3 * median:7.0f} ms  {ratio:5.1f}x  {memory:6.0f} MB   "
                f"relative difference: times {off:.0e}, update {off_update:.0e}"
            )


if __name__ == "__main__":
    main()
