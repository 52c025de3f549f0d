"""The Triton kernels without a GPU: run by Triton's interpreter, and compiled ahead of time for three generations."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from snntorch import surrogate

from snntorch_brp.fused import triton_neuron
from snntorch_brp.fused.scan import Leaky
from snntorch_brp.surrogate import boxcar

needs_triton = pytest.mark.skipif(not triton_neuron._installed(), reason="Triton is not installed: the extra 'cuda'")
ARCHITECTURES = [75, 80, 90]
LAYERS = {
    "plain": {},
    "ten neurons": {"shape": (10,)},
    "bfloat16": {"dtype": torch.bfloat16, "tau_ref": 3},
    "float16 to bits": {"dtype": torch.float16, "keep": "bits", "detach_reset": True},
    "refractory": {"tau_ref": 16, "spike_grad": surrogate.fast_sigmoid()},
    "pooled": {"shape": (8, 32, 32), "pool": (2, 2), "beta": torch.full((8, 1, 1), 0.9)},
    "pooled unevenly": {"shape": (3, 7, 8), "pool": (3, 2), "spike_grad": surrogate.sigmoid()},
    "escape": {"reset": "none", "detach_reset": True, "spike_grad": surrogate.spike_rate_escape()},
    "subtract": {"reset": "subtract", "detach_reset": True, "spike_grad": surrogate.atan()},
    "given psi": {"reset": "none", "detach_reset": True, "spike_grad": lambda u: surrogate.atan()(u)},
}
SHARED_MEMORY = 48 * 1024  # bytes that a block may take on any of them without asking


def sweep(**environment):
    """Run the sweep in a process of its own."""
    tests = Path(__file__).with_name("triton_sweep.py")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tests)]
    inherited = {key: value for key, value in os.environ.items() if key not in ("TRITON_INTERPRET", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        command, env=inherited | environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


@pytest.mark.slow
@needs_triton
def test_under_the_interpreter_the_kernels_equal_the_definition():
    sweep(TRITON_INTERPRET="1")


@pytest.mark.gpu
@needs_triton
def test_on_a_gpu_the_kernels_equal_the_definition():
    sweep()


def test_a_cpu_without_the_interpreter_never_asks_for_triton():
    code = """
import sys, torch
from snntorch_brp import BRP, BRPTrainer
from snntorch_brp.models import mlp
net = mlp([4, 5, 3])
trainer = BRPTrainer(net, num_classes=3, propagation=BRP(), optimizer=torch.optim.SGD(net.parameters(), 0.1))
trainer.step(torch.rand(3, 2, 4), torch.arange(2))
assert "snntorch_brp.fused.triton_neuron" in sys.modules
assert "snntorch_brp.fused.triton_kernels" not in sys.modules
"""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, env=environment)


class Pretended:
    """As much of Triton's driver as compiling for an architecture asks for."""

    def __init__(self, architecture: int) -> None:
        self.architecture = architecture

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.architecture, 32)

    def get_current_device(self):
        return self.architecture

    def get_current_stream(self, device):
        return 0


class CompiledOnly:
    """A kernel that is compiled where it would be launched, and keeps what was made."""

    def __init__(self, kernel) -> None:
        self.kernel, self.made = kernel, []

    def __getitem__(self, grid):
        return lambda *args, **options: self.made.append(self.kernel.run(*args, grid=grid, warmup=True, **options))


@pytest.fixture
def ahead_of_time(request, monkeypatch, tmp_path):
    """Kernels that are compiled for the architecture asked for, by their launcher's own calls on CPU tensors."""
    from triton.runtime import driver

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernels = importlib.reload(triton_neuron._kernels())  # no code of an earlier test
    for name in ("scan", "adjoint"):
        monkeypatch.setattr(kernels, name, {wide: CompiledOnly(k) for wide, k in getattr(kernels, name).items()})
    monkeypatch.setattr(triton_neuron, "_interpreted", lambda: True)  # CPU tensors will do
    monkeypatch.setattr(driver, "_active", Pretended(request.param))
    return kernels


def resources(kernel, tmp_path: Path) -> dict[str, int]:
    """What the driver would give each thread and block: registers, stack, shared and local memory."""
    import triton

    cubin = tmp_path / "kernel.cubin"
    cubin.write_bytes(kernel.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    said = subprocess.run([tool, "-res-usage", cubin], capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", said)}


def run(kernels, *, dtype=torch.float32, shape=(64,), pool=(1, 1), keep="membrane", T=5, B=3, **neuron):
    """Launch the pair; gives the two compiled kernels."""
    given = {"beta": torch.tensor(0.9), "threshold": torch.tensor(0.5), "spike_grad": boxcar(), **neuron}
    constants, current = Leaky(**given), torch.empty(T, B, *shape, dtype=dtype)
    spikes = torch.empty(T, B, *triton_neuron._pooled(shape, pool), dtype=torch.uint8 if pool == (1, 1) else dtype)
    tape, _ = triton_neuron.scan_(current, constants, spikes, pool, keep=keep)
    triton_neuron.adjoint_(tape, constants, grad_spikes=torch.empty(1, B, *shape), dtype=dtype)
    made = [[k for kernel in getattr(kernels, name).values() for k in kernel.made] for name in ("scan", "adjoint")]
    return [made[0][-1], made[1][-1]]


@needs_triton
@pytest.mark.parametrize("ahead_of_time", ARCHITECTURES, indirect=True)
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
def test_each_generation_gets_a_binary_without_spills(ahead_of_time, layer, tmp_path):
    for kernel in run(ahead_of_time, **layer):
        used = resources(kernel, tmp_path)
        assert used["STACK"] == used["LOCAL"] == 0, "registers spill"
        assert 0 < used["REG"] <= 128
        assert used["SHARED"] + kernel.metadata.shared <= SHARED_MEMORY
        assert "fma.rn" not in kernel.asm["ptx"], "a fused multiply-add rounds otherwise than the definition"


@needs_triton
@pytest.mark.parametrize("ahead_of_time", [90], indirect=True)
def test_one_compilation_serves_all_lengths_and_batches(ahead_of_time):
    for shape in [(64,), (10,)]:
        made = [run(ahead_of_time, shape=shape, T=T, B=B) for T, B in [(1, 1), (5, 3), (16, 16), (100, 64)]]
        for one, other in pairwise(made):
            assert one[0] is other[0]
            assert one[1] is other[1]


@needs_triton
@pytest.mark.parametrize("ahead_of_time", [80, 90], indirect=True)
def test_memory_moves_sixteen_bytes_at_a_time_where_sizes_allow(ahead_of_time):
    forward, back = (kernel.asm["ptx"] for kernel in run(ahead_of_time, shape=(256,)))
    for ptx in (forward, back):
        assert "ld.global.v4.b32" in ptx
        assert "st.global.v4.b32" in ptx
    assert "st.global.b8" not in forward  # spikes go out four at a time
    # one load for each step that is unrolled, and the layer's two constants (the signal adds one to the way back)
    assert len(re.findall(r"ld\.global", forward)) == triton_neuron.UNROLL + 2
    assert len(re.findall(r"ld\.global", back)) == triton_neuron.UNROLL + 3


@needs_triton
@pytest.mark.parametrize("ahead_of_time", [90], indirect=True)
def test_bfloat16_is_rounded_to_nearest(ahead_of_time):
    _, back = run(ahead_of_time, dtype=torch.bfloat16)
    assert "cvt.rn.bf16" in back.asm["ptx"]
