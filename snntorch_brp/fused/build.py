"""Compile the kernels on first use, with whatever C++ compiler the machine has."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

logger = logging.getLogger(__name__)

SOURCES = tuple(Path(__file__).with_name(name) for name in ("kernels.cpp", "products.cpp"))
FLAGS = (
    *("-O3", "-march=native", "-std=c++17", "-ffp-contract=off", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC"),
    *(("-mprefer-vector-width=512",) if platform.machine() in ("x86_64", "AMD64") else ()),
)


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where they cannot be had; said once in the log."""
    try:
        return ctypes.CDLL(str(_built()))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        logger.warning("the fused kernels could not be built, plain torch runs instead: %s", error)
        return None


def _built() -> Path:
    """Path of the shared library, compiled now unless a run before has done so."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX") or "c++", "g++", "clang++"))), None)
    if compiler is None:
        raise RuntimeError("no C++ compiler found: install g++ or clang++, or name yours in CXX")
    key = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES))
    key.update(repr((compiler, FLAGS, _processor())).encode())
    path = _cache() / f"kernels-{key.hexdigest()[:16]}.so"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    logger.info("compiling the fused kernels into %s, once", path)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built = Path(folder) / path.name
        command = [compiler, *FLAGS, *map(str, SOURCES), "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise RuntimeError(f"{compiler} failed: {done.stderr.strip()[:500]}")
        os.replace(built, path)  # whole at once: another process may be doing the same
    return path


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snntorch_brp"


def _processor() -> str:
    """What -march=native depends on, so that machines that share a home do not share the code."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return " ".join(os.uname()) if hasattr(os, "uname") else ""
