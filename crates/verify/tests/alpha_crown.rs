//! α-CROWN against the margins that the field's reference tool reaches, and against CROWN.

use tightrope_engine::{BoundRequest, Reference, Region, Relaxation, Spec};
use tightrope_testkit::evaluate::Ask;
use tightrope_testkit::golden::{Case, Setting};
use tightrope_testkit::shared::shared;
use tightrope_verify::complete::{AlphaCrown, AlphaSettings};

/// Compares the first `images` of `case` in all its settings; the margins compared.
fn compare(case: &str, images: usize) -> usize {
    let Some(golden) = shared("golden") else { return usize::MAX };
    let golden = Case::read(&golden, case);
    let model = &golden.model;
    let (network, d, k) = (&model.network, model.network.input_len(), model.network.output_len());
    let weights = model.weights();
    let alpha = AlphaCrown::new(network, &weights).unwrap();
    let x = &golden.x::<f64>()[..images * d];
    let labels = golden.labels()[..images].to_vec();
    let expected = &golden.expected;
    let theta: Vec<f64> = model.theta.iter().map(|&v| v.into()).collect();
    let mut compared = 0;
    for tag in expected.0.keys().filter_map(|name| name.strip_suffix(".alpha_crown.margin.lower")) {
        let Setting { l2: false, clip: false, epsilon } = golden.setting(tag) else {
            panic!("{tag} is no ℓ∞ ball")
        };
        let (lower, upper): (Vec<f64>, Vec<f64>) = x.iter().map(|v| (v - epsilon, v + epsilon)).unzip();
        let targets: Vec<Vec<f64>> = ["alpha_crown", "alpha_crown_full"]
            .iter()
            .map(|method| format!("{tag}.{method}.margin.lower"))
            .filter(|name| expected.0.contains_key(name))
            .map(|name| expected.values(&name))
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
            let margins = alpha.bound((&lower[range.clone()], &upper[range]), None, &rows, &settings).unwrap().rows;
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
