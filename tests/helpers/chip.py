"""A device that is not the CPU, though the CPU computes its values.

PyTorch's fake tensors know devices but no values, so code that looks at a loss cannot run on them. Tensors on the chip
have values: the CPU's own kernels make them, so results on the chip must equal those on the CPU bit for bit. What a GPU
refuses is refused here: operations on tensors of two devices, a generator of the other device, numpy on device memory.
What makes the host wait for the device is counted, with the line that asked for it.

Importing this registers the chip in the whole process, so tests that use it run in one of their own.
"""

from __future__ import annotations

import traceback
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend


class _Chip(_DummyBackendModule):
    def get_amp_supported_dtype(self):
        return [torch.bfloat16]


_setup_privateuseone_for_python_backend("chip", _Chip())
CHIP, CPU = torch.device("chip", 0), torch.device("cpu")
aten = torch.ops.aten
HERE = Path(__file__).parents[2]

# Results or their shapes are needed on the host at once.
WAITING = {
    *(aten._local_scalar_dense, aten.equal, aten.nonzero, aten.masked_select, aten.bincount, aten._unique2),
    *(aten.repeat_interleave, aten.is_nonzero, aten.allclose, aten.linalg_eigh, aten._linalg_eigh, aten.histc),
}
COPIES = {aten._to_copy, aten.copy_, aten.copy}  # may have operands on two devices
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}  # indices may lie on the CPU

ROUNDED = ("linear", "conv1d", "conv2d", "addmm", "mm")  # what autocast computes in bfloat16


def _rounded(operation):
    """The operation as autocast has it on a GPU."""

    def run(*args, **kwargs):
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)):
            return operation(*tree_map(_in_bfloat16, args), **tree_map(_in_bfloat16, kwargs))

    return run


def _in_bfloat16(x):
    return x.bfloat16() if isinstance(x, torch.Tensor) and x.dtype is torch.float32 else x


def _autocast():
    others, few = (torch.library.Library(name, "IMPL", "AutocastPrivateUse1") for name in ("_", "aten"))
    others.fallback(torch.library.fallthrough_kernel)
    for name in ROUNDED:
        few.impl(name, _rounded(getattr(aten, name)))
    return others, few


libraries = _autocast()  # in force while somebody holds them
waits: list[str] = []  # one line of source for each time that the host waited


class OnDevice(torch.Tensor):
    """A tensor on the pretended device; ``raw`` holds its values."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw):
        shape = torch.empty_strided(raw.shape, raw.stride(), dtype=raw.dtype, device="meta")
        return torch.Tensor._make_subclass(cls, shape, False, dispatch_device=True, device_for_backend_keys=CHIP)

    def __init__(self, raw):
        self.raw = raw

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def tolist(self):
        return self.cpu().tolist()

    def numpy(self, *, force=False):
        if not force:
            raise TypeError("can't convert a tensor on the chip to numpy: copy it to host memory first, with .cpu()")
        return self.detach().cpu().numpy()

    def __format__(self, how):
        return format(self.item() if self.dim() == 0 else self.cpu(), how)

    def __array__(self, dtype=None):
        return self.numpy()

    def __deepcopy__(self, memo):
        copy = OnDevice(self.raw.detach().clone()).requires_grad_(self.requires_grad)
        return torch.nn.Parameter(copy, self.requires_grad) if isinstance(self, torch.nn.Parameter) else copy

    def __reduce_ex__(self, protocol):  # what is saved is read back to wherever one wants it
        return self.raw.detach().__reduce_ex__(protocol)

    def __repr__(self, *, tensor_contents=None):
        return f"OnDevice({self.raw!r})"


def _run(func, args, kwargs):
    """Do the operation on the CPU, if a GPU would do it, and wrap what comes out."""
    packet = func.overloadpacket
    if packet is torch.ops.prim.device:
        return CHIP
    tensors, wrapped = [], {}
    tree_map(lambda x: tensors.append(x) if isinstance(x, torch.Tensor) else None, (args, kwargs))
    inside = [x for x in tensors if isinstance(x, OnDevice)]
    outside = [x for x in tensors if not isinstance(x, OnDevice)]
    target = kwargs.get("device")
    target = torch.device(target) if target is not None else CHIP if inside else CPU
    _refuse_what_a_gpu_refuses(func, inside, outside, target, kwargs.get("generator"))
    leaves = bool(inside) and (target.type == "cpu" or (packet is aten.copy_ and not isinstance(args[0], OnDevice)))
    boolean = packet in INDEXING and any(x.dtype in (torch.bool, torch.uint8) for x in tensors[1:])
    if inside and (packet in WAITING or leaves or boolean):
        waits.append(_asked_by())

    def unwrap(x):
        if isinstance(x, OnDevice):
            wrapped[id(x.raw)] = x
            return x.raw
        return CPU if isinstance(x, torch.device) and x.type == "chip" else x

    args, kwargs = tree_map(unwrap, (args, kwargs))
    kwargs.pop("pin_memory", None)
    out = func(*args, **kwargs)
    if packet is aten._to_copy and target.type == "chip" and out is args[0]:
        out = out.clone()
    if target.type != "chip" or (packet is aten.copy_ and leaves):
        return out

    def wrap(x):
        if not isinstance(x, torch.Tensor):
            return x
        return wrapped[id(x)] if id(x) in wrapped else OnDevice(x)  # an operation in place gives what it was given

    return tree_map(wrap, out)


def _refuse_what_a_gpu_refuses(func, inside, outside, target, generator):
    packet = func.overloadpacket
    alien = [x for x in outside if x.dim() > 0 and not x.is_meta]  # a CPU scalar goes along as an argument
    if inside and alien and packet not in COPIES and packet not in INDEXING:
        raise RuntimeError(
            f"{func}: tensors of shape {[tuple(x.shape) for x in alien]} are on the CPU, others on the chip"
        )
    if target.type == "chip" and not inside and alien and packet not in COPIES:
        raise RuntimeError(f"{func}: asked for on the chip, of tensors on the CPU")
    if generator is not None and target.type == "chip":
        raise RuntimeError(f"{func}: expected a generator of the chip, got one on {generator.device}")


def _asked_by():
    """The innermost line of the project that led here."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path.is_relative_to(HERE) and path != Path(__file__):
            return f"{path.relative_to(HERE)}:{frame.name}"
    return "elsewhere"


class _Factories(TorchDispatchMode):
    """Sees operations that have no tensor on the device yet, such as ``torch.zeros(3, device="chip")``."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


@contextmanager
def chip():
    """Inside the block the chip is a device; what lies on it must not be used after."""
    waits.clear()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # net.to(CHIP) makes new parameters
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor makes it on the CPU and moves it in our sight
    try:
        with _Factories():
            yield CHIP
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_overwrite_module_params_on_conversion(False)


def waited() -> Counter:
    """How often the host waited, by the line that asked for it, since the last call."""
    count = Counter(waits)
    waits.clear()
    return count
