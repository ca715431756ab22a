"""A device that is not the CPU and needs no hardware, so that tests can hold the path of a GPU.

PyTorch reserves a key for devices of others ("PrivateUse1") and lets Python fill it. Tensors of this device are real:
sizes, strides, autograd and subclasses are PyTorch's own. Their values lie in the memory of the host, where DLPack
hands them on, and every operation is done there by the CPU's kernel. The checks are those of a GPU: tensors of two
devices do not mix (a single number of the host may take part), `numpy` refuses, and copies and waits are counted
(`tests.support.traffic`).

Not simulated: kernels and their rounding, streams, the device's own memory, autocast, operations that resize. Python
cannot register a `torch.Generator` for a device: inside `used`, `torch.Generator` makes one of the host that is
accepted by the device only if it was made for it; the CPU's operations accept it as well.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.library import Library
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from tests.support.traffic import MASKED, TO_DEVICE, TO_HOST, Traffic, leave, listen, note, note_operation

NAME = "simulated"
_HOST, _OTHER = 1, 12
"""DLPack's numbers of the CPU and of devices that it does not know."""
_KEY = "PrivateUse1"
_RESHAPING = {"resize_", "resize_as_", "set_", "t_", "transpose_", "squeeze_", "unsqueeze_", "swapaxes_"}
_WHOLE = (
    "arange.default", "arange.start", "arange.start_step", "linspace.default", "eye.default", "eye.m",
    "randperm.default", "randperm.generator", "abs.default", "logical_not.default", "smooth_l1_loss.default",
    "smooth_l1_loss_backward.default",
)  # fmt: skip
"""PyTorch itself would make these in a tensor of nothing that grows, which this memory cannot."""


class _Header(ctypes.Structure):
    """`DLTensor` of dlpack.h."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("n_dims", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
    )  # fmt: skip


_content_of = ctypes.pythonapi.PyCapsule_GetPointer
_content_of.restype, _content_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def _relabelled(tensor: Tensor, device: int) -> Tensor:
    """The same memory as a tensor of another device."""
    capsule = torch._C._to_dlpack(tensor)
    header = ctypes.cast(_content_of(capsule, b"dltensor"), ctypes.POINTER(_Header)).contents
    header.device_type, header.device_id = device, 0
    for axis, stride in enumerate(tensor.stride()):  # DLPack tells 1 for axes of one
        header.strides[axis] = stride
    found: Tensor = torch._C._from_dlpack(capsule)  # type: ignore[attr-defined]
    return found


def _on_host(value: Any) -> Any:
    return _relabelled(value, _HOST) if isinstance(value, Tensor) and value.device.type == NAME else value


def _on_device(value: Any) -> Any:
    return _relabelled(value, _OTHER) if isinstance(value, Tensor) and value.device.type == "cpu" else value


_GENERATORS: set[int] = set()


def _address(generator: torch.Generator) -> int:
    found: int = torch.Generator._cdata.__get__(generator)  # type: ignore[attr-defined]
    return found


class _Generator(torch.Generator):
    """The CPU's numbers; one that is for the device is known by its address."""

    def __new__(cls, device: str | torch.device = "cpu") -> _Generator:
        found = super().__new__(cls)
        if torch.device(device).type == NAME:
            _GENERATORS.add(_address(found))
        return found

    def __init__(self, device: str | torch.device = "cpu") -> None:
        super().__init__()

    def __del__(self) -> None:
        _GENERATORS.discard(_address(self))


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    """Change what lies in tuples and lists."""
    return type(value)(_each(change, part) for part in value) if type(value) in {tuple, list} else change(value)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for part in value:
            yield from _tensors(part)


def _check_devices(name: str, words: Sequence[Any], options: dict[str, Any]) -> None:
    """As CUDA does: single numbers of the host may take part, and indices into what lies on the device."""
    checked = [*words[:1], *words[2:]] if name in MASKED else [*words, *options.values()]
    if any(tensor.device.type != NAME and tensor.dim() > 0 for tensor in _tensors(checked)):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {NAME} and cpu in {name}")
    generator = options.get("generator")
    if generator is not None and _address(generator) not in _GENERATORS:
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu' in {name}")


