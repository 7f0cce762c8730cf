//! Any specification by interval arithmetic, image by image, with rows in lanes; [`crate::interval::margins`] has the
//! common case.

use crate::interval::chunk::{Interval, IntervalCotangents};
use crate::net::gradients::StageGradient;
use crate::net::spec::Specification;
use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, RowValues, WIDTH};

/// Bounds of sixteen rows of one image over the box of the last activations: (lower, upper).
///
/// # Safety
/// The machine has `S`; `rows` holds the image's rows and the interval pass the image.
pub unsafe fn bound_rows<S: Lanes>(
    rows: &Buffer,
    interval: &Interval,
    elements: usize,
    vp: usize,
    image: usize,
    constants: &[f32; WIDTH],
) -> [[f32; WIDTH]; 2] {
    let depth = interval.center.len() - 1;
    let mut result = [[0.0; WIDTH]; 2];
    // SAFETY: maps are `[element][vp][16]`.
    unsafe {
        let center = interval.center[depth].as_ptr().add(image);
        let radius = interval.radius[depth].as_ptr().add(image);
        S::run(|| {
            // Four partial sums hide the latency of the multiply–adds.
            let mut value = [S::load_any(constants.as_ptr()), S::zero(), S::zero(), S::zero()];
            let mut reach = [S::zero(); 4];
            for e in 0..elements {
                let a = S::load(rows.as_ptr().add(e * WIDTH));
                let at = e * vp * WIDTH;
                value[e % 4] = S::fma(a, S::splat(*center.add(at)), value[e % 4]);
                reach[e % 4] = S::fma(S::abs(a), S::splat(*radius.add(at)), reach[e % 4]);
            }
            let value = S::add(S::add(value[0], value[1]), S::add(value[2], value[3]));
            let reach = S::add(S::add(reach[0], reach[1]), S::add(reach[2], reach[3]));
            S::store_any(result[0].as_mut_ptr(), S::sub(value, reach));
            S::store_any(result[1].as_mut_ptr(), S::add(value, reach));
        });
    }
    result
}

/// The adjoint of [`bound_rows`] for cotangents `g` on (lower, upper): adds to the cotangents of the last
/// activations and, if `sums` is given, to the last stage.
///
/// # Safety
/// As [`bound_rows`].
pub unsafe fn rows_adjoint<S: Lanes>(
    specification: Specification<'_>,
    interval: &Interval,
    cotangents: &mut IntervalCotangents,
    vp: usize,
    [image, sample, tile]: [usize; 3],
    g: &RowValues,
    [rows, row_cotangents]: [&mut Buffer; 2],
    sums: Option<&mut StageGradient>,
) {
    let depth = interval.center.len() - 1;
    let elements = specification.elements;
    let mut on_center = [0.0; WIDTH];
    let mut on_radius = [0.0; WIDTH];
    for lane in 0..WIDTH {
        on_center[lane] = g[0][lane] + g[1][lane];
        on_radius[lane] = g[1][lane] - g[0][lane];
    }
    // SAFETY: maps are `[element][vp][16]`; the buffers hold `[element][16]`.
    unsafe {
        specification.fill::<S>(sample, tile, rows);
        let target = row_cotangents.at_least(elements * WIDTH).as_mut_ptr();
        let center = interval.center[depth].as_ptr().add(image);
        let radius = interval.radius[depth].as_ptr().add(image);
        let g_center = cotangents.center.as_mut_ptr().add(image);
        let g_radius = cotangents.radius.as_mut_ptr().add(image);
        S::run(|| {
            let (on_center, on_radius) = (S::load_any(on_center.as_ptr()), S::load_any(on_radius.as_ptr()));
            let minus = S::sub(S::zero(), on_radius);
            for e in 0..elements {
                let a = S::load(rows.as_ptr().add(e * WIDTH));
                let at = e * vp * WIDTH;
                *g_center.add(at) += S::sum(S::mul(a, on_center));
                *g_radius.add(at) += S::sum(S::mul(S::abs(a), on_radius));
                let signed = S::where_positive(a, on_radius, S::where_negative(a, minus, S::zero()));
                let value = S::fma(on_center, S::splat(*center.add(at)), S::mul(signed, S::splat(*radius.add(at))));
                S::store(target.add(e * WIDTH), value);
            }
        });
        if let Some(sums) = sums {
            specification.adjoint::<S>(sample, tile, row_cotangents, &on_center, sums);
        }
    }
}
