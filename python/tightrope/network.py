"""Networks and their bounds on arrays."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tightrope import _tightrope
from tightrope.errors import InputError, ModelError


def is_tensor(value: Any) -> bool:
    """Whether ``value`` is a torch tensor, found out without importing torch."""
    if type(value) is np.ndarray:
        return False
    return type(value).__module__.split(".")[0] == "torch" or hasattr(value, "detach") and hasattr(value, "numpy")


def as_array(value: Any, name: str = "x") -> np.ndarray:
    """``value`` as a contiguous float32 or float64 array, without a copy where it is one already.

    Tensors of any device are taken; integers become float32.
    """
    # What needs nothing passes first: between calls, all that the checks below run through leaves the caches.
    if type(value) is np.ndarray and value.dtype.char in "fd" and value.dtype.isnative and value.flags.c_contiguous:
        return value
    if is_tensor(value):
        if value.device.type == "meta":
            raise InputError(f"{name}: a tensor on the meta device has no values; give one with values")
        dtype = str(value.dtype).removeprefix("torch.")
        if dtype in ("float16", "bfloat16") or dtype.startswith(("float8", "complex")):
            raise InputError(f"{name}: {dtype} is not computed with; give {name}.float() or {name}.double()")
        if str(value.layout) != "torch.strided":
            raise InputError(f"{name}: a sparse tensor; give {name}.to_dense()")
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    if array.dtype == np.float16 or array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise InputError(f"{name}: {array.dtype} is not computed with; give {name}.astype(numpy.float32)")
    if array.dtype.kind != "f":
        array = array.astype(np.float32)
    # Native byte order, C order.
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def radius(eps: Any) -> float:
    """``eps`` as a number; fractions such as ``"8/255"`` are taken."""
    if isinstance(eps, str):
        above, _, below = eps.partition("/")
        try:
            return float(above) / float(below) if below else float(above)
        except (ValueError, ZeroDivisionError):
            raise InputError(f'eps="{eps}": give a number >= 0 such as 0.1, or a fraction such as "8/255"') from None
    try:
        return float(eps)
    except (TypeError, ValueError):
        raise InputError(
            f"eps is a {type(eps).__name__} of several radii or none; give one number (tightrope.torch.bounds takes a tensor "
            "of radii, one for each sample or element), or box=upper ends"
        ) from None


def radii(eps: Any) -> float | list[float]:
    """``eps`` as a number, or a list of one for each channel."""
    if isinstance(eps, (list, tuple)) or getattr(eps, "ndim", 0) == 1:
        return [radius(one) for one in eps]
    return radius(eps)


def norm_name(norm: Any) -> str:
    """``norm`` (``"inf"``, ``numpy.inf``, 2 or 1) by its name."""
    if isinstance(norm, str):
        return norm
    if not isinstance(norm, (int, float, np.number)):
        raise InputError(f'norm={norm!r}: use "inf", 2 or 1')
    return "inf" if norm == np.inf else f"{norm:g}"


def clip_range(clip: Any) -> tuple[float, float] | None:
    """A data range (low, high), or None."""
    if clip is None:
        return None
    try:
        low, high = clip
        low, high = float(low), float(high)
    except (TypeError, ValueError):
        raise InputError(f"clip={clip!r}: give (low, high) such as (0, 1), or None") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"clip=({low:g}, {high:g}): give two finite numbers low < high such as (0, 1), or None")
    return low, high


@dataclass(frozen=True)
class LayerBounds:
    """Bounds of one pre-activation: ``lower`` and ``upper``, ``[N, *shape of the layer]``."""

    name: str
    lower: Any
    upper: Any


@dataclass(frozen=True)
class Bounds:
    """Bounds of a specification over a batch of regions; arrays, or tensors where tensors were given.

    ``lower`` is ``[N, R]``; so is ``upper``, or None where only lower bounds were asked for. ``layers`` are the bounds that
    the lines of each activation were made from, in network order; empty unless asked for.
    """

    lower: Any
    upper: Any
    layers: tuple[LayerBounds, ...] = ()

    def __iter__(self) -> Iterator[Any]:
        """Lower and upper bounds, so that ``lower, upper = net.bounds(…)``."""
        return iter((self.lower, self.upper))

    def to_dict(self) -> dict[str, Any]:
        """Lists of numbers, for JSON."""
        listed = lambda values: None if values is None else values.tolist()
        layers = [{"name": l.name, "lower": listed(l.lower), "upper": listed(l.upper)} for l in self.layers]
        return {"lower": listed(self.lower), "upper": listed(self.upper), "layers": layers}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each sample and row, as ``pandas.DataFrame`` takes them."""
        lower = self.lower.tolist()
        upper = None if self.upper is None else self.upper.tolist()
        return [
            {"sample": i, "row": j, "lower": value, "upper": None if upper is None else upper[i][j]}
            for i, sample in enumerate(lower)
            for j, value in enumerate(sample)
        ]

    def _repr_html_(self) -> str:
        from tightrope.results import table

        return table(self.rows[:200])


