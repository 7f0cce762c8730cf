"""Writes models of every supported operator form into a folder: NAME.onnx with NAME.input and NAME.output (raw float32)."""

import pathlib
import sys

import numpy
import onnx
import onnx.reference
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

folder = pathlib.Path(sys.argv[1])
random = numpy.random.default_rng(7)
onnxruntime.set_default_logger_severity(3)


def normal(*shape):
    return random.normal(size=shape).astype(numpy.float32) * 0.5


def case(name, shape, nodes, opset=13, dynamic=False, evaluator=False, **constants):
    """`nodes` are (operator, inputs, output, attributes); the last output is the model's; `evaluator` takes onnx's own for what onnxruntime refuses."""
    made = [helper.make_node(op, inputs.split(), [output], **attributes) for op, inputs, output, attributes in nodes]
    initializers = [numpy_helper.from_array(numpy.asarray(value), key) for key, value in constants.items()]
    batch = "N" if dynamic else 1
    graph = helper.make_graph(
        made,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])],
        [helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, None)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    values = random.uniform(-1, 1, size=[3 if dynamic else 1, *shape]).astype(numpy.float32)
    if evaluator:
        session = onnx.reference.ReferenceEvaluator(model)
    else:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"x": values})
    values.tofile(path.with_suffix(".input"))
    output.astype(numpy.float32).tofile(path.with_suffix(".output"))


flat = ("Flatten", "c", "y", {})
image = [4, 7, 6]

for mode in ["SAME_UPPER", "SAME_LOWER", "VALID"]:
    for stride in [[1, 1], [2, 2]]:
        attributes = {"auto_pad": mode, "strides": stride, "kernel_shape": [4, 2]}
        case(f"conv_{mode}_{stride[0]}", image, [("Conv", "x w b", "c", attributes), flat], w=normal(3, 4, 4, 2), b=normal(3))
        case(f"pool_{mode}_{stride[0]}", image, [("AveragePool", "x", "c", attributes), flat])
case("conv_same_dilated", image, [("Conv", "x w", "c", {"auto_pad": "SAME_UPPER", "dilations": [2, 1]}), flat], w=normal(3, 4, 3, 3), evaluator=True)
case("conv_uneven", image, [("Conv", "x w b", "c", {"pads": [0, 1, 2, 0], "strides": [2, 1], "dilations": [1, 2], "group": 2}), flat], w=normal(6, 2, 3, 3), b=normal(6), dynamic=True)
case("conv_depthwise", image, [("Conv", "x w", "d", {"group": 4}), ("Add", "d b", "c", {}), flat], w=normal(8, 1, 2, 2), b=normal(1, 8, 1, 1), opset=9)
case("gemm_scaled", [5], [("Gemm", "x w b", "y", {"alpha": 0.5, "beta": -2.0})], w=normal(5, 3), b=normal(1, 3), dynamic=True)
case("gemm_scalar_bias", [5], [("Gemm", "x w b", "y", {"transB": 1})], w=normal(3, 5), b=normal(), dynamic=True)
case("gemm_no_bias", [5], [("Gemm", "x w", "g", {"transB": 1}), ("Add", "b g", "y", {})], w=normal(3, 5), b=normal(3), dynamic=True)
case("matmul_right", [1, 1, 5], [("MatMul", "x w", "m", {}), ("Add", "m b", "y", {})], w=normal(5, 3), b=normal(3), opset=8)
case("matmul_left", [6, 1], [("MatMul", "w x", "m", {}), ("Add", "m b", "a", {}), ("Relu", "a", "r", {}), ("MatMul", "v r", "y", {})], w=normal(4, 6), b=normal(4, 1), v=normal(2, 4), dynamic=True)
case("matmul_shared", [5], [("MatMul", "x w", "m", {}), ("Relu", "m", "r", {}), ("MatMul", "r w", "n", {}), ("Sub", "n m", "y", {})], w=normal(5, 5), dynamic=True)
case("scalars", image, [("Sub", "one x", "a", {}), ("Mul", "a half", "b", {}), ("Div", "b three", "d", {}), ("Add", "one d", "c", {}), flat], one=numpy.float32(1), half=numpy.float32(0.5), three=numpy.array([3], numpy.float32), dynamic=True)
case("normalised", image, [("Sub", "x m", "a", {}), ("Div", "a s", "b", {}), ("Mul", "b f", "c", {}), flat], m=normal(4, 1, 1), s=1 + numpy.abs(normal(1, 4, 1, 1)), f=normal(1, 1, 7, 1), dynamic=True)
case("elementwise", image, [("Sub", "x m", "c", {}), flat], m=normal(4, 7, 6), opset=21)
case("read_twice", image, [("Sub", "x m", "a", {}), ("Mul", "a f", "b", {}), ("Add", "a b", "c", {}), flat], m=normal(4, 1, 1), f=normal(4, 1, 1), dynamic=True)
case("bias_read_twice", [5], [("MatMul", "x w", "m", {}), ("Identity", "m", "i", {}), ("Add", "i b", "a", {}), ("Add", "a m", "y", {})], w=normal(5, 3), b=normal(3), dynamic=True)
statistics = {"scale": normal(4), "shift": normal(4), "mean": normal(4), "var": numpy.abs(normal(4)) + 0.1}
norm = ("BatchNormalization", "x scale shift mean var", "c", {"epsilon": 1e-3, "momentum": 0.8})
for opset in [7, 9, 13, 15, 21]:
    case(f"norm_{opset}", image, [norm, flat], opset=opset, dynamic=True, **statistics)
