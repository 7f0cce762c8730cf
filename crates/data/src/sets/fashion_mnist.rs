//! Fashion-MNIST: 28×28 articles of clothing in MNIST's form (Xiao, Rasul and Vollgraf 2017).

use crate::idx_pair::{self, Layout};
use crate::published::{Check, PublishedFile};
use crate::registry::{DatasetInfo, Source};

const LAYOUT: Layout = Layout { name: "fashion-mnist", shape: [1, 28, 28], classes: 10, files: &FILES };

/// Fashion-MNIST as published; the statistics are those in common use.
pub(crate) static INFO: DatasetInfo = DatasetInfo {
    name: LAYOUT.name,
    title: "Fashion-MNIST articles of clothing, 28×28 grey",
    shape: Some(LAYOUT.shape),
    classes: Some(LAYOUT.classes),
    class_names: Some(&[
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]),
    counts: Some([60_000, 10_000]),
    mean: &[0.2860],
    std: &[0.3530],
    checksums: [None, None],
    get: None,
    source: Source::Files {
        mirrors: &[
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
        ],
        files: &FILES,
        holds: |folder, split| idx_pair::holds(&FILES, folder, split),
        load: |folder, split, _| idx_pair::load(&LAYOUT, folder, split),
    },
};

static FILES: [PublishedFile; 4] = idx_pair::files([
    Check::Md5("8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    Check::Md5("25c81989df183df01b3e8a0aad5dffbe"),
    Check::Md5("bef4ecab320f06d8554ea6380940ec79"),
    Check::Md5("bb300cfdad3c16e7a12a480ee83cd310"),
]);
