//! Whole runs: learning, determinism, interruption and resumption, refusals.

mod common;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use common::{bars, config};
use tightrope_data::{Dataset, Split};
use tightrope_engine::Reference;
use tightrope_network::{Model, Preset};
use tightrope_train::{
    CHECKPOINT_FILE, CONFIG_FILE, Config, EVENTS_FILE, EpochMetrics, Flow, Job, MANIFEST_FILE, METRICS_FILE, Outcome,
    Plan, Progress, RunFolder, Silent, StepReport, TrainError, train,
};

fn data() -> (Arc<Dataset>, Arc<Dataset>) {
    (bars(Split::Train, 70).into(), bars(Split::Test, 30).into())
}

fn run_in(config: &Config, folder: &Path, resume: bool, progress: &mut dyn Progress) -> Result<Outcome, TrainError> {
    let (train_set, test_set) = data();
    let job = Job::new(config, Arc::new(Reference), train_set, Some(test_set))?;
    let command = ["tightrope".to_string(), "train".to_string()];
    let mut folder = if resume { RunFolder::resume(folder, &command)? } else { RunFolder::create(folder, &command)? };
    train(&job, Some(&mut folder), progress)
}

fn run(config: &Config) -> Outcome {
    let (train_set, test_set) = data();
    train(&Job::new(config, Arc::new(Reference), train_set, Some(test_set)).unwrap(), None, &mut Silent).unwrap()
}

fn bits(theta: &[f32]) -> Vec<u32> {
    theta.iter().map(|t| t.to_bits()).collect()
}

/// Metrics without what the clock says.
fn timeless(metrics: &[EpochMetrics]) -> Vec<EpochMetrics> {
    let strip = |m: &EpochMetrics| {
        let mut m = EpochMetrics { time: 0.0, seconds: 0.0, images_per_second: 0.0, ..m.clone() };
        if let Some(test) = &mut m.test {
            test.seconds = 0.0;
        }
        m
    };
    metrics.iter().map(strip).collect()
}

/// Losses without a gradient are learned from by PGPE.
#[test]
fn optimised_slopes_are_trained_on() {
    for objective in ["cross-entropy", "certified-error"] {
        let outcome = run(&config(&[
            "method.name=alpha-crown",
            &format!("method.objective={objective}"),
            "method.slope_steps=2",
            "smoothing.kind=pgpe",
            "smoothing.sigma=0.02",
            "smoothing.population=32",
            "train.lr=0.02",
            "train.eval_every=0",
            "warmup.end=0",
        ]));
        let losses: Vec<f64> = outcome.metrics.iter().map(|m| m.loss).collect();
        assert!(losses[losses.len() - 1] < losses[0] - 0.02, "{objective}: {losses:?}");
    }
}

/// Stops, or dies, after so many steps.
struct Interrupt {
    after: u64,
    by_panic: bool,
}

impl Progress for Interrupt {
    fn step(&mut self, report: &StepReport) -> Flow {
        if report.step < self.after {
            return Flow::Continue;
        }
        assert!(!self.by_panic, "killed");
        Flow::Stop
    }
}

#[test]
fn every_method_and_estimator_learns() {
    for (method, smoothing) in [
        ("ibp", "grad"),
        ("crown-ibp", "grad"),
        ("deeppoly", "grad"),
        ("ibp", "rgs"),
        ("deeppoly", "rgs"),
        ("standard", "grad"),
    ] {
        let config = config(&[
            &format!("method.name={method}"),
            &format!("smoothing.kind={smoothing}"),
            "smoothing.sigma=0.01",
            "train.epochs=8",
            "init=default",
        ]);
        let outcome = run(&config);
        let (first, last) = (&outcome.metrics[0], &outcome.metrics[7]);
        let (before, after) = (first.test.as_ref().unwrap(), last.test.as_ref().unwrap());
        assert!(after.natural_loss < 0.7 * before.natural_loss, "{method} {smoothing}: {before:?} {after:?}");
        assert!(after.natural_accuracy > 0.9, "{method} {smoothing}: {after:?}");
        if method != "standard" {
            assert!(after.certified_accuracy > 0.8, "{method} {smoothing}: {after:?}");
        }
    }
}

