//! The embedded digit set, as the commands use it.

use crate::dataset::{Dataset, Split};
use crate::digits::{CLASSES, SIDE, digits};
use crate::registry::{DatasetInfo, Source};

/// The seed of the standard set.
const SEED: u64 = 0;
const COUNTS: [usize; 2] = [12_000, 2_000];

/// The standard set: 12,000 training and 2,000 test images of seed 0.
pub(crate) static INFO: DatasetInfo = DatasetInfo {
    name: "digits",
    title: "procedurally drawn digits, 28×28 grey (embedded, nothing to fetch)",
    shape: [1, SIDE, SIDE],
    classes: CLASSES,
    counts: COUNTS,
    mean: &[0.15],
    std: &[0.3],
    checksums: [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
    ],
    source: Source::Embedded(standard),
};

fn standard(split: Split) -> Dataset {
    digits(SEED, split, COUNTS[split as usize])
}
