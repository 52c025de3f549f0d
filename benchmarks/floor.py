"""Where the time of a fused training step goes, beside the bare matrix products in it.

    python benchmarks/floor.py --net tidigits --steps 30
    python benchmarks/floor.py --net mnist --precision bfloat16

The products of the linear layers, one with the weights forward and one for their gradients, are also timed alone, on
operands and into memory that are there already: PyTorch's in float32 and in bfloat16. On bfloat16 matrix units a
float32 product of spikes takes three of those, see ``snntorch_brp/fused/matmul.py``. "rest" is what the step does
besides: projections, checks, bookkeeping. Medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from contenders import NETS, Setting, with_fused
from torch import Tensor, nn

from snntorch_brp.fused import engine
from snntorch_brp.fused.autograd_synapse import AutogradSynapse
from snntorch_brp.fused.conv_synapse import ConvSynapse
from snntorch_brp.fused.linear_synapse import LinearSynapse

PARTS = ("linear, forward", "linear, gradients", "convolutions", "neurons, forward", "neurons, back", "Adam", "rest")
Seconds = dict[str, list[float]]


@contextmanager
def timed(owner: object, name: str, part: Callable[..., str], seconds: Seconds) -> Iterator[None]:
    """Time every call of ``owner.name``, as the part that its arguments say."""
    original = getattr(owner, name)

    def call(*args: Any, **kw: Any) -> object:
        start = time.perf_counter()
        result = original(*args, **kw)
        seconds[part(*args)][-1] += time.perf_counter() - start
        return result

    with patch.object(owner, name, call):
        yield


def split_step(setting: Setting, rounds: int, precision: str) -> dict[str, float]:
    """Seconds of each of ``PARTS`` and of the whole step."""

    seconds: Seconds = defaultdict(list)
    convolutions = (ConvSynapse, AutogradSynapse)  # the latter for those behind a norm or before a pooling
    step, data = with_fused(setting, "BRP", precision=precision), setting.data()
    with ExitStack() as stack:
        for owner, name, part in (
            (LinearSynapse, "forward", lambda *_: "linear, forward"),
            (LinearSynapse, "backward", lambda *_: "linear, gradients"),
            *((kind, way, lambda *_: "convolutions") for kind in convolutions for way in ("forward", "backward")),
            (engine, "fire", lambda *_: "neurons, forward"),
            (engine, "fire_back", lambda *_: "neurons, back"),
            (torch.optim.Adam, "step", lambda *_: "Adam"),
        ):
            stack.enter_context(timed(owner, name, part, seconds))
        for _ in range(rounds + 3):  # the first three load, compile and touch memory
            for part in PARTS:
                seconds[part].append(0.0)
            start = time.perf_counter()
            step(*data)
            seconds["step"].append(time.perf_counter() - start)
            seconds["rest"][-1] = seconds["step"][-1] - sum(seconds[part][-1] for part in PARTS[:-1])
    return {part: statistics.median(values[3:]) for part, values in seconds.items()}


def bare_products(setting: Setting, rounds: int, dtype: torch.dtype) -> dict[str, float]:
    """Seconds of the products of all linear layers, forward and for the gradients."""
    total = {"linear, forward": 0.0, "linear, gradients": 0.0}
    for layer in (module for module in setting.network() if isinstance(module, nn.Linear)):
        W = layer.weight.detach().to(dtype)
        z = (torch.rand(setting.steps * setting.batch, layer.in_features) < 0.3).to(dtype)
        current = torch.empty(len(z), len(W), dtype=dtype)
        total["linear, forward"] += _median(lambda z=z, W=W, out=current: torch.mm(z, W.T, out=out), rounds)
        total["linear, gradients"] += _median(lambda z=z, W=W, a=current: torch.mm(a.T, z, out=W), rounds)
    return total


def _median(product: Callable[[], Tensor], rounds: int) -> float:
    seconds = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="tidigits", choices=NETS)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    for name, default in (("steps", 20), ("batch", 50), ("rounds", 21)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    setting = Setting(args.net, steps=args.steps, batch=args.batch)
    parts = split_step(setting, args.rounds, args.precision)
    full, half = (bare_products(setting, args.rounds, dtype) for dtype in (torch.float32, torch.bfloat16))
    print(f"{args.net}, T = {args.steps}, batch {args.batch}, {args.precision}, {torch.get_num_threads()} threads\n")
    print("| ms | fused step | bare float32 | bare bfloat16 | three times that |\n| --- | --- | --- | --- | --- |")
    full["step"], half["step"] = sum(full.values()), sum(half.values())
    for part in (*PARTS, "step"):
        bare = (full[part], half[part], 3 * half[part]) if part in full else ()
        cells = [f"{1e3 * value:.1f}" for value in (parts[part], *bare)]
        print("| " + " | ".join([part, *cells, *[""] * (4 - len(cells))]) + " |")


if __name__ == "__main__":
    main()
