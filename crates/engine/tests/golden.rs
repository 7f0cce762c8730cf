//! The reference engine against the published tools' numbers: every tensor of every golden case, in f64 and f32.

use std::collections::{BTreeMap, BTreeSet};

use tightrope_engine::{BoundRequest, Bounds, Cotangents, Norm, Real, Reference, Region, Relaxation, Spec, Wants};
use tightrope_testkit::evaluate::Ask;
use tightrope_testkit::golden::{Case, TensorFile, cast, relaxation, scaled_error, split_key};
use tightrope_testkit::shared::shared;
use tightrope_train::certified_cross_entropy;

/// Tolerances relative to 1 + max |expected|.
trait Precision: Real {
    const NAME: &'static str;
    const BOUNDS: f64;
    const GRADIENTS: f64;
}

impl Precision for f64 {
    const NAME: &'static str = "f64";
    const BOUNDS: f64 = 1e-9;
    const GRADIENTS: f64 = 1e-8;
}

impl Precision for f32 {
    const NAME: &'static str = "f32";
    const BOUNDS: f64 = 1e-4;
    const GRADIENTS: f64 = 1e-3;
}

/// What a tensor stored as f32 allows at best.
const ROUNDED: f64 = 2e-7;

/// Largest error and number of compared tensors per method.
#[derive(Default)]
struct Tally {
    errors: BTreeMap<String, f64>,
    compared: BTreeSet<String>,
    failures: Vec<String>,
}

impl Tally {
    /// Compares one tensor; `kind` groups errors in the report.
    fn compare<T: Real>(&mut self, kind: &str, key: &str, got: &[T], expected: &[f64], tolerance: f64) {
        let error = scaled_error(got, expected);
        let worst = self.errors.entry(kind.into()).or_default();
        *worst = worst.max(error);
        if error > tolerance {
            self.failures.push(format!("{key}: error {error:.3e} above {tolerance:.0e}"));
        }
        assert!(self.compared.insert(key.into()), "{key} compared twice");
    }

    fn finish(self, title: &str, expected_count: usize) {
        let errors: Vec<String> = self.errors.iter().map(|(kind, error)| format!("{kind} {error:.1e}")).collect();
        eprintln!("{title}: {} tensors, largest errors: {}", self.compared.len(), errors.join(", "));
        assert!(self.failures.is_empty(), "{title}:\n{}", self.failures.join("\n"));
        assert_eq!(self.compared.len(), expected_count, "{title}: number of compared tensors");
    }
}

/// The K − 1 margins of each sample followed by its K logits.
fn margins_and_logits<T: Real>(labels: &[usize], classes: usize) -> Spec<T> {
    let mut matrix = Vec::new();
    let unit = |j: usize, sign: T| (0..classes).map(move |i| if i == j { sign } else { T::ZERO });
    for &y in labels {
        for j in (0..classes).filter(|&j| j != y) {
            matrix.extend(unit(y, T::ONE).zip(unit(j, T::ONE)).map(|(a, b)| a - b));
        }
        (0..classes).for_each(|j| matrix.extend(unit(j, T::ONE)));
    }
    Spec::Matrix { rows: 2 * classes - 1, matrix, offset: Vec::new() }
}

/// Columns `from..to` of `[N, rows]`.
fn columns<T: Copy>(values: &[T], rows: usize, from: usize, to: usize) -> Vec<T> {
    values.chunks_exact(rows).flat_map(|row| row[from..to].to_vec()).collect()
}

/// Compares every expected tensor of one method and setting, from one bounding call.
fn compare_method<T: Precision>(case: &Case, tag: &str, method: &str, keys: &[String], tally: &mut Tally) {
    let network = &case.model.network;
    let classes = network.output_len();
    let labels = case.labels();
    let theta: Vec<T> = case.model.theta.iter().map(|&t| T::from_f32(t)).collect();
    let request = BoundRequest { upper: true, layers: true, ..BoundRequest::lower(relaxation(method)) };
    let spec = margins_and_logits(&labels, classes);
    let region = case.region::<T>(tag, labels.len());
    let bounds = Reference.bound(network, &theta, &region, &spec, request).unwrap();
    for rest in keys {
        let key = format!("{tag}.{rest}");
        let expected = case.expected.get(&key);
        let got = pick(&bounds, rest.strip_prefix(method).unwrap(), &labels, expected.values.len());
        let tolerance = if expected.rounded { T::BOUNDS.max(ROUNDED) } else { T::BOUNDS };
        let kind = if rest.contains("preact") { format!("{method} layers") } else { method.to_string() };
        tally.compare(&kind, &key, &got, &expected.values, tolerance);
    }
}

