//! What several tests need: small data, a small configuration and the shared reference data.
#![allow(dead_code, reason = "each test binary uses its part")]

use tightrope_data::{Dataset, Split};
use tightrope_noise::{Purpose, Stream};
use tightrope_testkit::golden::TensorFile;
use tightrope_testkit::shared::shared;
use tightrope_train::Config;

/// Noisy 8×8 images of three classes, each a bright bar at another place: learnable, not trivial.
pub fn bars(split: Split, count: usize) -> Dataset {
    let stream = Stream::new(11, Purpose::Test, split as u64, 0);
    let mut images = vec![0.0; count * 64];
    stream.uniform(0, &mut images);
    let labels: Vec<usize> = (0..count).map(|i| i % 3).collect();
    for (i, &label) in labels.iter().enumerate() {
        for (p, pixel) in images[i * 64..(i + 1) * 64].iter_mut().enumerate() {
            let bar = p / 8 / 2 == label;
            *pixel = *pixel * 0.4 + if bar { 0.5 } else { 0.0 };
        }
    }
    let mut set = Dataset::own("bars", split, [1, 8, 8], 3, images, labels);
    (set.checksum, set.canonical) = (format!("bars-{split}"), true);
    set
}

/// A run of some seconds in the slowest test profile: three epochs of five steps, the last one short.
pub fn config(overrides: &[&str]) -> Config {
    let base = "dataset = \"bars\"\nmodel = \"mlp\"\neps = 0.02\n\
                train = { epochs = 3, batch = 16, checkpoint_seconds = 0.0, lr = 0.005, l1 = 1e-5 }";
    let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
    Config::parse(base, "(test)", &overrides).unwrap()
}

/// A file of golden data.
pub fn golden(name: &str) -> Option<TensorFile> {
    Some(TensorFile::read(&shared("golden")?.join(name)))
}
