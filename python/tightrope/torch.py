"""Bounds of torch modules with gradients, certified losses, and Gaussian smoothing of any loss.

``bounds`` and ``certified_loss`` are differentiable with respect to the module's parameters, the inputs and the radius.
``GaussianSmoothing`` wraps an optimiser and a closure: gradients of the loss smoothed over the parameters, by RGS from
gradients or by PGPE from loss values alone (arXiv 2403.07095).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from tightrope import _tightrope
from tightrope.errors import ConfigError, InputError, UnsupportedModule
from tightrope.faithful import structure
from tightrope.network import (
    Bounds,
    LayerBounds,
    Network,
    as_array,
    clip_range,
    label_list,
    norm_name,
    radius,
    spec_rows,
)
from tightrope.trace import Traced, trace

__all__ = ["GaussianSmoothing", "bounds", "certified_loss", "network"]

# A module's structures by the shape of its inputs and what they depend on; forgotten with the module.
_TRACED: weakref.WeakKeyDictionary[torch.nn.Module, dict[Any, Traced]] = weakref.WeakKeyDictionary()
# Structures that are kept of one module, whose numbers may change at every step.
_MOST_TRACED = 16


def network(module: torch.nn.Module, example: torch.Tensor) -> Network:
    """The network of ``module`` as it computes in evaluation mode; see ``tightrope.Network.from_torch``."""
    if not torch.is_tensor(example):
        raise InputError(f"the example is a {type(example).__name__}; give a tensor [N, ...] (torch.from_numpy takes an array)")
    traced = _traced(module, example)
    theta = torch.cat([p.detach().reshape(-1).cpu() for p in traced.tensors(module)] or [torch.zeros(0)])
    return Network(traced.handle.with_parameters(as_array(theta, "the parameters"), traced.buffer_values(module)))


def _traced(module: torch.nn.Module, x: torch.Tensor) -> Traced:
    """The structure of ``module``, traced once for each input shape and anew where the module is another one."""
    for name, part in module.named_modules():
        if part.training and isinstance(
            part, (torch.nn.modules.batchnorm._BatchNorm, torch.nn.modules.dropout._DropoutNd)
        ):
            raise UnsupportedModule(
                f"`{name}` ({type(part).__name__}) is in training mode, in which it is no function of one input; call "
                "module.eval() first"
            )
    if x.dim() < 2:
        raise InputError(f"the example has shape {list(x.shape)}; give a batch [N, ...]")
    known = _TRACED.setdefault(module, {})
    key = (tuple(x.shape[1:]), structure(module))
    if key not in known and len(known) >= _MOST_TRACED:
        known.clear()
    if key not in known or not known[key].serves(module):
        known[key] = trace(module, x)
    return known[key]


class _Bounds(torch.autograd.Function):
    """Bounds as a function of lower and upper ends (or centres and radius), rows and parameters."""

    @staticmethod
    def forward(ctx: Any, call: "_Call", x: torch.Tensor, eps: Any, matrix: Any, *parameters: torch.Tensor) -> Any:
        call.run(ctx, x, eps, matrix, parameters)
        outputs = [torch.from_numpy(values).to(x.device) for values in call.outputs]
        ctx.call = call
        ctx.shapes = [p.shape for p in parameters]
        ctx.devices = [p.device for p in parameters]
        ctx.types = [p.dtype for p in parameters]
        ctx.x_like = (x.shape, x.dtype, x.device)
        ctx.eps_like = (eps.shape, eps.dtype, eps.device) if torch.is_tensor(eps) else None
        ctx.matrix_like = (matrix.shape, matrix.dtype, matrix.device) if torch.is_tensor(matrix) else None
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Any) -> Any:
        call = ctx.call
        _, need_x, need_eps, need_matrix, *need = ctx.needs_input_grad
        theta, x, eps, matrix = call.pull(cotangents, any(need), need_x or need_eps, need_matrix)
        tensor = lambda values, like: (
            torch.from_numpy(np.ascontiguousarray(values)).reshape(like[0]).to(like[1]).to(like[2])
        )
        gradients, start = [], 0
        for wanted, shape, device, dtype in zip(need, ctx.shapes, ctx.devices, ctx.types):
            size = shape.numel()
            part = None
            if wanted:
                part = torch.from_numpy(theta[start : start + size]).reshape(shape).to(device, dtype)
            gradients.append(part)
            start += size
        grad_x = tensor(x, ctx.x_like) if need_x else None
        grad_eps = tensor(call.sum_eps(eps, ctx.eps_like[0]), ctx.eps_like) if need_eps else None
        grad_matrix = tensor(matrix, ctx.matrix_like) if need_matrix else None
        return (None, grad_x, grad_eps, grad_matrix, *gradients)


class _Call:
    """One call of the engine: what it was asked, what it answered, and its tape."""

    def __init__(self, traced: Traced, buffers: list[float], question: dict[str, Any], batch: int) -> None:
        self.traced, self.buffers, self.question, self.batch = traced, buffers, question, batch
        # Inside of a function it is always off.
        self.differentiable = torch.is_grad_enabled()
        self.outputs: list[np.ndarray] = []
        self.names: list[str] = []
        self.tape: Any = None

    def run(self, ctx: Any, x: Any, eps: Any, matrix: Any, parameters: Any) -> None:
        question = self.question
        array = as_array(x)
        theta = [as_array(p, "a parameter").reshape(-1) for p in parameters]
        theta = np.concatenate(theta).astype(array.dtype, copy=False) if theta else np.zeros(0, array.dtype)
        handle = self.traced.handle.with_parameters(theta, self.buffers)
        self.x = array
        self.matrix = None if matrix is None else np.ascontiguousarray(as_array(matrix, "C"), array.dtype)
        question = question | {"x": array, "upper_end": None, "matrix": self.matrix, "eps": 0.0}
        self.eps = as_array(eps, "eps") if torch.is_tensor(eps) else np.asarray(eps, np.float64)
        self.upper_ends = None
        if question.pop("box"):
            # eps holds the upper ends.
            self.upper_ends = question["upper_end"] = np.ascontiguousarray(self.eps, array.dtype)
        elif self.eps.ndim == 0:
            question["eps"] = float(self.eps)
        else:
            wide = self.wide(self.eps, array.ndim)
            if wide.ndim > array.ndim or any(a not in (1, b) for a, b in zip(wide.shape[::-1], array.shape[::-1])):
                raise InputError(
                    f"eps has shape {list(self.eps.shape)}; give one radius, one for each sample [{len(array)}], or one for "
                    f"each element {list(array.shape)}"
                )
            question |= self.ends(array, question)
        wanted = self.differentiable and any(ctx.needs_input_grad)
        ball = question["norm"] != "inf"
        if wanted and ball and question["clip"] is not None and any(ctx.needs_input_grad[1:3]):
            raise InputError(
                "no gradient with respect to inputs or radius of clipped l1 and l2 balls; use clip=None, or detach them"
            )
        asked = {"taped": wanted, "matrix_gradient": wanted and ctx.needs_input_grad[3]}
        low, high, layers, self.tape = handle.bounds(question | asked)
        shaped = lambda values, shape: values.reshape(self.batch, *shape)
        self.outputs = [shaped(low, [-1])] + ([] if high is None else [shaped(high, [-1])])
        for name, shape, lower, upper in layers:
            self.names.append(name)
            self.outputs += [shaped(lower, shape), shaped(upper, shape)]

    def ends(self, x: np.ndarray, question: dict[str, Any]) -> dict[str, Any]:
        """Lower and upper ends for radii that differ, one for each sample or each element."""
        if question["norm"] != "inf":
            raise InputError("radii that differ are boxes; use norm='inf', or one radius for an l1 or l2 ball")
        eps = np.broadcast_to(self.wide(self.eps, x.ndim), x.shape).astype(x.dtype)
        if not (eps >= 0).all():
            raise InputError("eps: radii must be numbers >= 0")
        lower, upper = x - eps, x + eps
        if question["clip"] is not None:
            low, high = (x.dtype.type(value) for value in question["clip"])
            if (x < low).any() or (x > high).any():
                raise InputError(f"x lies outside the data range [{low:g}, {high:g}]; scale the inputs or change clip")
            lower, upper = np.maximum(lower, low), np.minimum(upper, high)
        self.upper_ends = upper
        return {"x": np.ascontiguousarray(lower), "upper_end": np.ascontiguousarray(upper)}

    @staticmethod
    def wide(eps: np.ndarray, axes: int) -> np.ndarray:
        """Radii ``[N]`` with an axis for each one of the inputs; others as they are."""
        return eps.reshape(-1, *[1] * (axes - 1)) if eps.ndim == 1 and axes > 1 else eps

    def pull(self, cotangents: Any, theta: bool, region: bool, matrix: bool) -> Any:
        if matrix and self.question["upper"]:
            if len(cotangents) > 1 and cotangents[1] is not None:
                raise InputError("the gradient with respect to C is that of lower bounds; use upper=False")
        dtype = self.x.dtype
        arrays = [None if c is None else np.ascontiguousarray(as_array(c, "a gradient"), dtype) for c in cotangents]
        filled = lambda i: arrays[i] if arrays[i] is not None else np.zeros(self.outputs[i].shape, dtype)
        first = 2 if self.question["upper"] else 1
        layers = [
            ((i - first) // 2, filled(i), filled(i + 1))
            for i in range(first, len(arrays), 2)
            if arrays[i] is not None or arrays[i + 1] is not None
        ]
        upper = arrays[1] if self.question["upper"] else None
        g_theta, center, spread, g_matrix = self.tape.vjp(filled(0), upper, layers, theta, region, matrix)
        g_x = g_eps = None
        if region:
            g_x, g_eps = self.region(center.reshape(self.x.shape), spread.reshape(self.x.shape))
        if g_matrix is not None and self.matrix.ndim == 2:
            g_matrix = g_matrix.reshape(self.batch, *self.matrix.shape).sum(0)
        return g_theta, g_x, g_eps, g_matrix

    def region(self, center: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The gradients of the box or ball as those of the inputs, and of the radius of each element."""
        below, above = (center - spread) / 2, (center + spread) / 2
        if self.question["box"]:
            return below, above
        clip = self.question["clip"]
        if self.question["norm"] != "inf" or clip is None:
            # Of a ball, the gradient of its radius stands in the first element of each sample, all others are 0.
            return center, spread
        low, high = (self.x.dtype.type(value) for value in clip)
        eps = np.broadcast_to(self.wide(self.eps, self.x.ndim), self.x.shape).astype(self.x.dtype)
        below, above = below * (self.x - eps > low), above * (self.x + eps < high)
        return below + above, above - below

    def sum_eps(self, gradient: np.ndarray, shape: Any) -> np.ndarray:
        """The gradient of each element's radius, summed over what shares a radius."""
        if self.question["box"]:
            return gradient
        wide = self.wide(self.eps, self.x.ndim).shape
        gradient = gradient.sum(tuple(range(gradient.ndim - len(wide))))
        axes = tuple(i for i, side in enumerate(wide) if side == 1 and gradient.shape[i] > 1)
        return gradient.sum(axes, keepdims=True).reshape(tuple(shape))