/// PGPE on a linear classifier: few enough parameters for a small population to learn quickly.
#[test]
fn pgpe_learns_from_losses_alone() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("linear.toml");
    fs::write(&file, "input = [1, 8, 8]\nlayers = [{ kind = \"flatten\" }, { kind = \"linear\", out_features = 3 }]")
        .unwrap();
    let overrides = [
        &format!("model={}", file.display())[..],
        "smoothing.kind=pgpe",
        "smoothing.population=64",
        "smoothing.sigma=0.01",
        "train.epochs=6",
        "train.lr=0.02",
        "warmup.shape=constant",
    ];
    let outcome = run(&config(&overrides));
    let losses: Vec<f64> = outcome.metrics.iter().map(|m| m.test.as_ref().unwrap().certified_loss).collect();
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "the loss does not fall steadily: {losses:?}");
    assert!(outcome.metrics[5].test.as_ref().unwrap().certified_accuracy > 0.9, "{:?}", outcome.metrics[5]);
}

#[test]
fn same_bits_for_any_number_of_threads() {
    for smoothing in ["grad", "rgs", "pgpe", "mixed"] {
        let overrides = [
            &format!("smoothing.kind={smoothing}")[..],
            "smoothing.population=4",
            "train.epochs=2",
            "method.robust_weight=0.6",
        ];
        let config = config(&overrides);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&config))
        };
        let (one, two) = (with(1), with(2));
        assert_eq!(bits(&one.model.theta), bits(&two.model.theta), "{smoothing}");
        assert_eq!(timeless(&one.metrics), timeless(&two.metrics), "{smoothing}");
    }
}

#[test]
fn rgs_without_noise_trains_like_grad_and_seeds_matter() {
    let theta = |overrides: &[&str]| bits(&run(&config(overrides)).model.theta);
    let grad = theta(&["train.epochs=1"]);
    assert_eq!(grad, theta(&["train.epochs=1", "smoothing.kind=rgs", "smoothing.sigma=0", "smoothing.samples=3"]));
    assert_ne!(grad, theta(&["train.epochs=1", "smoothing.kind=rgs", "smoothing.samples=3"]));
    assert_ne!(grad, theta(&["train.epochs=1", "seed=1"]));
}

#[test]
fn a_resumed_run_ends_with_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    // Checkpoints every two steps fall in the middle of epochs and on none of their ends.
    let config = config(&["train.checkpoint_steps=2", "smoothing.kind=rgs"]);
    let whole = root.path().join("whole");
    let expected = run_in(&config, &whole, false, &mut Silent).unwrap();
    assert!(expected.finished);
    let read = |folder: &Path, name: &str| fs::read(folder.join(name)).unwrap();
    for after in [1, 2, 3, 5, 6, 9, 14, 15] {
        for by_panic in [false, true] {
            let folder = root.path().join(format!("{after}-{by_panic}"));
            let mut interrupt = Interrupt { after, by_panic };
            let first = catch_unwind(AssertUnwindSafe(|| run_in(&config, &folder, false, &mut interrupt)));
            assert_eq!(first.is_err(), by_panic);
            assert!(first.is_err() || !first.unwrap().unwrap().finished);
            // What a kill may leave behind in the middle of a write.
            fs::write(folder.join(format!("{CHECKPOINT_FILE}.123.tmp")), b"half").unwrap();
            let mut lines = read(&folder, METRICS_FILE);
            lines.extend(b"{\"epoch\": 9");
            fs::write(folder.join(METRICS_FILE), lines).unwrap();
            let resumed = run_in(&config, &folder, true, &mut Silent).unwrap();
            assert!(resumed.finished);
            for name in [CHECKPOINT_FILE, "model.safetensors", "network.json", CONFIG_FILE] {
                assert!(read(&folder, name) == read(&whole, name), "{name} differs after step {after}");
            }
            assert_eq!(timeless(&resumed.metrics), timeless(&expected.metrics), "after step {after}");
            let lines = String::from_utf8(read(&folder, METRICS_FILE)).unwrap();
            let parsed: Vec<EpochMetrics> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(timeless(&parsed), timeless(&expected.metrics));
            assert_eq!(read(&folder, EVENTS_FILE).len(), read(&whole, EVENTS_FILE).len());
            assert!(!folder.join(format!("{CHECKPOINT_FILE}.123.tmp")).exists());
            let manifest: serde_json::Value = serde_json::from_slice(&read(&folder, MANIFEST_FILE)).unwrap();
            assert_eq!(manifest["sessions"].as_array().unwrap().len(), 2);
            assert!(manifest["sessions"][0]["finished"].is_null());
        }
    }
}

