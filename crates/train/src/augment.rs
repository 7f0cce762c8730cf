//! Random flips and crops of training images: what is done to an image is a pure function of (seed, epoch, image).

use serde::{Deserialize, Serialize};
use tightrope_data::Dataset;
use tightrope_noise::{Purpose, Stream};

use crate::TrainError;
use crate::config::TrainSection;

/// What stands beyond the border of an image that is cropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CropPadding {
    /// The pixel value 0.
    Zero,
    /// The nearest pixel of the image.
    Edge,
}

impl CropPadding {
    /// Every kind.
    pub const ALL: [CropPadding; 2] = [CropPadding::Zero, CropPadding::Edge];

    /// `zero` or `edge`.
    pub fn name(self) -> &'static str {
        match self {
            CropPadding::Zero => "zero",
            CropPadding::Edge => "edge",
        }
    }
}

/// Which augmentations there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Augmentation {
    /// Mirror every second image, left to right.
    flip: bool,
    /// Pixels of padding on every side, out of which the image is cropped at a random place.
    crop: usize,
    padding: CropPadding,
}

/// What is done to one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct View {
    flip: bool,
    /// The crop's first row and column in the image; negative ones lie in the padding.
    row: isize,
    column: isize,
}

impl Augmentation {
    /// The augmentation that `config` asks for, if any, checked against the images of `data`.
    pub(crate) fn new(config: &TrainSection, data: &Dataset) -> Result<Option<Self>, TrainError> {
        let [_, height, width] = data.shape;
        if config.crop >= height.min(width) && config.crop > 0 {
            let allowed = format!("must be smaller than the sides of the images, which have {height}×{width} pixels");
            return Err(TrainError::value("train.crop", config.crop, allowed));
        }
        if config.flip && (height == 1 || width == 1) {
            let allowed = format!("is for images, and those of `{}` have {height}×{width} pixels", data.name);
            return Err(TrainError::value("train.flip", config.flip, allowed));
        }
        let augmentation = Augmentation { flip: config.flip, crop: config.crop, padding: config.crop_padding };
        Ok((config.flip || config.crop > 0).then_some(augmentation))
    }

    /// What is done to image `index` of the training set in `epoch`. Draws have fixed places, so that a crop does not
    /// depend on whether there are flips.
    fn view(&self, seed: u64, epoch: u64, index: usize) -> View {
        let stream = Stream::new(seed, Purpose::Augmentation, epoch, index as u64);
        let offset = |draw| stream.below(draw, 2 * self.crop + 1) as isize - self.crop as isize;
        View { flip: self.flip && stream.below(0, 2) == 1, row: offset(1), column: offset(2) }
    }

    /// Appends image `index` of `data`, augmented for `epoch`, to `out`; `plain` is memory to work in.
    pub(crate) fn append(
        &self,
        data: &Dataset,
        index: usize,
        [seed, epoch]: [u64; 2],
        plain: &mut Vec<f32>,
        out: &mut Vec<f32>,
    ) {
        plain.clear();
        data.append_image(index, plain);
        self.apply(self.view(seed, epoch, index), plain, data.shape, out);
    }

    fn apply(&self, view: View, image: &[f32], [_, height, width]: [usize; 3], out: &mut Vec<f32>) {
        let place = |at: isize, side: usize| match self.padding {
            CropPadding::Zero => usize::try_from(at).ok().filter(|&at| at < side),
            CropPadding::Edge => Some(at.clamp(0, side as isize - 1) as usize),
        };
        let columns: Vec<Option<usize>> = (0..width)
            .map(|column| {
                let column = if view.flip { width - 1 - column } else { column };
                place(column as isize + view.column, width)
            })
            .collect();
        for plane in image.chunks_exact(height * width) {
            for row in 0..height {
                match place(row as isize + view.row, height) {
                    Some(row) => {
                        let line = &plane[row * width..(row + 1) * width];
                        out.extend(columns.iter().map(|column| column.map_or(0.0, |column| line[column])));
                    }
                    None => out.resize(out.len() + width, 0.0),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Augmentation, CropPadding, View};

    fn augmentation(flip: bool, crop: usize, padding: CropPadding) -> Augmentation {
        Augmentation { flip, crop, padding }
    }

    /// 2×3 pixels in two channels.
    fn applied(view: View, padding: CropPadding) -> Vec<f32> {
        let image: Vec<f32> = (1..=12).map(|i| i as f32).collect();
        let mut out = Vec::new();
        augmentation(true, 1, padding).apply(view, &image, [2, 2, 3], &mut out);
        out
    }

    #[test]
    fn images_are_moved_and_mirrored() {
        let same = applied(View { flip: false, row: 0, column: 0 }, CropPadding::Zero);
        assert_eq!(same, (1..=12).map(|i| i as f32).collect::<Vec<_>>());
        let mirrored = applied(View { flip: true, row: 0, column: 0 }, CropPadding::Zero);
        assert_eq!(mirrored, [3., 2., 1., 6., 5., 4., 9., 8., 7., 12., 11., 10.]);
        let moved = applied(View { flip: false, row: 1, column: -1 }, CropPadding::Zero);
        assert_eq!(moved, [0., 4., 5., 0., 0., 0., 0., 10., 11., 0., 0., 0.]);
        let edge = applied(View { flip: false, row: 1, column: -1 }, CropPadding::Edge);
        assert_eq!(edge, [4., 4., 5., 4., 4., 5., 10., 10., 11., 10., 10., 11.]);
        // The crop is mirrored, not the image under it.
        let both = applied(View { flip: true, row: 0, column: -1 }, CropPadding::Zero);
        assert_eq!(both, [2., 1., 0., 5., 4., 0., 8., 7., 0., 11., 10., 0.]);
    }

    #[test]
    fn views_depend_on_seed_epoch_and_image_alone() {
        let all = augmentation(true, 4, CropPadding::Zero);
        assert_eq!(all.view(1, 2, 3), all.view(1, 2, 3));
        let differ =
            |other: fn(&Augmentation, usize) -> View| (0..50).filter(|&i| other(&all, i) != all.view(1, 2, i)).count();
        assert!(differ(|all, i| all.view(2, 2, i)) > 30);
        assert!(differ(|all, i| all.view(1, 3, i)) > 30);
        assert!(differ(|all, i| all.view(1, 2, i + 50)) > 30);
        // Crops are the same without flips.
        let crops = augmentation(false, 4, CropPadding::Zero);
        for i in 0..20 {
            assert_eq!(crops.view(1, 2, i), View { flip: false, ..all.view(1, 2, i) });
        }
    }

    #[test]
    fn every_view_is_equally_likely() {
        let all = augmentation(true, 1, CropPadding::Zero);
        let mut counts = std::collections::HashMap::new();
        for i in 0..18_000 {
            let View { flip, row, column } = all.view(5, 0, i);
            *counts.entry((flip, row, column)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 18);
        // 1000 ± 31 expected; five standard deviations.
        assert!(counts.values().all(|count| (845..=1155).contains(count)), "{counts:?}");
    }
}
