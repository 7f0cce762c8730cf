//! How files hold a model: values in other files, compressed, in other types and orders, with inputs that are fixed.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use tightrope_network::{Layer, Model};

use super::tests::{model, node, ones, refused, value_info, with_int};
use super::{import, import_bytes};
use crate::proto::{ModelProto, StringStringEntryProto, TensorProto, code};
use crate::tensor::{encode_floats, encode_integers};

/// A tensor of float32 values that lie elsewhere.
fn external(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> TensorProto {
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto { key: key.to_string(), value: value.to_string() };
    TensorProto {
        dims: dims.to_vec(),
        data_type: code::TENSOR_FLOAT,
        name: name.into(),
        data_location: 1,
        external_data: entries.iter().map(entry).collect(),
        ..Default::default()
    }
}

fn gemm(weight: TensorProto) -> ModelProto {
    model(&[1, 2], vec![node("Gemm", &["x", "w"], "y")], vec![weight])
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Imports `model` from a file of `folder`.
fn from_file(folder: &Path, model: &ModelProto) -> Result<Model, String> {
    let path = folder.join("net.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    import(&path).map_err(|e| e.to_string())
}

#[test]
fn values_come_from_files_beside_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("models");
    std::fs::create_dir_all(inside.join("more")).unwrap();
    std::fs::write(inside.join("a.bin"), floats(&[9.0, 1.0, 2.0, 3.0, 4.0])).unwrap();
    std::fs::write(inside.join("more/b.bin"), floats(&[5.0, 6.0])).unwrap();
    std::fs::write(folder.path().join("secret"), floats(&[7.0; 4])).unwrap();
    let place = |entries: &[(&str, &str)]| external("w", &[2, 2], entries);
    let two = |first: TensorProto, second: TensorProto| {
        model(&[1, 2], vec![node("Gemm", &["x", "w", "b"], "y")], vec![first, second])
    };
    let bias = external("b", &[2], &[("location", "./more/b.bin"), ("checksum", "0")]);
    let weight = place(&[("location", "a.bin"), ("offset", "4"), ("length", "16")]);
    let read = from_file(&inside, &two(weight, bias)).unwrap();
    assert_eq!(read.theta, [1.0, 3.0, 2.0, 4.0, 5.0, 6.0]);
    let fails = |entries: &[(&str, &str)], parts: &[&str]| {
        let message = from_file(&inside, &gemm(place(entries))).unwrap_err();
        for part in [&["tensor `w`"], parts].concat() {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    };
    let absolute = folder.path().join("secret");
    for outside in ["../secret", "more/../../secret", absolute.to_str().unwrap(), ""] {
        fails(&[("location", outside)], &["outside the model's folder"]);
    }
    fails(&[], &["not named"]);
    fails(&[("location", "c.bin")], &["c.bin", "cannot be read", "put it beside the model"]);
    fails(&[("location", "more")], &["no file of that length"]);
    fails(&[("location", "a.bin"), ("offset", "8")], &["bytes 8 to 24", "belongs to another model"]);
    fails(&[("location", "a.bin"), ("offset", "18446744073709551615")], &["no file of that length"]);
    fails(&[("location", "a.bin"), ("offset", "-4")], &["offset", "-4"]);
    fails(&[("location", "a.bin"), ("length", "12")], &["takes 16 bytes, but 12"]);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&absolute, inside.join("link")).unwrap();
        fails(&[("location", "link")], &["outside the model's folder"]);
    }
    // Sixteen bytes that are said to be a terabyte.
    let huge = external("w", &[2, 1 << 29], &[("location", "a.bin")]);
    let message = from_file(&inside, &gemm(huge)).unwrap_err();
    assert!(message.contains("in memory"), "{message}");
}

#[test]
fn compressed_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = gemm(ones("w", &[2, 3])).encode_to_vec();
    let packed = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let expected = import_bytes(&bytes, "m").unwrap();
    assert_eq!(import_bytes(&packed(&bytes), "m").unwrap(), expected);
    std::fs::write(folder.path().join("net.onnx.gz"), packed(&bytes)).unwrap();
    for name in ["net.onnx.gz", "net.onnx"] {
        assert_eq!(import(&folder.path().join(name)).unwrap(), expected);
    }
    let short = &packed(&bytes)[..20];
    let message = import_bytes(short, "m").unwrap_err().to_string();
    assert!(message.contains("not a whole gzip file"), "{message}");
    let message = import(&folder.path().join("absent.onnx")).unwrap_err().to_string();
    assert!(message.contains("absent.onnx: ") && !message.contains(".gz"), "{message}");
}

