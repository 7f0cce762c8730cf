"""The structure of a torch module as a description: traced by torch.fx, or, where that fails, exported to ONNX in memory."""

from __future__ import annotations

import importlib.util
import inspect
import json
import operator
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tightrope import _tightrope
from tightrope.errors import ModelError, UnsupportedModule
from tightrope.faithful import agreeing, output

Getter = Callable[[nn.Module], torch.Tensor]

# While fx traces, it patches the modules of the whole process: two traces at a time would leave it patched.
_TRACING = threading.Lock()


@dataclass
class Traced:
    """A module's structure, and where in the module its numbers are."""

    handle: _tightrope.Network
    getters: list[Getter]
    buffers: list[Getter]
    """Mean and variance of each batch norm, in network order."""
    fixed: tuple[str, ...] = ()
    """Parameters of the module that an export has merged into others: the structure serves for their present values only."""
    kept: list[tuple[str, torch.Tensor]] = field(default_factory=list)
    """The module's buffers as an export found them; it has put them among the structure's constants."""

    def serves(self, module: nn.Module) -> bool:
        """Whether the structure is still that of ``module``, whatever its parameters."""
        own = dict(module.named_buffers())
        return not self.fixed and all(name in own and _same(own[name], values) for name, values in self.kept)

    def tensors(self, module: nn.Module) -> list[torch.Tensor]:
        """θ: the parameters in the network's order, with their gradients' history."""
        return [getter(module) for getter in self.getters]

    def buffer_values(self, module: nn.Module) -> list[float]:
        """The statistics of the batch norms."""
        return [value for getter in self.buffers for value in getter(module).detach().cpu().reshape(-1).tolist()]


def trace(module: nn.Module, example: torch.Tensor) -> Traced:
    """Traces ``module`` at the first sample of ``example``. Raises ``UnsupportedModule``."""
    sample = example[:1].detach()
    expected = output(module, sample)
    try:
        return agreeing(_Builder(module, sample).build(), module, sample, expected)
    except (UnsupportedModule, ModelError) as error:
        refusal = error
    except Exception as error:  # whatever a module's own code raises under the tracer
        refusal = UnsupportedModule(f"{type(module).__name__} cannot be traced: {error}")
    try:
        return agreeing(_exported(module, sample), module, sample, expected)
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnsupportedModule(f"{refusal}; nor does its ONNX export do: {first}") from refusal


class _Tracer(torch.fx.Tracer):
    """Records what its own thread does; other threads use their modules meanwhile as if nothing were patched."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self.thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def _exported(module: nn.Module, sample: torch.Tensor) -> Traced:
    """By way of ``torch.export`` and an ONNX model in memory, whose initializers keep the parameters' names.

    The exporter refuses what depends on the values of its input, as branches do; a trace of one run would take one of them.
    """
    if importlib.util.find_spec("onnxscript") is None:
        raise UnsupportedModule("torch's exporter needs the package onnxscript, which is not there: pip install onnxscript")
    read = lambda: _tightrope.Network.from_onnx_bytes(
        program.model_proto.SerializeToString(), f"the export of {type(module).__name__}"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(module, (sample,), dynamo=True, optimize=False, verbose=False)
        try:
            handle = read()
        except ModelError:
            # Lists of tensors and the like go only now: batch norms are merged as well, whose parameters have no gradient then.
            program.optimize()
            handle = read()
    own = dict(module.named_parameters())
    theta, start, getters, found = handle.theta(True), 0, [], set()
    for name, shape in handle.parameters:
        values = torch.from_numpy(theta[start : start + prod(shape)].reshape(shape).copy())
        start += prod(shape)
        parameter = own.get(name)
        if parameter is not None and _same(parameter, values):
            found.add(name)
            getters.append(lambda m, name=name: m.get_parameter(name))
        else:
            getters.append(lambda m, values=values: values.to(_dtype(m)))
    merged = {name for name, _ in module.named_parameters()} - found
    kept = [(name, buffer.detach().clone()) for name, buffer in module.named_buffers()]
    return Traced(handle, getters, [], tuple(sorted(merged)), kept)


def _same(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether both have the same shape and values, in whatever precision and on whatever device."""
    return tensor.shape == other.shape and torch.equal(tensor.detach().cpu().double(), other.cpu().double())


