//! What folded constants, choices and resized axes come to, and which of them are refused because runtimes differ.

use prost::Message;
use tightrope_network::{Activation, Layer};

use super::import_bytes;
use super::tests::{model, node, refused, with_int, with_ints};
use crate::proto::{ModelProto, NodeProto, TensorProto, code};
use crate::tensor::{encode_floats, encode_integers};

/// The layers behind the input.
fn layers(model: &ModelProto) -> Vec<Layer> {
    let read = import_bytes(&model.encode_to_vec(), "m").unwrap_or_else(|e| panic!("{e}"));
    read.network.nodes().iter().skip(1).map(|node| node.layer.clone()).collect()
}

/// x plus what `nodes` make of the constants, under the name `c`.
fn added(mut nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> ModelProto {
    nodes.push(node("Add", &["x", "c"], "y"));
    model(&[1, 2], nodes, constants)
}

fn shift(model: &ModelProto) -> Vec<f64> {
    match &layers(model)[..] {
        [Layer::Affine(affine)] => affine.shift.clone(),
        other => panic!("{other:?}"),
    }
}

fn cast(from: &str, to: &str, kind: i32) -> NodeProto {
    with_int(node("Cast", &[from], to), "to", i64::from(kind))
}

#[test]
fn remainders_have_the_sign_that_fmod_says() {
    let constants = || vec![encode_floats("a", &[2], &[-7.0, 7.5]), encode_floats("b", &[2], &[2.0, -2.0])];
    let remainder = |fmod| with_int(node("Mod", &["a", "b"], "c"), "fmod", fmod);
    assert_eq!(shift(&added(vec![remainder(1)], constants())), [-1.0, 1.5]);
    assert_eq!(shift(&added(vec![remainder(0)], constants())), [1.0, -0.5]);
    let whole = vec![encode_integers("a", &[-7, 7]), encode_integers("b", &[2, -2])];
    let nodes = |fmod| vec![with_int(node("Mod", &["a", "b"], "d"), "fmod", fmod), cast("d", "c", code::TENSOR_FLOAT)];
    assert_eq!(shift(&added(nodes(1), whole.clone())), [-1.0, 1.0]);
    assert_eq!(shift(&added(nodes(0), whole)), [1.0, -1.0]);
}

/// Some runtimes wrap around, some saturate, and casts of what does not fit mean nothing at all.
#[test]
fn numbers_beyond_their_type_are_refused() {
    let through = |from: i32, operator: &str, value: i64, other: i64| {
        let nodes = vec![
            cast("a", "p", from),
            cast("b", "q", from),
            node(operator, &["p", "q"], "r"),
            cast("r", "c", code::TENSOR_FLOAT),
        ];
        added(nodes, vec![encode_integers("a", &[value]), encode_integers("b", &[other])])
    };
    assert_eq!(shift(&through(code::TENSOR_INT32, "Mul", 1 << 20, 1 << 10)), [2.0_f64.powi(30)]);
    refused(&through(code::TENSOR_INT32, "Mul", 1 << 20, 1 << 12), &["tensor `r`", "int32 cannot"]);
    refused(&through(code::TENSOR_UINT8, "Sub", 3, 5), &["tensor `r`", "uint8 cannot"]);
    refused(&through(code::TENSOR_UINT8, "Add", 257, 0), &["tensor `p`", "uint8 cannot"]);
    refused(&through(code::TENSOR_INT32, "Add", (1 << 33) + 5, 0), &["tensor `p`", "int32 cannot"]);
    let real = vec![cast("a", "d", code::TENSOR_INT8), cast("d", "c", code::TENSOR_FLOAT)];
    assert_eq!(shift(&added(real.clone(), vec![encode_floats("a", &[1], &[-3.7])])), [-3.0]);
    refused(&added(real, vec![encode_floats("a", &[1], &[128.0])]), &["tensor `d`", "int8 cannot"]);
}

#[test]
fn products_of_constants_are_computed() {
    let constants = vec![encode_floats("a", &[2, 2], &[1.0, 2.0, 3.0, 4.0]), encode_floats("b", &[2], &[10.0, 1.0])];
    assert_eq!(shift(&added(vec![node("MatMul", &["a", "b"], "c")], constants.clone())), [12.0, 34.0]);
    assert_eq!(shift(&added(vec![node("MatMul", &["b", "a"], "c")], constants)), [13.0, 24.0]);
}

#[test]
fn transposed_convolutions_have_the_length_that_is_asked_for() {
    let outputs = |length: i64| {
        let transposed =
            with_ints(with_ints(node("ConvTranspose", &["x", "w"], "y"), "strides", &[2]), "output_shape", &[length]);
        let read = model(&[1, 1, 3], vec![transposed], vec![encode_floats("w", &[1, 1, 3], &[1.0; 3])]);
        import_bytes(&read.encode_to_vec(), "m").unwrap().network.output_len()
    };
    // Whole: 7.
    assert_eq!([5, 6, 7, 8, 9].map(outputs), [5, 6, 7, 8, 9]);
}

#[test]
fn infinite_ends_of_a_clip_are_none() {
    let clip = |low: f32, high: f32| {
        let constants = vec![encode_floats("a", &[], &[low]), encode_floats("b", &[], &[high])];
        model(&[1, 3], vec![node("Clip", &["x", "a", "b"], "y")], constants)
    };
    assert_eq!(layers(&clip(0.0, f32::INFINITY)), [Layer::RELU]);
    assert_eq!(layers(&clip(f32::NEG_INFINITY, f32::INFINITY)).len(), 1);
    assert_eq!(layers(&clip(0.0, 6.0)), [Layer::Activation(Activation::Clip { lower: 0.0, upper: 6.0 })]);
    refused(&clip(0.0, f32::NAN), &["node `/Clip_3` (Clip)", "max is NaN"]);
    refused(&clip(f32::INFINITY, f32::INFINITY), &["min is inf"]);
    refused(&clip(0.0, f32::NEG_INFINITY), &["max is -inf"]);
    let weights = vec![encode_floats("w", &[2, 1], &[1.0, f32::INFINITY])];
    refused(&model(&[1, 2], vec![node("Gemm", &["x", "w"], "y")], weights), &["tensor `w`", "inf at element 1"]);
}

#[test]
fn comparisons_are_read_around_a_softplus_alone() {
    let nodes = |threshold: &'static str, straight: &'static str| {
        vec![
            node("Softplus", &["x"], "s"),
            node("Greater", &["x", threshold], "g"),
            node("Neg", &["x"], "n"),
            node("Where", &["g", straight, "s"], "y"),
        ]
    };
    let constants = || vec![encode_floats("20", &[], &[20.0]), encode_floats("2", &[], &[2.0])];
    let softplus = layers(&model(&[1, 3], nodes("20", "x"), constants()));
    assert!(softplus.contains(&Layer::Activation(Activation::Softplus)), "{softplus:?}");
    refused(&model(&[1, 3], nodes("2", "x"), constants()), &["(Where)", "depends on the input", "Relu"]);
    refused(&model(&[1, 3], nodes("20", "n"), constants()), &["(Where)", "depends on the input"]);
    let elsewhere = vec![node("Greater", &["x", "2"], "g"), cast("g", "y", code::TENSOR_FLOAT)];
    refused(&model(&[1, 3], elsewhere, constants()), &["(Cast)", "a comparison"]);
}

#[test]
fn choices_by_constants_take_either() {
    let condition = TensorProto { data_type: code::TENSOR_BOOL, ..encode_integers("c", &[1, 0, 1]) };
    let condition = TensorProto { raw_data: Some(vec![1, 0, 1]), ..condition };
    let chosen = |no: &'static str| {
        let constants = vec![condition.clone(), encode_floats("k", &[3], &[7.0, 8.0, 9.0])];
        layers(&model(&[1, 3], vec![node("Relu", &["x"], "r"), node("Where", &["c", "r", no], "y")], constants))
    };
    let Some(Layer::Affine(affine)) = chosen("k").last().cloned() else { panic!("{:?}", chosen("k")) };
    assert_eq!(affine.shift, [0.0, 8.0, 0.0]);
    assert!(chosen("x").contains(&Layer::Add));
}
