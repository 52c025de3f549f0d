"""What goes to C++ is what C++ takes it for, and the compiled library is what was compiled."""

from __future__ import annotations

import copy
import ctypes
import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import snntorch as snn
import torch
from sixteen_bits import with_wide_states
from torch import nn

from snntorch_brp import BRPTrainer
from snntorch_brp.feedback import Feedback
from snntorch_brp.fused import FusedEngine, build, matmul
from snntorch_brp.fused.neuron_kernels import scan_
from snntorch_brp.fused.pointers import address
from snntorch_brp.fused.scan import Leaky
from snntorch_brp.models import mlp
from snntorch_brp.propagation import BRP, SignProjection
from snntorch_brp.surrogate import boxcar
from snntorch_brp.training import rate_mse

needs_compiler = pytest.mark.skipif(build.library() is None, reason="no C++ compiler on this machine")
needs_matrix_units = pytest.mark.skipif(not matmul.matrix_units_available(), reason="no bfloat16 matrix units")


def lif() -> nn.Module:
    return snn.Leaky(0.9, threshold=0.3, init_hidden=True, spike_grad=boxcar())


def learned(net: nn.Module, x: torch.Tensor, num_classes: int, engine: str) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients."""
    labels = torch.arange(x.shape[1]) % num_classes
    trainer = BRPTrainer(net, num_classes=num_classes, engine=engine, generator=torch.Generator().manual_seed(1))
    loss, _ = trainer.executor.learn(x, labels)
    return float(loss), [p.grad for p in net.parameters()]


def assert_agree(one, other, rtol: float) -> None:
    (loss, expected), (fused_loss, gradients) = one, other
    assert fused_loss == pytest.approx(loss, rel=rtol)
    for gradient, reference in zip(gradients, expected, strict=True):
        scale = float(reference.abs().max())
        torch.testing.assert_close(gradient, reference, rtol=0, atol=rtol * scale)


def assert_both_agree(net: nn.Module, x: torch.Tensor, num_classes: int, rtol: float) -> None:
    attached, fused = (learned(copy.deepcopy(net), x, num_classes, engine) for engine in ("attach", "fused"))
    assert_agree(attached, fused, rtol)


@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-11), (torch.float32, 1e-5), (torch.bfloat16, 0.03), (torch.float16, 0.004)]
)
def test_networks_of_any_dtype_as_under_attach_with_a_state_of_32_bits_at_least(dtype, rtol):
    torch.manual_seed(0)
    x = (torch.rand(6, 8, 40) < 0.3).to(dtype)
    net = mlp([40, 300, 10]).to(dtype)
    step_by_step = with_wide_states(copy.deepcopy(net)) if dtype.itemsize == 2 else copy.deepcopy(net)
    # half precision: sums of some 40 products, each rounded to 8 or 11 bits, step by step or all at once
    assert_agree(learned(step_by_step, x, 10, "attach"), learned(net, x, 10, "fused"), rtol)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_default_dtype_changes_nothing_on_matrix_units_or_off(dtype):
    torch.manual_seed(0)
    net, x, labels = mlp([40, 50, 10]), (torch.rand(6, 8, 40) < 0.3).float(), torch.arange(8)
    gradients = []
    for default in (torch.float32, dtype):
        torch.set_default_dtype(default)
        try:
            own, feedback = copy.deepcopy(net), Feedback(10, generator=torch.Generator().manual_seed(1))
            FusedEngine(own, BRP(), num_classes=10, loss_fn=rate_mse, feedback=feedback).step(x, labels)
        finally:
            torch.set_default_dtype(torch.float32)
        gradients.append([p.grad for p in own.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)


@pytest.mark.parametrize("pool", [nn.AvgPool2d(2), nn.AvgPool1d(2), nn.AvgPool2d((1, 2)), nn.AvgPool1d((2,))])
def test_spikes_of_a_conv1d_are_pooled_as_pytorch_does(pool):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(3, 8, 3, padding=1), lif(), pool, nn.Flatten(), nn.LazyLinear(5), lif())
    x = (torch.rand(10, 4, 3, 64) < 0.1).float()
    with torch.no_grad():
        net(x[0])
    assert_both_agree(net, x, 5, 1e-5)


@pytest.mark.parametrize("size", [16, 32])
def test_averages_over_many_spikes_keep_all_their_digits_when_pooled(size):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), lif(), nn.AvgPool2d(size), nn.Flatten(), nn.Linear(4, 5), lif())
    assert_both_agree(net, (torch.rand(5, 4, 1, size, size) < 0.3).float(), 5, 1e-5)


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FFFFFFF, -1])
def test_a_weight_of_NaN_is_reported_whatever_its_bits(bits):
    net = mlp([20, 30, 5])
    net.fc1.weight.data.view(torch.int32)[0, 0] = bits
    engine = FusedEngine(net, BRP(), num_classes=5, loss_fn=rate_mse)
    with pytest.raises(ValueError, match="membrane of layer 'fc1_lif' is not finite"):
        engine.step(torch.ones(3, 4, 20), torch.arange(4))


@pytest.mark.parametrize(
    ("x", "why"),
    [
        (torch.zeros(3, 4, dtype=torch.bfloat16), "torch.bfloat16, not torch.float32"),
        (torch.zeros(4, 3), r"shape \(4, 3\), not \(3, 4\)"),
        (torch.zeros(4, 3).T, "strides"),
        (torch.zeros(3, 8)[:, ::2], "strides"),
        (torch.zeros(1, 4).expand(3, 4), "share memory"),
        (torch.zeros(3, 4, device="meta"), "on meta"),
        (torch.zeros(3, 4).to_sparse(), "torch.sparse_coo"),
    ],
)
def test_no_other_tensor_gets_through_the_door(x, why):
    with pytest.raises(ValueError, match=why):
        address(x, "sums", dtype=torch.float32, shape=(3, 4), free=1, written=True)


@needs_compiler
def test_the_kernels_refuse_spikes_of_another_shape_than_they_would_write():
    neuron, current = Leaky(torch.tensor(0.5), torch.tensor(0.3), boxcar()), torch.randn(3, 2, 4, 8, 8)
    with pytest.raises(ValueError, match="cannot take spikes"):
        scan_(current, neuron, torch.empty(3, 2, 4, 4, 3), (2, 2))
    with pytest.raises(ValueError, match="cannot be pooled"):
        scan_(current[:, :, 0], neuron, torch.empty(3, 2, 4, 4), (2, 2))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of its own, and a compiler that only copies: it counts its calls in the file ``calls``."""
    if build.library() is None:
        pytest.skip("no C++ compiler on this machine")
    real = build.library()._name
    script = tmp_path / "cxx"
    script.write_text(
        f"#!/bin/sh\necho x >> {tmp_path}/calls\n"
        f'while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done\ncp {real} "$out"\n'
    )
    script.chmod(0o700)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", f"{script} -DANYTHING='a b'")
    return tmp_path


