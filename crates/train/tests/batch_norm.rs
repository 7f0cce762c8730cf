//! Training networks with batch norms: losses over the minibatch's statistics, evaluation over the population's.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{bars, config};
use tightrope_data::Split;
use tightrope_engine::{Engine, Norm, Reference};
use tightrope_network::{Description, Initialisation, Layer, Model, Network};
use tightrope_train::methods::{Minibatch, StepThreat, method};
use tightrope_train::{CHECKPOINT_FILE, Config, Flow, Job, Outcome, Progress, RunFolder, Silent, StepReport, train};

const TEXT: &str = r#"
    input = [1, 8, 8]
    layers = [
        { name = "conv", kind = "conv2d", out_channels = 3, kernel = 4, stride = 2, bias = false },
        { name = "bn1", kind = "batchnorm" },
        { kind = "relu" },
        { kind = "flatten" },
        { name = "hidden", kind = "linear", out_features = 8 },
        { name = "bn2", kind = "batchnorm", momentum = 0.3 },
        { kind = "relu" },
        { name = "last", kind = "linear", out_features = 3 },
    ]
"#;

fn network() -> Network {
    Description::from_toml(TEXT, "(inline)").unwrap().build().unwrap()
}

fn job(config: &Config) -> Job {
    let (training, test) = (bars(Split::Train, 70), bars(Split::Test, 30));
    Job::with_network(config, network(), None, Arc::new(Reference), training.into(), Some(test.into())).unwrap()
}

