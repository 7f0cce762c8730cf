//! Margins by interval arithmetic, images in lanes: (W_y − W_j)·c ∓ |W_y − W_j|·r for every class j.
//!
//! Each image has its own label, so its rows differ from its neighbours'; but the label's weight is a lane
//! permutation away, and one broadcast of W_j then serves sixteen or thirty-two images.

use std::cmp::Ordering;

use crate::interval::chunk::{Interval, IntervalCotangents};
use crate::net::gradients::StageGradient;
use crate::net::weights::{StageWeights, padded};
use crate::simd::buffer::{Buffer, SLACK};
use crate::simd::lanes::{Lanes, WIDTH};

/// The last stage and the labels of one chunk of images.
#[derive(Clone, Copy)]
pub struct Margins<'a> {
    pub last: &'a StageWeights,
    /// Inputs of the last stage.
    pub elements: usize,
    pub classes: usize,
    /// Of the chunk's images, at most 16·VP.
    pub labels: &'a [usize],
}

/// Cotangents on the margins of one chunk, `[image][class]`; `upper` may be empty.
#[derive(Clone, Copy)]
pub struct OnMargins<'a> {
    pub lower: &'a [f32],
    pub upper: &'a [f32],
}

/// The class that margin `margin` of an image compares its label with: the classes in order, the label left out.
pub fn rival(label: usize, margin: usize) -> usize {
    margin + usize::from(margin >= label)
}

/// How the weight of each image's label is found among the classes of a row.
#[derive(Clone, Copy)]
pub struct Labels<S: Lanes, const VP: usize> {
    index: [S::Index; VP],
    place: [[usize; WIDTH]; VP],
}

impl<S: Lanes, const VP: usize> Labels<S, VP> {
    /// Labels of at most 16·VP images.
    ///
    /// # Safety
    /// The machine has `S`.
    #[inline(always)]
    pub unsafe fn new(labels: &[usize]) -> Self {
        let mut place = [[0; WIDTH]; VP];
        labels.iter().enumerate().for_each(|(image, &label)| place[image / WIDTH][image % WIDTH] = label);
        // SAFETY: the machine is the caller's word.
        unsafe {
            // Loops: an array's `map` may stay a call, out of reach of the instruction set.
            let mut index = [S::index(&[0; WIDTH]); VP];
            for v in 0..VP {
                let mut lanes = [0; WIDTH];
                for l in 0..WIDTH {
                    lanes[l] = (place[v][l] % WIDTH) as u8;
                }
                index[v] = S::index(&lanes);
            }
            Labels { index, place }
        }
    }

    /// The labels' weights in one row `[stride]`.
    ///
    /// # Safety
    /// As above; the row is aligned.
    #[inline(always)]
    pub unsafe fn weights(&self, row: *const f32, stride: usize) -> [S::V; VP] {
        // SAFETY: labels are below the stride, rows aligned.
        unsafe {
            let mut result = [S::zero(); VP];
            for v in 0..VP {
                result[v] = if stride == WIDTH {
                    S::pick(S::load(row), self.index[v])
                } else {
                    let mut lanes = [0.0; WIDTH];
                    for l in 0..WIDTH {
                        lanes[l] = *row.add(self.place[v][l]);
                    }
                    S::load_any(lanes.as_ptr())
                };
            }
            result
        }
    }
}

