"""Whether a trace is still that of its module: what a module's structure depends on, and outputs to compare."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tightrope.errors import UnsupportedModule

if TYPE_CHECKING:
    from tightrope.trace import Traced


def structure(module: nn.Module) -> Any:
    """What a module's structure depends on beside its tensors' values: another one is traced anew.

    Raises ``UnsupportedModule`` for what no structure tells of: hooks.
    """
    parts = []
    for name, part in module.named_modules():
        if part._forward_hooks or part._forward_pre_hooks:
            where = f"`{name}`" if name else "the module"
            raise UnsupportedModule(
                f"{where} ({type(part).__name__}) has forward hooks, which bounds would not know of; remove them (weight_norm, "
                "spectral_norm and prune: use those of torch.nn.utils.parametrizations, or make them permanent)"
            )
        plain = [(key, _plain(value)) for key, value in part.__dict__.items() if key not in _EVERYWHERE]
        # Tensors are read at every call; those that a module's code makes, a trace leaves in the module as well.
        parts.append((name, type(part), tuple(pair for pair in plain if pair[1] is not _OTHER)))
    shapes = tuple((name, tuple(tensor.shape)) for name, tensor in module.named_parameters())
    return tuple(parts), shapes


_OTHER = "something else"


def _plain(value: Any) -> Any:
    """A number, a text, a function or a list of such, as something that can be compared; ``_OTHER`` for all else."""
    if isinstance(value, (tuple, list)):
        return tuple(_plain(part) for part in value)
    known = (bool, int, float, str, types.FunctionType, types.BuiltinFunctionType)
    return value if value is None or isinstance(value, known) else _OTHER


# What every module has, of which nothing but its mode changes what it computes: its parts are looked at one by one.
_EVERYWHERE = frozenset(nn.Module().__dict__) - {"training"}


def _points(module: nn.Module, sample: torch.Tensor) -> list[torch.Tensor]:
    """Inputs ``[1, …]`` at which a trace is held against its module, in its precision: the sample, and two others."""
    sample = sample.to(next((p.dtype for p in module.parameters() if p.is_floating_point()), sample.dtype))
    noise = torch.randn(sample.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32).to(sample)
    return [sample, sample + 0.5 * noise, noise]


def output(module: nn.Module, sample: torch.Tensor) -> Any:
    """What the module itself computes at some points; copies of them, as a module may change its input."""
    try:
        with torch.no_grad():
            found = [module(point.clone()) for point in _points(module, sample)]
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnsupportedModule(
            f"{type(module).__name__} fails on an input of shape {list(sample.shape)}: {first}"
        ) from error
    found = [part[0] if isinstance(part, (tuple, list)) and len(part) == 1 else part for part in found]
    return torch.cat(found) if all(torch.is_tensor(part) and part.dim() > 0 for part in found) else None


def agreeing(traced: Traced, module: nn.Module, sample: torch.Tensor, expected: Any) -> Traced:
    """``traced``, if it computes what the module computes."""
    if expected is None or not expected.isfinite().all():
        return traced
    theta = [tensor.detach().cpu().double().reshape(-1) for tensor in traced.tensors(module)]
    theta = torch.cat(theta) if theta else torch.zeros(0, dtype=torch.float64)
    handle = traced.handle.with_parameters(theta.numpy(), traced.buffer_values(module))
    x = np.ascontiguousarray(torch.cat(_points(module, sample)).cpu().double().numpy())
    found = torch.from_numpy(handle.forward(x)).reshape(expected.shape)
    apart = float((found - expected.cpu().double()).abs().max())
    rounding = 1e-3 if expected.dtype in (torch.float32, torch.float64) else 5e-2
    if not apart <= rounding * max(1.0, float(expected.abs().max())):
        raise UnsupportedModule(
            f"{type(module).__name__}: what was traced differs from the module by {apart:.2g}; it does something that a trace "
            "does not see"
        )
    return traced