#[test]
fn a_stop_writes_a_checkpoint_of_the_step_that_it_ends_with() {
    let root = tempfile::tempdir().unwrap();
    // None is due by steps or by time.
    let config = config(&["train.checkpoint_steps=0", "train.checkpoint_seconds=0"]);
    let mut interrupt = Interrupt { after: 2, by_panic: false };
    assert!(!run_in(&config, root.path(), false, &mut interrupt).unwrap().finished);
    assert!(run_in(&config, root.path(), true, &mut Silent).unwrap().finished);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(root.path().join(MANIFEST_FILE)).unwrap()).unwrap();
    assert_eq!(manifest["sessions"][1]["first_step"], 2);
}

fn stored(folder: &Path) -> Config {
    let (text, origin) = RunFolder::stored_config(folder).unwrap().unwrap();
    Config::parse(&text, &origin.display().to_string(), &[]).unwrap()
}

/// Collects what a run says.
#[derive(Default)]
struct Heard(Vec<String>);

impl Progress for Heard {
    fn remark(&mut self, text: &str) {
        self.0.push(text.into());
    }
}

#[test]
fn a_damaged_line_of_the_metrics_loses_that_line_alone() {
    let root = tempfile::tempdir().unwrap();
    let config = config(&[]);
    run_in(&config, root.path(), false, &mut Silent).unwrap();
    let file = root.path().join(METRICS_FILE);
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // The second line damaged, the third twice, and one cut off by a kill.
    fs::write(&file, [lines[0], "{\"epoch\": 2, \u{0}", lines[2], lines[2], "{\"epo"].join("\n")).unwrap();
    let mut heard = Heard::default();
    let resumed = run_in(&config, root.path(), true, &mut heard).unwrap();
    assert_eq!(resumed.metrics.iter().map(|m| m.epoch).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(heard.0.len(), 2, "{:?}", heard.0);
    assert!(heard.0[0].contains("line 2: damaged") && heard.0[1].contains("line 4: epoch 3"), "{:?}", heard.0);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n{}\n", lines[0], lines[2]));
}

#[test]
fn a_checkpoint_with_a_changed_bit_is_refused_and_one_without_a_checksum_is_read() {
    let root = tempfile::tempdir().unwrap();
    let config = config(&["train.epochs=1"]);
    run_in(&config, root.path(), false, &mut Silent).unwrap();
    let file = root.path().join(CHECKPOINT_FILE);
    let bytes = fs::read(&file).unwrap();
    let refusal = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let message = run_in(&config, root.path(), true, &mut Silent).unwrap_err().to_string();
        assert!(message.contains("checksum") && message.contains("--overwrite"), "{message}");
    };
    let mut flipped = bytes.clone();
    // The lowest bit of a parameter: finite before and after.
    *flipped.last_mut().unwrap() ^= 1;
    refusal(&flipped);
    let mut counted = bytes.clone();
    let place = counted
        .windows(11)
        .position(|window| window == b"\"adam_step\\")
        .unwrap_or_else(|| counted.windows(9).position(|window| window == b"adam_step").unwrap());
    let digit = place + counted[place..].iter().position(u8::is_ascii_digit).unwrap();
    counted[digit] ^= 1;
    refusal(&counted);
    // As written by programs that had no checksum: the field emptied, padded to the same length.
    let key = b"checksum\\\":\\\"";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len();
    let mut old = bytes.clone();
    let tail = old[at + 64..at + 67].to_vec();
    old[at..at + 3].copy_from_slice(&tail);
    old[at + 3..at + 67].fill(b' ');
    fs::write(&file, old).unwrap();
    assert!(run_in(&config, root.path(), true, &mut Silent).unwrap().finished);
}