impl Margins<'_> {
    /// Appends the margins of each image, `[class]`, `values` being those with the label's rivals, `[margin][image]`,
    /// without the bias.
    pub fn append(&self, values: &[[f32; WIDTH]], target: &mut Vec<f32>) {
        let bias = &self.last.bias;
        for (image, &label) in self.labels.iter().enumerate() {
            // The margin of the label with itself is the constant 0.
            let margin = |j: usize| match j.cmp(&label) {
                Ordering::Equal => 0.0,
                Ordering::Less => values[j][image] + (bias[label] - bias[j]),
                Ordering::Greater => values[j - 1][image] + (bias[label] - bias[j]),
            };
            target.extend((0..self.classes).map(margin));
        }
    }

    /// Adds the cotangents `g` of the margins, `[image][class]`, to those of the last bias.
    pub fn add_bias(&self, g: &[f32], bias: &mut [f32]) {
        for (image, &label) in self.labels.iter().enumerate() {
            for j in (0..self.classes).filter(|&j| j != label) {
                bias[label] += g[image * self.classes + j];
                bias[j] -= g[image * self.classes + j];
            }
        }
    }

    /// Lower bounds of all margins, and upper ones if `upper`, appended image by image.
    ///
    /// # Safety
    /// The machine has `S`; the interval pass holds the images.
    pub unsafe fn bound<S: Lanes, const VP: usize>(
        &self,
        interval: &Interval,
        scratch: &mut Buffer,
        lower: &mut Vec<f32>,
        upper: Option<&mut Vec<f32>>,
    ) {
        // `[class][value, reach][VP][16]`.
        let sums = scratch.at_least(self.classes * 2 * VP * WIDTH);
        let blocks = self.classes.div_ceil(S::CLASSES);
        let mut start = 0;
        for block in 0..blocks {
            let n = self.classes / blocks + usize::from(block < self.classes % blocks);
            for v in 0..VP {
                macro_rules! dispatch {
                    ($($n:literal)*) => {
                        match n {
                            $($n => S::run(|| self.block::<S, VP, $n>(interval, start, v, sums)),)*
                            _ => unreachable!("blocks have at most ten classes"),
                        }
                    };
                }
                // SAFETY: passed on from the caller.
                unsafe { dispatch!(1 2 3 4 5 6 7 8 9 10) };
            }
            start += n;
        }
        let append = |side: f32, target: &mut Vec<f32>| {
            for (image, &label) in self.labels.iter().enumerate() {
                target.extend((0..self.classes).map(|j| {
                    let at = |part: usize| sums[((2 * j + part) * VP + image / WIDTH) * WIDTH + image % WIDTH];
                    at(0) + (self.last.bias[label] - self.last.bias[j]) + side * at(1)
                }));
            }
        };
        append(-1.0, lower);
        if let Some(upper) = upper {
            append(1.0, upper);
        }
    }

    /// Values and reaches of classes `start .. start + N` for vector `v` of the images.
    #[inline(always)]
    unsafe fn block<S: Lanes, const VP: usize, const N: usize>(
        &self,
        interval: &Interval,
        start: usize,
        v: usize,
        sums: &mut [f32],
    ) {
        let (depth, stride) = (interval.center.len() - 1, padded(self.classes));
        let first = v * WIDTH;
        let labels = &self.labels[first.min(self.labels.len())..];
        // SAFETY: maps are `[element][VP][16]`, weights `[element][stride]`.
        unsafe {
            let labels = Labels::<S, 1>::new(&labels[..labels.len().min(WIDTH)]);
            let mut center = interval.center[depth].as_ptr().add(first);
            let mut radius = interval.radius[depth].as_ptr().add(first);
            let mut row = self.last.forward.as_ptr();
            let mut value = [S::zero(); N];
            let mut reach = [S::zero(); N];
            for _ in 0..self.elements {
                let [own] = labels.weights(row, stride);
                let (c, r) = (S::load(center), S::load(radius));
                for j in 0..N {
                    let difference = S::sub(own, S::splat(*row.add(start + j)));
                    value[j] = S::fma(difference, c, value[j]);
                    reach[j] = S::fma(S::abs(difference), r, reach[j]);
                }
                (center, radius, row) = (center.add(VP * WIDTH), radius.add(VP * WIDTH), row.add(stride));
            }
            for j in 0..N {
                let place = sums.as_mut_ptr().add(2 * (start + j) * VP * WIDTH + first);
                S::store(place, value[j]);
                S::store(place.add(VP * WIDTH), reach[j]);
            }
        }
    }

    /// The adjoint of [`Margins::bound`]: leaves the cotangents of the last activations in `cotangents` and, if `sums`
    /// is given, adds to the last stage's gradient. At W_y = W_j the derivative of |W_y − W_j| is taken as 0.
    ///
    /// # Safety
    /// As [`Margins::bound`].
    pub unsafe fn adjoint<S: Lanes, const VP: usize>(
        &self,
        interval: &Interval,
        on: OnMargins<'_>,
        scratch: &mut Buffer,
        cotangents: &mut IntervalCotangents,
        sums: Option<&mut StageGradient>,
    ) {
        let size = self.elements * VP * WIDTH;
        cotangents.center.at_least(size + SLACK);
        cotangents.radius.at_least(size + SLACK);
        // `[class][on value, on reach, 1 at the label, memory][VP][16]`.
        let part = VP * WIDTH;
        let coefficients = &mut scratch.at_least(self.classes * 4 * part)[..self.classes * 4 * part];
        coefficients.fill(0.0);
        for (image, &label) in self.labels.iter().enumerate() {
            for j in 0..self.classes {
                let low = on.lower[image * self.classes + j];
                let high = on.upper.get(image * self.classes + j).copied().unwrap_or(0.0);
                let place = 4 * j * part + image;
                coefficients[place] = low + high;
                coefficients[place + part] = high - low;
                coefficients[place + 2 * part] = f32::from(u8::from(j == label));
            }
        }
        // SAFETY: passed on from the caller; all maps are sized above.
        unsafe {
            match sums {
                None => S::run(|| self.pull_back::<S, VP>(interval, coefficients, cotangents, None)),
                Some(sums) => {
                    for (image, &label) in self.labels.iter().enumerate() {
                        for j in 0..self.classes {
                            let g = coefficients[4 * j * part + image];
                            sums.bias[label] += g;
                            sums.bias[j] -= g;
                        }
                    }
                    let signed = sums.signed.as_mut_ptr();
                    S::run(|| self.pull_back::<S, VP>(interval, coefficients, cotangents, Some(signed)));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn pull_back<S: Lanes, const VP: usize>(
        &self,
        interval: &Interval,
        coefficients: &mut [f32],
        cotangents: &mut IntervalCotangents,
        signed: Option<*mut f32>,
    ) {
        let (depth, stride) = (interval.center.len() - 1, padded(self.classes));
        let part = VP * WIDTH;
        // SAFETY: maps are `[element][VP][16]`, weights and their gradient `[element][stride]`.
        unsafe {
            let labels = Labels::<S, VP>::new(self.labels);
            let of = coefficients.as_mut_ptr();
            for e in 0..self.elements {
                let row = self.last.forward.as_ptr().add(e * stride);
                let own = labels.weights(row, stride);
                let (mut c, mut r) = ([S::zero(); VP], [S::zero(); VP]);
                let (mut g_center, mut g_radius, mut total) = ([S::zero(); VP], [S::zero(); VP], [S::zero(); VP]);
                for v in 0..VP {
                    let at = e * part + v * WIDTH;
                    c[v] = S::load(interval.center[depth].as_ptr().add(at));
                    r[v] = S::load(interval.radius[depth].as_ptr().add(at));
                }
                for j in 0..self.classes {
                    let class = S::splat(*row.add(j));
                    for v in 0..VP {
                        let place = of.add(4 * j * part + v * WIDTH);
                        let difference = S::sub(own[v], class);
                        let (value, reach) = (S::load(place), S::load(place.add(part)));
                        g_center[v] = S::fma(difference, value, g_center[v]);
                        g_radius[v] = S::fma(S::abs(difference), reach, g_radius[v]);
                        if signed.is_some() {
                            // The cotangent of (W_y − W_j) at element e.
                            let g = S::fma(value, c[v], S::signed_by(difference, S::mul(reach, r[v])));
                            S::store(place.add(3 * part), g);
                            total[v] = S::add(total[v], g);
                        }
                    }
                }
                for v in 0..VP {
                    let at = e * part + v * WIDTH;
                    S::store(cotangents.center.as_mut_ptr().add(at), g_center[v]);
                    S::store(cotangents.radius.as_mut_ptr().add(at), g_radius[v]);
                }
                let Some(signed) = signed else { continue };
                for start in (0..self.classes).step_by(WIDTH) {
                    let mut rows = [S::zero(); WIDTH];
                    for j in start..self.classes.min(start + WIDTH) {
                        for v in 0..VP {
                            let place = of.add(4 * j * part + v * WIDTH);
                            let own_part = S::fma(S::load(place.add(2 * part)), total[v], rows[j - start]);
                            rows[j - start] = S::sub(own_part, S::load(place.add(3 * part)));
                        }
                    }
                    let place = signed.add(e * stride + start);
                    S::store(place, S::add(S::load(place), S::sum_rows(&rows)));
                }
            }
        }
    }
}
