//! A split of a data set in memory.

use std::fmt;

use crate::checksum::Sha256Hex;

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// The training images.
    Train,
    /// The test (or validation) images.
    Test,
}

impl Split {
    /// `train` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Labelled images, whole in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Name of the data set.
    pub name: String,
    /// Which split this is, or was taken from.
    pub split: Split,
    /// Pixels in [0, 1], row-major [N, channels, height, width].
    pub images: Vec<f32>,
    /// One class index below `classes` per image.
    pub labels: Vec<usize>,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Number of classes K.
    pub classes: usize,
    /// K names, where the classes have any beyond their index.
    pub class_names: Option<Vec<String>>,
    /// Hexadecimal SHA-256 of the split's content: all pixel bytes in order, then one byte per label.
    ///
    /// It does not depend on how the files were packed. A subset keeps the checksum of the split it was taken from.
    pub checksum: String,
    /// Whether the content is that of the published data set, byte for byte (set by [`crate::load`]).
    pub canonical: bool,
}

impl Dataset {
    /// A split from pixel bytes (value/255) in [N, C, H, W] order and labels, already checked to fit each other.
    pub(crate) fn from_bytes(
        name: &str,
        split: Split,
        shape: [usize; 3],
        classes: usize,
        pixels: &[u8],
        labels: &[u8],
    ) -> Self {
        let mut hasher = Sha256Hex::default();
        hasher.update(pixels);
        hasher.update(labels);
        Dataset {
            name: name.into(),
            split,
            images: pixels.iter().map(|&value| f32::from(value) / 255.0).collect(),
            labels: labels.iter().map(|&label| usize::from(label)).collect(),
            shape,
            classes,
            class_names: None,
            checksum: hasher.finish(),
            canonical: false,
        }
    }

    /// A split of one's own from pixels [N, C, H, W] and labels, which must fit each other; its checksum is over the
    /// little-endian bytes of the pixels (f32), then of the labels (u64).
    pub fn own(
        name: &str,
        split: Split,
        shape: [usize; 3],
        classes: usize,
        images: Vec<f32>,
        labels: Vec<usize>,
    ) -> Self {
        let mut hasher = Sha256Hex::default();
        images.iter().for_each(|value| hasher.update(&value.to_le_bytes()));
        labels.iter().for_each(|&label| hasher.update(&(label as u64).to_le_bytes()));
        let checksum = hasher.finish();
        Dataset {
            name: name.into(),
            split,
            images,
            labels,
            shape,
            classes,
            class_names: None,
            checksum,
            canonical: false,
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of pixel values of one image, C·H·W.
    pub fn image_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The pixels of image `index`, [C, H, W].
    ///
    /// # Panics
    /// If `index` is not below [`Dataset::len`].
    pub fn image(&self, index: usize) -> &[f32] {
        let size = self.image_len();
        &self.images[index * size..(index + 1) * size]
    }

    /// The images at `indices`, in that order (repeats allowed).
    ///
    /// # Panics
    /// If an index is not below [`Dataset::len`].
    pub fn subset(&self, indices: &[usize]) -> Dataset {
        let mut images = Vec::with_capacity(indices.len() * self.image_len());
        for &index in indices {
            images.extend_from_slice(self.image(index));
        }
        Dataset {
            name: self.name.clone(),
            split: self.split,
            images,
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
            shape: self.shape,
            classes: self.classes,
            class_names: self.class_names.clone(),
            checksum: self.checksum.clone(),
            canonical: self.canonical,
        }
    }

    /// The first `count` images, or all where there are fewer.
    pub fn limit(mut self, count: usize) -> Dataset {
        self.images.truncate(count.saturating_mul(self.image_len()));
        self.labels.truncate(count);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{Dataset, Split};

    fn four() -> Dataset {
        let pixels: Vec<u8> = (0..16).map(|i| i * 17).collect();
        Dataset::from_bytes("four", Split::Train, [1, 2, 2], 5, &pixels, &[4, 3, 2, 1])
    }

    #[test]
    fn bytes_become_values_between_zero_and_one() {
        let set = four();
        assert_eq!(set.len(), 4);
        assert_eq!(set.images[0], 0.0);
        assert_eq!(set.images[15], 1.0);
        assert_eq!(set.image(1), [68.0 / 255.0, 85.0 / 255.0, 102.0 / 255.0, 119.0 / 255.0]);
        assert!(!set.canonical);
    }

    #[test]
    fn subsets_keep_order_and_repeats() {
        let set = four();
        let part = set.subset(&[2, 0, 2]);
        assert_eq!(part.labels, [2, 4, 2]);
        assert_eq!(part.image(0), set.image(2));
        assert_eq!(part.image(1), set.image(0));
        assert_eq!(part.image(2), set.image(2));
        assert_eq!(part.checksum, set.checksum);
    }

    #[test]
    fn limits_cut_images_and_labels_alike() {
        let set = four().limit(3);
        assert_eq!((set.len(), set.images.len()), (3, 12));
        assert_eq!(four().limit(0).len(), 0);
        assert_eq!(four().limit(usize::MAX), four());
    }
}
