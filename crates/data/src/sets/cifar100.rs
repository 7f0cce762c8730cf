//! CIFAR-100: 32×32 colour images of a hundred classes (Krizhevsky 2009), in its binary form.

use crate::cifar::{Layout, SHAPE};
use crate::published::{Check, Packing, PublishedFile};
use crate::registry::{DatasetInfo, Source};

const LAYOUT: Layout = Layout {
    name: "cifar100",
    classes: 100,
    // The first is that of the superclass.
    label_bytes: 2,
    folder: "cifar-100-binary",
    archive: &FILES[0],
    train: &["train.bin"],
    test: &["test.bin"],
};

/// CIFAR-100 as published, with its fine classes; the statistics are those in common use.
pub(crate) static INFO: DatasetInfo = DatasetInfo {
    name: LAYOUT.name,
    title: "CIFAR-100 objects and animals of a hundred kinds, 32×32 colour",
    shape: Some(SHAPE),
    classes: Some(LAYOUT.classes),
    class_names: Some(&CLASSES),
    counts: Some([50_000, 10_000]),
    mean: &[0.5071, 0.4865, 0.4409],
    std: &[0.2673, 0.2564, 0.2762],
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
    name: "cifar-100-binary.tar.gz",
    alias: "cifar100.tar.gz",
    split: None,
    packing: Packing::Only,
    bytes: 168_513_733,
    check: Check::Md5("03b5dce01913d631647c71ecec9e9cb8"),
    remote: "cifar-100-binary.tar.gz",
}];

#[rustfmt::skip]
const CLASSES: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
];

#[cfg(test)]
mod tests {
    use super::CLASSES;

    /// Classes are numbered in the order of their names.
    #[test]
    fn the_names_are_in_order() {
        assert!(CLASSES.is_sorted());
    }
}