case("norm_features", [4], [("BatchNormalization", "x scale shift mean var", "y", {})], dynamic=True, **statistics)
stored = {key: numpy_helper.from_array(value) for key, value in statistics.items()}
case("norm_constant", image, [("Constant", "", "scale", {"value": stored["scale"]}), ("Constant", "", "shift", {"value": stored["shift"]}), norm, flat], dynamic=True, mean=statistics["mean"], var=statistics["var"])
case("norm_half_constant", image, [("Constant", "", "shift", {"value": stored["shift"]}), norm, flat], dynamic=True, scale=statistics["scale"], mean=statistics["mean"], var=statistics["var"])
for include in [0, 1]:
    case(f"pool_padded_{include}", image, [("AveragePool", "x", "c", {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1], "strides": [2, 1], "count_include_pad": include}), flat], dynamic=True)
    case(f"pool_max_{include}", image, [("MaxPool", "x", "c", {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1], "strides": [2, 1], "storage_order": include}), flat], dynamic=True)
for mode in ["SAME_UPPER", "SAME_LOWER", "VALID"]:
    case(f"pool_max_{mode}", image, [("MaxPool", "x", "c", {"auto_pad": mode, "strides": [2, 2], "kernel_shape": [4, 2]}), flat])
case("pool_max_global", image, [("GlobalMaxPool", "x", "c", {}), flat], dynamic=True)
for function in ["Sigmoid", "Tanh"]:
    case(function.lower(), [5], [(function, "x", "y", {})], dynamic=True)
case("leaky", [5], [("LeakyRelu", "x", "l", {}), ("LeakyRelu", "l", "y", {"alpha": 0.3})], dynamic=True)
case("clip_inputs", [5], [("Clip", "x low high", "y", {})], low=numpy.float32(-0.25), high=numpy.float32(0.5), dynamic=True)
case("clip_attributes", [5], [("Clip", "x", "y", {"min": -0.25, "max": 0.5})], opset=10, dynamic=True)
case("clip_below", [5], [("Clip", "x low", "c", {}), ("Clip", "c", "y", {})], low=numpy.float32(0), dynamic=True)
case("pool_ceil_exact", [2, 6, 6], [("AveragePool", "x", "c", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}), flat])
case("pool_global", image, [("GlobalAveragePool", "x", "c", {}), flat], dynamic=True)
case("reshape_flat", image, [("Reshape", "x s", "f", {}), ("MatMul", "f w", "y", {})], s=numpy.array([-1, 168]), w=normal(168, 3), dynamic=True)
case("reshape_copy", image, [("Conv", "x w", "c", {}), ("Reshape", "c s", "r", {}), ("Relu", "r", "q", {}), ("Flatten", "q", "y", {"axis": 1})], s=numpy.array([0, 2, -1]), w=normal(2, 4, 2, 2), dynamic=True)
case("reshape_image", [24], [("Reshape", "x s", "i", {}), ("Conv", "i w", "c", {}), flat], s=numpy.array([-1, 2, 3, 4]), w=normal(3, 2, 2, 2), dynamic=True)
case("reshape_back", image, [("Relu", "x", "r", {}), ("Flatten", "r", "f", {}), ("Reshape", "f s", "i", {}), ("Conv", "i w", "c", {}), flat], s=numpy.array([0, 4, 7, 6]), w=normal(3, 4, 2, 2), dynamic=True)
case("reshaped_sum", image, [("Reshape", "x s", "r", {}), ("Flatten", "x", "f", {}), ("Relu", "f", "g", {}), ("Reshape", "g s", "h", {}), ("Add", "r h", "a", {}), ("Flatten", "a", "y", {})], s=numpy.array([0, 6, 28]), dynamic=True)
case("transposed", [1, 6, 1], [("Transpose", "x", "t", {"perm": [0, 2, 3, 1]}), ("Flatten", "t", "f", {}), ("Transpose", "w", "v", {}), ("MatMul", "f v", "y", {})], w=normal(3, 6), dynamic=True)
case("identities", [5], [("Identity", "x", "i", {}), ("Identity", "b", "d", {}), ("Gemm", "i w b", "g", {}), ("Relu", "g", "r", {}), ("Gemm", "r w d", "h", {}), ("Identity", "h", "y", {})], w=normal(5, 5), b=normal(5), dynamic=True)
case("residual", image, [("Conv", "x w", "d", {"pads": [1, 1, 1, 1]}), ("Sum", "d x x", "s", {}), ("Relu", "s", "r", {}), ("Sub", "r x", "c", {}), flat], w=normal(4, 4, 3, 3), dynamic=True)
case("constants", [3], [("Constant", "", "c", {"value_floats": [1.0, -2.0, 0.5]}), ("Constant", "", "h", {"value_float": 0.25}), ("Mul", "x c", "m", {}), ("Add", "m h", "y", {})], dynamic=True)
case("dead_end", [3], [("Sin", "x", "s", {}), ("Relu", "x", "y", {})], dynamic=True)
case("flatten_axes", [1, 1, 5], [("Flatten", "x", "f", {"axis": 3}), ("Flatten", "f", "g", {"axis": -1}), ("Gemm", "g w", "y", {})], w=normal(5, 2), dynamic=True)
case("flatten_zero", [2, 5], [("Relu", "x", "r", {}), ("Flatten", "r", "y", {"axis": 0})])
case("unflattened_output", image, [("Conv", "x w b", "y", {})], w=normal(5, 4, 7, 6), b=normal(5), dynamic=True)
for function in ["Exp", "Softplus"]:
    case(function.lower(), [5], [(function, "x", "y", {})], dynamic=True)
