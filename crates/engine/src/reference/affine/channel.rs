//! Diagonal maps: one factor per channel of `inner` consecutive elements.

use crate::Real;
use crate::reference::lanes::dot;

/// target += factor·x per channel; its own transpose.
pub(super) fn scale<T: Real>(weight: &[T], inner: usize, x: &[T], target: &mut [T]) {
    let row = weight.len() * inner;
    for (x, target) in x.chunks_exact(row).zip(target.chunks_exact_mut(row)) {
        for ((x, target), &w) in x.chunks_exact(inner).zip(target.chunks_exact_mut(inner)).zip(weight) {
            target.iter_mut().zip(x).for_each(|(t, &x)| *t += w * x);
        }
    }
}

/// gradient += Σ x·y per channel.
pub(super) fn weight_gradient<T: Real>(inner: usize, x: &[T], y: &[T], gradient: &mut [T]) {
    let row = gradient.len() * inner;
    for (x, y) in x.chunks_exact(row).zip(y.chunks_exact(row)) {
        for ((x, y), g) in x.chunks_exact(inner).zip(y.chunks_exact(inner)).zip(gradient.iter_mut()) {
            *g += dot(x, y);
        }
    }
}