def _dtype(module: nn.Module) -> torch.dtype:
    """Of the module's parameters; constants follow it."""
    return next((p.dtype for p in module.parameters()), torch.float32)


class _Recorder(torch.fx.Interpreter):
    """Runs a graph and keeps what each node gave."""

    def __init__(self, graph: torch.fx.GraphModule) -> None:
        super().__init__(graph)
        self.results: dict[torch.fx.Node, Any] = {}

    def run_node(self, node: torch.fx.Node) -> Any:
        result = super().run_node(node)
        self.results[node] = result
        return result


def _flagged(function: Any, args: Any, kwargs: Any) -> bool:
    """Whether a call of ``function`` has ``inplace=True``, by name or by place."""
    try:
        return bool(inspect.signature(function).bind(*args, **kwargs).arguments.get("inplace", False))
    except (TypeError, ValueError):
        return False


# a += b and its like, as fx records them.
_AUGMENTED = ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "imatmul", "iand", "ior", "ixor")


@dataclass(frozen=True)
class _Value:
    """An output of the network's layer ``name``; ``shape`` without the batch."""

    name: str
    shape: tuple[int, ...]


class _Builder:
    """Builds the description of one traced module."""

    def __init__(self, module: nn.Module, sample: torch.Tensor) -> None:
        self.module, self.sample = module, sample
        self.layers: list[dict[str, Any]] = []
        self.getters: list[Getter] = []
        self.buffers: list[Getter] = []
        self.names: set[str] = {"input"}
        self.node: torch.fx.Node | None = None

    def build(self) -> Traced:
        with _TRACING:
            tracer = _Tracer()
            recorded = tracer.trace(self.module)
        graph = torch.fx.GraphModule(tracer.root, recorded)
        recorder = _Recorder(graph)
        # Modules are shared with the graph and must stay as they are.
        with torch.no_grad():
            recorder.run(self.sample.clone())
        self.refuse_overwritten(graph, recorder.results)
        values: dict[torch.fx.Node, Any] = {}
        for node in graph.graph.nodes:
            self.node = node
            values[node] = self.value(node, values, recorder.results)
        last = values[node]
        if not isinstance(last, _Value) or len(last.shape) != 1:
            raise UnsupportedModule("the module must return one tensor [N, K] that depends on its input")
        if not self.layers or self.layers[-1]["name"] != last.name:
            raise UnsupportedModule("the module's output must be that of its last layer")
        description = {"input": list(self.sample.shape[1:]), "layers": self.layers}
        handle = _tightrope.Network.from_description(json.dumps(description))
        return Traced(handle, self.getters, self.buffers)

    def refuse_overwritten(self, graph: torch.fx.GraphModule, results: dict[Any, Any]) -> None:
        """Refuses values that are read after an operation in place has changed them: a graph's edges tell of those before."""
        nodes = list(graph.graph.nodes)
        place = {node: i for i, node in enumerate(nodes)}
        memory = {
            node: result.untyped_storage().data_ptr() for node, result in results.items() if torch.is_tensor(result)
        }
        for node in nodes:
            changed = self.in_place(node)
            if changed is None:
                continue
            same = [n for n in nodes[: place[node]] if n in memory and memory[n] == memory.get(changed)]
            if any(place[user] > place[node] for n in same for user in n.users):
                self.node = node
                raise self.refuse("changes in place what is read afterwards; use inplace=False")

    def in_place(self, node: torch.fx.Node) -> torch.fx.Node | None:
        """The node whose value an operation changes in place."""
        if "out" in node.kwargs:
            return node.kwargs["out"]
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        if node.op == "call_module":
            changes = bool(getattr(self.module.get_submodule(node.target), "inplace", False))
        elif node.op in ("call_method", "call_function"):
            changes = name.endswith("_") and not name.endswith("__") or name in _AUGMENTED
            changes = changes or node.op == "call_function" and _flagged(node.target, node.args, node.kwargs)
        else:
            return None
        target = node.args[0] if node.args else node.kwargs.get("input")
        return target if changes and isinstance(target, torch.fx.Node) else None

    def refuse(self, problem: str) -> UnsupportedModule:
        node = self.node
        where = f"`{node.target}`" if isinstance(getattr(node, "target", None), str) else f"`{node}`"
        return UnsupportedModule(f"{type(self.module).__name__}, {where}: {problem}")

    def value(self, node: torch.fx.Node, values: dict[Any, Any], results: dict[Any, Any]) -> Any:
        """What a node is: a layer's output, a getter of numbers that do not depend on the input, or a plain value."""
        result = results[node]
        if node.op == "placeholder":
            if "input" in (getattr(v, "name", None) for v in values.values()):
                raise self.refuse("a second input; give a module of one")
            return _Value("input", tuple(result.shape[1:]))
        if node.op == "get_attr":
            target = operator.attrgetter(node.target)
            try:
                target(self.module)
            except AttributeError:
                # A tensor that the module's code makes: the graph holds it.
                return lambda module: result
            return lambda module: target(module)
        resolve = lambda part: torch.fx.node.map_arg(part, lambda n: values[n])
        args, kwargs = resolve(node.args), resolve(node.kwargs)
        if node.op == "output":
            found = args[0]
            return found[0] if isinstance(found, (tuple, list)) and len(found) == 1 else found
        if not torch.is_tensor(result):
            # A size or a shape: the same for every batch but for the batch itself, which views get as they compute it.
            return result
        given = [part for part in node.all_input_nodes]
        if not any(isinstance(values[n], _Value) for n in given):
            return self.constant(node, args, kwargs)
        shape = tuple(result.shape[1:])
        if node.op == "call_module":
            return self.call_module(node.target, self.module.get_submodule(node.target), args, shape)
        function = getattr(torch.Tensor, node.target) if node.op == "call_method" else node.target
        return self.call_function(function, args, kwargs, shape)

    def constant(self, node: torch.fx.Node, args: Any, kwargs: Any) -> Getter:
        """Numbers computed from parameters and buffers alone."""

        def get(module: nn.Module) -> torch.Tensor:
            resolve = lambda part: part(module) if callable(part) else part
            values = torch.fx.node.map_aggregate(args, resolve)
            options = torch.fx.node.map_aggregate(kwargs, resolve)
            if node.op == "call_method":
                return getattr(values[0], node.target)(*values[1:], **options)
            return node.target(*values, **options)

        if node.op == "call_module":
            raise self.refuse("is applied to numbers that do not depend on the input")
        return get

    def emit(self, kind: str, inputs: list[_Value], shape: tuple[int, ...], **fields: Any) -> _Value:
        name = base = str(self.node)
        count = 1
        while name in self.names:
            count += 1
            name = f"{base}_{count}"
        self.names.add(name)
        self.layers.append({"name": name, "inputs": [value.name for value in inputs], "kind": kind, **fields})
        return _Value(name, shape)

    def parameter(self, name: str, getter: Getter) -> str:
        """A tensor of θ; one that is used twice stands there twice, and its gradients add up."""
        base, count = name, 1
        while name in self.names:
            count += 1
            name = f"{base}@{count}"
        self.names.add(name)
        self.getters.append(getter)
        return name

    def attribute(self, target: str, name: str) -> tuple[str, Getter]:
        path = f"{target}.{name}"
        return path, operator.attrgetter(path)

    def call_module(self, target: str, part: nn.Module, args: Any, shape: tuple[int, ...]) -> _Value:
        x = args[0]
        own = lambda name: self.attribute(target, name) if getattr(part, name) is not None else None
        if isinstance(part, nn.Linear):
            return self.linear(x, own("weight"), own("bias"), shape)
        if isinstance(part, nn.Conv2d):
            if part.padding_mode != "zeros":
                raise self.refuse(f'padding_mode="{part.padding_mode}"; use zeros')
            return self.conv(
                x, own("weight"), own("bias"), part.stride, part.padding, part.dilation, part.groups, shape
            )
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            return self.batch_norm(target, part, x, shape)
        if isinstance(part, nn.AvgPool2d):
            options = (part.kernel_size, part.stride, part.padding, part.ceil_mode, part.count_include_pad)
            return self.avg_pool(x, *options, part.divisor_override, shape=shape)
        if isinstance(part, nn.MaxPool2d):
            if part.return_indices:
                raise self.refuse("return_indices=True")
            return self.max_pool(
                x, part.kernel_size, part.stride, part.padding, part.dilation, part.ceil_mode, shape=shape
            )
        if isinstance(part, nn.AdaptiveAvgPool2d):
            return self.global_pool(x, shape)
        if isinstance(part, (nn.Flatten, nn.Unflatten)):
            return self.reshape(x, shape)
        if isinstance(part, (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)):
            return x
        if isinstance(part, (nn.ReLU6, nn.Hardtanh)):
            return self.emit("clip", [x], shape, lower=float(part.min_val), upper=float(part.max_val))
        if isinstance(part, nn.LeakyReLU):
            return self.emit("leaky_relu", [x], shape, slope=float(part.negative_slope))
        for kind, known in (("relu", nn.ReLU), ("sigmoid", nn.Sigmoid), ("tanh", nn.Tanh)):
            if isinstance(part, known):
                return self.emit(kind, [x], shape)
        raise self.refuse(f"layers of type {type(part).__name__} have no counterpart here")

    def call_function(self, function: Any, args: Any, kwargs: Any, shape: tuple[int, ...]) -> _Value:
        T = torch.Tensor
        name = getattr(function, "__name__", str(function)).strip("_")
        x = args[0] if args else kwargs.get("input")
        get = lambda position, key, default=None: args[position] if len(args) > position else kwargs.get(key, default)
        if function in (F.relu, torch.relu, torch.relu_, T.relu, T.relu_):
            return self.emit("relu", [x], shape)
        if name in ("sigmoid", "tanh"):
            return self.emit(name, [x], shape)
        if function is F.leaky_relu:
            return self.emit("leaky_relu", [x], shape, slope=float(get(1, "negative_slope", 0.01)))
        if name in ("hardtanh", "relu6", "clamp", "clip"):
            low, high = (0.0, 6.0) if name == "relu6" else (get(1, "min_val", kwargs.get("min", -1.0 if name == "hardtanh" else None)),
                                                            get(2, "max_val", kwargs.get("max", 1.0 if name == "hardtanh" else None)))  # fmt: skip
            if low == 0 and high is None:
                return self.emit("relu", [x], shape)
            if not (isinstance(low, (int, float)) and isinstance(high, (int, float))):
                raise self.refuse("clamps need two numbers, min and max")
            return self.emit("clip", [x], shape, lower=float(low), upper=float(high))
        if name in ("flatten", "view", "reshape", "squeeze", "contiguous", "clone"):
            return self.reshape(x, shape)
        if name in ("dropout", "dropout2d") and get(2, "training", True) is False:
            return x
        if function is F.linear:
            bias = get(2, "bias")
            return self.linear(x, self.number("weight", get(1, "weight")), self.number("bias", bias), shape)
        if name in ("matmul", "mm"):
            right = args[1]
            if not isinstance(x, _Value) or not callable(right):
                raise self.refuse("matrix products are read as input @ numbers")
            return self.linear(x, self.number("weight", lambda m: right(m).t()), None, shape)
        if function is torch.addmm:
            return self.linear(args[1], self.number("weight", lambda m: args[2](m).t()), self.number("bias", x), shape)
        if function in (F.conv2d, torch.conv2d):
            options = (get(3, "stride", 1), get(4, "padding", 0), get(5, "dilation", 1), get(6, "groups", 1))
            weight, bias = self.number("weight", get(1, "weight")), self.number("bias", get(2, "bias"))
            return self.conv(x, weight, bias, *options, shape)
        if function in (F.max_pool2d, torch.max_pool2d) or name == "max_pool2d":
            stride = get(2, "stride")
            return self.max_pool(x, get(1, "kernel_size"), stride, get(3, "padding", 0), get(4, "dilation", 1),
                                 get(5, "ceil_mode", False), shape=shape)  # fmt: skip
        if name == "avg_pool2d":
            return self.avg_pool(x, get(1, "kernel_size"), get(2, "stride"), get(3, "padding", 0), get(4, "ceil_mode", False),
                                 get(5, "count_include_pad", True), get(6, "divisor_override"), shape=shape)  # fmt: skip
        if name == "adaptive_avg_pool2d":
            return self.global_pool(x, shape)
        if name == "mean":
            axes = get(1, "dim")
            if len(x.shape) == 3 and axes is not None and sorted(a % 4 for a in axes) == [2, 3]:
                pooled = self.emit("avgpool2d", [x], (x.shape[0], 1, 1), kernel=list(x.shape[1:]))
                return pooled if len(shape) == 3 else self.reshape(pooled, shape)
            raise self.refuse("means are read over height and width only")
        if name in (
            "add",
            "iadd",
            "sub",
            "isub",
            "mul",
            "imul",
            "truediv",
            "div",
            "true_divide",
            "itruediv",
            "neg",
            "rsub",
        ):
            if kwargs.get("alpha", 1) != 1 or kwargs.get("rounding_mode"):
                raise self.refuse("sums with a factor alpha, and rounded quotients")
            return self.arithmetic(name.lstrip("i"), args, shape)
        raise self.refuse(f"operation {name} has no counterpart here")

    def number(self, role: str, value: Any) -> tuple[str, Getter] | None:
        """A tensor that a function was given, named after its place in the module where it has one."""
        if value is None:
            return None
        if not callable(value):
            raise self.refuse(f"its {role} depends on the input")
        tensor = value(self.module)
        known = next((name for name, p in self.module.named_parameters() if p is tensor), f"{self.node}.{role}")
        return known, value

    def linear(self, x: Any, weight: Any, bias: Any, shape: tuple[int, ...]) -> _Value:
        if not isinstance(x, _Value) or len(x.shape) != 1:
            raise self.refuse("linear layers read [N, features]; flatten before them")
        fields: dict[str, Any] = {"weight": self.parameter(*weight), "bias": False}
        if bias is not None:
            fields["bias"] = self.parameter(*bias)
        return self.emit("linear", [x], shape, out_features=shape[0], **fields)

    def conv(
        self,
        x: Any,
        weight: Any,
        bias: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        shape: tuple[int, ...],
    ) -> _Value:
        if len(x.shape) != 3:
            raise self.refuse("convolutions read [N, C, H, W]")
        kernel, dilation = list(weight[1](self.module).shape[2:]), _pair(dilation)
        if padding == "same":
            spare = [d * (k - 1) for d, k in zip(dilation, kernel)]
            padding = [spare[0] // 2, spare[1] // 2, spare[0] - spare[0] // 2, spare[1] - spare[1] // 2]
        else:
            padding = [0, 0] if padding == "valid" else _pair(padding)
        fields: dict[str, Any] = {"weight": self.parameter(*weight), "bias": False}
        if bias is not None:
            fields["bias"] = self.parameter(*bias)
        return self.emit(
            "conv2d", [x], shape, out_channels=shape[0], kernel=kernel, stride=_pair(stride), padding=padding,
            dilation=dilation, groups=groups, **fields,
        )  # fmt: skip

    def batch_norm(self, target: str, part: Any, x: _Value, shape: tuple[int, ...]) -> _Value:
        if part.running_mean is None:
            raise self.refuse("batch norms need running statistics; use track_running_stats=True")
        for name in ("running_mean", "running_var"):
            self.buffers.append(self.attribute(target, name)[1])
        if part.affine:
            weight, bias = self.attribute(target, "weight"), self.attribute(target, "bias")
        else:
            like = self.attribute(target, "running_var")[1]
            weight = f"{target}.weight", lambda m: torch.ones_like(like(m))
            bias = f"{target}.bias", lambda m: torch.zeros_like(like(m))
        fields = {"weight": self.parameter(*weight), "bias": self.parameter(*bias)}
        return self.emit("batchnorm", [x], shape, epsilon=part.eps, **fields)

    def avg_pool(
        self, x: _Value, kernel: Any, stride: Any, padding: Any, ceil: bool, include: bool, divisor: Any, shape: Any
    ) -> _Value:
        if ceil or divisor is not None:
            raise self.refuse("average pooling with ceil_mode or divisor_override")
        fields = {"kernel": _pair(kernel), "stride": _pair(stride or kernel), "padding": _pair(padding)}
        return self.emit("avgpool2d", [x], shape, count_include_pad=bool(include), **fields)

    def max_pool(
        self, x: _Value, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool, shape: Any
    ) -> _Value:
        if ceil or _pair(dilation) != [1, 1]:
            raise self.refuse("max pooling with ceil_mode or dilation")
        fields = {"kernel": _pair(kernel), "stride": _pair(stride or kernel), "padding": _pair(padding)}
        return self.emit("maxpool2d", [x], shape, **fields)

    def global_pool(self, x: _Value, shape: tuple[int, ...]) -> _Value:
        if shape[1:] == x.shape[1:]:
            return x
        if any(side % out for side, out in zip(x.shape[1:], shape[1:])):
            raise self.refuse("adaptive pooling to sizes that do not divide the image's")
        sides = [side // out for side, out in zip(x.shape[1:], shape[1:])]
        return self.emit("avgpool2d", [x], shape, kernel=sides, stride=sides)

    def reshape(self, x: _Value, shape: tuple[int, ...]) -> _Value:
        if shape == x.shape:
            return x
        if len(shape) == 1 and shape[0] == prod(x.shape):
            return self.emit("flatten", [x], shape)
        raise self.refuse(f"reshapes {list(x.shape)} to {list(shape)}; only flattening is read")

    def arithmetic(self, name: str, args: Any, shape: tuple[int, ...]) -> _Value:
        """Sums of layers, and scaling and shifting by numbers, which become affine layers."""
        values = [part for part in args if isinstance(part, _Value)]
        if len(values) == 2:
            if name != "add" or values[0].shape != values[1].shape:
                raise self.refuse("of two layers' outputs only sums of one shape are read")
            return self.emit("add", values, shape)
        x = values[0]
        if x.shape != shape:
            raise self.refuse("broadcasts the input")
        if name == "neg":
            return self.affine(x, lambda m, like: -torch.ones_like(like), None)
        other = args[1] if args[0] is x else args[0]
        number = (lambda m: other(m)) if callable(other) else (lambda m: torch.as_tensor(other))
        wide = lambda m, like: number(m).to(like).expand_as(like)
        first = args[0] is x
        if name == "add":
            return self.affine(x, None, wide, number)
        if name == "sub" and first or name == "rsub" and not first:
            return self.affine(x, None, lambda m, like: -wide(m, like), number)
        if name in ("sub", "rsub"):
            return self.affine(x, lambda m, like: -torch.ones_like(like), wide, number)
        if name == "mul":
            return self.affine(x, wide, None, number)
        if first:
            return self.affine(x, lambda m, like: 1 / wide(m, like), None, number)
        raise self.refuse("divides by the input")

    def affine(self, x: _Value, weight: Any, bias: Any, number: Getter | None = None) -> _Value:
        """Per channel where the number is, else per element."""
        sides = (1, *x.shape)
        own = () if number is None else tuple(number(self.module).shape)
        own = (1,) * (len(sides) - len(own)) + own
        if len(own) > len(sides) or own[0] != 1:
            raise self.refuse("numbers that differ from sample to sample")
        channels = all(side == 1 for side in own[2:])
        count, inner = (x.shape[0], prod(x.shape[1:])) if channels else (prod(x.shape), 1)

        def flat(get: Any) -> Getter:
            def read(module: nn.Module) -> torch.Tensor:
                like = torch.empty(
                    (1, count, *(1 for _ in x.shape[1:])) if channels else sides, dtype=_dtype(module)
                )
                return get(module, like).reshape(-1)

            return read

        fields: dict[str, Any] = {}
        if weight is not None:
            fields["weight"] = self.parameter(f"{self.node}.weight", flat(weight))
        if bias is not None:
            fields["bias"] = self.parameter(f"{self.node}.bias", flat(bias))
        return self.emit("affine", [x], x.shape, inner=inner, scale=[1.0] * count, shift=[0.0] * count, **fields)


def _pair(sides: Any) -> list[int]:
    return [sides, sides] if isinstance(sides, int) else [int(side) for side in sides]
