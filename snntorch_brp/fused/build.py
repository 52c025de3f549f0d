"""Compile the kernels on first use, with whatever C++ compiler the machine has, and keep them for later processes.

A library is loaded only from a folder and a file that belong to this user and that nobody else can write, and only
if it still has the checksum in its name. Anything else is built anew; where there is no such folder, for this process.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from snntorch_brp.runtime.files import write_whole

logger = logging.getLogger(__name__)

SOURCES = tuple(
    Path(__file__).with_name(name)
    for name in (*("neuron.cpp", "conv.cpp", "spike_conv.cpp", "block.cpp", "matmul.cpp", "event_matmul.cpp"),)
)
FLAGS = (
    # without -fno-trapping-math, which changes no result, g++ vectorizes a loop that chooses between two values on
    # AVX-512 alone
    *("-O3", "-march=native", "-std=c++17", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
    *("-fopenmp", "-shared", "-fPIC"),
    *(("-mprefer-vector-width=512",) if platform.machine() in ("x86_64", "AMD64") else ()),
)
SECONDS = 600  # after which a compiler is taken to hang; it needs some 30, and much longer on a busy machine


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where they cannot be had; said once in the log.

    A process that is forked afterwards computes with one thread: the threads of OpenMP do not come along, and GNU's
    waits for them forever. PyTorch's data workers do the same; who wants more threads in another process starts it
    with "spawn".
    """
    try:
        kernels = ctypes.CDLL(str(_built()))
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))
        return kernels
    except (OSError, RuntimeError) as error:
        logger.warning("the fused kernels could not be built, plain torch runs instead: %s", error)
        return None


class Kernels(NamedTuple):
    """The kernels of one source, by name.

    Attributes:
        source: What its function ``<source>_struct_sizes`` is called after, which fills an array of ``int64``.
        structs: Python's side of the structs that it is handed, in the order of those sizes.
    """

    source: str
    structs: tuple[type[ctypes.Structure], ...]

    def __call__(self, name: str) -> ctypes._NamedFuncPointer:
        """A function that gives nothing back.

        Raises:
            RuntimeError: If there are no kernels, or Python and C++ do not agree on the size of a struct.
        """
        kernels = library()
        if kernels is None:
            raise RuntimeError("there are no compiled kernels")
        _check_structs(kernels, self)
        function = getattr(kernels, name)
        function.restype = None
        return function


@functools.cache
def _check_structs(kernels: ctypes.CDLL, own: Kernels) -> None:
    sizes = (ctypes.c_int64 * len(own.structs))()
    getattr(kernels, f"{own.source}_struct_sizes")(sizes)
    for struct, size in zip(own.structs, sizes, strict=True):
        if ctypes.sizeof(struct) != size:
            name = struct.__name__.lstrip("_")
            raise RuntimeError(f"struct {name} has {size} bytes in C++ and {ctypes.sizeof(struct)} in Python")


def _built() -> Path:
    """Path of the shared library, compiled now unless a run before has done so."""
    compiler = _compiler()
    key = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES))
    key.update(repr((compiler, FLAGS, _processor())).encode())
    folder, name = _cache(), f"kernels-{key.hexdigest()[:16]}"
    for path in sorted(folder.glob(f"{name}-*.so")):
        if _is_ours(path, stat.S_ISREG) and path.stem == f"{name}-{_checksum(path.read_bytes())}":
            return path
        logger.warning("%s is damaged, or could have been changed by somebody else: it is built anew", path)
    logger.info("compiling the fused kernels into %s, once", folder)
    content = _compile(compiler)
    path = folder / f"{name}-{_checksum(content)}.so"
    if path.exists() and not path.is_file():
        raise RuntimeError(f"{path} is in the way and no file: remove it")
    write_whole(path, content)  # another process may be doing the same
    path.chmod(0o700)
    return path


def _compiler() -> list[str]:
    """The command of a C++ compiler: CXX, which may hold arguments, or what is found."""
    named = os.environ.get("CXX", "").strip()
    if named:
        try:
            program, *arguments = shlex.split(named)
        except ValueError as error:
            raise RuntimeError(f"CXX={named!r} is no command: {error}") from error
        found = shutil.which(program)
        if found is not None:
            return [found, *arguments]
        logger.warning("CXX names %r, which was not found: another C++ compiler is looked for", program)
    found = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if found is None:
        raise RuntimeError("no C++ compiler found: install g++ or clang++, or name yours in CXX")
    return [found]


def _compile(compiler: list[str]) -> bytes:
    """The library, as the compiler makes it."""
    with tempfile.TemporaryDirectory(prefix="snntorch_brp") as folder:
        built, messages = Path(folder) / "kernels.so", Path(folder) / "messages"
        command = [*compiler, *FLAGS, *map(str, SOURCES), "-o", str(built)]
        with messages.open("wb") as out:  # a file, since what a killed compiler started may hold a pipe open
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                status = process.wait(SECONDS)
            except subprocess.TimeoutExpired as error:
                raise RuntimeError(f"{shlex.join(compiler)} did not end within {SECONDS} s") from error
            finally:
                _end(process)
        if status != 0:
            said = messages.read_bytes()[:500].decode(errors="replace").strip()
            raise RuntimeError(f"{shlex.join(compiler)} failed: {said or f'exit status {status}'}")
        if not built.is_file():
            raise RuntimeError(f"{shlex.join(compiler)} ended well, but made no library")
        return built.read_bytes()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing of a compiler goes on when it has taken too long, or when the user interrupts."""
    if process.poll() is not None:
        return
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _cache() -> Path:
    """A folder of one's own that nobody else can write, made where it is not there."""
    try:
        home = os.environ.get("XDG_CACHE_HOME") or (Path.home() / ".cache" if os.environ.get("HOME", " ") else None)
        if home is not None and Path(home).is_absolute():
            folder = Path(home) / "snntorch_brp" / "kernels"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_ours(folder, stat.S_ISDIR) and os.access(folder, os.W_OK):
                return folder
            logger.warning("%s is not this user's alone: the fused kernels are compiled for this process only", folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody knows where home is
        logger.warning("no folder to keep the fused kernels in, they are compiled for this process only: %s", error)
    folder = Path(tempfile.mkdtemp(prefix="snntorch_brp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_ours(path: Path, kind: Callable[[int], bool]) -> bool:
    """Whether a file or folder, and no link to one, belongs to this user, and to nobody else's hands."""
    try:
        state = path.lstat()
    except OSError:
        return False
    closed = os.name != "posix" or (state.st_uid == os.geteuid() and not state.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    return closed and kind(state.st_mode)


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _processor() -> str:
    """What -march=native depends on, so that machines that share a home do not share the code."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return " ".join(os.uname()) if hasattr(os, "uname") else ""