/// The tensor `.margin.lower`, `.logits.upper`, `.loss`, `.preact.1.lower`, …, its first `length` values.
fn pick<T: Real>(bounds: &Bounds<T>, name: &str, labels: &[usize], length: usize) -> Vec<T> {
    let rows = bounds.rows;
    let margins = rows / 2;
    let parts: Vec<&str> = name.split('.').skip(1).collect();
    let side =
        |lower: &Vec<T>, upper: &Vec<T>, which: &str| if which == "lower" { lower.clone() } else { upper.clone() };
    let upper = bounds.upper.as_ref().unwrap();
    match parts.as_slice() {
        ["margin", which] => columns(&side(&bounds.lower, upper, which), rows, 0, margins),
        ["logits", which] => columns(&side(&bounds.lower, upper, which), rows, margins, rows),
        ["loss"] => {
            let mut full = Vec::new();
            for (row, &y) in columns(&bounds.lower, rows, 0, margins).chunks_exact(margins).zip(labels) {
                full.extend_from_slice(&row[..y]);
                full.push(T::ZERO);
                full.extend_from_slice(&row[y..]);
            }
            certified_cross_entropy(&full, labels).per_sample
        }
        ["preact", index, which] => {
            let layer = &bounds.layers[index.parse::<usize>().unwrap()];
            side(&layer.lower, &layer.upper, which)[..length].to_vec()
        }
        _ => panic!("unknown tensor `{name}`"),
    }
}

/// Compares loss and parameter gradients of one method and setting.
fn compare_gradients<T: Precision>(case: &Case, tag: &str, method: &str, keys: &[String], tally: &mut Tally) {
    let network = &case.model.network;
    let theta: Vec<T> = case.model.theta.iter().map(|&t| T::from_f32(t)).collect();
    let labels = case.labels()[..case.gradient_images].to_vec();
    let region = case.region::<T>(tag, labels.len());
    let spec = Spec::Margins { labels: labels.clone() };
    let request = BoundRequest::lower(relaxation(method));
    let (bounds, tape) = Reference.bound_taped(network, &theta, &region, &spec, request).unwrap();
    let loss = certified_cross_entropy(&bounds.lower, &labels);
    let cotangents = Cotangents::on_lower(loss.cotangent);
    let gradient = Reference.vjp(network, &theta, &tape, &cotangents, Wants::THETA).unwrap().theta.unwrap();
    let of = |parameter: &str| -> &[T] {
        let info = network.parameters().find(parameter).unwrap_or_else(|| panic!("no parameter `{parameter}`"));
        &gradient[info.range()]
    };
    let kind = format!("{method} gradient");
    for rest in keys {
        let key = format!("{tag}.{rest}");
        let name = rest.strip_prefix(&format!("grad.{method}.")).unwrap();
        let expected = case.expected.get(&key);
        let tolerance = if expected.rounded { T::GRADIENTS.max(ROUNDED) } else { T::GRADIENTS };
        if name == "loss" {
            let mean = loss.per_sample.iter().map(|l| l.to_f64()).sum::<f64>() / labels.len() as f64;
            tally.compare(method, &key, &[mean], &expected.values, T::BOUNDS);
        } else if let Some(parameter) = name.strip_suffix(".summary") {
            let g: Vec<f64> = of(parameter).iter().map(|v| v.to_f64()).collect();
            let sum: f64 = g.iter().sum();
            let norm = g.iter().map(|v| v * v).sum::<f64>().sqrt();
            let wave: f64 = g.iter().enumerate().map(|(i, v)| v * (i as f64).cos()).sum();
            tally.compare(&kind, &key, &[sum, norm, wave], &expected.values, tolerance);
        } else if let Some(parameter) = name.strip_suffix(".sample_index") {
            let value_key = format!("{tag}.grad.{method}.{parameter}.sample_value");
            let indices = case.expected.indices(&key);
            let got: Vec<T> = indices.iter().map(|&i| of(parameter)[i]).collect();
            tally.compare(&kind, &value_key, &got, &case.expected.get(&value_key).values, tolerance);
            let whole: usize = indices.iter().filter(|&&i| i < of(parameter).len()).count();
            tally.compare(&kind, &key, &[whole as f64], &[4096.0], 0.0);
        } else if !name.ends_with(".sample_value") {
            tally.compare(&kind, &key, of(name), &expected.values, tolerance);
        }
    }
}

