"""Everything that only a GPU can tell, in one command of at most ten minutes.

    python benchmarks/gpu.py                    correctness, then all measurements
    python benchmarks/gpu.py --only neurons     one of them: copy, neurons, step, captured, memory, events, nccl
    python benchmarks/gpu.py --dry-run          the script's own logic on the CPU, at tiny sizes

- copy: bytes read plus bytes written in a second by a large copy, which no kernel passes
- neurons: a layer of leaky neurons forward and back, T = 32, 64 samples of 65,536 neurons, beside that bandwidth
- step: a training step of the paper's networks beside snnTorch and SpikingJelly
- captured: the fused step as one CUDA graph beside the step as it is, in float32, with bfloat16 products, and with a
  network of bfloat16; what the graph finds is held to what the step finds
- memory: the peak of a step over T and over depth
- events: recordings kept on the device and framed there
- nccl: the step's one sum over processes, on one device

Times are medians of rounds, with the device awaited at both ends of a round. Without a CUDA device the script says so,
does the dry run and ends well; so it does where something is not installed. The figures of a dry run mean nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from contenders import CONTENDERS, Setting
from torch import Tensor, nn
from train_step import STUDIES

from snntorch_brp import BRP
from snntorch_brp.data.device_events import ResidentEvents
from snntorch_brp.data.events import Frames
from snntorch_brp.fused import FusedEngine, triton_neuron
from snntorch_brp.fused.scan import Leaky, adjoint, scan
from snntorch_brp.runtime import distributed
from snntorch_brp.runtime.verdicts import together
from snntorch_brp.surrogate import boxcar
from snntorch_brp.training import rate_mse

MINUTES = 10
SWEEP = Path(__file__).parents[1] / "tests" / "fused" / "test_triton.py"
CONTENDING = ("snnTorch BPTT", "SpikingJelly BPTT", "attach BRP", "fused BRP", "fused RewardPrediction")
Row = dict[str, object]


class Bench:
    """A device, the sizes that suit it, and a clock.

    Args:
        device: Where to measure.
        tiny: Whether only the logic is tried.
    """

    def __init__(self, device: torch.device, *, tiny: bool) -> None:
        self.device, self.tiny = device, tiny
        self.end = time.monotonic() + 60 * MINUTES
        self.bandwidth: float | None = None  # bytes a second, once it is measured

    def seconds(self, run: Callable[[], object], *, rounds: int = 20) -> float:
        """Median time of a run, after two that warm up."""
        taken = []
        for _ in range(2 + (1 if self.tiny else rounds)):
            self.wait()
            start = time.perf_counter()
            run()
            self.wait()
            taken.append(time.perf_counter() - start)
        return statistics.median(taken[2:])

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def peak(self, run: Callable[[], object]) -> float | None:
        """Megabytes of device memory at the peak of a run, above what was held before; None on a CPU."""
        if self.device.type != "cuda":
            run()
            return None
        self.wait()
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        run()
        self.wait()
        return (torch.cuda.max_memory_allocated(self.device) - before) / 1e6


def copy(bench: Bench) -> Iterator[Row]:
    source = torch.rand(1 << (16 if bench.tiny else 28), device=bench.device)
    target = torch.empty_like(source)
    bench.bandwidth = 2 * source.nbytes / bench.seconds(lambda: target.copy_(source))
    yield {"what": "copy", "GB/s": bench.bandwidth / 1e9}


def neurons(bench: Bench) -> Iterator[Row]:
    """Forward and back with a signal that is constant in T; bytes as triton_neuron's docstring counts them."""
    T, N, C = (4, 2, 64) if bench.tiny else (32, 64, 65_536)
    settings = [
        ("membranes, float32", "membrane", torch.float32, 17),
        ("membranes, bfloat16", "membrane", torch.bfloat16, 13),
        ("bits, float32", "bits", torch.float32, 11),
        ("bits, bfloat16", "bits", torch.bfloat16, 7),
    ]
    for name, keep, dtype, bytes_moved in settings:
        current = torch.randn(T, N, C, device=bench.device).to(dtype)
        signal, spikes = current[:1].clone(), torch.empty(T, N, C, dtype=torch.uint8, device=bench.device)
        neuron = Leaky(
            *(torch.tensor(value, device=bench.device) for value in (0.2, 0.5)), boxcar(), detach_reset=keep == "bits"
        )
        if triton_neuron.can_run(current, neuron):

            def pair(keep: str = keep, dtype: torch.dtype = dtype, neuron: Leaky = neuron) -> Tensor:
                tape, _ = triton_neuron.scan_(current, neuron, spikes, keep=keep)  # noqa: B023
                return triton_neuron.adjoint_(tape, neuron, grad_spikes=signal, dtype=dtype)  # noqa: B023

        else:
            name += ", the definition in plain torch"

            def pair(keep: str = keep, dtype: torch.dtype = dtype, neuron: Leaky = neuron) -> Tensor:
                return adjoint(scan(current.float(), neuron), neuron, grad_spikes=signal.float())  # noqa: B023

        seconds = bench.seconds(pair)
        speed = T * N * C * bytes_moved / seconds
        share = {} if bench.bandwidth is None else {"share of copy": speed / bench.bandwidth}
        yield {"what": f"neurons, {name}", "ms": seconds * 1e3, "GB/s": speed / 1e9, **share}
    if importlib.util.find_spec("spikingjelly"):
        yield from _spikingjelly_neurons(bench, (T, N, C))


