//! Optimisers, schedules, accumulation, SAM and averages in whole runs.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{bars, config};
use safetensors::SafeTensors;
use tightrope_data::Split;
use tightrope_engine::{Engine, Norm, Reference};
use tightrope_network::{Architecture, Initialisation, Layer, Model, Network, NetworkBuilder};
use tightrope_train::methods::{Minibatch, StepThreat, method};
use tightrope_train::{CHECKPOINT_FILE, Config, Flow, Job, Outcome, Progress, RunFolder, Silent, StepReport, train};

/// Small enough to run often: 275 parameters.
fn tiny() -> Network {
    let mut builder = NetworkBuilder::new(&[1, 8, 8]).unwrap();
    let flat = builder.add("flat", Layer::Flatten, &[0]).unwrap();
    let hidden = builder.linear("hidden", 4, true, flat).unwrap();
    let relu = builder.add("relu", Layer::RELU, &[hidden]).unwrap();
    builder.linear("last", 3, true, relu).unwrap();
    builder.build().unwrap()
}

/// With batch norms.
fn normed() -> Network {
    Architecture::from_name("cnn3-bn:3").unwrap().build(&[1, 8, 8], 3, None).unwrap()
}

fn job(config: &Config, network: Network) -> Job {
    let (training, test) = (bars(Split::Train, 70), bars(Split::Test, 30));
    Job::with_network(config, network, None, Arc::new(Reference), training.into(), Some(test.into())).unwrap()
}

