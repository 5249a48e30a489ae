"""transformers' ``torch_compile`` for policy and critic: decoder layers, compiled one by one and in place.

A whole pass depends on how many episodes and actions a micro-batch has, and would be compiled anew for each. A layer
depends on the number of tokens alone, which stays open, and all layers of a kind share what is compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel

from oreo_agents.errors import ConfigurationError
from oreo_agents.training.config import OreoConfig


@contextmanager
def compile_layers(trunks: Iterable[PreTrainedModel], args: OreoConfig) -> Iterator[None]:
    """Run the layers of ``trunks`` compiled meanwhile, as ``args`` say; names of weights stay as they are.

    Raises:
        ConfigurationError: an architecture does not say which its layers are.
    """
    layers = [layer for trunk in trunks for layer in _list_layers(trunk)]
    for layer in layers:
        layer.compile(backend=args.torch_compile_backend, mode=args.torch_compile_mode, dynamic=True)
    try:
        yield
    finally:
        for layer in layers:
            layer._compiled_call_impl = None


@contextmanager
def run_uncompiled(*networks: nn.Module | None) -> Iterator[None]:
    """Run ``networks`` as they were written meanwhile: in play every pass has another shape."""
    modules = [module for network in networks if network is not None for module in network.modules()]
    compiled = {module: module._compiled_call_impl for module in modules}
    for module in compiled:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, call in compiled.items():
            module._compiled_call_impl = call


def _list_layers(trunk: PreTrainedModel) -> list[nn.Module]:
    names = set(trunk._no_split_modules or ())
    layers = [module for module in trunk.modules() if type(module).__name__ in names]
    if not layers:
        raise ConfigurationError(f"{type(trunk).__name__} has no layers to compile: leave torch_compile out")
    return layers
