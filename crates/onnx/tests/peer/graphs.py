"""Writes random graphs into a folder, NAME.onnx with NAME.input and NAME.output (raw float32) by onnxruntime: python graphs.py FOLDER [COUNT [SEED]]."""

import pathlib
import sys

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

folder = pathlib.Path(sys.argv[1])
count = int(sys.argv[2]) if len(sys.argv) > 2 else 300
first = int(sys.argv[3]) if len(sys.argv) > 3 else 0
onnxruntime.set_default_logger_severity(4)
LARGEST = 240


class Graph:
    """A graph under construction: nodes, constants and the shapes of what has been computed."""

    def __init__(self, seed):
        self.random = numpy.random.default_rng(seed)
        self.nodes, self.constants, self.shapes = [], [], {}
        self.opset = int(self.random.choice([11, 13, 17, 18]))

    def integer(self, low, high):
        """From low to high, both included."""
        return int(self.random.integers(low, high + 1))

    def coin(self):
        return bool(self.random.integers(2))

    def one_of(self, values):
        return values[self.integer(0, len(values) - 1)]

    def normal(self, *shape):
        return (self.random.normal(size=shape) * 0.6).astype(numpy.float32)

    def constant(self, value):
        """An initializer or a Constant node."""
        name = f"c{len(self.nodes)}_{len(self.constants)}"
        tensor = numpy_helper.from_array(numpy.ascontiguousarray(value), name)
        if self.integer(0, 4) == 0:
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.constants.append(tensor)
        return name

    def whole(self, values):
        return self.constant(numpy.array(values, numpy.int64))

    def node(self, operator, inputs, shape, outputs=1, **attributes):
        names = [f"t{len(self.nodes)}" + (f"_{index}" if outputs > 1 else "") for index in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        if outputs == 1:
            self.shapes[names[0]] = tuple(shape)
            return names[0]
        for name, own in zip(names, shape):
            self.shapes[name] = tuple(own)
        return names

    def broadcastable(self, shape):
        """A shape that broadcasts to `shape`."""
        own = [side if self.coin() else 1 for side in shape]
        return own[self.integer(0, len(own)) :]


def elementwise(g, x):
    shape = g.shapes[x]
    kind = g.integer(0, 12)
    if kind == 0:
        return g.node("LeakyRelu", [x], shape, alpha=float(g.random.uniform(-0.3, 1.3)))
    if kind == 1:
        return g.node("PRelu", [x, g.constant(g.normal(*g.broadcastable(shape)))], shape)
    if kind == 2:
        end = lambda value: g.one_of([lambda: g.constant(numpy.float32(value)), lambda: g.constant(numpy.copysign(numpy.float32("inf"), value)), lambda: ""])()
        return g.node("Clip", [x, end(numpy.float32(-0.5)), end(numpy.float32(0.4))], shape)
    if kind == 3:
        return g.node("HardSigmoid", [x], shape, alpha=float(g.random.uniform(0.1, 0.9)), beta=float(g.random.uniform(0, 1)))
    if kind == 4:
        return g.node(g.one_of(["Sigmoid", "Tanh"]), [x], shape)
    if kind == 5:
        return g.node(g.one_of(["Neg", "Abs", "Identity", "Dropout"]), [x], shape)
    if kind == 6:
        return g.node(g.one_of(["Max", "Min"]), [x, g.constant(g.normal(*g.broadcastable(shape)))], shape)
    if kind in (7, 8, 9):
        other = g.constant(g.normal(*g.broadcastable(shape)))
        inputs = [x, other] if g.coin() else [other, x]
        return g.node(g.one_of(["Add", "Sub", "Mul", "Sum"]), inputs, shape)
    if kind == 10:
        value = g.normal(*g.broadcastable(shape))
        return g.node("Div", [x, g.constant(numpy.where(value < 0, value - 1, value + 1).astype(numpy.float32))], shape)
    return g.node("Relu", [x], shape)


def bent(g, x):
    """Functions without kinks, of values that are not large."""
    shape = g.shapes[x]
    small = g.node("Tanh", [x], shape)
    kind = g.integer(0, 5)
    if kind == 5:
        # As PyTorch writes it.
        beta = g.constant(numpy.float32(g.one_of([1.0, 2.0, 0.3])))
        scaled = g.node("Mul", [x, beta], shape)
        curved = g.node("Div", [g.node("Softplus", [scaled], shape), beta], shape)
        above = g.node("Greater", [scaled, g.constant(numpy.float32(20))], shape)
        del g.shapes[above]
        return g.node("Where", [above, x, curved], shape)
    if kind == 0:
        return g.node(g.one_of(["Exp", "Softplus"]), [small], shape)
    if kind == 1:
        exponent = g.one_of([numpy.float32(2), numpy.float32(3), numpy.array([4], numpy.float32), numpy.float32(1)])
        return g.node("Pow", [small, g.constant(exponent)], shape)
    if kind == 2:
        positive = g.node("Exp", [small], shape)
        if g.coin():
            return g.node("Reciprocal", [positive], shape)
        return g.node("Pow", [positive, g.constant(numpy.float32(g.one_of([-1, -2])))], shape)
    if kind == 3:
        value = g.normal(*g.broadcastable(shape))
        return g.node("Div", [g.constant(value), g.node("Softplus", [small], shape)], shape)
    axis = g.integer(-len(shape), len(shape) - 1)
    at = axis % len(shape)
    group = shape[at] if g.opset >= 13 else numpy.prod(shape[at:])
    if not 2 <= group <= 40:
        return g.node("Exp", [small], shape)
    return g.node("Softmax", [x], shape, axis=axis)


def multiply(g, x):
    """Of two values of one shape, or of shapes that broadcast: their product or quotient."""
    shape = g.shapes[x]
    fits = lambda own: len(own) <= len(shape) and all(a in (1, b) for a, b in zip(own, shape[len(shape) - len(own) :]))
    other = g.one_of([name for name, own in g.shapes.items() if fits(own)])
    small = g.node("Tanh", [other], g.shapes[other])
    if g.integer(0, 2) == 0:
        return g.node("Div", [x, g.node("Exp", [small], g.shapes[other])], shape)
    return g.node("Mul", [x, small] if g.coin() else [small, x], shape)


def join(g, x):
    """Of two values of one shape, or of shapes that broadcast."""
    shape = g.shapes[x]
    others = [name for name, own in g.shapes.items() if own == shape or numpy.prod(own) == 1 and len(own) <= len(shape)]
    other = g.one_of(others)
    inputs = [x, other] if g.coin() else [other, x]
    if g.integer(0, 3) == 0:
        condition = g.constant(g.random.integers(0, 2, g.broadcastable(shape)).astype(bool))
        if g.coin():
            inputs[inputs.index(other)] = g.constant(g.normal(*g.broadcastable(shape)))
        return g.node("Where", [condition, *inputs], shape)
    return g.node(g.one_of(["Add", "Sub", "Sum", "Mean", "Max", "Min"]), inputs, shape)


def concat(g, x):
    shape = g.shapes[x]
    axis = g.integer(0, len(shape) - 1)
    fits = lambda own: len(own) == len(shape) and all(a == b for i, (a, b) in enumerate(zip(own, shape)) if i != axis)
    parts = [x, *(g.one_of([name for name, own in g.shapes.items() if fits(own)]) for _ in range(g.integer(0, 2)))]
    lengths = [g.shapes[part][axis] for part in parts]
    if g.integer(0, 3) == 0:
        own = [*shape]
        own[axis] = g.integer(1, 2)
        parts.insert(g.integer(0, len(parts)), g.constant(g.normal(*own)))
        lengths.append(own[axis])
    new = [*shape]
    new[axis] = sum(lengths)
    if numpy.prod(new) > LARGEST:
        return x
    return g.node("Concat", parts, new, axis=axis - len(shape) if g.coin() else axis)


def cut(g, x):
    shape = g.shapes[x]
    kind = g.integer(0, 3)
    axis = g.integer(0, len(shape) - 1)
    side = shape[axis]
    new = [*shape]
    if kind == 3:
        depth = g.integer(1, len(shape))
        lead = g.one_of([(), (1,), (3,), (2, 2)])
        places = [g.random.integers(-side, side, lead) for side in shape[:depth]]
        new = [*lead, *shape[depth:]]
        if not new or numpy.prod(new) > LARGEST:
            return x
        return g.node("GatherND", [x, g.whole(numpy.stack(places, -1))], new)
    if kind == 0:
        starts, ends, axes, steps = [], [], [], []
        for own in range(len(shape)):
            if g.coin():
                step = g.one_of([1, 1, 2, 3, -1, -2])
                start, end = sorted(g.random.integers(0, shape[own] + 1, 2))
                start, end = (int(start), int(end)) if step > 0 else (int(end) - 1, int(start) - 1)
                length = len(range(start, end, step))
                if length == 0 or start < 0:
                    continue
                if end < 0:
                    end = -shape[own] - 1
                starts.append(start - shape[own] if g.coin() else start)
                ends.append(end)
                axes.append(own)
                steps.append(step)
                new[own] = length
        if not axes:
            return x
        return g.node("Slice", [x, *map(g.whole, [starts, ends, axes, steps])], new)
    if kind == 1:
        indices = g.random.integers(-side, side, g.one_of([(), (1,), (2,), (3,), (2, 2)]))
        new = [*shape[:axis], *indices.shape, *shape[axis + 1 :]]
        if not new or numpy.prod(new) > LARGEST:
            return x
        return g.node("Gather", [x, g.whole(indices)], new, axis=axis)
    if side < 2:
        return x
    cut = g.integer(1, side - 1)
    shapes = [[*shape], [*shape]]
    shapes[0][axis], shapes[1][axis] = cut, side - cut
    if g.opset >= 13:
        parts = g.node("Split", [x, g.whole([cut, side - cut])], shapes, 2, axis=axis)
    else:
        parts = g.node("Split", [x], shapes, 2, axis=axis, split=[cut, side - cut])
    return g.one_of(parts)


def reshape(g, x):
    shape = g.shapes[x]
    kind = g.integer(0, 6)
    if kind == 0:
        order = [int(axis) for axis in g.random.permutation(len(shape))]
        return g.node("Transpose", [x], [shape[axis] for axis in order], perm=order)
    if kind == 1:
        axis = g.integer(0, len(shape))
        return g.node("Flatten", [x], [int(numpy.prod(shape[:axis])), int(numpy.prod(shape[axis:]))], axis=axis)
    if kind == 2:
        axis = g.integer(0, len(shape))
        new = [*shape[:axis], 1, *shape[axis:]]
        if g.opset >= 13:
            return g.node("Unsqueeze", [x, g.whole([axis])], new)
        return g.node("Unsqueeze", [x], new, axes=[axis])
    if kind == 3 and 1 in shape[1:]:
        axis = 1 + shape[1:].index(1)
        new = [*shape[:axis], *shape[axis + 1 :]]
        if g.opset >= 13:
            return g.node("Squeeze", [x, g.whole([axis])], new)
        return g.node("Squeeze", [x], new, axes=[axis])
    if kind == 4:
        # As exporters write flattening: from the shape.
        sides = g.node("Shape", [x], [len(shape)])
        side = g.node("Gather", [sides, g.whole(0)], [], axis=0)
        if g.opset >= 13:
            side = g.node("Unsqueeze", [side, g.whole([0])], [1])
        else:
            side = g.node("Unsqueeze", [side], [1], axes=[0])
        target = g.node("Concat", [side, g.whole([-1])], [2], axis=0)
        for name in list(g.shapes):
            if name in (sides, side, target) or name.startswith("t") and g.shapes[name] == ():
                del g.shapes[name]
        return g.node("Reshape", [x, target], [shape[0], int(numpy.prod(shape[1:]))])
    rest = int(numpy.prod(shape))
    new = []
    while rest > 1 and len(new) < 3:
        side = g.one_of([side for side in range(1, rest + 1) if rest % side == 0])
        new.append(side)
        rest //= side
    new = [*([1] if g.coin() else []), *new, rest]
    target = [*new]
    if g.coin():
        target[g.integer(0, len(target) - 1)] = -1
    return g.node("Reshape", [x, g.whole(target)], new)


def enlarge(g, x):
    shape = g.shapes[x]
    kind = g.integer(0, 2)
    if kind == 0:
        mode = g.one_of(["constant", "constant", "reflect", "edge"])
        low = 0 if mode != "constant" else -1
        most = lambda side: min(2, side - 1) if mode == "reflect" else 2
        pads = [[g.integer(low, most(side)) if g.coin() else 0 for side in shape] for _ in range(2)]
        new = [side + before + behind for side, before, behind in zip(shape, *pads)]
        if min(new) < 1 or numpy.prod(new) > LARGEST:
            return x
        value = [g.constant(numpy.float32(0.3))] if mode == "constant" and g.coin() else []
        return g.node("Pad", [x, g.whole([*pads[0], *pads[1]]), *value], new, mode=mode)
    if kind == 1:
        repeats = [g.one_of([1, 1, 2]) for _ in shape]
        new = [side * times for side, times in zip(shape, repeats)]
        if numpy.prod(new) > LARGEST:
            return x
        return g.node("Tile", [x, g.whole(repeats)], new)
    new = [g.integer(1, 3) if side == 1 else side for side in shape]
    if numpy.prod(new) > LARGEST:
        return x
    return g.node("Expand", [x, g.whole(new)], new)


def reduce(g, x):
    shape = g.shapes[x]
    axes = [axis for axis in range(len(shape)) if g.coin()] or [len(shape) - 1]
    keep = g.coin()
    new = [1 if axis in axes else side for axis, side in enumerate(shape) if keep or axis not in axes]
    if not new:
        return x
    operator = g.one_of(["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"])
    by_input = g.opset >= (13 if operator == "ReduceSum" else 18)
    if by_input:
        return g.node(operator, [x, g.whole(axes)], new, keepdims=int(keep))
    return g.node(operator, [x], new, axes=axes, keepdims=int(keep))


def product(g, x):
    shape = g.shapes[x]
    out = g.integer(1, 5)
    if len(shape) > 1 and g.integer(0, 3) == 0:
        # Of two values that depend on the input, as in attention.
        order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
        turned = g.node("Transpose", [g.node("Tanh", [x], shape)], [shape[axis] for axis in order], perm=order)
        new = [*shape[:-1], shape[-2]]
        return g.node("MatMul", [x, turned], new) if numpy.prod(new) <= LARGEST else turned
    if len(shape) == 2 and g.coin():
        turn = g.integer(0, 1)
        weight = g.normal(*([out, shape[1]] if turn else [shape[1], out]))
        bias = [g.constant(g.normal(*g.one_of([[out], [1, out], [1], []])))] if g.coin() else []
        beta = {"beta": 0.5} if bias and shape[0] == 1 else {}
        return g.node("Gemm", [x, g.constant(weight), *bias], [shape[0], out], transB=turn, alpha=0.7, **beta)
    if g.coin() or len(shape) < 2:
        if g.integer(0, 5) == 0 and len(shape) > 1:
            return g.node("MatMul", [x, g.constant(g.normal(shape[-1]))], shape[:-1])
        lead = [side if g.coin() else 1 for side in shape[:-2]] if g.coin() else []
        return g.node("MatMul", [x, g.constant(g.normal(*lead, shape[-1], out))], [*shape[:-1], out])
    lead = [side if g.coin() else 1 for side in shape[:-2]] if g.coin() else []
    return g.node("MatMul", [g.constant(g.normal(*lead, out, shape[-2])), x], [*shape[:-2], out, shape[-1]])


def windows(g, x):
    """Convolutions, poolings, normalisation and resizing of [1, channels, sides…]."""
    shape = g.shapes[x]
    axes = len(shape) - 2
    if axes not in (1, 2, 3) or shape[0] != 1:
        return None
    channels, sides = shape[1], shape[2:]
    kind = g.integer(0, 6)
    kernel = [g.integer(1, min(3, side)) for side in sides]
    stride = [g.integer(1, 2) for _ in sides]
    dilation = [g.integer(1, 2) for _ in sides]
    groups = g.one_of([group for group in (1, 2, 3, channels) if channels % group == 0])
    pads = [g.integer(0, side - 1) for side in kernel + kernel]
    length = lambda i, d: (sides[i] + pads[i] + pads[i + axes] - (kernel[i] - 1) * d - 1) // stride[i] + 1
    if kind <= 1:
        new = [length(i, dilation[i]) for i in range(axes)]
        out = groups * g.integer(1, 2)
        if min(new) < 1 or numpy.prod(new) * out > LARGEST:
            return None
        bias = [g.constant(g.normal(out))] if g.coin() else []
        weight = g.constant(g.normal(out, channels // groups, *kernel))
        attributes = {"strides": stride, "pads": pads, "dilations": dilation, "group": groups}
        return g.node("Conv", [x, weight, *bias], [1, out, *new], **attributes)
    if kind == 2:
        extra = [g.integer(0, step - 1) for step in stride]
        new = [
            stride[i] * (sides[i] - 1) + extra[i] + (kernel[i] - 1) * dilation[i] + 1 - pads[i] - pads[i + axes]
            for i in range(axes)
        ]
        out = groups * g.integer(1, 2)
        if min(new) < 1 or numpy.prod(new) * out > LARGEST:
            return None
        bias = [g.constant(g.normal(out))] if g.coin() else []
        weight = g.constant(g.normal(channels, out // groups, *kernel))
        attributes = {"strides": stride, "dilations": dilation, "group": groups}
        if g.coin():
            attributes |= {"pads": pads, "output_padding": extra}
        else:
            # Shorter and longer than what the kernel reaches.
            whole = [stride[i] * (sides[i] - 1) + (kernel[i] - 1) * dilation[i] + 1 for i in range(axes)]
            new = [max(1, side + g.integer(-1, 1)) for side in whole]
            attributes["output_shape"] = new
            if g.coin():
                attributes["auto_pad"] = g.one_of(["SAME_UPPER", "SAME_LOWER"])
        return g.node("ConvTranspose", [x, weight, *bias], [1, out, *new], **attributes)
    if kind == 3:
        if g.coin():
            dilation = [1] * axes
        new = [length(i, dilation[i]) for i in range(axes)]
        if min(new) < 1:
            return None
        return g.node("MaxPool", [x], [1, channels, *new], kernel_shape=kernel, strides=stride, pads=pads, dilations=dilation)
    if kind == 4:
        new = [length(i, 1) for i in range(axes)]
        include = g.integer(0, 1)
        return g.node(
            "AveragePool", [x], [1, channels, *new], kernel_shape=kernel, strides=stride, pads=pads, count_include_pad=include
        )
    if kind == 5:
        if g.coin():
            return g.node(g.one_of(["GlobalMaxPool", "GlobalAveragePool"]), [x], [1, channels, *([1] * axes)])
        numbers = [g.constant(value) for value in (g.normal(channels), g.normal(channels), g.normal(channels))]
        variance = g.constant(numpy.abs(g.normal(channels)) + numpy.float32(0.2))
        return g.node("BatchNormalization", [x, *numbers, variance], shape)
    scales = [1.0, 1.0, *(g.one_of([1.0, 2.0, 1.5, 3.0, 0.5]) for _ in sides)]
    new = [int(side * scale) for side, scale in zip(shape, scales)]
    if min(new) < 1 or numpy.prod(new) > LARGEST:
        return None
    if g.opset >= 13 and g.integer(0, 3) == 0:
        return g.node("Resize", [x, "", "", g.whole(new)], new, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    how, nearest = g.one_of(
        [("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("align_corners", "round_prefer_ceil"), ("pytorch_half_pixel", "ceil")]
    )
    scales = g.constant(numpy.array(scales, numpy.float32))
    return g.node("Resize", [x, "", scales], new, mode="nearest", coordinate_transformation_mode=how, nearest_mode=nearest)


def build(seed):
    g = Graph(seed)
    shape = g.one_of([[6], [1, 8], [1, 2, 6], [1, 2, 5, 4], [1, 4, 3, 3], [1, 2, 3, 3, 2], [3, 4], [2, 3, 4]])
    g.shapes["x"] = tuple(shape)
    last = "x"
    for _ in range(g.integer(2, 9)):
        if g.integer(0, 4) == 0:
            last = g.one_of(list(g.shapes))
        step = g.one_of([elementwise, elementwise, bent, multiply, join, concat, cut, reshape, reshape, enlarge, reduce, product, windows, windows, windows])
        made = step(g, last)
        if made is None:
            made = elementwise(g, last)
        last = made
        if not g.shapes[last] or numpy.prod(g.shapes[last]) > LARGEST:
            return None
    if last == "x":
        return None
    graph = helper.make_graph(
        g.nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        g.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", g.opset)], ir_version=8)
    return g, model, shape


written, seed = 0, first
while written < count:
    made = build(seed)
    seed += 1
    if made is None:
        continue
    g, model, shape = made
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        inputs = g.random.uniform(-1, 1, size=[3, *shape]).astype(numpy.float32)
        outputs = [session.run(None, {"x": one})[0] for one in inputs]
    except Exception:
        continue
    if outputs[0].size == 0 or not all(numpy.isfinite(output).all() for output in outputs):
        continue
    path = folder / f"graph{seed - 1}.onnx"
    # The order of nodes, and where values lie, mean nothing.
    if g.coin():
        nodes = [model.graph.node[i] for i in g.random.permutation(len(model.graph.node))]
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    if g.integer(0, 4) == 0:
        location = f"graph{seed - 1}.data"
        onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=location, size_threshold=0)
    else:
        onnx.save(model, path)
    inputs.tofile(path.with_suffix(".input"))
    numpy.stack([output.ravel() for output in outputs]).astype(numpy.float32).tofile(path.with_suffix(".output"))
    written += 1