fn run(config: &Config) -> Outcome {
    train(&job(config), None, &mut Silent).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// θ and buffers.
fn numbers(outcome: &Outcome) -> (Vec<u32>, Vec<u32>) {
    (bits(&outcome.model.theta), bits(&outcome.model.buffers))
}

#[test]
fn every_estimator_learns() {
    for (method, smoothing, weight) in [
        ("standard", "grad", "1"),
        ("ibp", "grad", "1"),
        ("crown-ibp", "grad", "0.6"),
        ("deeppoly", "rgs", "1"),
        ("ibp", "rgs", "0.6"),
    ] {
        let config = config(&[
            &format!("method.name={method}"),
            &format!("smoothing.kind={smoothing}"),
            &format!("method.robust_weight={weight}"),
            "smoothing.sigma=0.003",
            "train.epochs=8",
            "init=default",
        ]);
        let outcome = run(&config);
        let after = outcome.metrics[7].test.as_ref().unwrap();
        assert!(after.natural_accuracy > 0.9, "{method} {smoothing}: {after:?}");
        if method != "standard" {
            assert!(after.certified_accuracy > 0.7, "{method} {smoothing}: {after:?}");
        }
    }
}

/// (L(θ±hd) − L(θ))/h along the gradient is ±g·d, the statistics of the minibatch moving along; where a lower slope flips on
/// one side, the loss jumps there, so one side will do.
#[test]
fn gradients_are_those_of_the_loss() {
    let data = bars(Split::Train, 20);
    let network = network();
    let theta = Initialisation::Default.theta(&network, 1);
    let threat = StepThreat { epsilon: 0.03, norm: Norm::Inf, clip: Some((0.0, 1.0)) };
    for robust_weight in [1.0, 0.4, 0.0] {
        let images = data.images();
        for (name, settings) in [
            ("standard", ""),
            ("ibp", ""),
            ("hbox", ""),
            ("zonotope", ""),
            ("crown-ibp", "beta_start = 0.5\nbeta_end = 0.5"),
            ("deeppoly", ""),
            ("crown-meet-ibp", ""),
            ("crown-skip-ibp", ""),
            ("pgd", "attack_at = \"mean\""),
            ("sabr", "attack_at = \"mean\""),
            ("mtl-ibp", "attack_at = \"mean\""),
            ("staps", "attack_at = \"mean\"\nlatent_steps = 0\nlatent_link = 1\nlatent_share = 0.5"),
        ] {
            let section = toml::from_str(&format!("name = \"{name}\"\n{settings}")).unwrap();
            let method = method(&section).unwrap();
            let batch = Minibatch::new(&images, &data.labels, threat, robust_weight, 0, 0);
            let load = |theta: &[f32]| Reference.load(&network, theta, &network.initial_buffers()).unwrap();
            method.prepare(&batch, &*load(&theta)).unwrap();
            let (mut evaluated, gradient) = method.gradient(&batch, &*load(&theta)).unwrap();
            let statistics = std::mem::take(&mut evaluated.statistics);
            assert_eq!(statistics, load(&theta).forward_batch(&data.images()).unwrap().statistics, "{name}");
            assert_eq!(evaluated, method.loss(&batch, &*load(&theta)).unwrap(), "{name}");
            let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            let h = 1e-3;
            let at = |sign: f64| {
                let step = |(&t, &g): (&f32, &f32)| (f64::from(t) + sign * h * f64::from(g) / norm) as f32;
                let moved: Vec<f32> = theta.iter().zip(&gradient).map(step).collect();
                method.loss(&batch, &*load(&moved)).unwrap().loss
            };
            let slopes = [(at(1.0) - at(0.0)) / h, (at(0.0) - at(-1.0)) / h];
            let fits = |slope: &f64| (slope - norm).abs() < 3e-2 * norm;
            assert!(slopes.iter().any(fits), "{name} w = {robust_weight}: slopes {slopes:?} against {norm}");
        }
    }
}

/// Stops after so many steps.
struct Stop(u64);

impl Progress for Stop {
    fn step(&mut self, report: &StepReport) -> Flow {
        if report.step < self.0 { Flow::Continue } else { Flow::Stop }
    }
}

#[test]
fn an_interrupted_run_ends_with_the_same_bits() {
    for (kind, precise) in [("grad", true), ("rgs", false), ("pgpe", true)] {
        let config = config(&[
            &format!("smoothing.kind={kind}"),
            &format!("train.precise_bn={precise}"),
            "smoothing.population=4",
            "method.robust_weight=0.6",
            "train.epochs=2",
        ]);
        let root = tempfile::tempdir().unwrap();
        let in_folder = |name: &str, resume: bool, progress: &mut dyn Progress| {
            let path = root.path().join(name);
            let mut folder =
                if resume { RunFolder::resume(&path, &[]).unwrap() } else { RunFolder::create(&path, &[]).unwrap() };
            train(&job(&config), Some(&mut folder), progress).unwrap()
        };
        let whole = in_folder("whole", false, &mut Silent);
        assert!(!in_folder("parts", false, &mut Stop(3)).finished);
        assert!(!in_folder("parts", true, &mut Stop(5)).finished);
        let parts = in_folder("parts", true, &mut Silent);
        assert_eq!(numbers(&parts), numbers(&whole), "{kind}");
        for file in ["model.safetensors", CHECKPOINT_FILE] {
            let read = |name: &str| fs::read(root.path().join(name).join(file)).unwrap();
            assert!(read("whole") == read("parts"), "{kind} {file}");
        }
        let model = Model::load(&root.path().join("whole")).unwrap();
        assert_eq!((bits(&model.theta), bits(&model.buffers)), numbers(&whole));
        // A checkpoint with other buffers is damaged.
        let path = root.path().join("whole").join(CHECKPOINT_FILE);
        let mut bytes = fs::read(&path).unwrap();
        let needle = model.buffers[0].to_le_bytes();
        let place = bytes.windows(4).rposition(|window| window == needle).unwrap();
        bytes[place] ^= 1;
        fs::write(&path, bytes).unwrap();
        let mut folder = RunFolder::resume(&root.path().join("whole"), &[]).unwrap();
        let message = train(&job(&config), Some(&mut folder), &mut Silent).unwrap_err().to_string();
        assert!(message.contains("checksum"), "{message}");
    }
}

#[test]
fn same_bits_for_any_number_of_threads() {
    for kind in ["grad", "rgs", "pgpe"] {
        let kind_key = format!("smoothing.kind={kind}");
        let config = config(&[&kind_key, "smoothing.population=4", "train.epochs=1", "method.robust_weight=0.6"]);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            numbers(&pool.install(|| run(&config)))
        };
        assert_eq!(with(1), with(3), "{kind}");
    }
}

#[test]
fn rgs_without_noise_trains_like_grad() {
    let of = |overrides: &[&str]| numbers(&run(&config(overrides)));
    let rgs = ["smoothing.kind=rgs", "smoothing.sigma=0", "train.epochs=1"];
    assert_eq!(of(&["train.epochs=1"]), of(&rgs));
    let noisy = ["smoothing.kind=rgs", "smoothing.sigma=0.01", "train.epochs=1"];
    assert_ne!(of(&rgs), of(&noisy));
}

