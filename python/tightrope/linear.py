"""The linear bounds behind CROWN, as tensors: lA x + lbias ≤ C·z ≤ uA x + ubias over a region.

The bounds of the layers are the engine's; here the rows are carried back through the network once, along the lines that
these bounds give. Only what programs that ask for the coefficients need; bounds themselves are the engine's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from tightrope import torch as _torch
from tightrope.network import Network

# First learning rate of the slopes, and its factor from step to step: those of the engine's alpha-CROWN.
_RATE, _DECAY = 0.1, 0.98


class _Rows:
    """Carries rows back through one network with known bounds of its layers."""

    def __init__(self, net: Network, layers: Any, dtype: torch.dtype) -> None:
        self.layers = net.description["layers"]
        self.input_shape = net.input_shape
        self.parameters = {name: torch.as_tensor(value).to(dtype) for name, value in net.parameters.items()}
        self.bounds = {layer.name: (layer.lower, layer.upper) for layer in layers}
        self.dtype = dtype

    def function(self, layer: dict[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
        """The affine function of a layer of one input."""
        kind = layer["kind"]
        number = lambda role: self.parameters[layer[role]] if isinstance(layer.get(role), str) else None
        weight, bias = number("weight"), number("bias")
        if kind == "flatten":
            return lambda x: x.flatten(1)
        if kind == "linear":
            return lambda x: F.linear(x.flatten(1), weight, bias)
        if kind == "conv2d":
            top, left, bottom, right = _sides(layer.get("padding", 0), 4)
            stride, dilation = _sides(layer.get("stride", 1)), _sides(layer.get("dilation", 1))
            pad = (left, right, top, bottom)
            return lambda x: F.conv2d(F.pad(x, pad), weight, bias, stride, 0, dilation, layer.get("groups", 1))
        if kind == "affine":
            constants = [torch.tensor(layer[key], dtype=self.dtype) for key in ("scale", "shift")]

            def apply(x: torch.Tensor) -> torch.Tensor:
                scale, shift, w, b = (
                    None if v is None else v.repeat_interleave(layer["inner"]).reshape(x.shape[1:])
                    for v in (*constants, weight, bias)
                )
                y = scale * x + shift
                y = y if w is None else y * w
                return y if b is None else y + b

            return apply
        raise NotImplementedError(f"linear bounds through layers of kind {kind}")

    def back(self, rows: torch.Tensor, slopes: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Lower linear bounds A ``[N, R, *input]`` and bias ``[N, R]`` of rows ``[N, R, K]``."""
        batch, count = rows.shape[:2]
        shapes: dict[str, tuple[int, ...]] = {"input": self.input_shape}
        for layer in self.layers:
            name, source = layer["name"], shapes[layer["inputs"][0]]
            if layer["kind"] in ("relu", "add"):
                shapes[name] = source
            else:
                shapes[name] = tuple(self.function(layer)(torch.zeros(1, *source, dtype=self.dtype)).shape[1:])
        open_rows = {self.layers[-1]["name"]: rows}
        constant = torch.zeros(batch, count, dtype=self.dtype)
        for layer in reversed(self.layers):
            A = open_rows.pop(layer["name"], None)
            if A is None:
                continue
            sources = layer["inputs"]
            if layer["kind"] == "add":
                parts = [A] * len(sources)
            elif layer["kind"] == "relu":
                part, added = self.relu(A, layer, slopes)
                constant, parts = constant + added, [part]
            else:
                source = shapes[sources[0]]
                function = self.function(layer)
                zero = torch.zeros(batch * count, *source, dtype=self.dtype, requires_grad=True)
                with torch.enable_grad():
                    y = function(zero)
                flat = A.reshape(batch * count, *y.shape[1:])
                constant = constant + (flat * y.detach()).flatten(1).sum(1).reshape(batch, count)
                (part,) = torch.autograd.grad(y, zero, flat, create_graph=torch.is_grad_enabled())
                parts = [part.reshape(batch, count, *source)]
            for name, part in zip(sources, parts):
                open_rows[name] = open_rows[name] + part if name in open_rows else part
        return open_rows["input"], constant

    def relu(self, A: torch.Tensor, layer: dict[str, Any], slopes: dict[str, torch.Tensor]) -> Any:
        lower, upper = (end[:, None] for end in self.bounds[layer["inputs"][0]])
        A = A.reshape(*A.shape[:2], *lower.shape[2:])
        unstable = (lower < 0) & (upper > 0)
        chord = torch.where(unstable, upper / (upper - lower).clamp(min=1e-30), (lower >= 0).to(A.dtype))
        below = slopes.get(layer["name"])
        below = (upper > -lower).to(A.dtype) if below is None else below
        below = torch.where(unstable, below, chord)
        intercept = torch.where(unstable, -lower * chord, torch.zeros_like(lower))
        negative, positive = A.clamp(max=0), A.clamp(min=0)
        return negative * chord + positive * below, (negative * intercept).flatten(2).sum(2)


