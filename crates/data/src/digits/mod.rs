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

use crate::dataset::{Dataset, Split};
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
/// (`seed`, `split`, i): a longer set starts with the shorter one, and the two splits share no draw.
pub fn digits(seed: u64, split: Split, count: usize) -> Dataset {
    let (images_step, order_step) = match split {
        Split::Train => (0, 2),
        Split::Test => (1, 3),
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
    Dataset::from_bytes("digits", split, [1, SIDE, SIDE], CLASSES, &pixels, &labels)
}

/// Draws one digit of `class` into `image` (SIDE×SIDE bytes).
fn draw(class: usize, draws: &mut Draws, image: &mut [u8]) {
    let paths = pose::place(glyph::sample(class, draws), draws);
    let canvas = ink::render(&paths, draws);
    for (byte, value) in image.iter_mut().zip(canvas) {
        *byte = (value * 255.0 + 0.5) as u8;
    }
}