def bounds(
    module: torch.nn.Module,
    x: torch.Tensor,
    eps: Any = None,
    *,
    method: str = "crown",
    norm: Any = "inf",
    clip: Any = (0.0, 1.0),
    C: Any = None,
    y: Any = None,
    layers: bool = False,
    upper: bool = True,
    box: torch.Tensor | None = None,
    alpha_steps: int = 20,
    alpha_seconds: float | None = None,
) -> Bounds:
    """Bounds of ``module`` over the balls of radius ``eps`` around ``x`` ``[N, …]``, as tensors with gradients.

    Arguments as in ``tightrope.Network.bounds``. ``eps`` may be a number or a tensor: one radius, one for each sample
    ``[N]``, or one for each element (the latter two for norm "inf"). Gradients flow to the parameters, to ``x``, to ``eps``
    (or ``box``), and from the lower bounds to ``C``, through every intermediate bound. Parameters and inputs of double
    precision are bounded in double precision; of other devices they are brought to the processor and the results back.

    Raises ``UnsupportedModule`` or ``InputError``; the message says how to mend it.
    """
    if not torch.is_tensor(x):
        raise InputError(f"x is a {type(x).__name__}; give a tensor, or use tightrope.Network for arrays")
    as_array(x)  # refuses what cannot be computed with, before it is traced
    if not x.is_floating_point():
        x = x.float()
    if x.shape[0] == 0:
        raise InputError("x holds no sample; give at least one")
    if eps is None and box is None:
        raise InputError("eps is missing; give the radius of the balls, or box=upper ends")
    if isinstance(eps, str):
        eps = radius(eps)
    if y is not None and C is not None:
        raise InputError("give labels y or rows C, not both")
    traced = _traced(module, x)
    if traced.fixed and torch.is_grad_enabled():
        raise UnsupportedModule(
            f"the module was exported to ONNX with `{traced.fixed[0]}` merged into other numbers, so that it has no gradient; "
            "write the module in layers that are known here, or use torch.no_grad()"
        )
    parameters = traced.tensors(module)
    batch, outputs = x.shape[0], traced.handle.outputs
    if box is not None and tuple(box.shape) != tuple(x.shape):
        raise InputError(f"box has shape {list(box.shape)}, but x has {list(x.shape)}; give both alike")
    question = {
        "norm": norm_name(norm),
        "clip": clip_range(clip) if box is None else None,
        "method": method,
        "labels": None if y is None else label_list(y, batch),
        "rows": 0 if C is None else spec_rows(as_array(C, "C"), batch, outputs),
        "upper": upper,
        "layers": layers,
        "alpha_steps": alpha_steps,
        "alpha_seconds": alpha_seconds,
        "box": box is not None,
    }
    call = _Call(traced, traced.buffer_values(module), question, batch)
    matrix = C if C is None or torch.is_tensor(C) else torch.as_tensor(np.asarray(C), dtype=x.dtype)
    values = list(_Bounds.apply(call, x, eps if box is None else box, matrix, *parameters))
    low, high = values.pop(0), values.pop(0) if upper else None
    pairs = zip(call.names, values[0::2], values[1::2])
    return Bounds(low, high, tuple(LayerBounds(name, lower, upper) for name, lower, upper in pairs))


