//! Sums over slices in a fixed order that the compiler can vectorise: one partial sum per lane, then lane by lane.

use crate::Real;

/// Partial sums kept apart.
const LANES: usize = 16;

/// Σ term(a, b, c).
#[inline(always)]
pub(super) fn sum3<T: Real>(a: &[T], b: &[T], c: &[T], term: impl Fn(T, T, T) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let ((a, a_rest), (b, b_rest), (c, c_rest)) = (a.as_chunks(), b.as_chunks(), c.as_chunks());
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        let (a, b, c): (&[T; LANES], &[T; LANES], &[T; LANES]) = (a, b, c);
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane], c[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).zip(c_rest).map(|((&a, &b), &c)| term(a, b, c));
    lanes.iter().copied().sum::<T>() + rest.sum::<T>()
}

/// Σ term(a, b).
#[inline(always)]
pub(super) fn sum2<T: Real>(a: &[T], b: &[T], term: impl Fn(T, T) -> T) -> T {
    sum3(a, b, a, |a, b, _| term(a, b))
}

/// Σ a.
#[inline(always)]
pub(super) fn sum<T: Real>(a: &[T]) -> T {
    sum3(a, a, a, |a, _, _| a)
}

/// ⟨a, b⟩.
#[inline(always)]
pub(super) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    sum2(a, b, |a, b| a * b)
}