case("reciprocal", [5], [("Exp", "x", "e", {}), ("Reciprocal", "e", "y", {})], dynamic=True)
for exponent in [1, 2, 3, 4, 7]:
    case(f"power_{exponent}", [5], [("Pow", "x n", "y", {})], n=numpy.float32(exponent), dynamic=True)
case("power_whole", [5], [("Pow", "x n", "y", {})], n=numpy.array([[2]], numpy.int64), dynamic=True)
for exponent in [-1, -2]:
    case(f"power_below_{-exponent}", [5], [("Exp", "x", "e", {}), ("Pow", "e n", "y", {})], n=numpy.array([exponent], numpy.float32), dynamic=True)
case("multiplied", [5], [("Sigmoid", "x", "s", {}), ("Mul", "x s", "y", {})], dynamic=True)
case("squared", image, [("Mul", "x x", "c", {}), flat], dynamic=True)
case("multiplied_image", image, [("Conv", "x w", "d", {"pads": [1, 1, 1, 1]}), ("Mul", "d x", "p", {}), ("Conv", "p w", "c", {}), flat], w=normal(4, 4, 3, 3), dynamic=True)
case("multiplied_channels", image, [("GlobalAveragePool", "x", "g", {}), ("Sigmoid", "g", "s", {}), ("Mul", "s x", "c", {}), flat], dynamic=True)
case("multiplied_both_ways", [3, 1], [("Transpose", "x", "t", {"perm": [0, 2, 1]}), ("Mul", "t x", "c", {}), flat])
case("gated", [6], [("Slice", "x zero half axis", "a", {}), ("Slice", "x half all axis", "b", {}), ("Sigmoid", "b", "s", {}), ("Mul", "a s", "y", {})], zero=numpy.array([0]), half=numpy.array([3]), all=numpy.array([6]), axis=numpy.array([1]), dynamic=True)
case("transposed_product", image, [("Transpose", "x", "t", {"perm": [0, 2, 3, 1]}), ("Relu", "t", "r", {}), ("Mul", "t r", "p", {}), ("Transpose", "p", "c", {"perm": [0, 3, 1, 2]}), flat], dynamic=True)
case("divided", [5], [("Exp", "x", "e", {}), ("Div", "x e", "y", {})], dynamic=True)
case("divided_constant", [5], [("Exp", "x", "e", {}), ("Div", "c e", "y", {})], c=normal(5), dynamic=True)
case("divided_by_sum", [5], [("Exp", "x", "e", {}), ("ReduceSum", "e axes", "s", {}), ("Div", "e s", "y", {})], axes=numpy.array([1]), dynamic=True)
case("masked_mean", [4, 5], [("Slice", "x zero last axis", "a", {}), ("Slice", "x last all axis", "b", {}), ("Exp", "b", "m", {}), ("Mul", "a m", "p", {}), ("ReduceSum", "p rows", "s", {"keepdims": 0}), ("ReduceSum", "m rows", "n", {"keepdims": 0}), ("Div", "s n", "y", {})], zero=numpy.array([0]), last=numpy.array([4]), all=numpy.array([5]), axis=numpy.array([2]), rows=numpy.array([1]), dynamic=True)
case("softmax", [5], [("Softmax", "x", "y", {})], dynamic=True)
case("softmax_image", image, [("Softmax", "x", "c", {"axis": 1}), flat], dynamic=True)
case("softmax_rows", [3, 4], [("Softmax", "x", "c", {"axis": -1}), flat], dynamic=True)
case("softmax_old", [3, 4], [("Softmax", "x", "c", {}), flat], opset=11, dynamic=True)
case("softmax_old_axis", [3, 4], [("Softmax", "x", "c", {"axis": 2}), flat], opset=11, dynamic=True)