fn run(overrides: &[&str], network: Network) -> Outcome {
    train(&job(&config(overrides), network), None, &mut Silent).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Stops after so many steps.
struct Stop(u64);

impl Progress for Stop {
    fn step(&mut self, report: &StepReport) -> Flow {
        if report.step < self.0 { Flow::Continue } else { Flow::Stop }
    }
}

/// Stops in the evaluation after an epoch.
struct Leave {
    epoch: usize,
    now: bool,
}

impl Progress for Leave {
    fn evaluating(&mut self, epoch: usize) {
        self.now = epoch == self.epoch;
    }
    fn flow(&mut self) -> Flow {
        if self.now { Flow::Stop } else { Flow::Continue }
    }
}

fn in_folder(path: &Path, resume: bool, job: &Job, progress: &mut dyn Progress) -> Outcome {
    let mut folder = if resume { RunFolder::resume(path, &[]).unwrap() } else { RunFolder::create(path, &[]).unwrap() };
    train(job, Some(&mut folder), progress).unwrap()
}

fn refusal(overrides: &[&str]) -> String {
    let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
    Config::parse("", "(test)", &overrides).unwrap_err().to_string()
}

/// A checkpoint of the program that knew Adam alone: its tensors are those of this program after the same steps, and it is
/// gone on from alike. Not to the bit: the file comes from another machine, and the products of the reference engine are
/// summed in the order that suits the processor's instruction set.
#[test]
fn checkpoints_of_adam_alone_are_still_read() {
    let old = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/adam-checkpoint.safetensors");
    let old = fs::read(old).unwrap();
    let root = tempfile::tempdir().unwrap();
    let job = job_without_test(&config(&["train.epochs=2"]));
    let (fresh, resumed) = (root.path().join("fresh"), root.path().join("resumed"));
    assert!(!in_folder(&fresh, false, &job, &mut Stop(7)).finished);
    fs::create_dir(&resumed).unwrap();
    fs::write(resumed.join(CHECKPOINT_FILE), &old).unwrap();
    let floats = |bytes: &[u8], name: &str| -> Vec<f32> {
        let file = SafeTensors::deserialize(bytes).unwrap();
        file.tensor(name).unwrap().data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let new = fs::read(fresh.join(CHECKPOINT_FILE)).unwrap();
    let alike = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    for name in ["theta", "adam.first", "adam.second"] {
        assert!(alike(&floats(&new, name), &floats(&old, name)), "{name}");
    }
    let outcome = in_folder(&resumed, true, &job, &mut Silent);
    assert!(outcome.finished);
    let whole = in_folder(&fresh, true, &job, &mut Silent);
    assert!(alike(&outcome.model.theta, &whole.model.theta));
}

fn job_without_test(config: &Config) -> Job {
    Job::with_network(config, tiny(), None, Arc::new(Reference), bars(Split::Train, 70).into(), None).unwrap()
}

#[test]
fn every_optimiser_and_schedule_learns() {
    for (optimiser, lr) in [("adam", "0.01"), ("adamw", "0.01"), ("radam", "0.05"), ("sgd", "0.1")] {
        for schedule in ["step", "cosine", "one-cycle"] {
            let overrides = [
                &format!("train.optimiser={optimiser}")[..],
                &format!("train.lr={lr}"),
                &format!("train.schedule={schedule}"),
                "train.epochs=12",
                "method.robust_weight=0.5",
                "init=default",
            ];
            let network = Architecture::from_name("mlp:16").unwrap().build(&[1, 8, 8], 3, None).unwrap();
            let metrics = run(&overrides, network).metrics;
            let test = metrics[11].test.as_ref().unwrap();
            assert!(test.natural_accuracy > 0.9 && test.certified_accuracy > 0.8, "{optimiser} {schedule}: {test:?}");
        }
    }
}

#[test]
fn learning_rates_follow_the_schedule() {
    let lr = |overrides: &[&str], time: f64| config(overrides).at(time).lr;
    let cosine = ["train.epochs=12", "train.lr=0.2", "train.schedule=cosine", "train.lr_final=0.1"];
    for (time, expected) in [(0.0, 0.2), (4.0, 0.175), (6.0, 0.15), (12.0, 0.1)] {
        assert!((lr(&cosine, time) - expected).abs() < 1e-15, "{time}");
    }
    let cycle = ["train.epochs=12", "train.lr=0.25", "train.schedule=one-cycle", "train.lr_warmup=0.25"];
    // From a twenty-fifth over the first three epochs, then to 0 over nine.
    for (time, expected) in [(0.0, 0.01), (1.5, 0.13), (3.0, 0.25), (6.0, 0.1875), (12.0, 0.0)] {
        assert!((lr(&cycle, time) - expected).abs() < 1e-15, "{time}");
    }
    let step = ["train.epochs=12", "train.lr=0.2", "train.milestones=[3]", "train.lr_final=0.1"];
    assert_eq!([2.9, 3.0].map(|time| lr(&step, time)), [0.2, 0.2 * 0.2]);
}

#[test]
fn settings_that_do_not_go_together_are_refused_by_key() {
    for (overrides, parts) in [
        (vec!["train.optimiser=adan"], vec!["train.optimiser", "radam"]),
        (vec!["train.schedule=linear"], vec!["train.schedule", "one-cycle"]),
        (vec!["train.schedule=cosine", "train.lr_final=1"], vec!["`train.lr_final`", "train.lr"]),
        (vec!["train.schedule=one-cycle", "train.lr_start=1"], vec!["`train.lr_start`", "train.lr"]),
        (vec!["train.momentum=1"], vec!["`train.momentum`", "less than 1"]),
        (vec!["train.sam=0.1", "smoothing.kind=rgs"], vec!["`train.sam`", "\"rgs\"", "\"grad\""]),
        (vec!["train.sam=0.1", "smoothing.kind=pgpe"], vec!["`train.sam`", "\"pgpe\""]),
        (vec!["train.average=swa", "train.average_start=20"], vec!["`train.average_start`", "train.epochs = 20"]),
        (vec!["train.accumulate=0"], vec!["`train.accumulate`", "from 1"]),
    ] {
        let message = refusal(&overrides);
        assert!(parts.iter().all(|part| message.contains(part)), "{overrides:?}: {message}");
    }
    let weight_decay = |overrides: &[&str]| config(overrides).train.weight_decay;
    assert_eq!((weight_decay(&[]), weight_decay(&["train.optimiser=adamw"])), (Some(0.0), Some(0.01)));
    assert_eq!(config(&["train.average=swa", "train.epochs=10"]).train.average_start, Some(7.0));
}

/// Three interruptions, two in the middle of an epoch and one in an evaluation, change no byte of what is left.
#[test]
fn resumed_runs_end_with_the_same_bytes() {
    let small = ["train.batch=8", "train.accumulate=2", "train.epochs=4", "method.robust_weight=0.6"];
    let every: [(&[&str], Network); 6] = [
        (&["train.optimiser=radam", "train.schedule=one-cycle"], tiny()),
        (&["train.optimiser=sgd", "train.nesterov=true", "train.schedule=cosine", "train.average=swa"], tiny()),
        (&["train.optimiser=sgd", "train.momentum=0", "train.sam=0.1"], tiny()),
        (&["train.optimiser=adamw", "train.average=ema", "train.average_decay=0.9", "smoothing.kind=rgs"], tiny()),
        (&["train.average=swa", "train.average_start=1", "train.sam=0.05"], normed()),
        (&["train.average=ema", "train.average_start=0.5", "train.precise_bn=false"], normed()),
    ];
    for (overrides, network) in every {
        let job = job(&config(&[&small[..], overrides].concat()), network);
        let root = tempfile::tempdir().unwrap();
        let (whole, parts) = (root.path().join("whole"), root.path().join("parts"));
        let expected = in_folder(&whole, false, &job, &mut Silent);
        assert_eq!(expected.metrics[3].step, 20, "70 samples in steps of 16");
        assert!(!in_folder(&parts, false, &job, &mut Stop(3)).finished);
        assert!(!in_folder(&parts, true, &job, &mut Leave { epoch: 2, now: false }).finished);
        assert!(!in_folder(&parts, true, &job, &mut Stop(17)).finished);
        let outcome = in_folder(&parts, true, &job, &mut Silent);
        assert_eq!(outcome.model, expected.model, "{overrides:?}");
        for file in ["model.safetensors", CHECKPOINT_FILE] {
            let read = |folder: &Path| fs::read(folder.join(file)).unwrap();
            assert!(read(&whole) == read(&parts), "{overrides:?}: {file}");
        }
        // Once more, from the end: the model comes out again.
        assert_eq!(in_folder(&parts, true, &job, &mut Silent).model, expected.model);
        assert_eq!(Model::load(&whole).unwrap(), expected.model);
    }
}

#[test]
fn another_optimiser_or_a_longer_cosine_is_no_resumption() {
    let root = tempfile::tempdir().unwrap();
    let schedule = ["train.schedule=cosine", "warmup.end=1", "train.milestones=[2]"];
    in_folder(root.path(), false, &job(&config(&schedule), tiny()), &mut Stop(3));
    for (change, key) in [("train.optimiser=sgd", "train.optimiser"), ("train.epochs=4", "train.epochs")] {
        let job = job(&config(&[&schedule[..], &[change]].concat()), tiny());
        let mut folder = RunFolder::resume(root.path(), &[]).unwrap();
        let message = train(&job, Some(&mut folder), &mut Silent).unwrap_err().to_string();
        assert!(message.contains(&format!("`{key}`")), "{message}");
    }
}

/// Micro-batches add up to the large batch they are cut from, noise and last, smaller steps included.
#[test]
fn accumulated_micro_batches_are_one_large_batch() {
    // With random draws in the loss, too.
    let drawn = &["method.name=pgd", "method.attack_steps=0"][..];
    for (kind, method) in [("grad", &[][..]), ("rgs", &[]), ("pgpe", &[]), ("grad", drawn)] {
        let of = |batch: &str, accumulate: &str| {
            let overrides = [
                &format!("smoothing.kind={kind}")[..],
                &format!("train.batch={batch}"),
                &format!("train.accumulate={accumulate}"),
                "smoothing.population=8",
                "smoothing.sigma=0.01",
                "train.optimiser=sgd",
                "train.lr=0.02",
                "method.robust_weight=0.6",
            ];
            run(&[&overrides[..], method].concat(), tiny())
        };
        let (large, cut) = (of("16", "1"), of("6", "3"));
        assert_eq!((large.metrics[2].step, cut.metrics[2].step), (15, 12));
        let (large, cut) = (of("18", "1"), of("6", "3"));
        let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // PGPE divides differences of losses by 2σ: their rounding grows a thousandfold.
        let limit = if kind == "pgpe" { 1e-3 } else { 2e-6 };
        assert!(apart(&large.model.theta, &cut.model.theta) < limit, "{kind}");
        for (a, b) in large.metrics.iter().zip(&cut.metrics) {
            assert!((a.loss - b.loss).abs() < 1e-3 * f64::from(limit).sqrt(), "{kind}: {} and {}", a.loss, b.loss);
            assert_eq!((a.step, a.train_certified_accuracy.is_some()), (b.step, b.train_certified_accuracy.is_some()));
        }
        assert!(
            apart(&large.model.theta, &of("18", "2").model.theta) > 100.0 * limit,
            "{kind}: it makes no difference"
        );
    }
}

/// θ' = θ − lr·∇L(θ + ρ g/‖g‖) for the first step of a run on all samples, and none at all with ρ = 0.
#[test]
fn sam_steps_along_the_gradient_uphill() {
    let one = ["train.epochs=1", "train.batch=70", "train.optimiser=sgd", "train.lr=0.5", "train.momentum=0"];
    let plain = ["train.grad_clip=0", "train.l1=0", "warmup.shape=constant"];
    let run = |sam: &str| run(&[&one[..], &plain, &[sam]].concat(), tiny());
    let network = tiny();
    let theta = Initialisation::Ibp.theta(&network, 0);
    let order = tightrope_data::shuffled(70, 0, 0);
    let data = bars(Split::Train, 70);
    let inputs: Vec<f32> = order.iter().flat_map(|&index| data.image(index).into_owned()).collect();
    let labels: Vec<usize> = order.iter().map(|&index| data.labels[index]).collect();
    let threat = StepThreat { epsilon: 0.02, norm: Norm::Inf, clip: Some((0.0, 1.0)) };
    let batch = Minibatch::new(&inputs, &labels, threat, 1.0, 0, 0);
    let ibp = method(&config(&[]).method).unwrap();
    let gradient = |theta: &[f32]| ibp.gradient(&batch, &*Reference.load(&network, theta, &[]).unwrap()).unwrap().1;
    let first = gradient(&theta);
    let norm = first.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
    let uphill = |(&t, &g): (&f32, &f32)| (f64::from(t) + 0.3 / norm * f64::from(g)) as f32;
    let climbed = gradient(&theta.iter().zip(&first).map(uphill).collect::<Vec<f32>>());
    let mut moved = 0.0_f32;
    for ((found, t), (g, plain)) in run("train.sam=0.3").model.theta.iter().zip(&theta).zip(climbed.iter().zip(&first))
    {
        assert!((found - (t - 0.5 * g)).abs() < 1e-6, "{found}");
        moved = moved.max((g - plain).abs());
    }
    assert!(moved > 1e-2, "the step uphill changes nothing");
    let without: Vec<f32> = theta.iter().zip(&first).map(|(t, g)| t - 0.5 * g).collect();
    assert_eq!(bits(&run("train.sam=0").model.theta), bits(&without));
}

/// The averages of θ after 1, 2, … epochs of one step each, which runs of that length end with.
#[test]
fn averages_are_those_of_the_run_without_them() {
    let fixed = ["train.batch=70", "warmup.end=1", "train.milestones=[]"];
    let after = |epochs: usize| run(&[&fixed[..], &[&format!("train.epochs={epochs}")]].concat(), tiny()).model.theta;
    let path: Vec<Vec<f32>> = (1..=5).map(after).collect();
    let of = |average: &str, start: &str| {
        let keys = ["train.epochs=5", "train.average_decay=0.75", &format!("train.average={average}"), start];
        run(&[&fixed[..], &keys].concat(), tiny()).model.theta
    };
    let (mean, moving) = (of("swa", "train.average_start=2"), of("ema", "train.average_start=1"));
    for i in 0..275 {
        let at = |epoch: usize| f64::from(path[epoch - 1][i]);
        let expected = (at(3) + at(4) + at(5)) / 3.0;
        assert!((f64::from(mean[i]) - expected).abs() < 1e-6, "{} instead of {expected}", mean[i]);
        let expected = 0.75 * (0.75 * (0.75 * at(2) + 0.25 * at(3)) + 0.25 * at(4)) + 0.25 * at(5);
        assert!((f64::from(moving[i]) - expected).abs() < 1e-6, "{} instead of {expected}", moving[i]);
    }
    // Begun with the last epoch, both are what the run ends with.
    for average in ["swa", "ema"] {
        assert_eq!(bits(&of(average, "train.average_start=4")), bits(&path[4]));
    }
}

/// The averaged model is the one that is evaluated and saved, and its batch norms have its own statistics.
#[test]
fn averaged_models_are_evaluated_with_their_own_statistics() {
    for (average, precise) in [("swa", "true"), ("ema", "false")] {
        let root = tempfile::tempdir().unwrap();
        let overrides = [
            "train.batch=70",
            "train.epochs=5",
            "train.average_start=1",
            "train.average_decay=0.5",
            &format!("train.average={average}"),
            &format!("train.precise_bn={precise}"),
        ];
        let job = job(&config(&overrides), normed());
        let outcome = in_folder(&root.path().join("run"), false, &job, &mut Silent);
        let model = Model::load(&root.path().join("run")).unwrap();
        assert_eq!(model, outcome.model);
        let load = |network: &Network, theta: &[f32], buffers: &[f32]| Reference.load(network, theta, buffers).unwrap();
        let training = bars(Split::Train, 70).images().into_owned();
        let own = load(&model.network, &model.theta, &model.buffers).forward_batch(&training).unwrap().statistics;
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5 * (1.0 + b.abs());
        assert!(model.buffers.iter().zip(&own).all(close), "{average}");
        let test = bars(Split::Test, 30);
        let frozen = model.frozen().unwrap();
        let logits = load(&frozen.network, &frozen.theta, &frozen.buffers).forward(&test.images()).unwrap();
        let of = |row: &[f32], label: usize| row.iter().map(|&z| f64::from(z - row[label]).exp()).sum::<f64>().ln();
        let loss = logits.chunks(3).zip(&test.labels).map(|(row, &label)| of(row, label)).sum::<f64>() / 30.0;
        let metrics = outcome.metrics[4].test.as_ref().unwrap();
        assert!((loss - metrics.natural_loss).abs() < 1e-5, "{average}: {loss} instead of {}", metrics.natural_loss);
        let plain = run(&["train.batch=70", "train.epochs=5"], normed()).model.theta;
        assert_ne!(bits(&plain), bits(&model.theta));
    }
}

/// What is on disk when numbers leave all sense is what was there before.
#[test]
fn divergence_names_the_likely_cause_and_leaves_the_checkpoint() {
    let constant = ["warmup.shape=constant", "train.checkpoint_steps=1", "train.grad_clip=0", "init=default"];
    for (overrides, part) in [
        (vec!["train.optimiser=sgd", "train.lr=1e30"], "lower train.lr"),
        (vec!["smoothing.kind=rgs", "smoothing.sigma=1e20"], "lower smoothing.sigma"),
        (vec!["train.sam=1e25"], "lower train.sam"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let job = job(&config(&[&constant[..], &overrides].concat()), tiny());
        let fail = |resume: bool| {
            let folder = if resume { RunFolder::resume(root.path(), &[]) } else { RunFolder::create(root.path(), &[]) };
            let message = train(&job, Some(&mut folder.unwrap()), &mut Silent).unwrap_err().to_string();
            (message, fs::read(root.path().join(CHECKPOINT_FILE)).unwrap())
        };
        let (message, checkpoint) = fail(false);
        for part in ["training diverged", "Likely cause", part, "(epoch 1)", "another --out"] {
            assert!(message.contains(part), "{overrides:?}: {message}");
        }
        // There is no model before the first epoch's end.
        assert!(!message.contains("--init-from"), "{overrides:?}: {message}");
        assert_eq!(fail(true), (message, checkpoint));
    }
}