def _computed(operation: Any, *words: Any, **options: Any) -> Any:
    """Any operation that takes or makes a tensor of the device."""
    name = operation.overloadpacket.__name__
    if name in _RESHAPING:
        raise NotImplementedError(f"{name} is not simulated")
    _check_devices(name, words, options)
    note_operation(name, words, NAME)
    host_options = {key: _each(_on_host, value) for key, value in options.items()}
    if options.get("device") is not None:
        host_options["device"] = torch.device("cpu")
    try:
        found = operation(*_each(_on_host, words), **host_options)
    except RuntimeError as error:
        raise RuntimeError(f"{operation} on the simulated device: {error}") from None
    return _returned(operation, words, options, found)


def _returned(operation: Any, words: tuple[Any, ...], options: dict[str, Any], found: Any) -> Any:
    """What changes in place is given back itself, everything else as a tensor of the device."""
    schema = _schema_of(operation.name())
    written = {
        alias: words[n] if n < len(words) else options.get(argument.name)
        for n, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
        for alias in argument.alias_info.before_set
    }
    parts = found if isinstance(found, tuple) and len(schema.returns) > 1 else (found,)
    out = []
    for part, told in zip(parts, schema.returns, strict=False):
        if told.alias_info is None or not told.alias_info.is_write:
            out.append(_each(_on_device, part))
            continue
        out.append(written[next(iter(told.alias_info.before_set))])
        if out[-1].shape != part.shape:
            raise NotImplementedError(f"{schema.name} changes the size of its result: not simulated")
    return tuple(out) if parts is found else out[0] if out else None


@cache
def _schema_of(name: str) -> Any:
    base, _, overload = name.partition(".")
    return torch._C._get_schema(base, overload)  # type: ignore[attr-defined]


def _copied(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    if target.device.type != source.device.type:
        note(TO_HOST if source.device.type == NAME else TO_DEVICE, "copy", source.nbytes)
    _on_host(target).copy_(_on_host(source))
    return target


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
    _check_devices("convolution", [x, weight, *([] if bias is None else [bias])], {})
    found: Tensor = _on_device(torch.convolution(*map(_on_host, (x, weight, bias)), *options))
    return found


def _convolved_backward(gradient: Tensor, x: Tensor, weight: Tensor, *options: Any) -> tuple[Tensor, ...]:
    _check_devices("convolution_backward", [gradient, x, weight], {})
    *shape, mask = options
    parts = map(_on_host, (gradient, x, weight))
    found = torch.ops.aten.convolution_backward(*parts, [weight.shape[0]], *shape, mask)
    return tuple(map(_on_device, found))


def _registered() -> tuple[Library, Library]:
    """Once a process, before its first backward pass: autograd then counts the devices."""
    _setup_privateuseone_for_python_backend(rename=NAME)
    every, own = Library("_", "IMPL"), Library("aten", "IMPL")
    every.fallback(_computed, _KEY)
    own.impl("copy_", _copied, _KEY)
    for name in _WHOLE:
        packet, overload = name.split(".")
        operation = getattr(getattr(torch.ops.aten, packet), overload)
        own.impl(name.removesuffix(".default"), partial(_computed, operation), _KEY)
    own.impl("convolution_overrideable", _convolved, _KEY)
    own.impl("convolution_backward_overrideable", _convolved_backward, _KEY)
    return every, own


_LIBRARIES = _registered()
DEVICE = torch.device(NAME, 0)


@contextmanager
def used() -> Iterator[Traffic]:
    """Count what happens on the device, which has generators inside."""
    traffic = Traffic()
    listen(traffic)
    try:
        with patch.object(torch, "Generator", _Generator):
            yield traffic
    finally:
        leave(traffic)
