//! Refusals: every message names the place and what to do.

use prost::Message;
use tightrope_exact::Dyadic;
use tightrope_network::{Activation, Layer, Place};

use super::{Files, import_bytes};
use crate::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, code,
};
use crate::tensor::{encode_floats, encode_integers};

pub fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|name| name.to_string()).collect(),
        output: vec![output.into()],
        name: format!("/{operator}_3"),
        op_type: operator.into(),
        ..Default::default()
    }
}

pub fn with_ints(mut node: NodeProto, name: &str, ints: &[i64]) -> NodeProto {
    let attribute =
        AttributeProto { name: name.into(), ints: ints.to_vec(), r#type: code::ATTRIBUTE_INTS, ..Default::default() };
    node.attribute.push(attribute);
    node
}

pub fn with_int(mut node: NodeProto, name: &str, value: i64) -> NodeProto {
    let attribute =
        AttributeProto { name: name.into(), i: Some(value), r#type: code::ATTRIBUTE_INT, ..Default::default() };
    node.attribute.push(attribute);
    node
}

fn with_float(mut node: NodeProto, name: &str, value: f32) -> NodeProto {
    let attribute =
        AttributeProto { name: name.into(), f: Some(value), r#type: code::ATTRIBUTE_FLOAT, ..Default::default() };
    node.attribute.push(attribute);
    node
}

fn with_string(mut node: NodeProto, name: &str, value: &str) -> NodeProto {
    let s = Some(value.as_bytes().to_vec());
    node.attribute.push(AttributeProto { name: name.into(), s, r#type: code::ATTRIBUTE_STRING, ..Default::default() });
    node
}

pub fn value_info(name: &str, dims: &[i64]) -> ValueInfoProto {
    // −1 stands for a dynamic axis.
    let dim = dims.iter().map(|&side| DimensionProto { dim_value: (side != -1).then_some(side), dim_param: None });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: code::TENSOR_FLOAT, shape });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }) }
}

/// A model from `x` (−1 being a dynamic axis) to `y`.
pub fn model(input: &[i64], nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    ModelProto {
        ir_version: 7,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
        graph: Some(GraphProto {
            node: nodes,
            name: "g".into(),
            initializer,
            input: vec![value_info("x", input)],
            output: vec![value_info("y", &[])],
        }),
        ..Default::default()
    }
}

/// Fails unless the model is refused with a message that has all `parts`.
#[track_caller]
pub fn refused(model: &ModelProto, parts: &[&str]) {
    match import_bytes(&model.encode_to_vec(), "net.onnx") {
        Ok(read) => panic!("was read: {:?}", read.network),
        Err(error) => {
            let message = error.to_string();
            assert!(message.starts_with("net.onnx: "), "{message}");
            parts.iter().for_each(|part| assert!(message.contains(part), "`{part}` is not in: {message}"));
        }
    }
}

pub fn ones(name: &str, dims: &[usize]) -> TensorProto {
    encode_floats(name, dims, &vec![1.0; dims.iter().product()])
}

#[test]
fn the_builders_make_readable_models() {
    let gemm = node("Gemm", &["x", "w"], "y");
    let read = import_bytes(&model(&[-1, 3], vec![gemm], vec![ones("w", &[3, 2])]).encode_to_vec(), "m").unwrap();
    assert_eq!((read.network.output_len(), read.theta), (2, vec![1.0; 6]));
}

#[test]
fn unknown_operators_are_named() {
    let sine = model(&[1, 3], vec![node("Sin", &["x"], "y")], vec![]);
    refused(
        &sine,
        &[
            "node `/Sin_3`: operator Sin is not supported; of constants it is computed",
            "supported are Abs, Add, AveragePool, Batch",
            "Transpose",
        ],
    );
    let mut foreign = node("Relu", &["x"], "y");
    (foreign.domain, foreign.name) = ("com.example".into(), String::new());
    refused(&model(&[1, 3], vec![foreign], vec![]), &["node `y`: operator com.example::Relu is not supported"]);
}