/// One step: running statistics by PyTorch's rule from the minibatch before the step, population ones at θ after it.
#[test]
fn statistics_for_evaluation() {
    let network = network();
    let inputs = bars(Split::Train, 70).images().into_owned();
    let one_step = ["train.epochs=1", "train.batch=70", "init=default"];
    let outcome = |precise: bool| run(&config(&[&one_step[..], &[&format!("train.precise_bn={precise}")]].concat()));
    let close = |a: f32, b: f64| (f64::from(a) - b).abs() < 1e-5 * (1.0 + b.abs());
    let statistics = |theta: &[f32]| {
        Reference.load(&network, theta, &network.initial_buffers()).unwrap().forward_batch(&inputs).unwrap().statistics
    };

    let running = outcome(false).model;
    let before = statistics(&Initialisation::Default.theta(&network, 0));
    for node in network.nodes() {
        let Layer::BatchNorm(norm) = &node.layer else { continue };
        let n = (70 * node.len() / norm.channels) as f64;
        let layout = network.buffers();
        for (buffer, start, factor) in [(norm.mean, 0.0, 1.0), (norm.variance, 1.0, n / (n - 1.0))] {
            for (&found, &new) in layout.slice(&running.buffers, buffer).iter().zip(layout.slice(&before, buffer)) {
                let expected = (1.0 - norm.momentum) * start + norm.momentum * factor * f64::from(new);
                assert!(close(found, expected), "{found} instead of {expected}");
            }
        }
    }

    let precise = outcome(true).model;
    assert_eq!(bits(&precise.theta), bits(&running.theta));
    for (&found, &expected) in precise.buffers.iter().zip(&statistics(&precise.theta)) {
        // The order of the samples differs.
        assert!(close(found, expected.into()), "{found} instead of {expected}");
    }
}

/// Statistics over several minibatches are moments of them all: Σ n·mean / Σ n and Σ n·(variance + mean²) / Σ n − mean².
#[test]
fn population_statistics_pool_the_minibatches() {
    let outcome = run(&config(&["train.epochs=1", "train.batch=32", "init=default"]));
    let network = network();
    let order = tightrope_data::shuffled(70, 0, 0);
    let data = bars(Split::Train, 70);
    let at = Reference.load(&network, &outcome.model.theta, &network.initial_buffers()).unwrap();
    let (mut first, mut second) = (vec![0.0; 3], vec![0.0; 3]);
    for chosen in order.chunks(32) {
        let inputs: Vec<f32> = chosen.iter().flat_map(|&index| data.image(index).into_owned()).collect();
        let statistics = at.forward_batch(&inputs).unwrap().statistics;
        for channel in 0..3 {
            let (mean, variance) = (f64::from(statistics[channel]), f64::from(statistics[3 + channel]));
            first[channel] += chosen.len() as f64 / 70.0 * mean;
            second[channel] += chosen.len() as f64 / 70.0 * (variance + mean * mean);
        }
    }
    for channel in 0..3 {
        let variance = second[channel] - first[channel].powi(2);
        assert!((f64::from(outcome.model.buffers[channel]) - first[channel]).abs() < 1e-6);
        assert!((f64::from(outcome.model.buffers[3 + channel]) - variance).abs() < 1e-6);
    }
}

/// What the metrics say is what the model in the folder does once it is frozen.
#[test]
fn evaluations_are_of_the_saved_model() {
    let root = tempfile::tempdir().unwrap();
    let mut folder = RunFolder::create(Path::new(&root.path().join("run")), &[]).unwrap();
    let outcome = train(&job(&config(&["init=default"])), Some(&mut folder), &mut Silent).unwrap();
    let stored = Model::load(folder.path()).unwrap();
    let model = stored.frozen().unwrap();
    let test = bars(Split::Test, 30);
    let logits = Reference.load(&model.network, &model.theta, &[]).unwrap().forward(&test.images()).unwrap();
    let largest = |row: &[f32]| (0..3).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    let correct = logits.chunks(3).zip(&test.labels).filter(|&(row, &label)| largest(row) == label).count();
    let metrics = outcome.metrics[2].test.as_ref().unwrap();
    assert_eq!(metrics.natural_accuracy, correct as f64 / 30.0);
    let of = |row: &[f32], label: usize| row.iter().map(|&z| f64::from(z - row[label]).exp()).sum::<f64>().ln();
    let loss = logits.chunks(3).zip(&test.labels).map(|(row, &label)| of(row, label)).sum::<f64>() / 30.0;
    assert!((loss - metrics.natural_loss).abs() < 1e-6, "{loss} instead of {}", metrics.natural_loss);
}
