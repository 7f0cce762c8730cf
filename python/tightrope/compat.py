"""The calls of auto_LiRPA, answered by this engine: change the import and keep the program.

>>> from tightrope.compat import BoundedModule, BoundedTensor, PerturbationLpNorm

``compute_bounds`` knows the methods IBP, CROWN-IBP (IBP+backward), CROWN (backward) and alpha-CROWN (CROWN-Optimized), the
norms inf, 2 and 1, element-wise boxes, and specifications ``C``. What is not here raises ``NotImplementedError``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tightrope import torch as _bounds
from tightrope.errors import UnsupportedModule

__all__ = ["BoundedModule", "BoundedTensor", "PerturbationLpNorm"]

_METHODS = {
    "ibp": "ibp",
    "crown-ibp": "crown-ibp",
    "ibp+backward": "crown-ibp",
    "crown": "crown",
    "backward": "crown",
    "alpha-crown": "alpha-crown",
    "crown-optimized": "alpha-crown",
}


_ELSEWHERE = (
    "BoundedParameter", "PerturbationL0Norm", "PerturbationLinear", "PerturbationSynonym", "BoundDataParallel", "register_custom_op",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        raise NotImplementedError(f"{name}: only inputs in lp balls and boxes are perturbed here")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class PerturbationLpNorm:
    """A ball of radius ``eps`` in the norm ``norm``, or for norm inf the box from ``x_L`` to ``x_U``."""

    def __init__(self, eps: Any = 0, norm: float = np.inf, x_L: Any = None, x_U: Any = None, **unknown: Any) -> None:
        if unknown:
            raise NotImplementedError(f"PerturbationLpNorm: {', '.join(unknown)}; eps, norm, x_L and x_U are known")
        self.eps, self.norm, self.x_L, self.x_U = eps, float(norm), x_L, x_U
        if self.norm not in (np.inf, 2.0, 1.0):
            raise NotImplementedError(f"norm {norm}; inf, 2 and 1 are known")

    def __repr__(self) -> str:
        return f"PerturbationLpNorm(norm={self.norm:g}, eps={self.eps})"


class BoundedTensor(torch.Tensor):
    """A tensor that carries its perturbation ``ptb``."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, x: torch.Tensor, ptb: Any = None) -> BoundedTensor:
        return torch.Tensor._make_subclass(cls, x.detach(), x.requires_grad)

    def __init__(self, x: torch.Tensor, ptb: Any = None) -> None:
        self.ptb = ptb

    def to(self, *args: Any, **kwargs: Any) -> BoundedTensor:
        """The same perturbation elsewhere."""
        return BoundedTensor(self.as_subclass(torch.Tensor).to(*args, **kwargs), self.ptb)


