"""Run tests on kernels built with the address and undefined-behavior sanitizers, and with matrix units in plain C++.

python tests/fused/native/sanitized.py TEST...: what pytest takes. The address sanitizer must be loaded first, by
LD_PRELOAD.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from snntorch_brp.fused import build

build.FLAGS = (
    *("-O1", "-std=c++17", "-ffp-contract=off", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    *("-D__AMX_BF16__", "-include", str(Path(__file__).with_name("matrix_units.h"))),
)

if __name__ == "__main__":
    if build.library() is None:
        sys.exit("the kernels could not be built")
    sys.exit(pytest.main(["-p", "no:cacheprovider", "--durations=6", *sys.argv[1:]]))