#[test]
fn weights_of_every_type_are_exact() {
    let stored = |kind: i32, raw: Vec<u8>| TensorProto {
        dims: vec![2, 1],
        data_type: kind,
        name: "w".into(),
        raw_data: Some(raw),
        ..Default::default()
    };
    let read = |tensor: TensorProto| {
        let read = import_bytes(&gemm(tensor).encode_to_vec(), "m").unwrap();
        read.weights().theta().to_vec()
    };
    let half = [0x3555_u16, 0xc000].iter().flat_map(|bits| bits.to_le_bytes()).collect();
    assert_eq!(read(stored(code::TENSOR_HALF, half)), [0.333_251_953_125, -2.0]);
    let brain = [0x3eab_u16, 0xc000].iter().flat_map(|bits| bits.to_le_bytes()).collect();
    assert_eq!(read(stored(code::TENSOR_BFLOAT16, brain)), [0.333_984_375, -2.0]);
    let double = [0.1_f64, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(read(stored(code::TENSOR_DOUBLE, double)), [0.1, -2.0]);
    let listed = TensorProto { raw_data: None, int32_data: vec![0x3555, 0xc000], ..stored(code::TENSOR_HALF, vec![]) };
    assert_eq!(read(listed), [0.333_251_953_125, -2.0]);
    refused(&gemm(stored(code::TENSOR_HALF, vec![0, 0x7c, 0, 0])), &["tensor `w`: holds inf at element 0"]);
}

#[test]
fn nodes_and_inputs_stand_in_any_order() {
    let nodes = vec![node("Relu", &["b"], "y"), node("Add", &["a", "c"], "b"), node("Gemm", &["x", "w"], "a")];
    let constants = vec![ones("w", &[2, 2]), encode_floats("c", &[2], &[1.0, 2.0])];
    let mut graph = model(&[-1, 2], nodes, constants);
    let inputs = &mut graph.graph.as_mut().unwrap().input;
    // An initializer that is an input as well, one that nothing reads, and the free one last.
    inputs.insert(0, value_info("w", &[2, 2]));
    inputs.insert(1, value_info("unused", &[7]));
    let read = import_bytes(&graph.encode_to_vec(), "m").unwrap();
    let kinds: Vec<&str> = read.network.nodes().iter().map(|node| node.layer.kind()).collect();
    assert_eq!((kinds, read.theta), (vec!["input", "linear", "relu"], vec![1.0, 1.0, 1.0, 1.0, 1.0, 2.0]));
}

#[test]
fn inputs_may_have_no_batch_axis() {
    let shape = |dims: &[i64]| {
        let read = import_bytes(&model(dims, vec![node("Relu", &["x"], "y")], vec![]).encode_to_vec(), "m").unwrap();
        read.network.input_shape().to_vec()
    };
    assert_eq!(shape(&[7]), [7]);
    assert_eq!(shape(&[3, 8, 8]), [3, 8, 8]);
    assert_eq!([shape(&[1, 3, 8]), shape(&[-1, 3, 8])], [[3, 8], [3, 8]]);
    assert_eq!(shape(&[1, 1, 8]), [1, 8]);
}

/// What is computed from shapes and constants alone is a constant, rounded to its type by each operator.
#[test]
fn constants_are_computed() {
    let nodes = vec![
        node("Shape", &["x"], "s"),
        with_int(node("Gather", &["s", "one"], "n"), "axis", 0),
        node("Mul", &["n", "two"], "m"),
        node("Sub", &["m", "n"], "k"),
        with_int(node("Concat", &["minus", "k"], "t"), "axis", 0),
        node("Reshape", &["x", "t"], "r"),
        node("Div", &["c", "three"], "q"),
        with_int(node("Cast", &["q"], "d"), "to", i64::from(code::TENSOR_DOUBLE)),
        node("Mul", &["r", "d"], "y"),
    ];
    let constants = vec![
        encode_integers("one", &[1]),
        encode_integers("two", &[2]),
        encode_integers("minus", &[-1]),
        encode_floats("c", &[1], &[1.0]),
        encode_floats("three", &[1], &[3.0]),
    ];
    let read = import_bytes(&model(&[-1, 3], nodes, constants).encode_to_vec(), "m").unwrap();
    let Layer::Affine(affine) = &read.network.node(1).layer else { panic!("{:?}", read.network) };
    assert_eq!(affine.scale, [f64::from(1.0_f32 / 3.0)]);
    let range = vec![node("Range", &["a", "b", "c"], "r"), node("Add", &["x", "r"], "y")];
    let numbers = |end: f32| ["a", "b", "c"].into_iter().zip([0.0, end, 1.0]).map(|(n, v)| encode_floats(n, &[], &[v]));
    let read = import_bytes(&model(&[1, 3], range.clone(), numbers(3.0).collect()).encode_to_vec(), "m").unwrap();
    let Layer::Affine(affine) = &read.network.node(1).layer else { panic!("{:?}", read.network) };
    assert_eq!(affine.shift, [0.0, 1.0, 2.0]);
    refused(&model(&[1, 3], range, numbers(1e12).collect()), &["no range of sensible length"]);
    let filled = vec![node("ConstantOfShape", &["s"], "c"), node("Add", &["x", "c"], "y")];
    refused(&model(&[1, 3], filled, vec![encode_integers("s", &[1 << 40])]), &["impossible shape"]);
    let divided = vec![node("Div", &["a", "b"], "c"), node("Add", &["x", "c"], "y")];
    let zero = vec![encode_floats("a", &[], &[1.0]), encode_floats("b", &[], &[0.0])];
    refused(&model(&[1, 3], divided, zero), &["tensor `c`: holds inf"]);
}