def _spikingjelly_neurons(bench: Bench, shape: tuple[int, ...]) -> Iterator[Row]:
    from spikingjelly.activation_based import functional
    from spikingjelly.activation_based.neuron import LIFNode

    node = LIFNode(tau=1 / (1 - 0.2), decay_input=False, v_threshold=0.5, v_reset=0.0, step_mode="m").to(bench.device)
    # version 2 chooses its fastest backend by itself; 1 asks for it
    known = [b for b in ("triton", "cupy") if b in getattr(node, "supported_backends", ())]
    if known and bench.device.type == "cuda":
        node.backend = known[0]
    for detach in (False, True):
        node.detach_reset = detach
        current = torch.randn(shape, device=bench.device, requires_grad=True)
        gradient = torch.randn(shape, device=bench.device)

        def pair(current: Tensor = current, gradient: Tensor = gradient) -> None:
            functional.reset_net(node)
            torch.autograd.grad(node(current), current, gradient)

        how = "reset detached" if detach else "through the reset"
        yield {"what": f"neurons, SpikingJelly, float32, {how}", "ms": bench.seconds(pair) * 1e3}


def _stepping(bench: Bench, name: str, setting: Setting) -> Callable[[], object]:
    """A contender's training step, its network built on the device."""
    x, labels = (part.to(bench.device) for part in setting.data())
    with bench.device:
        step = CONTENDERS[name](setting)
    return lambda: step(x, labels)


def _contending() -> list[str]:
    missing = {name for name in CONTENDING if name.startswith("SpikingJelly") and not _has("spikingjelly")}
    return [name for name in CONTENDING if name not in missing]


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def step(bench: Bench) -> Iterator[Row]:
    settings = [{"net": "small", "steps": 3, "batch": 2}] if bench.tiny else STUDIES["networks"]
    for setting in settings:
        for name in _contending():
            run = _stepping(bench, name, Setting(**setting))
            said = " ".join(f"{key}={value}" for key, value in setting.items())
            yield {"what": f"step, {said}, {name}", "ms": bench.seconds(run, rounds=10) * 1e3}


