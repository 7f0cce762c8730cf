//! The embedded digit set: 28×28 grey digits, drawn from a seed, the same bits on every machine.
//!
//! A sample is a pen path ([`glyph`]) that is bent, slanted and placed ([`pose`]) and inked with
//! soft edges, noise and the odd smudge ([`ink`]). Only additions, multiplications, divisions and
//! square roots are used (correctly rounded by IEEE 754), no library functions.

mod draws;
mod glyph;
mod ink;
mod pose;

use rayon::prelude::*;
use tightrope_noise::{Purpose, Stream};

use crate::dataset::{Dataset, Form, Split};
use crate::order::shuffle;
use draws::Draws;

/// Side of an image in pixels.
pub(crate) const SIDE: usize = 28;
/// Number of classes.
pub(crate) const CLASSES: usize = 10;
const PIXELS: usize = SIDE * SIDE;

/// The first `count` drawn digits of `split` for `seed`.
///
/// Every block of ten images holds each class once, in random order. Image i is a pure function of
/// (`seed`, `split`, i): a longer set starts with the shorter one, and the splits share no draw.
pub fn digits(seed: u64, split: Split, count: usize) -> Dataset {
    let (images_step, order_step) = match split {
        Split::Train => (0, 2),
        Split::Test => (1, 3),
        Split::Validation => (4, 5),
    };
    let mut labels = Vec::with_capacity(count.next_multiple_of(CLASSES));
    for block in 0..count.div_ceil(CLASSES) {
        let mut classes: [u8; CLASSES] = std::array::from_fn(|class| class as u8);
        shuffle(&mut classes, &Stream::new(seed, Purpose::Digits, order_step, block as u64));
        labels.extend(classes);
    }
    labels.truncate(count);
    let mut pixels = vec![0; count * PIXELS];
    pixels.par_chunks_mut(PIXELS).zip(&labels).enumerate().for_each(|(index, (image, &class))| {
        let mut draws = Draws::new(Stream::new(seed, Purpose::Digits, images_step, index as u64));
        draw(usize::from(class), &mut draws, image);
    });
    let labels = labels.into_iter().map(usize::from).collect();
    Dataset::from_bytes("digits", split, [1, SIDE, SIDE], CLASSES, pixels, labels, Form::Embedded)
}

/// Draws one digit of `class` into `image` (SIDE×SIDE bytes).
fn draw(class: usize, draws: &mut Draws, image: &mut [u8]) {
    let paths = pose::place(glyph::sample(class, draws), draws);
    let canvas = ink::render(&paths, draws);
    for (byte, value) in image.iter_mut().zip(canvas) {
        *byte = (value * 255.0 + 0.5) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::{CLASSES, PIXELS, digits};
    use crate::Split::{Test, Train};
    use crate::sets::digits::INFO;

    #[test]
    fn a_longer_set_starts_with_the_shorter_one() {
        let (short, long) = (digits(3, Train, 33), digits(3, Train, 90));
        assert_eq!(short.labels, long.labels[..33]);
        assert_eq!(short.images(), long.range(0..33));
        assert!(digits(3, Train, 0).is_empty());
    }

    #[test]
    fn classes_are_balanced_and_their_order_random() {
        let set = digits(3, Train, 1000);
        for block in set.labels.chunks(CLASSES) {
            let mut block = block.to_vec();
            block.sort_unstable();
            assert_eq!(block, (0..CLASSES).collect::<Vec<_>>());
        }
        let first: std::collections::HashSet<_> = set.labels.chunks(CLASSES).collect();
        assert!(first.len() > 95, "{}", first.len());
    }

    #[test]
    fn images_depend_on_seed_and_split_and_none_comes_twice() {
        let sets = [digits(3, Train, 500), digits(3, Test, 500), digits(4, Train, 500)];
        let bits = |image: &[f32]| image.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let distinct: std::collections::HashSet<_> =
            sets.iter().flat_map(|set| (0..set.len()).map(|index| bits(&set.image(index)))).collect();
        assert_eq!(distinct.len(), 1500);
    }

    #[test]
    fn the_thread_count_changes_nothing() {
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool(1).install(|| digits(5, Train, 300)), pool(3).install(|| digits(5, Train, 300)));
    }

    /// The bits of the set are part of the interface: trained figures are only comparable on the same images.
    #[test]
    fn the_standard_set_is_pinned() {
        for (split, checksum) in [(Train, INFO.checksums[0]), (Test, INFO.checksums[1])] {
            let set = digits(0, split, INFO.count(split).unwrap());
            assert_eq!(Some(&*set.checksum), checksum, "{split}");
        }
    }

    #[test]
    fn the_normalisation_is_that_of_the_standard_set() {
        let (mean, std) = digits(0, Train, INFO.count(Train).unwrap()).statistics();
        assert!((mean[0] - INFO.mean[0]).abs() < 1e-4, "{mean:?}");
        assert!((std[0] - INFO.std[0]).abs() < 1e-4, "{std:?}");
    }

    #[test]
    fn strokes_are_bright_on_a_dark_ground_and_inside_the_canvas() {
        let set = digits(6, Train, 2000);
        let dark = set.images().iter().filter(|&&value| value < 0.1).count() as f64 / set.values() as f64;
        assert!((0.7..0.9).contains(&dark), "{dark}");
        for index in 0..set.len() {
            let image = set.image(index);
            let ink = image.iter().filter(|&&value| value > 0.5).count();
            // A thin 1 has some 15 bright pixels even where a smudge hides part of it.
            assert!((12..300).contains(&ink), "image {index} has {ink} bright pixels");
        }
    }

    /// Neither trivial nor hopeless: the nearest class mean is right far more often than chance, far from always.
    #[test]
    fn class_means_tell_much_but_not_all() {
        let (train, test) = (digits(7, Train, 3000), digits(7, Test, 1000));
        let mut means = vec![vec![0.0_f32; PIXELS]; CLASSES];
        for (image, &label) in train.images().chunks(PIXELS).zip(&train.labels) {
            means[label].iter_mut().zip(image).for_each(|(mean, value)| *mean += value / 300.0);
        }
        let distance = |mean: &[f32], image: &[f32]| -> f32 {
            mean.iter().zip(image).map(|(mean, value)| (mean - value) * (mean - value)).sum()
        };
        let right = (0..test.len()).filter(|&index| {
            let image = test.image(index);
            let near = (0..CLASSES)
                .min_by(|&a, &b| distance(&means[a], &image).total_cmp(&distance(&means[b], &image)))
                .expect("there are ten classes");
            near == test.labels[index]
        });
        let accuracy = right.count() as f64 / test.len() as f64;
        assert!((0.5..0.85).contains(&accuracy), "{accuracy}");
    }
}
