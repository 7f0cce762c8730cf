//! Bilinear resizing: a triangle as wide as a source pixel, or as a target pixel where the image shrinks, so that every
//! source pixel counts.

use super::picture::Picture;

/// `picture` with other sides; the same if they are the same.
pub(crate) fn resize(picture: Picture, [height, width]: [usize; 2]) -> Picture {
    if [picture.height, picture.width] == [height, width] {
        return picture;
    }
    let channels = picture.channels;
    let (rows, columns) = (taps(picture.height, height), taps(picture.width, width));
    // Along the rows first; what lies between keeps its fractions.
    let line = picture.width * channels;
    let mut wide = vec![0.0_f32; picture.height * width * channels];
    for (source, target) in picture.bytes.chunks_exact(line).zip(wide.chunks_exact_mut(width * channels)) {
        for (tap, pixel) in columns.iter().zip(target.chunks_exact_mut(channels)) {
            for (channel, value) in pixel.iter_mut().enumerate() {
                let of = |i: usize| f32::from(source[(tap.first + i) * channels + channel]);
                *value = tap.weights.iter().enumerate().map(|(i, weight)| weight * of(i)).sum();
            }
        }
    }
    let line = width * channels;
    let mut bytes = vec![0; height * line];
    for (tap, target) in rows.iter().zip(bytes.chunks_exact_mut(line)) {
        for (column, byte) in target.iter_mut().enumerate() {
            let of = |i: usize| wide[(tap.first + i) * line + column];
            let value: f32 = tap.weights.iter().enumerate().map(|(i, weight)| weight * of(i)).sum();
            *byte = (value + 0.5) as u8;
        }
    }
    Picture { channels, height, width, bytes }
}

/// What a target pixel takes from the source pixels from `first` on; the weights sum to 1.
struct Tap {
    first: usize,
    weights: Vec<f32>,
}

fn taps(from: usize, to: usize) -> Vec<Tap> {
    let ratio = from as f64 / to as f64;
    let support = ratio.max(1.0);
    let tap = |target: usize| {
        // Pixels are unit squares: the centre of the target in source coordinates.
        let centre = (target as f64 + 0.5) * ratio;
        let first = (centre - support).floor().max(0.0) as usize;
        let end = ((centre + support).ceil() as usize).min(from);
        let weight = |source: usize| (1.0 - (source as f64 + 0.5 - centre).abs() / support).max(0.0);
        let total: f64 = (first..end).map(weight).sum();
        Tap { first, weights: (first..end).map(|source| (weight(source) / total) as f32).collect() }
    };
    (0..to).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use super::{Picture, resize};

    fn grey(height: usize, width: usize, bytes: &[u8]) -> Picture {
        Picture { channels: 1, height, width, bytes: bytes.to_vec() }
    }

    #[test]
    fn the_same_size_changes_nothing() {
        let picture = grey(2, 3, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(resize(picture.clone(), [2, 3]), picture);
    }

    /// Worked out by hand: between two pixels the value goes linearly, beyond their centres it stays.
    #[test]
    fn larger_images_are_linear_between_centres() {
        assert_eq!(resize(grey(1, 2, &[0, 100]), [1, 4]).bytes, [0, 25, 75, 100]);
        assert_eq!(resize(grey(2, 1, &[0, 100]), [4, 1]).bytes, [0, 25, 75, 100]);
    }

    /// Halving takes a triangle as wide as two pixels to either side: 1, 3, 3, 1 over 8.
    #[test]
    fn smaller_images_take_every_pixel() {
        // At the border 6, 6, 2 over 14.
        let halved = resize(grey(1, 6, &[80, 0, 0, 0, 0, 0]), [1, 3]);
        assert_eq!(halved.bytes, [34, 0, 0]);
        let impulse = resize(grey(1, 6, &[0, 0, 80, 0, 0, 0]), [1, 3]);
        assert_eq!(impulse.bytes, [11, 30, 0]);
    }

    #[test]
    fn constant_images_stay_constant_in_every_channel() {
        let bytes: Vec<u8> = [3, 128, 255].repeat(35);
        let picture = Picture { channels: 3, height: 5, width: 7, bytes };
        for size in [[1, 1], [3, 9], [11, 2], [64, 64]] {
            let resized = resize(picture.clone(), size);
            assert_eq!((resized.height, resized.width), (size[0], size[1]));
            assert!(resized.bytes.chunks_exact(3).all(|pixel| pixel == [3, 128, 255]), "{size:?}");
        }
    }
}