/// Compares everything in a case but the α-CROWN targets, `count` tensors.
fn run_case<T: Precision>(name: &str, count: usize) {
    let Some(golden) = shared("golden") else { return };
    let case = Case::read(&golden, name);
    let mut tally = Tally::default();
    let theta: Vec<T> = case.model.theta.iter().map(|&t| T::from_f32(t)).collect();
    let logits = Reference.forward(&case.model.network, &theta, &case.x::<T>()).unwrap();
    tally.compare("forward", "logits", &logits, &case.expected.get("logits").values, T::BOUNDS);

    let mut bounds: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let mut gradients: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let mut targets = 0;
    for (tag, rest) in case.expected.0.keys().filter_map(|key| split_key(key)) {
        let method = |name: &str| name.split('.').next().unwrap().to_string();
        if let Some(of_method) = rest.strip_prefix("grad.") {
            gradients.entry((tag.into(), method(of_method))).or_default().push(rest.into());
        } else if rest.starts_with("alpha_crown") {
            targets += 1;
        } else {
            bounds.entry((tag.into(), method(rest))).or_default().push(rest.into());
        }
    }
    for ((tag, method), keys) in &bounds {
        compare_method::<T>(&case, tag, method, keys, &mut tally);
    }
    for ((tag, method), keys) in &gradients {
        compare_gradients::<T>(&case, tag, method, keys, &mut tally);
    }
    assert_eq!(tally.compared.len() + targets, case.expected.0.len(), "{name}: some tensor was not compared");
    tally.finish(&format!("{name} {}", T::NAME), count);
}

