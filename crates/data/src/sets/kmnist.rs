//! Kuzushiji-MNIST: 28×28 cursive Japanese characters in MNIST's form (Clanuwat et al. 2018).

use crate::idx_pair::{self, Layout};
use crate::published::{Check, PublishedFile};
use crate::registry::{DatasetInfo, Source};

const LAYOUT: Layout = Layout { name: "kmnist", shape: [1, 28, 28], classes: 10, files: &FILES };

/// Kuzushiji-MNIST as published; the statistics are those in common use.
pub(crate) static INFO: DatasetInfo = DatasetInfo {
    name: LAYOUT.name,
    title: "Kuzushiji-MNIST cursive Japanese characters, 28×28 grey",
    shape: Some(LAYOUT.shape),
    classes: Some(LAYOUT.classes),
    class_names: Some(&["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]),
    counts: Some([60_000, 10_000]),
    mean: &[0.1918],
    std: &[0.3483],
    checksums: [None, None],
    get: None,
    source: Source::Files {
        mirrors: &["https://codh.rois.ac.jp/kmnist/dataset/kmnist/"],
        files: &FILES,
        holds: |folder, split| idx_pair::holds(&FILES, folder, split),
        load: |folder, split, _| idx_pair::load(&LAYOUT, folder, split),
    },
};

static FILES: [PublishedFile; 4] = idx_pair::files([
    Check::Md5("bdb82020997e1d708af4cf47b453dcf7"),
    Check::Md5("e144d726b3acfaa3e44228e80efcd344"),
    Check::Md5("5c965bf0a639b31b8f53240b1b52f4d7"),
    Check::Md5("7320c461ea6c1c855c0b718fb2a4b134"),
]);
