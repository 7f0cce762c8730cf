//! A stage or its transpose over whole maps, band by band of rows.

use std::ops::Range;

use rayon::prelude::*;

use crate::kernels::product::{Finish, Maps, Panels, WeightSource, product};
use crate::net::Net;
use crate::simd::lanes::Lanes;

/// Finishes the sums of a stage at all positions of its output.
///
/// # Safety
/// The machine has `S`; inputs, weights and what `finish` writes to hold the stage's maps.
pub unsafe fn apply<S: Lanes, W: WeightSource<S, P>, F: Finish<S, P, VP>, const P: usize, const VP: usize>(
    net: &Net<'_>,
    index: usize,
    weights: W,
    maps: Maps<F, P>,
) {
    let stage = &net.plan.stages[index];
    each_band(net.bands, stage.output.h, |band, rows| {
        let mut places = Vec::with_capacity(stage.output.w);
        // SAFETY: windows stay in the maps.
        unsafe {
            let (inputs, finish) = maps.parts();
            let finish = finish.in_band(band);
            for y in rows {
                let strides = net.taps[index].apply(stage, VP, y, &mut places);
                product::<S, W, F, P, VP>(&strides, &places, inputs, weights, [0, stage.output.c], finish);
            }
        }
    });
}

/// Finishes the sums of a stage's transpose at all positions of its input; not for the first stage.
///
/// # Safety
/// As [`apply`].
pub unsafe fn transpose<S: Lanes, F: Finish<S, P, VP>, const P: usize, const VP: usize>(
    net: &Net<'_>,
    index: usize,
    maps: Maps<F, P>,
) {
    let stage = &net.plan.stages[index];
    let weights = Panels { data: net.weights.signed[index].adjoint.as_ptr(), rows: stage.taps() * stage.output.c };
    each_band(net.bands, stage.input.h, |band, rows| {
        let mut places = Vec::with_capacity(stage.input.w);
        // SAFETY: windows stay in the maps.
        unsafe {
            let (inputs, finish) = maps.parts();
            let finish = finish.in_band(band);
            for y in rows {
                let strides = net.taps[index].transpose(stage, VP, y, &mut places);
                product::<S, _, F, P, VP>(&strides, &places, inputs, weights, [0, stage.input.c], finish);
            }
        }
    });
}

fn each_band(bands: usize, rows: usize, work: impl Fn(usize, Range<usize>) + Sync) {
    if bands <= 1 {
        return work(0, 0..rows);
    }
    (0..bands).into_par_iter().for_each(|band| work(band, band * rows / bands..(band + 1) * rows / bands));
}