def calls(folder: Path) -> int:
    return len((folder / "calls").read_text().split())


def test_a_library_is_built_once_and_is_its_users_alone(cache):
    path = build._built()
    assert build._built() == path
    assert calls(cache) == 1
    for place in (path, path.parent):
        assert not place.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


@pytest.mark.parametrize("damage", ["cut", "empty", "zeros", "text", "pipe", "link", "writable"])
def test_a_damaged_library_is_built_anew(cache, damage):
    path = build._built()
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "zeros":
        path.write_bytes(content[:5000] + bytes(4000) + content[9000:])
    elif damage == "text":
        path.write_text("no library")
    elif damage == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif damage == "link":
        path.rename(path.with_suffix(".moved"))
        path.symlink_to(path.with_suffix(".moved"))
    else:
        path.chmod(0o777)
    if damage == "pipe":
        with pytest.raises(RuntimeError, match="in the way"):
            build._built()
        path.unlink()
    assert build._built() == path
    assert path.read_bytes() == content
    assert not path.is_symlink()
    assert calls(cache) == (3 if damage == "pipe" else 2)


def test_a_folder_that_others_can_write_is_not_used(cache, caplog):
    folder = cache / "cache" / "snntorch_brp" / "kernels"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with caplog.at_level(logging.WARNING):
        assert folder not in build._built().parents
    assert "not this user's alone" in caplog.text
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("home", [None, "", "relative", "/proc/none"])
def test_without_a_home_the_kernels_are_built_for_the_process(cache, monkeypatch, home):
    monkeypatch.delenv("XDG_CACHE_HOME")

    def no_home() -> Path:
        if home is None:
            raise RuntimeError("no home")
        return Path(home)

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setenv("HOME", home or "")
    path = build._built()
    assert path.is_file()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("printf '\\377\\376' >&2; exit 1", "failed"),
        ("exit 3", "exit status 3"),
        ("exit 0", "made no library"),
        ("sleep 60 & wait", "did not end within"),
    ],
)
def test_compilers_that_fail_are_told_about(cache, monkeypatch, caplog, script, message):
    (cache / "cxx").write_text(f"#!/bin/sh\n{script}\n")
    monkeypatch.setattr(build, "SECONDS", 1)
    with caplog.at_level(logging.WARNING):
        assert build.library.__wrapped__() is None
    assert message in caplog.text