#[test]
fn an_evaluation_can_be_left_and_is_done_on_resumption() {
    struct Leave;
    impl Progress for Leave {
        fn flow(&mut self) -> Flow {
            Flow::Stop
        }
    }
    let root = tempfile::tempdir().unwrap();
    let config = config(&["train.epochs=1"]);
    let stopped = run_in(&config, root.path(), false, &mut Leave).unwrap();
    assert!(!stopped.finished && stopped.metrics.is_empty());
    let resumed = run_in(&config, root.path(), true, &mut Silent).unwrap();
    assert_eq!(timeless(&resumed.metrics), timeless(&run(&config).metrics));
}

#[test]
fn a_collapsed_run_says_so_and_names_what_to_change() {
    let collapsed = config(&["eps=0.5", "train.lr=0.5", "train.epochs=2", "warmup.shape=constant"]);
    let (train_set, test_set) = data();
    let job = Job::new(&collapsed, Arc::new(Reference), train_set, Some(test_set)).unwrap();
    let mut heard = Heard::default();
    let warning = train(&job, None, &mut heard).unwrap().warning.unwrap();
    assert_eq!(heard.0, [format!("warning: {warning}")]);
    for part in ["train.eps = 0.5", "warmup.end", "train.lr = 0.5"] {
        assert!(warning.contains(part), "{warning}");
    }
    assert_eq!(run(&config(&["train.epochs=8", "init=default"])).warning, None);
}

#[test]
fn overwriting_removes_the_run_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let config = config(&["train.epochs=1"]);
    run_in(&config, root.path(), false, &mut Silent).unwrap();
    fs::write(root.path().join("certify.jsonl"), "old").unwrap();
    fs::write(root.path().join("notes.txt"), "mine").unwrap();
    let log = fs::File::open(root.path().join("certify.jsonl")).unwrap();
    log.lock().unwrap();
    let refusal = RunFolder::overwrite(root.path(), &[]).unwrap_err().to_string();
    assert!(refusal.contains("certify.jsonl") && refusal.contains("another process"), "{refusal}");
    assert!(root.path().join(CHECKPOINT_FILE).exists());
    drop(log);
    let folder = RunFolder::overwrite(root.path(), &[]).unwrap();
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".lock", "notes.txt"]);
    drop(folder);
    let refusal = RunFolder::overwrite(root.path(), &[]).unwrap_err().to_string();
    assert!(refusal.contains("notes.txt"), "{refusal}");
}

#[test]
fn a_finished_folder_holds_everything() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("a/b");
    let config = config(&["train.epochs=1"]);
    let outcome = run_in(&config, &folder, false, &mut Silent).unwrap();
    assert_eq!(Model::load(&folder).unwrap(), outcome.model);
    assert_eq!(stored(&folder), config);
    // Where config.toml is lost, the checkpoint knows it.
    fs::remove_file(folder.join(CONFIG_FILE)).unwrap();
    assert_eq!(stored(&folder), config);
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(folder.join(MANIFEST_FILE)).unwrap()).unwrap();
    assert_eq!(manifest["data"][1]["sha256"], "bars-test");
    assert_eq!(manifest["sessions"][0]["command"][1], "train");
    assert!(manifest["sessions"][0]["finished"].is_string());
    // Resuming a finished run changes nothing and returns its metrics.
    let before = fs::read(folder.join(CHECKPOINT_FILE)).unwrap();
    let again = run_in(&config, &folder, true, &mut Silent).unwrap();
    assert_eq!((again.metrics, again.model), (outcome.metrics, outcome.model));
    assert_eq!(fs::read(folder.join(CHECKPOINT_FILE)).unwrap(), before);
}

#[test]
fn a_run_may_be_made_longer() {
    let root = tempfile::tempdir().unwrap();
    let fixed = ["warmup.end=1", "train.milestones=[2]"];
    let short = config(&[&fixed[..], &["train.epochs=1"]].concat());
    let long = config(&[&fixed[..], &["train.epochs=3", "train.checkpoint_steps=1"]].concat());
    run_in(&short, root.path(), false, &mut Silent).unwrap();
    let resumed = run_in(&long, root.path(), true, &mut Silent).unwrap();
    assert_eq!(bits(&resumed.model.theta), bits(&run(&long).model.theta));
    assert_eq!(stored(root.path()), long);
    let message = run_in(&short, root.path(), true, &mut Silent).unwrap_err().to_string();
    assert!(message.contains("train.epochs"), "{message}");
}

