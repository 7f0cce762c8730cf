//! A split of a data set in memory.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::checksum::Sha256Hex;
use crate::pixels::Pixels;

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// The training images.
    Train,
    /// The test images; where only a validation split is published with labels, that one.
    Test,
    /// Images that choices are made on, apart from both.
    Validation,
}

impl Split {
    /// `train`, `test` or `validation`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Test => "test",
            Split::Validation => "validation",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a split was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Made by the program itself.
    Embedded,
    /// Files in the form in which the data set is published.
    Files,
    /// An image folder that stands in for a data set's own files.
    StandIn,
    /// An image folder of one's own.
    Folder,
    /// Arrays of numbers.
    Arrays,
}

impl Form {
    /// `embedded`, `files`, `stand-in`, `folder` or `arrays`.
    pub fn name(self) -> &'static str {
        match self {
            Form::Embedded => "embedded",
            Form::Files => "files",
            Form::StandIn => "stand-in",
            Form::Folder => "folder",
            Form::Arrays => "arrays",
        }
    }
}

/// Labelled images, whole in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Name of the data set.
    pub name: String,
    /// Which split this is, or was taken from.
    pub split: Split,
    pixels: Pixels,
    /// One class index below `classes` per image.
    pub labels: Vec<usize>,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Number of classes K.
    pub classes: usize,
    /// K names, where the classes have any beyond their index.
    pub class_names: Option<Vec<String>>,
    /// Hexadecimal SHA-256 of the split's content: all pixel bytes in order, then the labels, one byte each (four, the
    /// lowest first, if there are more than 256 classes).
    ///
    /// It does not depend on how the files were packed. A subset keeps the checksum of the split it was taken from.
    pub checksum: String,
    /// Whether the content is that of the published data set, byte for byte (set by [`crate::load`]).
    pub canonical: bool,
    /// What it was read from.
    pub form: Form,
}

impl Dataset {
    /// A split from pixel bytes (value/255) in [N, C, H, W] order and labels, already checked to fit each other.
    pub(crate) fn from_bytes(
        name: &str,
        split: Split,
        shape: [usize; 3],
        classes: usize,
        pixels: Vec<u8>,
        labels: Vec<usize>,
        form: Form,
    ) -> Self {
        let mut hasher = Sha256Hex::default();
        hasher.update(&pixels);
        let width = if classes <= 256 { 1 } else { 4 };
        labels.iter().for_each(|&label| hasher.update(&(label as u32).to_le_bytes()[..width]));
        Dataset {
            name: name.into(),
            split,
            pixels: Pixels::Bytes(pixels),
            labels,
            shape,
            classes,
            class_names: None,
            checksum: hasher.finish(),
            canonical: false,
            form,
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
        let pixels = Pixels::Numbers(images);
        let checksum = own_checksum(&pixels, &labels);
        Dataset {
            name: name.into(),
            split,
            pixels,
            labels,
            shape,
            classes,
            class_names: None,
            checksum,
            canonical: false,
            form: Form::Arrays,
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

    /// Number of pixel values of all images.
    pub fn values(&self) -> usize {
        self.pixels.len()
    }

    /// Bytes of memory that pixels and labels take.
    pub fn bytes(&self) -> usize {
        self.pixels.len() * self.pixels.width() + self.labels.len() * size_of::<usize>()
    }

    /// The first image with a pixel that is no finite number; only arrays of one's own can have any.
    pub fn not_finite(&self) -> Option<usize> {
        self.pixels.not_finite().map(|position| position / self.image_len())
    }

    /// The pixels of image `index`, [C, H, W].
    ///
    /// # Panics
    /// If `index` is not below [`Dataset::len`].
    pub fn image(&self, index: usize) -> Cow<'_, [f32]> {
        self.range(index..index + 1)
    }

    /// The pixels of the images in `range`, [N, C, H, W].
    ///
    /// # Panics
    /// If `range` goes beyond [`Dataset::len`].
    pub fn range(&self, range: Range<usize>) -> Cow<'_, [f32]> {
        let size = self.image_len();
        self.pixels.get(range.start * size..range.end * size)
    }

    /// The pixels of all images, [N, C, H, W], four bytes each.
    pub fn images(&self) -> Cow<'_, [f32]> {
        self.pixels.get(0..self.pixels.len())
    }

    /// Appends the pixels of image `index` to `out`.
    ///
    /// # Panics
    /// If `index` is not below [`Dataset::len`].
    pub fn append_image(&self, index: usize, out: &mut Vec<f32>) {
        let size = self.image_len();
        self.pixels.append(index * size..(index + 1) * size, out);
    }