class CapturedStep:
    """A step of the fused engine on a batch of one shape, captured in a CUDA graph; on a CPU it is run as it is.

    Between the batch and the verdicts on its numbers the step asks the device for nothing, so that shapes alone say
    what it does. Gradients lie where the graph has put them, and are overwritten by the next replay.

    Args:
        engine: The engine; its gradients are taken afresh.
        x: A batch ``[T, B, *]``, which the graph keeps: others are copied into it.
        labels: Its labels.
    """

    def __init__(self, engine: FusedEngine, x: Tensor, labels: Tensor) -> None:
        self.engine, self.x, self.labels = engine, x.clone(), labels.clone()
        self.result = self._step()  # builds what is built once
        if x.device.type != "cuda":
            return
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(3):
                self._step()
        torch.cuda.current_stream().wait_stream(beside)
        self.graph = torch.cuda.CUDAGraph()
        with together():  # what is asked of the numbers is read once they are there
            with torch.cuda.graph(self.graph):
                self.result = self._step()
            self.graph.replay()

    def _step(self) -> tuple[Tensor, Tensor]:
        for p in self.engine.net.parameters():
            p.grad = None
        return self.engine.step(self.x, self.labels)

    def __call__(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Fill ``.grad`` from a batch of the same shape; gives loss and output rate."""
        self.x.copy_(x)
        self.labels.copy_(labels)
        if x.device.type == "cuda":
            self.graph.replay()
        else:
            self.result = self._step()
        return self.result


def captured(bench: Bench) -> Iterator[Row]:
    """The fused step, launched kernel by kernel and as one graph."""
    settings = [{"net": "small", "steps": 3, "batch": 2}] if bench.tiny else STUDIES["networks"]
    for setting in map(lambda given: Setting(**given), settings):
        x, labels = (part.to(bench.device) for part in setting.data())
        for name, dtype, precision in (
            ("float32", torch.float32, "float32"),
            ("bfloat16 products", torch.float32, "bfloat16"),
            ("bfloat16 network", torch.bfloat16, "float32"),
        ):
            with bench.device:
                net = setting.network().to(dtype)
            options = {"num_classes": net[-2].out_features, "loss_fn": rate_mse, "precision": precision}
            engine, batch = FusedEngine(net, BRP(), **options), x.to(dtype)
            plain = bench.seconds(lambda: _afresh(engine, batch, labels), rounds=10)  # noqa: B023
            graph = CapturedStep(engine, torch.zeros_like(batch), labels.roll(1))
            taken = bench.seconds(lambda: graph(batch, labels), rounds=10)  # noqa: B023
            check_same_gradients(graph, batch, labels)
            said = f"{setting.net} steps={setting.steps} batch={setting.batch}, {name}"
            yield {"what": f"captured, {said}, kernel by kernel", "ms": plain * 1e3}
            yield {"what": f"captured, {said}, as one graph", "ms": taken * 1e3}


def _afresh(engine: FusedEngine, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    engine.net.zero_grad()
    return engine.step(x, labels)


def check_same_gradients(graph: CapturedStep, x: Tensor, labels: Tensor) -> None:
    """Raise an AssertionError unless a captured step finds what the step itself does, but for sums in another order."""
    loss, rate = (found.clone() for found in graph(x, labels))
    parameters = list(graph.engine.net.parameters())
    gradients = [p.grad.clone() for p in parameters]
    expected = _afresh(graph.engine, x, labels)
    rtol = 1e-2 if x.dtype is torch.bfloat16 or graph.engine.bf16_terms == 1 else 1e-4
    for got, wanted in zip((loss, rate, *gradients), (*expected, *(p.grad for p in parameters)), strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=rtol * max(float(wanted.abs().max()), 1e-6))


def memory(bench: Bench) -> Iterator[Row]:
    settings = [{"depth": depth} for depth in (1, 2, 4, 8)] + [{"depth": 2, "steps": T} for T in (20, 100, 500)]
    for setting in [{"depth": 1, "steps": 2, "batch": 2}] if bench.tiny else settings:
        for name in ("snnTorch BPTT", "attach BRP", "fused BRP"):
            run = _stepping(bench, name, Setting(**setting))
            run()  # makes the optimizer's averages
            said = " ".join(f"{key}={value}" for key, value in setting.items())
            yield {"what": f"memory, {said}, {name}", "MB": bench.peak(run)}


def events(bench: Bench) -> Iterator[Row]:
    """Recordings as large as N-MNIST's, 4,000 events each, framed on the device."""
    count, size, batch = (4, 50, 2) if bench.tiny else (2_000, 4_000, 100)
    rng, recordings = np.random.default_rng(0), []
    for _ in range(count):
        made = np.zeros(size, [("x", "i2"), ("y", "i2"), ("p", "i1"), ("t", "i8")])
        made["x"], made["y"], made["p"] = (rng.integers(0, most, size) for most in (34, 34, 2))
        made["t"] = np.sort(rng.integers(0, 300_000, size))
        recordings.append(made)
    frames = Frames(steps=10, sensor=(34, 34), size=(34, 34))
    encode = ResidentEvents(recordings, frames, device=bench.device)
    chosen = torch.arange(batch, device=bench.device)
    yield {"what": f"events, {batch} recordings of {size} to frames", "ms": bench.seconds(lambda: encode(chosen)) * 1e3}


def nccl(bench: Bench) -> Iterator[Row]:
    """The sum of gradients that the processes of a job share in a step, in a job of one."""
    backend = "nccl" if bench.device.type == "cuda" else "gloo"
    net = nn.Linear(8, 4) if bench.tiny else nn.Linear(4096, 4096)
    net = net.to(bench.device)
    for p in net.parameters():
        p.grad = torch.randn_like(p)
    before = [p.grad.clone() for p in net.parameters()]
    with tempfile.TemporaryDirectory() as folder:
        store = dist.FileStore(str(Path(folder) / "store"), 1)
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
        try:
            run = lambda: distributed.average_gradients(net.parameters(), 1.0, 0.0, 0.0, 0.0)  # noqa: E731
            seconds = bench.seconds(run)
        finally:
            dist.destroy_process_group()
    for p, gradient in zip(net.parameters(), before, strict=True):
        torch.testing.assert_close(p.grad, gradient)
    yield {"what": f"{backend}, gradients of {sum(p.numel() for p in net.parameters()):,} weights", "ms": seconds * 1e3}


PARTS = {part.__name__: part for part in (copy, neurons, step, captured, memory, events, nccl)}


def correct() -> str:
    """Run the tests that need a GPU; what they say."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", str(SWEEP)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the kernels are wrong on this device:\n{done.stdout}{done.stderr}")
    return done.stdout.strip().splitlines()[-1]


def measured(bench: Bench, parts: list[str]) -> Iterator[Row]:
    """All rows; a part that fails says why, and the others go on."""
    for name in parts:
        if time.monotonic() > bench.end:
            yield {"what": name, "remark": f"left out: {MINUTES} minutes are over"}
            continue
        try:
            yield from PARTS[name](bench)
        except (RuntimeError, ImportError, ValueError, AssertionError) as error:
            if bench.tiny:
                raise
            yield {"what": name, "remark": f"failed: {type(error).__name__}: {str(error).splitlines()[0][:200]}"}


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cell = lambda value: f"{value:,.3g}" if isinstance(value, float) else "" if value is None else str(value)  # noqa: E731
    lines = [columns, ["---"] * len(columns), *([cell(row.get(key)) for key in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; may be given several times")
    parser.add_argument("--dry-run", action="store_true", help="the script's own logic, on the CPU at tiny sizes")
    parser.add_argument("--out", type=Path, help="also write the rows here, as JSON")
    options = parser.parse_args()
    found = torch.cuda.is_available()
    if not found and not options.dry_run:
        print("no CUDA device here: a dry run on the CPU follows, whose figures mean nothing")
    tiny = options.dry_run or not found
    bench = Bench(torch.device("cpu") if tiny else torch.device("cuda", torch.cuda.current_device()), tiny=tiny)
    device = "CPU, dry run" if tiny else torch.cuda.get_device_name()
    print(f"{device}; torch {torch.__version__}; {os.cpu_count()} host cores")
    if not tiny and options.only is None:
        print(f"kernels against their definition: {correct()}")
    rows = list(measured(bench, options.only or list(PARTS)))
    print(table(rows))
    if options.out is not None:
        options.out.write_text(json.dumps({"device": device, "torch": str(torch.__version__), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
