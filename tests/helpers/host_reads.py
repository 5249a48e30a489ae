"""Counts how often a program waits for a device to tell it a number, also where the device is the CPU."""

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

READING = {
    Tensor.item,
    Tensor.tolist,
    Tensor.numpy,
    Tensor.cpu,
    Tensor.__bool__,
    Tensor.__int__,
    Tensor.__float__,
    Tensor.__index__,
    Tensor.__contains__,
    Tensor.nonzero,
    Tensor.masked_select,
    Tensor.unique,
    torch.nonzero,
    torch.masked_select,
    torch.unique,
    torch.equal,
    torch.allclose,
    torch.is_nonzero,
}
INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
COPYING = {Tensor.cpu, Tensor.to}
REPEATING = {Tensor.repeat_interleave, torch.repeat_interleave}


class HostReads(TorchFunctionMode):
    """Counts reads of tensors that are on the device.

    A tensor is on the host if it was made without a device from what is on the host, or copied there by ``cpu()``;
    all others, the weights and what is computed with them, are on the device. An index of booleans reads, too, and so
    does repeating each element as often as another tensor says.
    """

    def __init__(self):
        super().__init__()
        self.found = []
        self._host = {}  # by id; kept alive, so that an id means one tensor

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = list(_find_tensors([*args, *kwargs.values()]))
        on_device = any(id(x) not in self._host for x in given)
        if on_device and self._reads(function, args, kwargs):
            self.found.append(getattr(function, "__name__", str(function)))
        made = function(*args, **kwargs)
        if function in COPYING and isinstance(made, Tensor) and any(made is x for x in given):
            made = made.clone()  # one tensor is in one place
        if function is Tensor.cpu or not (on_device or _names_device(args, kwargs)):
            self._host |= {id(x): x for x in _find_tensors([made])}
        return made

    def _reads(self, function, args, kwargs):
        if function in INDEXING:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            return any(isinstance(i, Tensor) and i.dtype == torch.bool for i in index)
        if function in REPEATING:
            return any(isinstance(x, Tensor) for x in args[1:]) and "output_size" not in kwargs
        return function in READING


def _find_tensors(values):
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _find_tensors(value)


def _names_device(args, kwargs):
    return kwargs.get("device") is not None or any(isinstance(x, torch.device) for x in args)
