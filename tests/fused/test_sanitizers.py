"""The C++ sources under the address and undefined-behavior sanitizers, matrix units included, over a small sweep."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SWEEP = [
    "test_kernels.py",
    "test_sparse_conv.py",
    "test_event_matmul.py",
    "test_blocks.py",
    "test_safety.py",
    "test_agreement.py",
    "test_equals_attach.py",
    "test_sweep.py",
]


def sanitizers() -> str:
    """What must be loaded first; the test is skipped where the compiler has none."""
    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs g++ on Linux")
    found = []
    for name in ("libasan.so", "libubsan.so"):
        answer = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=False)
        if not Path(answer.stdout.strip()).is_file():
            pytest.skip(f"this g++ has no {name}")
        found.append(answer.stdout.strip())
    return " ".join(found)


@pytest.mark.slow
def test_the_kernels_read_and_write_only_what_is_theirs(tmp_path):
    environment = {
        **os.environ,
        "CXX": "g++",
        "LD_PRELOAD": sanitizers(),
        "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0",
        "XDG_CACHE_HOME": str(tmp_path),
        "OMP_NUM_THREADS": "2",
        "SWEEP_EXAMPLES": "40",
    }
    chosen = (
        "kernels or sparse or products_of or pooled or matrix or NaN or bfloat16 or equals_attach or random_networks"
    )
    command = [
        sys.executable,
        str(HERE / "native" / "sanitized.py"),
        "-k",
        f"({chosen}) and not 1000 and not gpu",
    ]
    command += [str(HERE / name) for name in SWEEP]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=HERE.parents[1])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "passed" in done.stdout
    assert "bfloat16 matrix units" not in done.stdout  # none was skipped for want of them
