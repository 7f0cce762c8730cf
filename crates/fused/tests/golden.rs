//! The fused engine against the published tools' numbers: every golden case it covers or passes on.

use std::collections::BTreeMap;

use tightrope_engine::{BoundRequest, Cotangents, Engine, Relaxation, Spec, Support, Wants};
use tightrope_fused::{Fused, ISA_VARIABLE, Isa};
use tightrope_testkit::evaluate::Ask;
use tightrope_testkit::golden::{Case, relaxation, scaled_error, split_key};
use tightrope_testkit::losses;
use tightrope_testkit::shared::shared;

/// Relative to 1 + max |expected|, as the data's description asks of single precision.
const BOUNDS: f64 = 1e-4;
const GRADIENTS: f64 = 1e-3;

fn without_label(values: &[f32], labels: &[usize], classes: usize) -> Vec<f32> {
    let rows = values.chunks_exact(classes).zip(labels);
    rows.flat_map(|(row, &y)| (0..classes).filter(move |&j| j != y).map(|j| row[j])).collect()
}

/// Compares everything but the α-CROWN targets; returns the number of tensors compared.
fn run(name: &str, engine: &Fused) -> Option<usize> {
    let case = Case::read(&shared("golden")?, name);
    let network = &case.model.network;
    let (classes, theta, labels) = (network.output_len(), &case.model.theta, case.labels());
    let margins = Spec::Margins { labels: labels.clone() };
    let mut compared = 0;
    let mut check = |key: &str, got: &[f32], tolerance: f64| {
        let error = scaled_error(got, &case.expected.get(key).values);
        assert!(error <= tolerance, "{name} {key} on {}: error {error:.2e}", engine.isa().name());
        compared += 1;
    };
    check("logits", &engine.forward(network, theta, &case.x::<f32>()).unwrap(), BOUNDS);
    let mut methods: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (tag, rest) in case.expected.0.keys().filter_map(|key| split_key(key)) {
        if !rest.starts_with("alpha_crown") {
            // `crown.margin.lower` or `grad.crown.0.weight`: the method is the first part, or the first two.
            let skipped = rest.len() - rest.strip_prefix("grad.").unwrap_or(rest).len();
            let end = skipped + rest[skipped..].find('.').unwrap();
            methods.entry((tag.into(), rest[..end].into())).or_default().push(rest[end + 1..].into());
        }
    }
    for ((tag, method), keys) in methods {
        if let Some(method) = method.strip_prefix("grad.") {
            let labels = labels[..case.gradient_images].to_vec();
            let (spec, request) = (Spec::Margins { labels: labels.clone() }, BoundRequest::lower(relaxation(method)));
            let region = case.region::<f32>(&tag, labels.len());
            let (bounds, tape) = engine.bound_taped(network, theta, &region, &spec, request).unwrap();
            let (loss, cotangent) = losses::mean(losses::certified_cross_entropy, &bounds.lower, &labels);
            let g = Cotangents::on_lower(cotangent);
            let gradient = engine.vjp(network, theta, &tape, &g, Wants::THETA).unwrap().theta.unwrap();
            for key in keys {
                let full = format!("{tag}.grad.{method}.{key}");
                if let Some(info) = network.parameters().find(&key) {
                    check(&full, &gradient[info.range()], GRADIENTS);
                } else if let Some(parameter) = key.strip_suffix(".sample_value") {
                    let info = network.parameters().find(parameter).unwrap();
                    let places = case.expected.indices(&format!("{tag}.grad.{method}.{parameter}.sample_index"));
                    let picked: Vec<f32> = places.into_iter().map(|i| gradient[info.offset + i]).collect();
                    check(&full, &picked, GRADIENTS);
                } else if key == "loss" {
                    check(&full, &[loss as f32], BOUNDS);
                }
            }
            continue;
        }
        let request = BoundRequest { upper: true, layers: true, ..BoundRequest::lower(relaxation(&method)) };
        let region = case.region::<f32>(&tag, labels.len());
        let on_margins = engine.bound(network, theta, &region, &margins, request).unwrap();
        let on_logits = engine.bound(network, theta, &region, &Spec::Logits, request).unwrap();
        let side =
            |lower: &[f32], upper: &[f32], which: &str| if which == "lower" { lower.to_vec() } else { upper.to_vec() };
        for key in keys {
            let full = format!("{tag}.{method}.{key}");
            let parts: Vec<&str> = key.split('.').collect();
            let got = match parts.as_slice() {
                ["margin", which] => {
                    let values = side(&on_margins.lower, on_margins.upper.as_ref().unwrap(), which);
                    without_label(&values, &labels, classes)
                }
                ["logits", which] => side(&on_logits.lower, on_logits.upper.as_ref().unwrap(), which),
                ["loss"] => {
                    let rows = on_margins.lower.chunks_exact(classes).zip(&labels);
                    rows.map(|(row, &label)| losses::certified_cross_entropy(row, label).0).collect()
                }
                ["preact", index, which] => {
                    let layer = &on_margins.layers[index.parse::<usize>().unwrap()];
                    let length = case.expected.get(&full).values.len();
                    side(&layer.lower, &layer.upper, which)[..length].to_vec()
                }
                _ => panic!("unknown tensor {full}"),
            };
            check(&full, &got, BOUNDS);
        }
    }
    Some(compared)
}

macro_rules! cases {
    ($($name:ident: $least:expr;)*) => {
        $(#[test] fn $name() {
            let best = Fused::new().unwrap();
            let large = ["cnn5_nat", "cnn5_ibp", "cnn7bn_nat"].contains(&stringify!($name));
            // Large cases would take minutes on the portable lanes.
            let one = large || std::env::var_os(ISA_VARIABLE).is_some();
            let others = Isa::ALL.into_iter().filter(|isa| isa.available() && *isa != best.isa() && !one);
            for engine in others.map(|isa| Fused::on(isa).unwrap()).chain([best.clone()]) {
                if let Some(compared) = run(stringify!($name), &engine) {
                    assert!(compared >= $least, "only {compared} tensors compared");
                }
            }
        })*
    };
}

cases! {
    mlp_nat: 100;
    mlp_ibp: 80;
    cnn3_tiny_nat: 80;
    cnn3_tiny_ibp: 80;
    cnn3_nat: 90;
    cnn3_ibp: 90;
    cnn3_norm_nat: 60;
    cnn3_rgb_nat: 60;
    cnn_bn_nat: 90;
    resnet_nat: 80;
    cnn5_nat: 60;
    cnn5_ibp: 80;
    cnn7bn_nat: 120;
}

/// The sequential cases must not be passed on to the reference engine.
#[test]
fn sequential_cases_are_covered() {
    let Some(folder) = shared("golden") else { return };
    let engine = Fused::new().unwrap();
    let request = BoundRequest::lower(Relaxation::Crown);
    let support = |name| engine.supports(&Case::read(&folder, name).model.network, &request);
    for name in ["mlp_nat", "cnn3_nat", "cnn3_norm_nat", "cnn3_rgb_nat", "cnn_bn_nat", "cnn5_ibp", "cnn7bn_nat"] {
        assert_eq!(support(name), Support::Own, "{name}");
    }
    assert_ne!(support("resnet_nat"), Support::Own);
}