def test_a_compiler_that_is_not_there_is_said_and_another_taken(monkeypatch, caplog):
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    monkeypatch.setattr(build.shutil, "which", lambda name: None if name.startswith("no") else f"/usr/bin/{name}")
    with caplog.at_level(logging.WARNING):
        assert build._compiler() == ["/usr/bin/c++"]
    assert "no-such-compiler" in caplog.text


@needs_compiler
def test_structs_are_as_long_in_python_as_in_cpp():
    class _Conv(ctypes.Structure):
        _fields_ = [("images", ctypes.c_int64)]

    with pytest.raises(RuntimeError, match="struct Conv has 96 bytes in C"):
        build.Kernels("conv", (_Conv,))("convolve_float32")


@needs_matrix_units
def test_infinities_on_matrix_units_are_not_lost():
    weight = torch.tensor([[float("inf"), 1.0]])
    out = matmul.linear(torch.ones(1, 2, dtype=torch.bfloat16), weight, None, bf16_terms=3)
    assert not torch.isfinite(out).any()


@needs_compiler
def test_a_damaged_library_does_not_kill_the_next_process(cache):
    path = build._built()
    path.write_bytes(path.read_bytes()[:4096])
    script = "from snntorch_brp.fused.build import library; assert library() is not None"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


FORKS = """
import os, time
import torch
torch.set_num_threads(2)
from snntorch_brp import BRPTrainer, RateEncoder
from snntorch_brp.models import mlp
trainer = BRPTrainer(mlp([784, 300, 10]), num_classes=10, encoder=RateEncoder(10), engine="fused")
batch = torch.rand(50, 784), torch.arange(50) % 10
trainer.step(*batch)
child = os.fork()
if not child:
    trainer.step(*batch)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_of_a_process_that_had_two_threads_goes_on():
    """It would wait for threads that it does not have; 300 s are many times what it needs on a busy machine."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS],
        env=environment, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "7"


@needs_compiler
@pytest.mark.parametrize("net", ["conv", "block", "alpha"])
def test_no_memory_is_read_before_it_is_written(net):
    neuron = {
        "conv": lambda: snn.Leaky(0.9, threshold=0.1, init_hidden=True),
        "block": lambda: snn.Leaky(0.9, threshold=0.1, init_hidden=True),
        "alpha": lambda: snn.Alpha(0.9, 0.8, threshold=0.01, init_hidden=True),
    }[net]

    def learned():
        torch.manual_seed(0)
        norm = [nn.BatchNorm2d(6)] if net == "block" else []
        hidden = nn.Conv2d(2, 6, 3), *norm, nn.MaxPool2d(2), neuron(), nn.Conv2d(6, 5, 2), neuron()
        model = nn.Sequential(*hidden, nn.Flatten(), nn.Linear(20, 4), neuron())
        options = {
            "num_classes": 4,
            "loss_fn": rate_mse,
            "feedback": Feedback(4, generator=torch.Generator().manual_seed(0)),
        }
        x = (torch.rand(5, 6, 2, 8, 8) < 0.2).float()
        return [FusedEngine(model, SignProjection(), **options).step(x, torch.arange(12)[::2] % 4)[0]] + [
            p.grad for p in model.parameters()
        ]

    expected = learned()
    assert expected[-2].any()  # the layer before the output fires
    torch.use_deterministic_algorithms(mode=True, warn_only=True)  # which fills what is empty with NaN
    try:
        found = learned()
    finally:
        torch.use_deterministic_algorithms(mode=False)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
