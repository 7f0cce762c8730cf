//! CIFAR-10: 32×32 colour images of ten classes (Krizhevsky 2009), in its binary form.

use crate::cifar::{Layout, SHAPE};
use crate::published::{Check, Packing, PublishedFile};
use crate::registry::{DatasetInfo, Source};

const LAYOUT: Layout = Layout {
    name: "cifar10",
    classes: 10,
    label_bytes: 1,
    folder: "cifar-10-batches-bin",
    archive: &FILES[0],
    train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: &["test_batch.bin"],
};

/// CIFAR-10 as published; the statistics are those in common use with certified training.
pub(crate) static INFO: DatasetInfo = DatasetInfo {
    name: LAYOUT.name,
    title: "CIFAR-10 objects and animals, 32×32 colour",
    shape: Some(SHAPE),
    classes: Some(LAYOUT.classes),
    class_names: Some(&["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]),
    counts: Some([50_000, 10_000]),
    mean: &[0.4914, 0.4822, 0.4465],
    std: &[0.2023, 0.1994, 0.2010],
    checksums: [None, None],
    get: None,
    source: Source::Files {
        mirrors: &["https://www.cs.toronto.edu/~kriz/"],
        files: &FILES,
        holds: |folder, split| LAYOUT.holds(folder, split),
        load: |folder, split, _| LAYOUT.load(folder, split),
    },
};

static FILES: [PublishedFile; 1] = [PublishedFile {
    name: "cifar-10-binary.tar.gz",
    alias: "cifar10.tar.gz",
    split: None,
    packing: Packing::Only,
    bytes: 170_052_171,
    check: Check::Md5("c32a1d4ab5d03f1284b67883e8d87530"),
    remote: "cifar-10-binary.tar.gz",
}];