    /// The images at `indices`, in that order (repeats allowed).
    ///
    /// # Panics
    /// If an index is not below [`Dataset::len`].
    pub fn subset(&self, indices: &[usize]) -> Dataset {
        Dataset {
            name: self.name.clone(),
            split: self.split,
            pixels: self.pixels.parts(self.image_len(), indices),
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
            shape: self.shape,
            classes: self.classes,
            class_names: self.class_names.clone(),
            checksum: self.checksum.clone(),
            canonical: self.canonical,
            form: self.form,
        }
    }

    /// The images at `indices` as a split of their own, with a checksum over its bytes and the labels (u64).
    ///
    /// # Panics
    /// If an index is not below [`Dataset::len`].
    pub fn part(&self, split: Split, indices: &[usize]) -> Dataset {
        let part = self.subset(indices);
        let checksum = own_checksum(&part.pixels, &part.labels);
        Dataset { split, checksum, canonical: false, ..part }
    }

    /// The first `count` images, or all where there are fewer.
    pub fn limit(mut self, count: usize) -> Dataset {
        self.pixels.truncate(count.saturating_mul(self.image_len()));
        self.labels.truncate(count);
        self
    }

    /// Mean and standard deviation of the pixels of each channel.
    pub fn statistics(&self) -> (Vec<f64>, Vec<f64>) {
        let [channels, height, width] = self.shape;
        let area = height * width;
        let mut sums = vec![[0.0_f64; 2]; channels];
        for index in 0..self.len() {
            // Summed image by image, so that a large set loses no digits.
            for (sum, plane) in sums.iter_mut().zip(self.image(index).chunks(area)) {
                sum[0] += plane.iter().map(|&value| f64::from(value)).sum::<f64>();
                sum[1] += plane.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
            }
        }
        let count = (self.len() * area).max(1) as f64;
        let mean: Vec<f64> = sums.iter().map(|sum| sum[0] / count).collect();
        let deviation = |(sum, mean): (&[f64; 2], &f64)| (sum[1] / count - mean.powi(2)).max(0.0).sqrt();
        let std = sums.iter().zip(&mean).map(deviation).collect();
        (mean, std)
    }
}

/// SHA-256 over the bytes of the pixels, then the little-endian bytes of the labels (u64).
fn own_checksum(pixels: &Pixels, labels: &[usize]) -> String {
    let mut hasher = Sha256Hex::default();
    pixels.visit_bytes(|bytes| hasher.update(bytes));
    labels.iter().for_each(|&label| hasher.update(&(label as u64).to_le_bytes()));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::{Dataset, Form, Split};

    fn four() -> Dataset {
        let pixels: Vec<u8> = (0..16).map(|i| i * 17).collect();
        Dataset::from_bytes("four", Split::Train, [1, 2, 2], 5, pixels, vec![4, 3, 2, 1], Form::Files)
    }

    #[test]
    fn bytes_become_values_between_zero_and_one() {
        let set = four();
        assert_eq!((set.len(), set.values(), set.bytes()), (4, 16, 16 + 4 * size_of::<usize>()));
        assert_eq!(set.images()[0], 0.0);
        assert_eq!(set.images()[15], 1.0);
        assert_eq!(*set.image(1), [68.0 / 255.0, 85.0 / 255.0, 102.0 / 255.0, 119.0 / 255.0]);
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
        let own = set.part(Split::Validation, &[2, 0, 2]);
        assert_eq!((own.split, own.images(), &own.labels), (Split::Validation, part.images(), &part.labels));
        assert_ne!(own.checksum, set.checksum);
    }

    #[test]
    fn limits_cut_images_and_labels_alike() {
        let set = four().limit(3);
        assert_eq!((set.len(), set.values()), (3, 12));
        assert_eq!(four().limit(0).len(), 0);
        assert_eq!(four().limit(usize::MAX), four());
    }

    #[test]
    fn statistics_are_those_of_each_channel() {
        let pixels = vec![0, 255, 51, 51, 255, 0, 51, 153];
        let set = Dataset::from_bytes("two", Split::Train, [2, 1, 2], 2, pixels, vec![0, 1], Form::Files);
        let (mean, std) = set.statistics();
        assert!((mean[0] - 0.5).abs() < 1e-7 && (std[0] - 0.5).abs() < 1e-7, "{mean:?} {std:?}");
        assert!((mean[1] - 0.3).abs() < 1e-7 && (std[1] - 0.03_f64.sqrt()).abs() < 1e-7, "{mean:?} {std:?}");
    }
}
