//! What a run makes of its data: validation splits, augmentation that an interruption does not change, folders.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{bars, config};
use tightrope_data::{Dataset, Split};
use tightrope_engine::Reference;
use tightrope_train::{
    CHECKPOINT_FILE, Config, Flow, Job, MANIFEST_FILE, Outcome, Progress, RunFolder, Silent, StepReport, TrainError,
    train,
};

fn job(config: &Config, train_set: Dataset, test: Option<Dataset>) -> Result<Job, TrainError> {
    Job::new(config, Arc::new(Reference), train_set.into(), test.map(Arc::new))
}

fn run(config: &Config, test: Option<Dataset>) -> Outcome {
    train(&job(config, bars(Split::Train, 70), test).unwrap(), None, &mut Silent).unwrap()
}

fn refusal(overrides: &[&str], train_set: Dataset, test: Option<Dataset>) -> String {
    job(&config(overrides), train_set, test).err().map(|error| error.to_string()).unwrap_or_default()
}

struct StopAfter(u64);

impl Progress for StopAfter {
    fn step(&mut self, report: &StepReport) -> Flow {
        if report.step == self.0 { Flow::Stop } else { Flow::Continue }
    }
}

fn checkpoint(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join(CHECKPOINT_FILE)).unwrap()
}

#[test]
fn a_run_with_augmentation_goes_on_with_the_same_bits() {
    let augmented = config(&["train.flip=true", "train.crop=2", "train.crop_padding=edge", "train.validation=0.2"]);
    let root = tempfile::tempdir().unwrap();
    let in_folder = |name: &str, resume: bool, threads: usize, progress: &mut (dyn Progress + Send)| {
        let path = root.path().join(name);
        let job = job(&augmented, bars(Split::Train, 70), None).unwrap();
        let mut folder =
            if resume { RunFolder::resume(&path, &[]).unwrap() } else { RunFolder::create(&path, &[]).unwrap() };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| train(&job, Some(&mut folder), progress).unwrap());
        path
    };
    let whole = checkpoint(&in_folder("whole", false, 1, &mut Silent));
    for steps in [1, 4, 6] {
        let name = format!("stopped after {steps}");
        in_folder(&name, false, 2, &mut StopAfter(steps));
        let resumed = in_folder(&name, true, 3, &mut Silent);
        assert!(checkpoint(&resumed) == whole, "{name}");
    }
}

#[test]
fn augmentation_is_off_unless_asked_for_and_changes_the_run() {
    let theta = |overrides: &[&str]| run(&config(overrides), None).model.theta;
    let plain = theta(&[]);
    assert_eq!(theta(&["train.flip=false", "train.crop=0"]), plain);
    let flipped = theta(&["train.flip=true"]);
    assert_ne!(flipped, plain);
    assert_ne!(theta(&["train.flip=true", "train.crop=1"]), flipped);
    assert_ne!(theta(&["train.crop=1"]), theta(&["train.crop=1", "train.crop_padding=edge"]));
}

#[test]
fn augmentation_must_fit_the_images() {
    let text = refusal(&["train.crop=8"], bars(Split::Train, 70), None);
    assert!(text.contains("`train.crop` = 8") && text.contains("8×8"), "{text}");
    let flat = Dataset::own("flat", Split::Train, [1, 1, 4], 2, vec![0.5; 16], vec![0, 1, 0, 1]);
    let text = refusal(&["train.flip=true"], flat, None);
    assert!(text.contains("`train.flip`") && text.contains("1×4"), "{text}");
}

#[test]
fn evaluations_look_at_what_was_kept_and_never_at_the_test_set() {
    // Such a test set could not be evaluated: its pixels lie outside the data range.
    let unusable = Dataset::own("bars", Split::Test, [1, 8, 8], 3, vec![7.0; 64 * 3], vec![0, 1, 2]);
    let root = tempfile::tempdir().unwrap();
    let config = config(&["train.validation=0.3"]);
    let job = job(&config, bars(Split::Train, 70), Some(unusable)).unwrap();
    let mut folder = RunFolder::create(root.path(), &[]).unwrap();
    let outcome = train(&job, Some(&mut folder), &mut Silent).unwrap();
    let test = outcome.metrics[2].test.as_ref().unwrap();
    assert_eq!((&*test.split, test.samples), ("validation", 21));
    let manifest = std::fs::read_to_string(root.path().join(MANIFEST_FILE)).unwrap();
    for line in ["\"samples\": 49", "\"samples\": 21", "\"split\": \"validation\"", "\"form\": \"arrays\""] {
        assert!(manifest.contains(line), "{manifest}");
    }
    // 49 samples in steps of 16.
    assert_eq!(outcome.metrics[2].step, 3 * 4);
}

#[test]
fn what_is_kept_depends_on_the_seed_and_is_not_trained_on() {
    let set = bars(Split::Train, 70);
    let parts = set.parts(0.3, 0);
    let kept = run(&config(&["train.validation=0.3"]), None);
    // Training on the others alone visits the same images.
    let rest = set.subset(&parts.train);
    let others = train(&job(&config(&[]), rest, None).unwrap(), None, &mut Silent).unwrap();
    assert_eq!(kept.model.theta, others.model.theta);
    let limited = run(&config(&["train.validation=0.3", "limit_train=20"]), None);
    assert_eq!(limited.metrics[0].step, 2);
}

#[test]
fn parts_that_make_no_sense_are_refused() {
    let text = refusal(&["train.validation=0.001"], bars(Split::Train, 70), None);
    assert!(text.contains("`train.validation`") && text.contains("larger part"), "{text}");
    let own = bars(Split::Validation, 9);
    let text = refusal(&["train.validation=0.1"], bars(Split::Train, 70), Some(own.clone()));
    assert!(text.contains("validation split of its own"), "{text}");
    let outcome = run(&config(&[]), Some(own));
    assert_eq!(outcome.metrics[0].test.as_ref().unwrap().split, "validation");
}

#[test]
fn sizes_are_two_numbers_or_none() {
    let read = |value: &str| Config::parse("", "(test)", &[format!("data.resize={value}")]);
    assert_eq!(read("[32, 48]").unwrap().data.resize, [32, 48]);
    for value in ["[32]", "[0, 3]", "[1, 2, 3]", "[5000, 5000]"] {
        let text = read(value).unwrap_err().to_string();
        assert!(text.contains("`data.resize`") && text.contains("[height, width]"), "{text}");
    }
}