class BoundedModule(torch.nn.Module):
    """``model``, traced at ``global_input``, with bounds. Parameters are the model's own, so that optimisers step it."""

    def __init__(
        self, model: torch.nn.Module, global_input: Any, bound_opts: dict[str, Any] | None = None, device: Any = None,
        verbose: bool = False, custom_ops: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if custom_ops:
            raise NotImplementedError("custom_ops: layers of one's own have no bounds here")
        if isinstance(global_input, (tuple, list)):
            if len(global_input) != 1:
                raise NotImplementedError(f"modules of {len(global_input)} inputs; one is known")
            global_input = global_input[0]
        if device not in (None, "auto"):
            model = model.to(device)
        self.model = model
        self.bound_opts = dict(bound_opts or {})
        option = self.bound_opts.get("activation_bound_option") or self.bound_opts.get("relu") or "adaptive"
        if option != "adaptive":
            raise NotImplementedError(f"the ReLU option {option!r}; adaptive slopes are known")
        self.input_name, self.output_name, self.root_names = ["/input"], ["/output"], ["/input"]
        self._x: Any = None
        # Whether interval bounds of the layers are at hand, which a backward pass without them then uses.
        self._interval = False
        modes = [(part, part.training) for part in model.modules()]
        try:
            _bounds._traced(model.eval(), global_input.detach().as_subclass(torch.Tensor))
        except UnsupportedModule as error:
            raise NotImplementedError(str(error)) from error
        finally:
            for part, training in modes:
                part.training = training

    def forward(self, *x: Any, **options: Any) -> Any:
        """The model's own output; the input is kept for bounds that name none."""
        self._x, self._interval = x, False
        return self.model(*[part.as_subclass(torch.Tensor) if torch.is_tensor(part) else part for part in x])

    def build_solver_module(self, *args: Any, **options: Any) -> Any:
        """Not here."""
        raise NotImplementedError("build_solver_module: networks are not handed to solvers here")

    def set_bound_opts(self, options: dict[str, Any]) -> None:
        """Options of alpha-CROWN: ``optimize_bound_args`` with ``iteration``; others have no counterpart and are kept."""
        for key in ("relu", "activation_bound_option"):
            if options.get(key, "adaptive") != "adaptive":
                raise NotImplementedError(f"the ReLU option {options[key]!r}; adaptive slopes are known")
        for key, value in options.items():
            if isinstance(value, dict):
                self.bound_opts.setdefault(key, {}).update(value)
            else:
                self.bound_opts[key] = value

    def visualize(self, path: str) -> None:
        """Draws nothing; ``tightrope.Network.from_torch(model, x).description`` tells the graph."""

    def compute_bounds(
        self, x: Any = None, aux: Any = None, C: Any = None, method: str | None = "backward", IBP: bool = False,
        forward: bool = False, bound_lower: bool = True, bound_upper: bool = True, reuse_ibp: bool = False,
        return_A: bool = False, needed_A_dict: Any = None, **unknown: Any,
    ) -> Any:  # fmt: skip
        """Lower and upper bounds ``[N, R]`` (None for one not asked for) of C·z, or of the output without ``C``.

        With ``return_A``, for CROWN methods, also the linear bounds lA x + lbias ≤ C·z ≤ uA x + ubias.
        """
        given = [name for name, value in unknown.items() if value is not None and value is not False]
        if given or aux is not None or forward:
            raise NotImplementedError(f"compute_bounds: {', '.join(given) or 'aux or forward'} has no counterpart here")
        if x is not None:
            self._x = tuple(x) if isinstance(x, (tuple, list)) else (x,)
            self._interval = False
        if self._x is None:
            raise ValueError("compute_bounds needs x=(BoundedTensor,), or a call of the module before it")
        if len(self._x) != 1:
            raise NotImplementedError(f"{len(self._x)} inputs; one is known")
        relaxation = self._method(method, IBP or reuse_ibp or self._interval)
        if not (bound_lower or bound_upper):
            return (None, None, {}) if return_A else (None, None)
        answer = self._bound(relaxation, C, bound_lower, bound_upper, return_A)
        self._interval = relaxation == "ibp"
        return answer

    @staticmethod
    def _method(method: str | None, interval: bool) -> str:
        if method is None:
            if not interval:
                raise ValueError("method=None needs IBP=True")
            return "ibp"
        name = method.strip().lower()
        if name not in _METHODS:
            raise NotImplementedError(f"method {method!r}; known are IBP, CROWN-IBP, CROWN, backward and alpha-CROWN")
        found = _METHODS[name]
        return "crown-ibp" if found == "crown" and interval and name == "backward" else found

    def _bound(self, relaxation: str, C: Any, lower: bool, upper: bool, linear: bool) -> Any:
        x = self._x[0]
        ptb = getattr(x, "ptb", None)
        center = x.as_subclass(torch.Tensor)
        region: dict[str, Any]
        if ptb is None:
            region = {"eps": 0.0, "clip": None}
        elif ptb.norm == np.inf and (ptb.x_L is not None or ptb.x_U is not None):
            ends = [
                side if end is None else end for end, side in ((ptb.x_L, center - ptb.eps), (ptb.x_U, center + ptb.eps))
            ]
            center, region = ends[0].expand_as(center), {"box": ends[1].expand_as(center)}
        else:
            region = {"eps": ptb.eps, "norm": ptb.norm, "clip": None}
        if C is not None:
            C = torch.as_tensor(C).to(center)
        if linear:
            from tightrope.linear import linear_bounds

            low, high, matrices = linear_bounds(self.model, center, region, C, relaxation, lower, upper, self._steps())
            return low, high, {self.output_name[0]: {self.input_name[0]: matrices}}
        if relaxation == "alpha-crown":
            with torch.no_grad():
                steps = {"alpha_steps": self._steps()}
                found = _bounds.bounds(self.model, center, method=relaxation, C=C, upper=upper, **steps, **region)
        else:
            found = _bounds.bounds(self.model, center, method=relaxation, C=C, upper=upper, **region)
        return found.lower if lower else None, found.upper if upper else None

    def _steps(self) -> int:
        return int(self.bound_opts.get("optimize_bound_args", {}).get("iteration", 20))