#[test]
fn another_run_is_not_resumed() {
    let root = tempfile::tempdir().unwrap();
    run_in(&config(&[]), root.path(), false, &mut Interrupt { after: 2, by_panic: false }).unwrap();
    let before = fs::read(root.path().join(CHECKPOINT_FILE)).unwrap();
    for (change, key) in [
        ("train.lr=0.1", "train.lr"),
        ("seed=3", "seed"),
        ("method.name=crown-ibp", "method.name"),
        ("model=cnn3-tiny", "model"),
        ("train.epochs=4", "train.milestones"),
    ] {
        let message = run_in(&config(&[change]), root.path(), true, &mut Silent).unwrap_err().to_string();
        assert!(message.contains(&format!("`{key}`")) && message.contains("--out"), "{change}: {message}");
    }
    let mut train_set = bars(Split::Train, 70);
    let refusal = |train_set: &Dataset, network| {
        let job = Job::with_network(&config(&[]), network, None, Arc::new(Reference), train_set.clone().into(), None)
            .unwrap();
        let mut folder = RunFolder::resume(root.path(), &[]).unwrap();
        train(&job, Some(&mut folder), &mut Silent).unwrap_err().to_string()
    };
    let network = |preset: Preset| preset.build(&[1, 8, 8], 3, None).unwrap();
    assert!(refusal(&train_set, network(Preset::Cnn3Tiny)).contains("network description"));
    train_set.checksum = "other".into();
    assert!(refusal(&train_set, network(Preset::Mlp)).contains("training data"));
    assert_eq!(fs::read(root.path().join(CHECKPOINT_FILE)).unwrap(), before);
}

#[test]
fn folders_in_use_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let message = |result: Result<RunFolder, TrainError>| result.unwrap_err().to_string();
    let held = RunFolder::create(&root.path().join("run"), &[]).unwrap();
    let refusal = message(RunFolder::create(held.path(), &[]));
    assert!(refusal.contains("another process"), "{refusal}");
    let path = held.path().to_path_buf();
    drop(held);
    fs::write(path.join("notes.txt"), "mine").unwrap();
    let refusal = message(RunFolder::create(&path, &[]));
    assert!(refusal.contains("notes.txt") && refusal.contains("--resume"), "{refusal}");
    let refusal = message(RunFolder::resume(&path, &[]));
    assert!(refusal.contains("notes.txt") && refusal.contains(CHECKPOINT_FILE), "{refusal}");
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("run")] {
        let refusal = message(RunFolder::create(&path, &[]));
        assert!(refusal.contains(&*path.to_string_lossy()) && refusal.contains("--out"), "{refusal}");
    }
    // Foreign folders are left as they were.
    let foreign = root.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("x"), "").unwrap();
    assert!(RunFolder::create(&foreign, &[]).is_err());
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
}

#[test]
fn a_damaged_checkpoint_is_reported() {
    let root = tempfile::tempdir().unwrap();
    run_in(&config(&["train.epochs=1"]), root.path(), false, &mut Silent).unwrap();
    let file = root.path().join(CHECKPOINT_FILE);
    let bytes = fs::read(&file).unwrap();
    for length in [0, 4, 100, bytes.len() - 1] {
        fs::write(&file, &bytes[..length]).unwrap();
        let message = run_in(&config(&["train.epochs=1"]), root.path(), true, &mut Silent).unwrap_err().to_string();
        assert!(message.contains("damaged") && message.contains(CHECKPOINT_FILE), "{length} bytes: {message}");
    }
}

#[test]
fn divergence_stops_the_run_and_keeps_the_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let wild = config(&["train.lr=1e30", "train.grad_clip=0", "train.checkpoint_steps=1", "warmup.shape=constant"]);
    let error = run_in(&wild, root.path(), false, &mut Silent).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("step") && message.contains("train.lr"), "{message}");
    let (train_set, _) = data();
    let job = Job::new(&wild, Arc::new(Reference), train_set, None).unwrap();
    let mut folder = RunFolder::resume(root.path(), &[]).unwrap();
    // The checkpoint is whole: the run goes on from it and diverges at the same place.
    assert_eq!(train(&job, Some(&mut folder), &mut Silent).unwrap_err().to_string(), message);
}

