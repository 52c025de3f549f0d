"""All that is public runs on a device that is not the CPU, in a process in which such a device is registered."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

needs_chip = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this PyTorch knows no devices written in Python",
)


@pytest.mark.slow
@needs_chip
@pytest.mark.parametrize("tests", ["placement_on_chip.py", "parallel_on_chip.py"])
def test_nothing_is_made_on_the_wrong_device_or_moved_back(tests):
    tests = Path(__file__).with_name(tests)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tests)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