def certified_loss(
    module: torch.nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    eps: Any,
    *,
    method: str = "deeppoly",
    norm: Any = "inf",
    clip: Any = (0.0, 1.0),
    natural: float = 0.0,
) -> torch.Tensor:
    """The mean cross-entropy of the worst logits that the bounds allow, ``(1 − natural)·certified + natural·clean``.

    With margins m_j ≥ lower bounds of z_y − z_j, a sample's certified loss is log Σ_j exp(−m_j), m_y = 0.
    """
    if not 0.0 <= natural <= 1.0:
        raise InputError(f"natural={natural}: give a share from 0 to 1")
    if not torch.is_tensor(y) or y.dtype != torch.int64:
        y = torch.as_tensor(np.asarray(label_list(y, len(x))), device=x.device)
    entropy = torch.nn.functional.cross_entropy
    if natural == 1.0:
        return entropy(module(x), y)
    lower = bounds(module, x, eps, method=method, norm=norm, clip=clip, y=y, upper=False).lower
    certified = entropy(-lower, y.to(lower.device))
    return certified if natural == 0.0 else (1.0 - natural) * certified + natural * entropy(module(x), y)


class GaussianSmoothing:
    """Smooths the loss of any closure over the parameters by Gaussian noise of standard deviation ``sigma``, then steps.

    ``estimator="rgs"`` averages gradients at ``population`` perturbed parameters. ``estimator="pgpe"`` needs loss values
    alone, of ``population``/2 antithetic pairs θ ± δ; the closure's loss need not be differentiable. Perturbations are those
    of the command for the same ``seed`` and step. Between steps the parameters are the mean ones, never the perturbed.

    >>> smooth = GaussianSmoothing(torch.optim.Adam(net.parameters()), "rgs", sigma=1e-3, population=2)  # doctest: +SKIP
    >>> loss = smooth.step(lambda: certified_loss(net, x, y, 0.1))                                       # doctest: +SKIP
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        estimator: str = "rgs",
        sigma: float = 1e-3,
        population: int = 2,
        seed: int = 0,
    ) -> None:
        if estimator not in ("rgs", "pgpe"):
            raise ConfigError(f'estimator="{estimator}": use "rgs" or "pgpe"')
        least = 0.0 if estimator == "rgs" else np.finfo(float).tiny
        if not least <= sigma < np.inf:
            raise ConfigError(f"sigma={sigma}: give a number {'>= 0' if estimator == 'rgs' else '> 0'}")
        if population < 1 or estimator == "pgpe" and population % 2:
            wanted = "an even number >= 2 for antithetic pairs" if estimator == "pgpe" else "a number >= 1"
            raise ConfigError(f"population={population}: give {wanted}")
        self.optimizer, self.estimator, self.sigma = optimizer, estimator, float(sigma)
        self.population, self.seed, self.steps = population, seed, 0

    @property
    def parameters(self) -> list[torch.Tensor]:
        """The parameters that the optimiser steps, in its order: θ."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        return [p for p in parameters if p.requires_grad]

    def _delta(self, member: int) -> list[torch.Tensor]:
        """The perturbation σδ of ``member``, in the shapes of the parameters."""
        parameters = self.parameters
        flat = _tightrope.perturbation(self.seed, self.steps, member, sum(p.numel() for p in parameters))
        flat *= np.float32(self.sigma)
        parts = torch.from_numpy(flat).split([p.numel() for p in parameters])
        return [part.view_as(p).to(p.device, p.dtype) for part, p in zip(parts, parameters)]

    @contextmanager
    def _at(self, delta: list[torch.Tensor], sign: float) -> Iterator[None]:
        """The parameters at θ + sign·δ; θ again afterwards, to the bit."""
        parameters = self.parameters
        mean = [p.detach().clone() for p in parameters]
        try:
            with torch.no_grad():
                for p, d in zip(parameters, delta):
                    p.add_(d, alpha=sign)
            yield
        finally:
            with torch.no_grad():
                for p, m in zip(parameters, mean):
                    p.copy_(m)

    def estimate(self, closure: Callable[[], Any]) -> float:
        """Puts the gradient of the smoothed loss into the parameters' ``.grad`` and returns the mean loss.

        ``closure`` returns the loss as a tensor (rgs, which calls ``backward`` itself), or as a tensor or number (pgpe).
        """
        parameters = self.parameters
        # Gradients that are left from before a layer was frozen would still move it.
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                if not p.requires_grad:
                    p.grad = None
        # Sums in double precision, in the order of members.
        sums = [torch.zeros_like(p, dtype=torch.float64) for p in parameters]
        total = 0.0
        if self.estimator == "rgs":
            # Without noise all members are one.
            members = self.population if self.sigma > 0.0 else 1
            for member in range(members):
                with self._at(self._delta(member), 1.0):
                    loss = closure()
                    if not torch.is_tensor(loss) or loss.numel() != 1 or not loss.requires_grad:
                        raise InputError(
                            'estimator="rgs": the closure must return its loss as a tensor of one number with a gradient, '
                            "without .item(), .detach() or .backward(); pgpe takes any number"
                        )
                    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
                total += float(loss.detach())
                for s, g in zip(sums, gradients):
                    if g is not None:
                        s += g
            scale, count = 1.0 / members, members
        else:
            pairs = self.population // 2
            for member in range(pairs):
                delta, losses = self._delta(member), []
                for sign in (1.0, -1.0):
                    with self._at(delta, sign), torch.no_grad():
                        losses.append(float(closure()))
                total += sum(losses)
                for s, d in zip(sums, delta):
                    s += d.double() * (losses[0] - losses[1])
            scale, count = 1.0 / (2.0 * self.sigma**2 * pairs), 2 * pairs
        for p, s in zip(parameters, sums):
            p.grad = (s * scale).to(p.dtype)
        return total / count

    def step(self, closure: Callable[[], Any]) -> float:
        """``estimate``, then a step of the optimiser; returns the mean loss."""
        if isinstance(self.optimizer, torch.optim.LBFGS):
            # It asks for losses and gradients as often as it likes; all of a step see the same perturbations.
            losses: list[float] = []

            def again() -> torch.Tensor:
                losses.append(self.estimate(closure))
                return torch.tensor(losses[-1])

            self.optimizer.step(again)
            loss = losses[0]
        else:
            loss = self.estimate(closure)
            self.optimizer.step()
        self.steps += 1
        return loss

    def zero_grad(self) -> None:
        """As the optimiser's; a step needs no call of it."""
        self.optimizer.zero_grad()
