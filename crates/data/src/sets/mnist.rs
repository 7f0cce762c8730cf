//! MNIST: 28×28 handwritten digits in four IDX files (LeCun, Cortes and Burges 1998).

use crate::idx_pair::{self, Layout};
use crate::published::{Check, PublishedFile};
use crate::registry::{DatasetInfo, Source};

const LAYOUT: Layout = Layout { name: "mnist", shape: [1, 28, 28], classes: 10, files: &FILES };

/// MNIST as published.
pub(crate) static INFO: DatasetInfo = DatasetInfo {
    name: LAYOUT.name,
    title: "MNIST handwritten digits, 28×28 grey",
    shape: Some(LAYOUT.shape),
    classes: Some(LAYOUT.classes),
    class_names: None,
    counts: Some([60_000, 10_000]),
    mean: &[0.1307],
    std: &[0.3081],
    checksums: [
        Some("edc0d1098aa497be14ace79ddd5171e5a3dcf9c4d196c015389203eb3ba1f59b"),
        Some("c3f9adf9c66efb572b1f9326c3a511b45910c7173b97be66ceceeeeaef6b802b"),
    ],
    get: None,
    source: Source::Files {
        mirrors: &[
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ],
        files: &FILES,
        holds: |folder, split| idx_pair::holds(&FILES, folder, split),
        load: |folder, split, _| idx_pair::load(&LAYOUT, folder, split),
    },
};

static FILES: [PublishedFile; 4] = idx_pair::files([
    Check::PlainSha256("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    Check::PlainSha256("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    Check::PlainSha256("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    Check::PlainSha256("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
]);
