//! Batch norms in ONNX files: written with their statistics, or folded into the layers before them.

mod common;

use common::batch_norms;
use tightrope_network::{Description, Layer, Model};
use tightrope_onnx::{export_bytes, import_bytes};
use tightrope_testkit::evaluate::logits;
use tightrope_testkit::random::Rng;

#[test]
fn exported_batch_norms_keep_their_function() {
    let model = batch_norms();
    let inputs = Rng::new(3).normals(8 * model.network.input_len());
    let expected = logits(&model, &inputs);
    let scale = expected.iter().fold(0.0_f64, |max, value| max.max(value.abs()));
    let folded = [
        "affine", "conv2d", "relu", "affine", "conv2d", "affine", "add", "relu", "flatten", "linear", "relu", "linear",
    ];
    // One behind each layer that takes one up.
    let whole: Vec<&str> = model.network.nodes().iter().skip(1).map(|node| node.layer.kind()).collect();
    let whole: Vec<&str> = whole.into_iter().map(|kind| if kind == "batchnorm" { "affine" } else { kind }).collect();
    assert!(whole.len() > folded.len());
    for (written, kinds) in [(&model.folded().unwrap(), &folded[..]), (&model, &whole)] {
        let again = import_bytes(&export_bytes(written).unwrap(), "(memory)").unwrap();
        let found: Vec<&str> = again.network.nodes().iter().skip(1).map(|node| node.layer.kind()).collect();
        assert_eq!(found, kinds);
        for (found, expected) in logits(&again, &inputs).iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5 * scale, "{found} instead of {expected}");
        }
    }
}

/// What is frozen and what is read back from BatchNormalization with the same statistics are the same numbers.
#[test]
fn an_unfolded_batch_norm_comes_back_as_it_is_frozen() {
    let text = r#"
        input = [3]
        layers = [{ name = "bn", kind = "batchnorm", epsilon = 0.0009765625 }]
    "#;
    let network = Description::from_toml(text, "(inline)").unwrap().build().unwrap();
    let model = Model {
        buffers: vec![0.5, -1.25, 3.0, 0.1, 2.0, 0.0],
        ..Model::new(network, vec![1.5, -2.0, 0.5, 0.25, 1.0, 0.0])
    };
    let again = import_bytes(&export_bytes(&model).unwrap(), "(memory)").unwrap();
    let frozen = model.frozen().unwrap();
    let (Layer::Affine(found), Layer::Affine(expected)) = (&again.network.node(1).layer, &frozen.network.node(1).layer)
    else {
        panic!("node 1 is no affine layer")
    };
    assert_eq!(found, expected);
    assert_eq!(again.weights().into_owned(), frozen.weights().into_owned());
}