def _sides(sides: Any, count: int = 2) -> list[int]:
    sides = [sides] if isinstance(sides, int) else list(sides)
    return (sides * count)[:count]


def _least(A: torch.Tensor, bias: torch.Tensor, x: torch.Tensor, region: dict[str, Any]) -> torch.Tensor:
    """The least value of A·x + bias over the region, ``[N, R]``."""
    flat = A.flatten(2)
    if "box" in region:
        center, radius = (x + region["box"]) / 2, (region["box"] - x) / 2
        spread = (flat.abs() * radius.flatten(1)[:, None]).sum(2)
    else:
        center, norm = x, float(region.get("norm", "inf"))
        dual = 1.0 if norm == float("inf") else 2.0 if norm == 2.0 else float("inf")
        spread = region["eps"] * torch.linalg.vector_norm(flat, dual, dim=2)
    return (flat * center.flatten(1)[:, None]).sum(2) + bias - spread


def linear_bounds(
    module: torch.nn.Module, x: torch.Tensor, region: dict[str, Any], C: torch.Tensor | None, method: str, lower: bool,
    upper: bool, steps: int,
) -> tuple[Any, Any, dict[str, Any]]:  # fmt: skip
    """Lower and upper bounds and the dictionary of lA, lbias, uA and ubias (None for a side not asked for)."""
    if method == "ibp":
        raise NotImplementedError("return_A with IBP, which has no linear bounds; ask for CROWN")
    x = x.detach()
    with torch.no_grad():
        relaxation = "crown" if method == "alpha-crown" else method
        found = _torch.bounds(module, x, method=relaxation, layers=True, **region)
        net = Network.from_torch(module, x)
    rows = _Rows(net, found.layers, x.dtype)
    if C is None:
        C = torch.eye(net.outputs, dtype=x.dtype).expand(len(x), -1, -1)
    C = C.detach().expand(len(x), -1, -1)
    sides: list[Any] = []
    for wanted, sign in ((lower, 1.0), (upper, -1.0)):
        if not wanted:
            sides.append((None, None, None))
            continue
        A, bias, bound = _side(rows, sign * C, x, region, steps if method == "alpha-crown" else 0)
        sides.append((sign * A, sign * bias, sign * bound))
    (lA, lbias, low), (uA, ubias, high) = sides
    return low, high, {"lA": lA, "lbias": lbias, "uA": uA, "ubias": ubias}


def _side(rows: _Rows, C: torch.Tensor, x: torch.Tensor, region: dict[str, Any], steps: int) -> tuple[Any, Any, Any]:
    """The lower linear bounds of C; with ``steps`` along lower slopes that are optimised for each row by Adam."""
    with torch.no_grad():
        A, bias = rows.back(C, {})
        best = _least(A, bias, x, region)
    if steps == 0:
        return A, bias, best
    slopes: dict[str, torch.Tensor] = {}
    for layer in rows.layers:
        if layer["kind"] == "relu":
            lower, upper = (end[:, None] for end in rows.bounds[layer["inputs"][0]])
            start = (upper > -lower).to(x.dtype).expand(-1, C.shape[1], *upper.shape[2:])
            slopes[layer["name"]] = start.clone().requires_grad_()
    if not slopes:
        return A, bias, best
    optimiser = torch.optim.Adam(slopes.values(), _RATE)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, _DECAY)
    for _ in range(steps):
        with torch.enable_grad():
            optimiser.zero_grad()
            loss = -_least(*rows.back(C, slopes), x, region).sum()
            loss.backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for slope in slopes.values():
                slope.clamp_(0.0, 1.0)
            now, shift = rows.back(C, slopes)
            bound = _least(now, shift, x, region)
            better = bound > best
            A = torch.where(better.reshape(*better.shape, *[1] * (A.dim() - 2)), now, A)
            bias, best = torch.where(better, shift, bias), torch.where(better, bound, best)
    return A, bias, best
