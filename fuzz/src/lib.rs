//! The entries for foreign files: each reads arbitrary bytes, returns whether they were accepted, and panics only on a
//! defect. The fuzz targets and the workspace's tests share them.

pub mod folders;
pub mod runs;

use std::path::Path;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};
use tightrope_certificate::{Certificate, Checker};
use tightrope_engine::{Engine, Reference};
use tightrope_network::{Description, Layer, Model, Network, NetworkBuilder, Preset};
use tightrope_onnx::import_bytes;
use tightrope_vnnlib::{Case, Constraint, Instance, Property};

/// Fails if `error`'s message does not name its file, or is endless.
pub(crate) fn refused(error: impl std::fmt::Display) -> bool {
    let message = error.to_string();
    assert!(message.contains("fuzz"), "the file is not named: {message}");
    assert!(message.len() < 6000, "a message of {} bytes", message.len());
    false
}

/// An ONNX model; small ones that are accepted are also run.
pub fn onnx(data: &[u8]) -> bool {
    match import_bytes(data, "fuzz") {
        Ok(model) => {
            let (network, weights) = (&model.network, model.weights());
            let theta = weights.theta();
            assert_eq!(theta.len(), network.parameters().total());
            assert!(theta.iter().all(|value| value.is_finite()));
            let sizes: usize = network.nodes().iter().map(|node| node.len()).sum();
            if sizes.saturating_mul(theta.len() + 1) < 1 << 22 {
                let logits =
                    Reference.load(network, theta, &[]).and_then(|at| at.forward(&vec![0.5; network.input_len()]));
                assert_eq!(logits.expect("an accepted network runs").len(), network.output_len());
            }
            true
        }
        Err(error) => refused(error),
    }
}

/// A VNN-LIB property.
pub fn vnnlib(data: &[u8]) -> bool {
    match Property::parse(data, "fuzz") {
        Ok(property) => {
            for case in &property.cases {
                assert_eq!((case.lower.len(), case.upper.len()), (property.inputs, property.inputs));
                assert!(case.lower.iter().zip(&case.upper).all(|(l, u)| l.is_finite() && u.is_finite() && l <= u));
                let rows = case.unsafe_outputs.iter().flatten();
                rows.for_each(|row| assert_eq!(row.coefficients.len(), property.outputs + property.sums.len()));
            }
            true
        }
        Err(error) => refused(error),
    }
}

/// A list of instances.
pub fn instances(data: &[u8]) -> bool {
    match Instance::parse_list(data, "fuzz") {
        Ok(list) => {
            assert!(list.iter().all(|instance| instance.timeout > 0.0 && instance.timeout.is_finite()));
            true
        }
        Err(error) => refused(error),
    }
}

/// y = relu(x₀ + x₁) + relu(−x₀ − x₁) = |x₀ + x₁| over [−1, 1]², its least value being 0.
pub fn absolute() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let mut builder = NetworkBuilder::new(&[2]).expect("a shape");
        let sides = ["plus", "minus"].map(|name| {
            let side = builder.linear(name, 1, false, builder.input()).expect("a layer");
            builder.add(format!("relu {name}"), Layer::RELU, &[side]).expect("a layer")
        });
        let sum = builder.add("sum", Layer::Add, &sides).expect("a layer");
        builder.linear("out", 1, false, sum).expect("a layer");
        Model::new(builder.build().expect("a network"), vec![1.0, 1.0, -1.0, -1.0, 1.0])
    })
}

/// That [`absolute`] is nowhere ≤ `bound`.
pub fn above(bound: f64) -> Property {
    let unsafe_outputs = vec![vec![Constraint::at_most(vec![1.0], bound)]];
    let case = Case::closed(vec![-1.0; 2], vec![1.0; 2], unsafe_outputs);
    Property::new(2, 1, vec![case])
}

/// A certificate: as it is, and with its checksum mended; whatever proof is in it must not prove what is false.
pub fn certificate(data: &[u8]) -> bool {
    const BODY: usize = 44;
    let model = absolute();
    let _ = Certificate::from_bytes(data);
    let mut mended = data.to_vec();
    if let Some((header, body)) = mended.split_at_mut_checked(BODY) {
        header[BODY - 32..].copy_from_slice(&Sha256::digest(body));
    }
    let Ok(certificate) = Certificate::from_bytes(&mended) else { return false };
    let weights = model.weights();
    let checker = Checker::new(&model.network, &weights);
    assert!(checker.check(&above(0.0), &certificate.proof).is_err(), "a proof of what is false");
    checker.check(&above(-0.001), &certificate.proof).is_ok()
}

/// A network description, as JSON and as TOML.
pub fn description(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let mut accepted = false;
    for read in [Description::from_json(&text, "fuzz"), Description::from_toml(&text, "fuzz")] {
        match read.map(|description| description.build()) {
            Ok(Ok(network)) => {
                let again = Description::of(&network).build().expect("the description of a network builds it");
                assert_eq!(again, network);
                accepted = true;
            }
            Ok(Err(error)) => assert!(!error.to_string().is_empty()),
            Err(error) => accepted |= refused(error),
        }
    }
    accepted
}

/// The weights of a small convolutional network.
pub fn weights(data: &[u8]) -> bool {
    match small().weights_from_bytes(data, Path::new("fuzz")) {
        Ok(weights) => {
            assert_eq!(weights.theta().len(), small().parameters().total());
            assert!(weights.theta().iter().all(|value| value.is_finite()));
            true
        }
        Err(error) => refused(error),
    }
}

/// The network of [`weights`].
pub fn small() -> &'static Network {
    static NETWORK: OnceLock<Network> = OnceLock::new();
    NETWORK.get_or_init(|| Preset::Cnn3Tiny.build(&[1, 8, 8], 3, None).expect("a preset"))
}