macro_rules! cases {
    ($($name:ident: $count:expr;)*) => {
        mod double {
            $(#[test] fn $name() { super::run_case::<f64>(stringify!($name), $count); })*
        }
        mod single {
            $(#[test] fn $name() { super::run_case::<f32>(stringify!($name), $count); })*
        }
    };
}

cases! {
    mlp_nat: 166;
    mlp_ibp: 127;
    cnn3_tiny_nat: 124;
    cnn3_tiny_ibp: 124;
    cnn3_nat: 145;
    cnn3_ibp: 145;
    cnn3_norm_nat: 103;
    cnn3_rgb_nat: 103;
    cnn_bn_nat: 157;
    resnet_nat: 151;
    cnn5_nat: 111;
    cnn5_ibp: 141;
    cnn7bn_nat: 215;
}

/// Lower margins from a second tool, whose methods have the same intermediate bounds as ours.
fn run_second_tool<T: Precision>(name: &str, count: usize) {
    let Some(golden) = shared("golden") else { return };
    let case = Case::read(&golden, name);
    let file = TensorFile::read(&golden.join("ctbench").join(format!("{name}.safetensors")));
    let mut tally = Tally::default();
    let theta: Vec<T> = case.model.theta.iter().map(|&t| T::from_f32(t)).collect();
    let classes = case.model.network.output_len();
    // Its zonotopes have slopes u/(u − l + 1e-6).
    let tolerance = |method: &str| if method == "zono" { T::BOUNDS.max(1e-5) } else { T::BOUNDS };
    for (key, expected) in &file.0 {
        let images = expected.shape[0];
        if let Some((tag, method)) = key.strip_suffix(".logits").and_then(|rest| rest.rsplit_once('.')) {
            // Zonotopes alone come with these, lower and upper ones for each image.
            let request = BoundRequest { upper: true, ..BoundRequest::lower(relaxation(method)) };
            let region = case.region::<T>(tag, images);
            let bounds = Reference.bound(&case.model.network, &theta, &region, &Spec::Logits, request).unwrap();
            let upper = bounds.upper.unwrap();
            let ends = bounds.lower.chunks_exact(classes).zip(upper.chunks_exact(classes));
            let got: Vec<T> = ends.flat_map(|(lower, upper)| lower.iter().chain(upper).copied()).collect();
            tally.compare(method, key, &got, &expected.values, tolerance(method));
            continue;
        }
        let mut parts = key.rsplitn(4, '.');
        let [Some("lower"), Some("margin"), Some(method), Some(tag)] = [(); 4].map(|()| parts.next()) else {
            continue;
        };
        // These concretise at every layer input, or do not merge the margins into the last layer.
        if ["deeppoly", "deeppoly_box", "hbox"].contains(&method) {
            continue;
        }
        let labels = case.labels()[..images].to_vec();
        let region = case.region::<T>(tag, images);
        let spec = Spec::Margins { labels: labels.clone() };
        let request = BoundRequest::lower(relaxation(method));
        let bounds = Reference.bound(&case.model.network, &theta, &region, &spec, request).unwrap();
        let got: Vec<T> = bounds
            .lower
            .chunks_exact(classes)
            .zip(&labels)
            .flat_map(|(row, &y)| row.iter().enumerate().filter(move |(j, _)| *j != y).map(|(_, &m)| m))
            .collect();
        tally.compare(method, key, &got, &expected.values, tolerance(method));
    }
    tally.finish(&format!("second tool, {name} {}", T::NAME), count);
}

#[test]
fn second_tool_agrees() {
    // One of them has no zonotope at the largest radius.
    for (name, count) in [("mlp_nat", 24), ("mlp_ibp", 8), ("cnn3_tiny_nat", 16), ("cnn3_nat", 16), ("cnn3_ibp", 22)] {
        run_second_tool::<f64>(name, count);
        run_second_tool::<f32>(name, count);
    }
}

/// Certified margins never exceed the margins of points that other tools found in the region.
#[test]
fn bounds_stay_below_recorded_counterexamples() {
    let Some(golden) = shared("golden") else { return };
    let verdicts: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden.join("verification/verdicts.json")).unwrap()).unwrap();
    assert!(verdicts.is_object());
    let mut points = 0;
    for name in ["mlp_nat", "cnn3_tiny_ibp", "cnn3_ibp"] {
        let case = Case::read(&golden, name);
        let file = TensorFile::read(&golden.join("verification").join(format!("{name}.safetensors")));
        let network = &case.model.network;
        let (dimension, classes) = (network.input_len(), network.output_len());
        let theta: Vec<f64> = case.model.theta.iter().map(|&t| f64::from(t)).collect();
        let x: Vec<f64> = cast(&file.get("x").values);
        let labels = file.indices("y");
        let tags = file.0.keys().filter_map(|key| key.strip_suffix(".pgd_best_margin"));
        for tag in tags {
            let epsilon: f64 = tag.strip_prefix("eps_").unwrap().parse().unwrap();
            let region = Region::ball(&x, dimension, epsilon, Norm::Inf, Some((0.0, 1.0))).unwrap();
            let spec = Spec::Margins { labels: labels.clone() };
            for relaxation in Relaxation::ALL {
                let request = BoundRequest::lower(relaxation);
                let lower = Reference.bound(network, &theta, &region, &spec, request).unwrap().lower;
                let worst = |image: usize| {
                    let row = lower[image * classes..(image + 1) * classes].iter().enumerate();
                    row.filter(|(j, _)| *j != labels[image]).fold(f64::INFINITY, |m, (_, &v)| m.min(v))
                };
                // Recorded points lie in the box rounded to f32.
                let slack = 1e-5;
                for (image, &margin) in file.get(&format!("{tag}.pgd_best_margin")).values.iter().enumerate() {
                    assert!(worst(image) <= margin + slack, "{name} {tag} {relaxation} image {image}");
                    points += 1;
                }
                for suffix in ["counterexample", "counterexample_milp"] {
                    let Some(found) = file.0.get(&format!("{tag}.{suffix}")) else { continue };
                    let images = file.indices(&format!("{tag}.{suffix}_image"));
                    let logits = Reference.forward(network, &theta, &cast::<f64>(&found.values)).unwrap();
                    for (z, image) in logits.chunks_exact(classes).zip(images) {
                        let y = labels[image];
                        for j in (0..classes).filter(|&j| j != y) {
                            let bound = lower[image * classes + j];
                            assert!(bound <= z[y] - z[j] + slack, "{name} {tag} {relaxation} image {image} class {j}");
                        }
                        assert!(worst(image) <= 0.0, "{name} {tag} {relaxation}: a falsified image was certified");
                        points += 1;
                    }
                }
            }
        }
    }
    // 7 settings × 30 images + 68 counterexamples, for each relaxation.
    eprintln!("recorded points: {points}");
    assert_eq!(points, (7 * 30 + 68) * Relaxation::ALL.len());
}
