//! α-CROWN against the margins that the field's reference tool reaches, and against CROWN.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use tightrope_engine::{BoundRequest, Engine, Reference, Region, Relaxation, Spec};
use tightrope_network::{Model, Preset};
use tightrope_verify::complete::{AlphaCrown, AlphaSettings};

/// The golden cases, or none where they are absent and not required.
fn cases() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let folder =
        std::env::var_os("TIGHTROPE_SHARED").map_or_else(|| PathBuf::from(default), PathBuf::from).join("golden/cases");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("TIGHTROPE_REQUIRE_SHARED").is_none_or(|v| v != "1"), "{} is missing", folder.display());
    eprintln!("skipped: {} is missing; set TIGHTROPE_SHARED", folder.display());
    None
}

fn doubles(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    file.tensor(name).unwrap().data().as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
}

fn model(folder: &Path) -> Model {
    let path = folder.join("model.onnx");
    if path.is_file() {
        return tightrope_onnx::import(&path).unwrap();
    }
    // The one case without a file of its own.
    let network = Preset::Cnn5.build(&[1, 28, 28], 10, None).unwrap();
    let weights = network.weights_from_safetensors(&folder.join("weights.safetensors")).unwrap();
    Model::with_weights(network, weights)
}

/// Compares the first `images` of `case` in all its settings; the margins compared.
fn compare(case: &str, images: usize) -> usize {
    let Some(folder) = cases().map(|cases| cases.join(case)) else { return usize::MAX };
    let model = model(&folder);
    let (network, d, k) = (&model.network, model.network.input_len(), model.network.output_len());
    let alpha = AlphaCrown::new(network, &model.weights()).unwrap();
    let inputs = std::fs::read(folder.join("inputs.safetensors")).unwrap();
    let inputs = SafeTensors::deserialize(&inputs).unwrap();
    let x: Vec<f64> = inputs.tensor("x").unwrap().data()[..4 * images * d]
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b).into())
        .collect();
    let labels: Vec<usize> = inputs.tensor("y").unwrap().data()[..8 * images]
        .as_chunks::<8>()
        .0
        .iter()
        .map(|b| i64::from_le_bytes(*b).try_into().unwrap())
        .collect();
    let expected = std::fs::read(folder.join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&expected).unwrap();
    let theta: Vec<f64> = model.theta.iter().map(|&v| v.into()).collect();
    let mut compared = 0;
    for tag in expected.names().into_iter().filter_map(|name| name.strip_suffix(".alpha_crown.margin.lower")) {
        let rounded: f64 = tag.strip_prefix("linf_").unwrap().parse().unwrap();
        let radii = doubles(&inputs, "eps_linf");
        let epsilon = *radii.iter().find(|e| (*e - rounded).abs() < 1e-5 * rounded).unwrap();
        let (lower, upper): (Vec<f64>, Vec<f64>) = x.iter().map(|v| (v - epsilon, v + epsilon)).unzip();
        let targets: Vec<Vec<f64>> = ["alpha_crown", "alpha_crown_full"]
            .iter()
            .map(|method| format!("{tag}.{method}.margin.lower"))
            .filter(|name| expected.tensor(name).is_ok())
            .map(|name| doubles(&expected, &name))
            .collect();
        let region = Region::boxes(&lower, &upper, d).unwrap();
        let spec = Spec::Margins { labels: labels.clone() };
        let crown = Reference.bound(network, &theta, &region, &spec, BoundRequest::lower(Relaxation::Crown)).unwrap();
        for (image, &label) in labels.iter().enumerate() {
            let rivals: Vec<usize> = (0..k).filter(|&j| j != label).collect();
            let mut rows = vec![0.0; rivals.len() * k];
            for (row, &rival) in rows.chunks_exact_mut(k).zip(&rivals) {
                (row[label], row[rival]) = (1.0, -1.0);
            }
            let range = image * d..(image + 1) * d;
            let settings = AlphaSettings::default();
            let margins = alpha.bound(&lower[range.clone()], &upper[range], &rows, &settings).unwrap().rows;
            for (r, (&rival, &margin)) in rivals.iter().zip(&margins).enumerate() {
                let crown = crown.lower[image * k + rival];
                // Ours has the margin for rounding errors taken off.
                let least = crown - 1e-8 * (1.0 + crown.abs());
                assert!(margin >= least, "{case} {tag} image {image} rival {rival}: {margin} below CROWN's {crown}");
                for target in &targets {
                    let target = target[image * (k - 1) + r];
                    let slack = 0.02 * (1.0 + target.abs());
                    assert!(
                        margin >= target - slack,
                        "{case} {tag} image {image} rival {rival}: {margin}, not {target}"
                    );
                    compared += 1;
                }
            }
        }
    }
    compared
}

macro_rules! golden {
    ($($name:ident: $images:literal;)*) => {
        $(#[test]
        fn $name() {
            let compared = compare(stringify!($name), $images);
            assert!(compared >= 9 * $images, "{compared} margins compared");
        })*
    };
}

golden! {
    mlp_nat: 4;
    mlp_ibp: 4;
    cnn3_tiny_nat: 8;
    cnn3_tiny_ibp: 8;
    cnn3_nat: 1;
    cnn3_ibp: 1;
    cnn3_norm_nat: 1;
    cnn3_rgb_nat: 1;
    cnn5_nat: 1;
    cnn5_ibp: 1;
    cnn_bn_nat: 1;
    resnet_nat: 1;
    cnn7bn_nat: 1;
}