def spec_rows(C: np.ndarray, batch: int, outputs: int) -> int:
    """The number of rows R of the specification ``C`` ``[R, K]`` or ``[N, R, K]``."""
    if C.ndim not in (2, 3) or C.shape[-1] != outputs or (C.ndim == 3 and C.shape[0] != batch):
        wanted = f"[R, {outputs}] or [{batch}, R, {outputs}]"
        raise InputError(f"C has shape {list(C.shape)}, but {batch} samples of {outputs} logits need {wanted}")
    if not np.isfinite(C).all():
        raise InputError("C holds NaN or infinity; give rows of numbers")
    return C.shape[-2]


class Network:
    """A network with its numbers, ready to be bounded. It never changes; threads may share it."""

    def __init__(self, handle: _tightrope.Network) -> None:
        self._handle = handle
        self._input_shape = tuple(handle.input_shape)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Network:
        """Reads a run folder, an ``.onnx`` file, or a ``.safetensors`` file with its description beside it.

        Raises ``ModelError`` if there is none or it cannot be used.
        """
        return cls(_tightrope.Network.from_file(os.fspath(path)))

    @classmethod
    def from_onnx(cls, model: Any) -> Network:
        """Reads an ONNX model: a path, the bytes of a file, or an ``onnx.ModelProto``. Nothing in it is executed."""
        if hasattr(model, "SerializeToString"):
            model = model.SerializeToString()
        if isinstance(model, (bytes, bytearray, memoryview)):
            return cls(_tightrope.Network.from_onnx_bytes(bytes(model), "the ONNX model"))
        return cls.from_file(model)

    @classmethod
    def from_torch(cls, module: Any, example: Any) -> Network:
        """The network of a torch ``module`` in evaluation mode, traced with the input ``example`` ``[N, …]``.

        Raises ``UnsupportedModule`` if a part of it has no counterpart here; the message names it.
        """
        from tightrope.torch import network

        return network(module, example)

    @classmethod
    def from_description(
        cls, description: dict[str, Any], parameters: dict[str, Any], buffers: Sequence[float] | None = None
    ) -> Network:
        """The network that ``description`` (the schema of ``network.json``) tells, with ``parameters`` by name.

        Raises ``ModelError`` if they do not fit each other.
        """
        empty = _tightrope.Network.from_description(json.dumps(description))
        flat = []
        for name, shape in empty.parameters:
            if name not in parameters:
                raise ModelError(f"parameter `{name}` is missing; give it with shape {shape}")
            values = as_array(parameters[name], name)
            if list(values.shape) != shape:
                raise ModelError(f"parameter `{name}` has shape {list(values.shape)}, the network needs {shape}")
            flat.append(values.ravel())
        theta = np.concatenate(flat) if flat else np.zeros(0, np.float32)
        return cls(empty.with_parameters(theta, None if buffers is None else list(buffers)))

    @classmethod
    def from_layers(cls, input_shape: Sequence[int], layers: Sequence[Any]) -> Network:
        """A sequence of layers: ``"relu"``, ``"flatten"`` and the like by their kinds, dictionaries of a description, or
        ``("linear", weight, bias)`` with arrays (``bias`` may be None)."""
        described, parameters = [], {}
        for index, layer in enumerate(layers):
            if isinstance(layer, str):
                layer = {"kind": layer}
            elif not isinstance(layer, dict):
                kind, weight, bias = layer
                if kind != "linear":
                    raise ModelError(f"layer {index}: ({kind!r}, weight, bias) is read for linear layers only")
                parameters[f"{index}.weight"] = np.asarray(weight, np.float32)
                if bias is not None:
                    parameters[f"{index}.bias"] = np.asarray(bias, np.float32)
                layer = {"kind": kind, "out_features": len(weight), "bias": bias is not None}
            described.append({"name": str(index), **layer})
        return cls.from_description({"input": list(input_shape), "layers": described}, parameters)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self._input_shape

    @property
    def outputs(self) -> int:
        """Number K of logits."""
        return self._handle.outputs

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The parameters by name, as float32 arrays."""
        return self.unflatten(self._handle.theta(False))

    @property
    def description(self) -> dict[str, Any]:
        """The structure, in the schema of ``network.json``."""
        return json.loads(self._handle.description())

    @property
    def checksum(self) -> str:
        """SHA-256 over structure and numbers."""
        return self._handle.checksum()

    def unflatten(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """A vector of all parameters (θ, or its gradient) as arrays by name."""
        arrays, start = {}, 0
        for name, shape in self._handle.parameters:
            size = int(np.prod(shape))
            arrays[name] = theta[start : start + size].reshape(shape)
            start += size
        return arrays

    def with_parameters(self, parameters: dict[str, Any]) -> Network:
        """The same network with other numbers for the parameters named."""
        merged = self.parameters | {name: as_array(value, name) for name, value in parameters.items()}
        unknown = set(parameters) - {name for name, _ in self._handle.parameters}
        if unknown:
            raise ModelError(f"no parameter is called {sorted(unknown)[0]!r}")
        flat = [merged[name] for name, _ in self._handle.parameters]
        for (name, shape), values in zip(self._handle.parameters, flat):
            if list(values.shape) != shape:
                raise ModelError(f"parameter `{name}` has shape {list(values.shape)}, the network needs {shape}")
        return Network(self._handle.with_parameters(np.concatenate([values.ravel() for values in flat]), None))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes ``model.safetensors`` and ``network.json`` into ``folder``, which is made if it is not there."""
        os.makedirs(folder, exist_ok=True)
        self._handle.save(os.fspath(folder))

    def to_onnx(self, path: str | os.PathLike[str] | None = None) -> bytes:
        """The network as the bytes of an ONNX file, also written to ``path`` if one is given."""
        content = self._handle.to_onnx()
        if path is not None:
            with open(path, "wb") as file:
                file.write(content)
        return content

    def inputs(self, x: Any, name: str = "x") -> np.ndarray:
        """``x`` as a contiguous array of N inputs, ``[N, *input_shape]`` or vectors; a single input becomes a batch of one."""
        array = as_array(x, name)
        shape = self._input_shape
        if array.shape[1:] == shape and len(array):
            return array
        if array.shape == shape:
            array = array[None]
        sides = array.shape[1:]
        # Vectors: one side has all the values.
        length = math.prod(shape)
        if array.ndim == 0 or sides != shape and not max(sides, default=1) == math.prod(sides) == length:
            raise InputError(
                f"{name} has shape {list(array.shape)}, but the network reads [N, {', '.join(map(str, shape))}]"
            )
        if array.shape[0] == 0:
            raise InputError(f"{name} holds no sample; give at least one")
        return array

    def __call__(self, x: Any) -> Any:
        """Logits ``[N, K]`` of the inputs ``x`` ``[N, *input_shape]``."""
        array = self.inputs(x)
        return like(self._handle.forward(array).reshape(len(array), self.outputs), x)

    def bounds(
        self,
        x: Any,
        eps: Any = None,
        method: str = "crown",
        norm: Any = "inf",
        clip: Any = (0.0, 1.0),
        C: Any = None,
        y: Any = None,
        layers: bool = False,
        upper: bool = True,
        box: Any = None,
        alpha_steps: int = 20,
        alpha_seconds: float | None = None,
    ) -> Bounds:
        """Bounds over the balls of radius ``eps`` around ``x`` ``[N, *input_shape]``.

        What is bounded: every logit; with labels ``y`` ``[N]`` the margins z_y − z_j (0 at the label); with ``C`` ``[R, K]``
        or ``[N, R, K]`` the rows of C·z. ``method``: ibp, hbox, crown-ibp, zonotope (deepz), crown (deeppoly),
        crown-meet-ibp, crown-skip-ibp or alpha-crown (``alpha_steps`` steps for each bound, at most ``alpha_seconds`` for
        each sample). ``norm``: "inf", 2 or 1. ``clip``: the data range that the balls are cut to, None for inputs of any size.
        ``box``: the upper ends of boxes whose lower ends are ``x``, in place of ``eps`` and ``clip``. ``layers``: also the
        bounds of every pre-activation. float64 inputs are bounded in double precision.

        Raises ``InputError`` for what does not fit.
        """
        array = self.inputs(x)
        batch = len(array)
        box_ends = self.ends(array, box)
        if eps is None and box_ends is None:
            raise InputError("eps is missing; give the radius of the balls, or box=upper ends")
        rows = matrix = labels = None
        if y is not None and C is not None:
            raise InputError("give labels y or rows C, not both")
        if y is not None:
            labels = label_list(y, batch)
        if C is not None:
            matrix = np.ascontiguousarray(as_array(C, "C"), array.dtype)
            rows = spec_rows(matrix, batch, self.outputs)
        answer = self._handle.bounds(
            {
                "x": array,
                "upper_end": box_ends,
                "eps": radius(0.0 if eps is None else eps),
                "norm": norm_name(norm),
                "clip": clip_range(clip),
                "method": method,
                "labels": labels,
                "matrix": matrix,
                "rows": rows or 0,
                "upper": upper,
                "layers": layers,
                "taped": False,
                "matrix_gradient": False,
                "alpha_steps": alpha_steps,
                "alpha_seconds": alpha_seconds,
            }
        )
        low, high, layer_bounds, _ = answer
        shaped = lambda values, *shape: like(values.reshape(batch, *shape), x)
        ends = shaped(low, -1), None if high is None else shaped(high, -1)
        if not layer_bounds:
            return Bounds(*ends)
        layered = (LayerBounds(name, shaped(l, *shape), shaped(u, *shape)) for name, shape, l, u in layer_bounds)
        return Bounds(*ends, tuple(layered))

    def ends(self, array: np.ndarray, box: Any) -> np.ndarray | None:
        """The upper ends of boxes in the type of their lower ends ``array``."""
        if box is None:
            return None
        ends = np.ascontiguousarray(as_array(box, "box"), array.dtype)
        if ends.shape != array.shape:
            raise InputError(f"box has shape {list(ends.shape)}, but x has {list(array.shape)}; give both alike")
        return ends

    def __reduce__(self) -> tuple[Any, ...]:
        """Structure and numbers, so that processes can pass networks on; in double precision where they are no float32."""
        description, buffers = self._handle.description(), self._handle.buffer_values()
        for double in (False, True):
            state = (description, self._handle.theta(double), buffers)
            if _restored(*state).checksum == self.checksum:
                return _restored, state
        raise ModelError("the network has weights beyond double precision; save it, and give the folder's path")

    def __copy__(self) -> Network:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        return self

    def __repr__(self) -> str:
        count = sum(int(np.prod(shape)) for _, shape in self._handle.parameters)
        return f"Network({list(self.input_shape)} -> {self.outputs}, {count} parameters)"


def _restored(description: str, theta: np.ndarray, buffers: list[float]) -> Network:
    """The network that :meth:`Network.__reduce__` wrote down."""
    return Network(_tightrope.Network.from_description(description).with_parameters(theta, buffers))


def label_list(y: Any, batch: int) -> list[int]:
    """Labels as a list of ``batch`` whole numbers."""
    if type(y) is list and len(y) == batch and set(map(type, y)) == {int} and min(y) >= 0:
        return y
    if is_tensor(y):
        y = y.detach().cpu().numpy()
    labels = np.atleast_1d(np.asarray(y))
    if labels.dtype.kind not in "iub" or labels.shape != (batch,):
        raise InputError(f"y: {labels.dtype} {list(labels.shape)}, but {batch} samples need whole numbers [{batch}]")
    if (labels < 0).any():
        raise InputError(f"y: sample {int((labels < 0).argmax())} has a label below 0; number the classes from 0")
    return labels.tolist()


def like(values: np.ndarray, x: Any) -> Any:
    """``values`` as a tensor on the device of ``x``, if that is one."""
    if not is_tensor(x):
        return values
    import torch

    return torch.from_numpy(values).to(x.device)