#[test]
fn models_without_a_usable_frame() {
    let relu = || vec![node("Relu", &["x"], "y")];
    let good = model(&[1, 3], relu(), vec![]);
    assert!(import_bytes(&good.encode_to_vec(), "m").is_ok());
    refused(&ModelProto::default(), &["holds no graph"]);
    refused(&ModelProto { opset_import: vec![], ..good.clone() }, &["no version"]);
    for version in [6, 99, -1] {
        let opset_import = vec![OperatorSetIdProto { domain: "ai.onnx".into(), version }];
        refused(&ModelProto { opset_import, ..good.clone() }, &["opset", &version.to_string(), "7 to 28"]);
    }
    let changed = |change: &dyn Fn(&mut GraphProto)| {
        let mut model = good.clone();
        change(model.graph.as_mut().unwrap());
        model
    };
    refused(&changed(&|graph| graph.input.clear()), &["0 inputs"]);
    let two = changed(&|graph| {
        graph.input.push(value_info("z", &[1, 3]));
        graph.node[0] = node("Add", &["x", "z"], "y");
    });
    refused(&two, &["depends on 2 inputs, `x`, `z`", "fix the others by initializers"]);
    refused(&changed(&|graph| graph.output.push(value_info("x", &[1, 3]))), &["2 outputs"]);
    refused(&changed(&|graph| graph.output[0].name = "q".into()), &["no node makes its output `q`"]);
    refused(&changed(&|graph| graph.input[0].r#type = None), &["input `x` is no tensor"]);
    refused(&changed(&|graph| graph.node = vec![node("Relu", &["x"], "y"); 20_001]), &["20001 nodes", "at most 20000"]);
    refused(&changed(&|graph| graph.node.push(node("Relu", &["x"], "y"))), &["makes `y`, which exists already"]);
    for (dims, parts) in [
        (&[][..], "a single number without an axis"),
        (&[-1], "one axis of unknown length"),
        (&[-2, 3], "impossible batch -2"),
        (&[-1, -1], "dynamic axis 1"),
        (&[1, 0], "impossible length on axis 1"),
        (&[1, -7], "impossible length on axis 1"),
        (&[1, i64::MAX, i64::MAX], "impossible shape"),
    ] {
        refused(&model(dims, relu(), vec![]), &[parts]);
    }
    let mut batch = model(&[64, 3], relu(), vec![]);
    batch.graph.as_mut().unwrap().output[0] = value_info("y", &[64, 3]);
    refused(&batch, &["fixed batch of 64"]);
    let mut whole = good.clone();
    if let Some(kind) = &mut whole.graph.as_mut().unwrap().input[0].r#type {
        kind.tensor_type.as_mut().unwrap().elem_type = 7;
    }
    refused(&whole, &["int64", "must be float32"]);
}

#[test]
fn broken_graphs() {
    let missing = model(&[1, 3], vec![node("Gemm", &["x", "w"], "y")], vec![]);
    refused(&missing, &["node `/Gemm_3` (Gemm)", "reads `w`, which is no initializer and no output"]);
    let cycle = vec![node("Add", &["x", "b"], "a"), node("Relu", &["a"], "b"), node("Relu", &["b"], "y")];
    refused(&model(&[1, 3], cycle, vec![]), &["reads `b`", "loops are not supported"]);
    let itself = vec![node("Add", &["x", "y"], "y")];
    refused(&model(&[1, 3], itself, vec![]), &["reads `y`", "loops"]);
    refused(&model(&[1, 3], vec![node("Relu", &[], "y")], vec![]), &["has 0 inputs; it takes 1 to 1"]);
    refused(&model(&[1, 3], vec![node("Relu", &["x", "x"], "y")], vec![]), &["has 2 inputs"]);
    let constant = model(&[1, 3], vec![node("Identity", &["w"], "y")], vec![ones("w", &[1, 3])]);
    refused(&constant, &["output `y` does not depend on its input"]);
    let mut two = node("Dropout", &["x"], "a");
    two.output.push("b".into());
    refused(&model(&[1, 3], vec![two, node("Add", &["a", "b"], "y")], vec![]), &["2 outputs that are read"]);
}

#[test]
fn broken_tensors() {
    let gemm = |weight: TensorProto| model(&[1, 3], vec![node("Gemm", &["x", "w"], "y")], vec![weight]);
    refused(&gemm(encode_floats("w", &[3, 1], &[1.0, f32::NAN, 2.0])), &["tensor `w`: holds NaN at element 1"]);
    refused(&gemm(encode_floats("w", &[3, 1], &[1.0, 2.0, f32::INFINITY])), &["tensor `w`: holds inf at element 2"]);
    refused(&gemm(encode_floats("w", &[3, 1], &[1.0; 2])), &["tensor `w`: holds 2 values for the shape [3, 1]"]);
    refused(&gemm(TensorProto { dims: vec![3, -1], ..ones("w", &[3, 1]) }), &["impossible shape [3, -1]"]);
    refused(&gemm(TensorProto { dims: vec![i64::MAX, 4], ..ones("w", &[3, 1]) }), &["impossible shape"]);
    refused(&gemm(TensorProto { raw_data: Some(vec![0; 11]), ..ones("w", &[3, 1]) }), &["11 bytes"]);
    refused(&gemm(TensorProto { raw_data: None, ..ones("w", &[3, 1]) }), &["holds 0 values"]);
    refused(&gemm(TensorProto { data_type: 8, ..ones("w", &[3, 1]) }), &["string", "export the model with float32"]);
    refused(&gemm(TensorProto { data_type: 77, ..ones("w", &[3, 1]) }), &["number 77"]);
    refused(
        &gemm(TensorProto { dims: vec![3, 1], ..encode_integers("w", &[1, 2, 3]) }),
        &["tensor `w`: holds integers"],
    );
    let entry = StringStringEntryProto { key: "location".into(), value: "weights.bin".into() };
    let external = TensorProto { data_location: 1, external_data: vec![entry], raw_data: None, ..ones("w", &[3, 1]) };
    refused(&gemm(external), &["tensor `w`", "weights.bin (external data)", "as a file"]);
    let double = |value: f64| TensorProto {
        dims: vec![3, 1],
        data_type: code::TENSOR_DOUBLE,
        double_data: vec![value; 3],
        name: "w".into(),
        ..Default::default()
    };
    let read = |value| import_bytes(&gemm(double(value)).encode_to_vec(), "m").unwrap();
    assert_eq!((read(0.1).theta, read(0.1).weights().theta()), (vec![0.1; 3], &[0.1; 3][..]));
    assert_eq!(read(0.5).exact, None);
    assert_eq!((read(1e300).theta, read(1e300).weights().theta()), (vec![f32::INFINITY; 3], &[1e300; 3][..]));
    let listed = TensorProto { raw_data: None, float_data: vec![1.0, 2.0, 3.0], ..ones("w", &[3, 1]) };
    assert_eq!(import_bytes(&gemm(listed).encode_to_vec(), "m").unwrap().theta, [1.0, 2.0, 3.0]);
}

fn doubles(name: &str, dims: &[usize], values: &[f64]) -> TensorProto {
    TensorProto {
        dims: dims.iter().map(|&side| side as i64).collect(),
        data_type: code::TENSOR_DOUBLE,
        double_data: values.to_vec(),
        name: name.into(),
        ..Default::default()
    }
}

/// What no f64 holds is kept beside the nearest one: exactly where it is a product, else to many digits.
#[test]
fn folding_loses_nothing() {
    let factor = f64::from(0.1_f32);
    let gemm = with_float(with_float(node("Gemm", &["x", "w", "b"], "y"), "alpha", 0.1), "beta", 0.3);
    let files = [
        (false, vec![ones("w", &[2, 1]), ones("b", &[1])]),
        (true, vec![doubles("w", &[2, 1], &[0.1, 3.0]), doubles("b", &[1], &[0.7])]),
    ];
    for (double, initializers) in files {
        let read = import_bytes(&model(&[1, 2], vec![gemm.clone()], initializers).encode_to_vec(), "m").unwrap();
        let weights = read.weights();
        let expected = if double { [factor * 0.1, factor * 3.0] } else { [factor; 2] };
        assert_eq!(weights.theta()[..2], expected);
        let known: Vec<_> = weights.finer().keys().copied().collect();
        assert_eq!(known, if double { vec![Place::Theta(0), Place::Theta(2)] } else { vec![] });
        if double {
            let product = weights.number(Place::Theta(0), 0.0);
            assert!(product.is_exact() && product.value == &Dyadic::from(0.1) * &Dyadic::from(factor));
        }
    }
    // (x − m) / s · f + c, all in one layer.
    let [m, s, f, c] = [0.1307_f32, 0.3081, 0.7, 0.2].map(f64::from);
    let chain = [("Sub", "x", "m", "a"), ("Div", "a", "s", "b"), ("Mul", "b", "f", "c"), ("Add", "c", "k", "y")];
    let nodes = chain.iter().map(|(operator, from, constant, to)| node(operator, &[from, constant], to)).collect();
    let constants = [("m", m), ("s", s), ("f", f), ("k", c)].map(|(name, value)| doubles(name, &[1], &[value]));
    let read = import_bytes(&model(&[1, 2], nodes, constants.to_vec()).encode_to_vec(), "m").unwrap();
    assert_eq!(read.network.nodes().len(), 2);
    let weights = read.weights();
    let [scale, shift] = [Place::Scale(1, 0), Place::Shift(1, 0)].map(|place| weights.finer()[&place].clone());
    // scale·s = f and shift·s = (c·s − m·f), to far more digits than f64 has.
    let tiny = Dyadic::from(1e-80);
    let [m, s, f, c] = [m, s, f, c].map(Dyadic::from);
    assert!((&(&scale.value * &s) - &f).abs() < tiny && scale.radius < tiny && !scale.is_exact());
    assert!((&(&(&shift.value * &s) - &(&c * &s)) + &(&m * &f)).abs() < tiny && shift.radius < tiny);
    for variance in [2.25, 2.0] {
        let normalisation = with_float(node("BatchNormalization", &["x", "f", "c", "m", "v"], "y"), "epsilon", 0.0);
        let constants = [("f", 1.5), ("c", 0.25), ("m", 0.75), ("v", variance)].map(|(n, v)| doubles(n, &[1], &[v]));
        let file = model(&[1, 1, 2, 2], vec![normalisation], constants.to_vec());
        let read = import_bytes(&file.encode_to_vec(), "m").unwrap();
        let scale = read.weights().number(Place::Scale(1, 0), 0.0);
        // 1 / 1.5 is no binary number either.
        assert!(!scale.is_exact() && scale.radius < tiny);
        let square = &(&scale.value * &scale.value) * &Dyadic::from(variance);
        assert!((&square - &Dyadic::one()).abs() < tiny, "{variance}");
    }
}

#[test]
fn casts_round_constants_and_pass_activations_on() {
    let cast = |from: &str, to: &str, kind: i32| with_int(node("Cast", &[from], to), "to", i64::from(kind));
    let double =
        vec![cast("x", "a", code::TENSOR_DOUBLE), node("Gemm", &["a", "w"], "b"), cast("b", "y", code::TENSOR_FLOAT)];
    let weights = doubles("w", &[2, 1], &[0.1, 3.0]);
    let file = |nodes| model(&[1, 2], nodes, vec![weights.clone()]);
    let read = import_bytes(&file(double).encode_to_vec(), "m").unwrap();
    assert_eq!((read.network.nodes().len(), read.weights().theta()), (2, &[0.1, 3.0][..]));
    let rounded = vec![cast("w", "v", code::TENSOR_FLOAT), node("Gemm", &["x", "v"], "y")];
    let read = import_bytes(&file(rounded).encode_to_vec(), "m").unwrap();
    assert_eq!(read.weights().theta(), [f64::from(0.1_f32), 3.0]);
    refused(&file(vec![cast("x", "y", 7)]), &["depends on the input to int64", "floating-point types"]);
}

#[test]
fn a_small_file_cannot_claim_much_memory() {
    // 64 KiB of constant against an activation of 2³¹ elements.
    let wide = vec![node("Add", &["x", "c"], "y")];
    refused(&model(&[1, 1 << 17, 1 << 14], wide, vec![ones("c", &[1 << 14])]), &["tensor `c`", "in memory"]);
    // One tensor as the weight of several layers.
    let chain = vec![
        node("Gemm", &["x", "w"], "a"),
        node("Gemm", &["a", "w"], "b"),
        node("Gemm", &["b", "w"], "c"),
        node("Gemm", &["c", "w"], "y"),
    ];
    let shared = model(&[1, 16], chain, vec![ones("w", &[16, 16])]).encode_to_vec();
    let read = |budget| super::read(&shared, &Files::beside(None), budget);
    assert!(read(4 * 256).is_ok());
    let message = read(4 * 256 - 1).unwrap_err().to_string();
    assert!(message.contains("tensor `w`") && message.contains("in memory"), "{message}");
}

#[test]
fn forms_that_are_no_layer() {
    let case = |input: &[i64], node: NodeProto, initializer: Vec<TensorProto>, parts: &[&str]| {
        let name = format!("node `{}` ({})", node.name, node.op_type);
        let parts: Vec<&str> = parts.iter().copied().chain([name.as_str()]).collect();
        refused(&model(input, vec![node], initializer), &parts);
    };
    let conv = || node("Conv", &["x", "w"], "y");
    let image = &[1, 2, 5, 5];
    case(&[1, 2], conv(), vec![ones("w", &[1, 2, 3])], &["[1, channels, sides…]"]);
    case(image, conv(), vec![ones("w", &[1, 2, 3])], &["2 axes beside batch and channels"]);
    case(image, conv(), vec![ones("w", &[1, 3, 3, 3])], &["does not fit an input of 2 channels"]);
    case(image, conv(), vec![ones("w", &[1, 2, 7, 3])], &["7×3 window", "does not fit an input of 5×5"]);
    case(image, conv(), vec![ones("w", &[0, 2, 3, 3])], &["impossible"]);
    case(image, conv(), vec![ones("w", &[1, 2, 0, 3])], &["does not fit"]);
    case(image, with_int(conv(), "group", 0), vec![ones("w", &[1, 2, 3, 3])], &["group must be at least 1"]);
    case(image, with_int(conv(), "group", i64::MAX), vec![ones("w", &[1, 2, 3, 3])], &["does not fit"]);
    case(image, with_ints(conv(), "pads", &[0, 0, -1, 0]), vec![ones("w", &[1, 2, 3, 3])], &["`pads`", "at least 0"]);
    case(image, with_ints(conv(), "pads", &[i64::MAX; 4]), vec![ones("w", &[1, 2, 3, 3])], &["does not fit"]);
    case(image, with_ints(conv(), "strides", &[0, 1]), vec![ones("w", &[1, 2, 3, 3])], &["`strides`", "at least 1"]);
    case(image, with_ints(conv(), "dilations", &[1]), vec![ones("w", &[1, 2, 3, 3])], &["`dilations`", "2 values"]);
    case(image, with_ints(conv(), "kernel_shape", &[2, 2]), vec![ones("w", &[1, 2, 3, 3])], &["kernel_shape"]);
    case(image, with_int(conv(), "strides", 2), vec![ones("w", &[1, 2, 3, 3])], &["`strides` has the wrong type"]);
    case(image, with_string(conv(), "auto_pad", "MIRROR"), vec![ones("w", &[1, 2, 3, 3])], &["auto_pad = MIRROR"]);
    let narrow = with_ints(with_string(conv(), "auto_pad", "SAME_UPPER"), "strides", &[4, 4]);
    case(&[1, 2, 8, 8], narrow, vec![ones("w", &[1, 2, 1, 1])], &["auto_pad does not define"]);
    case(image, with_int(conv(), "fused", 1), vec![ones("w", &[1, 2, 3, 3])], &["attribute `fused` is not known"]);
    case(image, node("Conv", &["x", "x"], "y"), vec![], &["must be a constant"]);
    let biased = node("Conv", &["x", "w", "b"], "y");
    case(image, biased, vec![ones("w", &[1, 2, 3, 3]), ones("b", &[4])], &["bias of shape [4]"]);

    case(image, node("Gemm", &["x", "w"], "y"), vec![ones("w", &[50, 3])], &["put a Flatten before it"]);
    case(&[1, 4], node("Gemm", &["x", "w"], "y"), vec![ones("w", &[3, 4])], &["does not fit an input of 4"]);
    case(&[1, 4], with_int(node("Gemm", &["x", "w"], "y"), "transA", 1), vec![ones("w", &[4, 4])], &["1 features"]);
    case(&[1, 4], node("Gemm", &["w", "x"], "y"), vec![ones("w", &[4, 4])], &["1 features"]);
    case(&[1, 4], node("MatMul", &["w", "x"], "y"), vec![ones("w", &[3, 4])], &["1 features"]);
    case(&[1, 4], node("MatMul", &["x", "w"], "y"), vec![ones("w", &[3])], &["an input of 4 features"]);
    case(&[1, 4], node("MatMul", &["x", "w"], "y"), vec![ones("w", &[])], &["a single number; use Mul"]);
    case(&[1, 4], node("MatMul", &["x", "x"], "y"), vec![], &["shapes [1, 4] and [1, 4]", "do not fit each other"]);

    for exponents in [vec![0.0], vec![0.5], vec![17.0], vec![2.0, 3.0, 2.0, 2.0]] {
        let w = encode_floats("w", &[exponents.len()], &exponents);
        case(&[1, 4], node("Pow", &["x", "w"], "y"), vec![w], &["exponents `w`", "from 1 to 16"]);
    }
    case(&[1, 4], node("Pow", &["x", "x"], "y"), vec![], &["input 1 (`x`) depends on the network's input"]);
    case(&[1, 4], node("Pow", &["w", "x"], "y"), vec![ones("w", &[4])], &["input 0 (`w`) is a constant"]);
    case(&[4, 1], node("Softmax", &["x"], "y"), vec![], &["one element to share 1 among"]);
    case(&[1, 600], node("Softmax", &["x"], "y"), vec![], &["600 elements, 1 times", "take its input for the output"]);
    case(&[1, 4], node("Div", &["x", "w"], "y"), vec![encode_floats("w", &[1], &[0.0])], &["zeros to divide by"]);
    case(&[1, 4], node("Add", &["x", "w"], "y"), vec![ones("w", &[3])], &["`w` of shape [3] does not fit"]);
    let shapes = vec![with_ints(node("Transpose", &["x"], "t"), "perm", &[0, 2, 1]), node("Add", &["x", "t"], "y")];
    refused(&model(&[1, 2, 3], shapes, vec![]), &["[1, 2, 3] and [1, 3, 2]", "do not fit each other"]);
    for operator in ["Mul", "Div"] {
        let turned = with_ints(node("Transpose", &["x"], "t"), "perm", &[0, 2, 1]);
        let shapes = vec![turned, node(operator, &["x", "t"], "y")];
        refused(&model(&[1, 2, 3], shapes, vec![]), &["[1, 2, 3] and [1, 3, 2]", "do not fit each other"]);
    }

    let norm = |mode| with_int(node("BatchNormalization", &["x", "a", "b", "m", "v"], "y"), mode, 1);
    let four = |variance: f32| {
        let mut tensors: Vec<TensorProto> = ["a", "b", "m"].map(|name| ones(name, &[2])).into();
        tensors.push(encode_floats("v", &[2], &[1.0, variance]));
        tensors
    };
    case(image, norm("training_mode"), four(1.0), &["training mode"]);
    case(image, norm("spatial"), four(-1.0), &["`v` plus epsilon is not positive"]);
    case(&[1, 3, 5, 5], norm("spatial"), four(1.0), &["3 channels"]);

    let pool = || with_ints(node("AveragePool", &["x"], "y"), "kernel_shape", &[2, 2]);
    case(image, node("AveragePool", &["x"], "y"), vec![], &["`kernel_shape` is missing"]);
    let left_over = with_int(with_ints(pool(), "strides", &[2, 2]), "ceil_mode", 1);
    case(image, with_int(left_over, "count_include_pad", 1), vec![], &["ceil_mode"]);
    case(&[1, 4], node("GlobalAveragePool", &["x"], "y"), vec![], &["[1, channels, sides…]"]);
    let pool = || with_ints(node("MaxPool", &["x"], "y"), "kernel_shape", &[2, 2]);
    case(image, node("MaxPool", &["x"], "y"), vec![], &["`kernel_shape` is missing"]);
    case(image, with_ints(pool(), "pads", &[2, 2, 2, 2]), vec![], &["covers nothing but padding"]);
    case(&[1, 4], node("GlobalMaxPool", &["x"], "y"), vec![], &["[1, channels, sides…]"]);

    case(&[1, 4], with_float(node("LeakyRelu", &["x"], "y"), "alpha", f32::NAN), vec![], &["`alpha` is NaN"]);
    case(&[1, 4], with_float(node("Tanh", &["x"], "y"), "alpha", 0.5), vec![], &["`alpha` is not known"]);
    let end = |name: &str, value: f32| encode_floats(name, &[], &[value]);
    let ends = |low: f32, high: f32| vec![end("a", low), end("b", high)];
    let clip = |inputs: &[&str]| node("Clip", inputs, "y");
    case(&[1, 4], clip(&["x", "a", "b"]), ends(1.0, 1.0), &["min = 1 is not below max = 1"]);
    case(&[1, 4], clip(&["x", "a", "b"]), ends(2.0, 1.0), &["min = 2 is not below max = 1"]);
    case(&[1, 4], clip(&["x", "b"]), vec![encode_floats("b", &[2], &[0.0; 2])], &["its min has 2 values"]);
    case(&[1, 4], clip(&["x", "x"]), vec![], &["must be a constant"]);

    case(&[-1, 2, 4], with_int(node("Flatten", &["x"], "y"), "axis", 4), vec![], &["use axis = 1"]);
    case(&[1, 4], with_int(node("Flatten", &["x"], "y"), "axis", i64::MIN), vec![], &["use axis = 1"]);
    let reshape = || node("Reshape", &["x", "s"], "y");
    case(&[1, 2, 4], reshape(), vec![encode_integers("s", &[2, 5])], &["cannot reshape [1, 2, 4], a batch of one"]);
    refused(&model(&[1, 2, 4], vec![reshape()], vec![ones("s", &[2])]), &["tensor `s`: holds floats"]);
    case(&[1, 2, 4], reshape(), vec![encode_integers("s", &[1; 100])], &["cannot reshape"]);
    case(&[1, 2, 4], with_ints(node("Transpose", &["x"], "y"), "perm", &[0, 2, 2]), vec![], &["no order of 3 axes"]);
    case(&[1, 2, 4], with_ints(node("Transpose", &["x"], "y"), "perm", &[-1, 2, 1]), vec![], &["no order"]);
    let slice = |ends: &[i64]| {
        let inputs = vec![encode_integers("a", &[0]), encode_integers("b", ends), encode_integers("c", &[1])];
        (node("Slice", &["x", "a", "b", "c"], "y"), inputs)
    };
    case(&[1, 4], slice(&[0]).0, slice(&[0]).1, &["output shape [1, 0] is impossible"]);
    case(&[1, 4], slice(&[0, 1]).0, slice(&[0, 1]).1, &["of different lengths"]);
    let concat = with_int(node("Concat", &["x", "w"], "y"), "axis", 0);
    case(&[1, 4], concat, vec![ones("w", &[1, 3])], &["cannot join [1, 4] and [1, 3] along axis 0"]);
    let gather = with_int(node("Gather", &["x", "i"], "y"), "axis", 1);
    case(&[1, 4], gather, vec![encode_integers("i", &[4])], &["`i` is beyond axis 1 of [1, 4]"]);
    let pad = |pads: &[i64]| (node("Pad", &["x", "p"], "y"), vec![encode_integers("p", pads)]);
    case(&[1, 4], pad(&[0, -3, 0, -1]).0, pad(&[0, -3, 0, -1]).1, &["leave nothing of the shape [1, 4]"]);
    case(&[1, 4], pad(&[0, 1]).0, pad(&[0, 1]).1, &["2 pads for 2 axes"]);
    case(&[1, 4], pad(&[0, 0, 0, i64::MAX]).0, pad(&[0, 0, 0, i64::MAX]).1, &["leave nothing"]);
    case(&[1, 4], pad(&[0, 0, 0, 1 << 40]).0, pad(&[0, 0, 0, 1 << 40]).1, &["too much room in memory"]);
    let mut split = with_int(node("Split", &["x"], "y"), "axis", 1);
    split.output.push("z".into());
    case(&[1, 4], with_ints(split, "split", &[3, 3]), vec![], &["cannot split axis 1 of [1, 4]"]);
    let expand = |to: &[i64]| (node("Expand", &["x", "s"], "y"), vec![encode_integers("s", to)]);
    case(&[1, 4], expand(&[3]).0, expand(&[3]).1, &["cannot expand [1, 4] to [3]"]);
    case(&[1, 4], expand(&[1 << 40, 4]).0, expand(&[1 << 40, 4]).1, &["too much room in memory"]);
    let squeeze = with_ints(node("Squeeze", &["x"], "y"), "axes", &[1]);
    case(&[1, 4], squeeze, vec![], &["axis 1 of [1, 4] is longer than 1"]);
    let resize = with_string(node("Resize", &["x", "", "f"], "y"), "mode", "linear");
    case(&[1, 1, 2], resize, vec![encode_floats("f", &[3], &[1.0, 1.0, 2.0])], &["mode = linear is not supported"]);
    let transposed = || node("ConvTranspose", &["x", "w"], "y");
    case(image, transposed(), vec![ones("w", &[3, 2, 3, 3])], &["does not fit an input of shape [1, 2, 5, 5]"]);
    let cut = with_ints(transposed(), "pads", &[9, 9, 9, 9]);
    case(image, cut, vec![ones("w", &[2, 2, 3, 3])], &["leaves nothing of its output"]);
    case(&[1, 4], node("Constant", &[], "y"), vec![], &["no dense value"]);
}

/// A vector becomes an image: the input itself where nothing else reads it, else by a layer.
#[test]
fn reshapes_to_images() {
    let kinds = |nodes: Vec<NodeProto>, constants: Vec<TensorProto>| {
        let read = import_bytes(&model(&[-1, 4], nodes, constants).encode_to_vec(), "m").unwrap();
        read.network.nodes().iter().map(|node| node.layer.kind()).collect::<Vec<_>>()
    };
    let constants = vec![encode_integers("s", &[0, 1, 2, 2]), ones("w", &[1, 1, 2, 2])];
    let reshape = || vec![node("Reshape", &["x", "s"], "i"), node("Conv", &["i", "w"], "c")];
    let alone = [reshape(), vec![node("Flatten", &["c"], "y")]].concat();
    assert_eq!(kinds(alone, constants.clone()), ["input", "conv2d", "flatten"]);
    let shared =
        [reshape(), vec![node("Flatten", &["c"], "f"), node("Gemm", &["x", "v"], "g"), node("Add", &["f", "g"], "y")]];
    let constants = [constants, vec![ones("v", &[4, 1])]].concat();
    let found = kinds(shared.concat(), constants);
    assert_eq!(found, ["input", "gather", "conv2d", "flatten", "linear", "add"]);
}

/// Whoever has images to give finds the file's shape again.
#[test]
fn images_in_another_shape_stay_the_input() {
    let nodes = vec![node("Reshape", &["x", "s"], "i"), node("Conv", &["i", "w"], "c"), node("Flatten", &["c"], "y")];
    let constants = vec![encode_integers("s", &[0, 2, 2, 3]), ones("w", &[1, 2, 2, 2])];
    let shape = |dims: &[i64]| {
        let read = import_bytes(&model(dims, nodes.clone(), constants.clone()).encode_to_vec(), "m").unwrap();
        read.network.input_shape().to_vec()
    };
    assert_eq!(shape(&[-1, 3, 2, 2]), [3, 2, 2]);
    assert_eq!([shape(&[-1, 12]), shape(&[-1, 12, 1])], [[2, 2, 3]; 2]);
}

#[test]
fn long_graphs_of_equal_names_are_read() {
    let count = 5000;
    let name = |index: usize| match index {
        0 => "x".to_string(),
        _ if index == count => "y".to_string(),
        _ => format!("t{index}"),
    };
    let nodes = (0..count).map(|index| node("Relu", &[&name(index)], &name(index + 1))).collect();
    let read = import_bytes(&model(&[1, 2], nodes, vec![]).encode_to_vec(), "m").unwrap();
    assert_eq!(read.network.nodes().len(), count + 1);
    assert_eq!(read.network.node(1).name, "/Relu_3");
    assert_eq!(read.network.node(count).name, format!("/Relu_3.{count}"));
}

/// Early opsets state the ends of a Clip as attributes. The largest float32 is an end as any other, and far ones take no digits
/// from values in between.
#[test]
fn every_form_of_clip_is_read() {
    let layers = |node: NodeProto, constants: Vec<TensorProto>| {
        let read = import_bytes(&model(&[1, 3], vec![node], constants).encode_to_vec(), "m").unwrap();
        read.network.nodes().iter().skip(1).map(|node| node.layer.clone()).collect::<Vec<_>>()
    };
    let six = [Layer::Activation(Activation::Clip { lower: 0.0, upper: 6.0 })];
    let clip = |inputs: &[&str]| node("Clip", inputs, "y");
    let constants = || vec![encode_floats("a", &[], &[0.0]), encode_floats("b", &[1], &[6.0])];
    assert_eq!(layers(clip(&["x", "a", "b"]), constants()), six);
    assert_eq!(layers(with_float(with_float(clip(&["x"]), "min", 0.0), "max", 6.0), vec![]), six);
    assert_eq!(layers(clip(&["x", "a"]), constants()), [Layer::RELU]);
    assert_eq!(layers(clip(&["x", "a", ""]), constants()), [Layer::RELU]);
    let most = Layer::Activation(Activation::Clip { lower: 0.0, upper: f32::MAX.into() });
    assert_eq!(layers(with_float(with_float(clip(&["x"]), "min", 0.0), "max", f32::MAX), vec![]), [most]);
    for (name, far) in [("min", -f32::MAX), ("max", f32::MAX)] {
        let bytes = model(&[1, 3], vec![with_float(clip(&["x"]), name, far)], vec![]).encode_to_vec();
        let read = import_bytes(&bytes, "m").unwrap();
        let theta = read.weights().theta().to_vec();
        for x in [[0.1, -5.0, 1e3], [f64::from(far) * 4.0, 1.0, 0.0]] {
            let expected = x.map(|x| if name == "min" { x.max(far.into()) } else { x.min(far.into()) });
            assert_eq!(tightrope_testkit::evaluate::evaluate(&read.network, &theta, &x).last().unwrap(), &expected);
        }
    }
    let without_ends = vec![node("Clip", &["x"], "c"), node("Relu", &["c"], "y")];
    let read = import_bytes(&model(&[1, 3], without_ends, vec![]).encode_to_vec(), "m").unwrap();
    assert_eq!((read.network.nodes().len(), &read.network.node(1).layer), (2, &Layer::RELU));
    let leaky = layers(node("LeakyRelu", &["x"], "y"), vec![]);
    assert_eq!(leaky, [Layer::Activation(Activation::LeakyRelu { slope: 0.01_f32.into() })], "the default");
}