/// The set with other pixels.
fn changed(set: Dataset, change: impl FnOnce(&mut [f32])) -> Dataset {
    let mut images = set.images().into_owned();
    change(&mut images);
    Dataset::own(&set.name, set.split, set.shape, set.classes, images, set.labels)
}

/// A loss that is a number, but beyond all sense, is no result.
#[test]
fn an_absurd_loss_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let train_set = changed(bars(Split::Train, 70), |images| images.iter_mut().for_each(|value| *value *= 1e22));
    let unclipped = config(&["clip=false", "warmup.shape=constant", "init=default", "method.name=standard"]);
    let job = Job::new(&unclipped, Arc::new(Reference), train_set.into(), None).unwrap();
    let mut folder = RunFolder::create(&root.path().join("run"), &[]).unwrap();
    let error = train(&job, Some(&mut folder), &mut Silent).unwrap_err();
    let TrainError::Diverged { what: "the loss", value, .. } = error else { panic!("{error}") };
    assert!(value.is_finite() && value > 1e15, "{value}");
}

#[test]
fn unusable_data_is_refused_before_training() {
    let good = bars(Split::Train, 70);
    let refusal = |config: &Config, set: &Dataset| match Job::new(config, Arc::new(Reference), set.clone().into(), None)
    {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    let mut set = good.clone();
    set.labels[4] = 7;
    let network = Preset::Mlp.build(&[1, 8, 8], 3, None).unwrap();
    let message = Job::with_network(&config(&[]), network, None, Arc::new(Reference), set.into(), None)
        .err()
        .unwrap()
        .to_string();
    assert!(message.contains("sample 4") && message.contains("label 7"), "{message}");
    let set = changed(good.clone(), |images| images[64 * 2] = f32::NAN);
    assert!(refusal(&config(&[]), &set).contains("image 2"));
    assert!(refusal(&config(&[]), &good.clone().limit(0)).contains("no samples"));
    assert!(refusal(&config(&["model=cnn99"]), &good).contains("cnn3-tiny"));
    assert!(refusal(&config(&["normalise=true"]), &good).contains("`normalise`"));
    // Pixels outside the clipped data range are an error of the first step, not a crash.
    let set = changed(good.clone(), |images| images[3] = 3.0);
    let message = train(&Job::new(&config(&[]), Arc::new(Reference), set.into(), None).unwrap(), None, &mut Silent);
    assert!(message.unwrap_err().to_string().contains("data range"));
}

#[test]
fn observers_see_every_step_and_epoch() {
    #[derive(Default)]
    struct Seen {
        plan: Option<Plan>,
        steps: Vec<u64>,
        evaluations: Vec<usize>,
        epochs: Vec<usize>,
    }
    impl Progress for Seen {
        fn started(&mut self, plan: &Plan) {
            self.plan = Some(*plan);
        }
        fn step(&mut self, report: &StepReport) -> Flow {
            assert!(report.loss.is_finite() && report.images_per_second > 0.0 && report.eta_seconds >= 0.0);
            assert!(report.natural_accuracy.is_some() && report.certified_accuracy.is_some());
            self.steps.push(report.step);
            Flow::Continue
        }
        fn evaluating(&mut self, epoch: usize) {
            self.evaluations.push(epoch);
        }
        fn epoch(&mut self, metrics: &EpochMetrics) {
            self.epochs.push(metrics.epoch);
        }
    }
    let (train_set, test_set) = data();
    let config = config(&["train.eval_every=2", "limit_train=40", "train.eval_limit=10"]);
    let job = Job::new(&config, Arc::new(Reference), train_set, Some(test_set)).unwrap();
    let mut seen = Seen::default();
    let outcome = train(&job, None, &mut seen).unwrap();
    let plan = seen.plan.unwrap();
    assert_eq!((plan.epochs, plan.steps_per_epoch, plan.samples), (3, 3, 40));
    assert_eq!(seen.steps, (1..=9).collect::<Vec<_>>());
    assert_eq!((seen.evaluations, seen.epochs), (vec![2, 3], vec![1, 2, 3]));
    assert_eq!(outcome.metrics[1].test.as_ref().unwrap().samples, 10);
    assert!(outcome.metrics[0].test.is_none());
}
