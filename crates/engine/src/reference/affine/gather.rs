//! Sums of selected elements: weights of 1 alone, so |W| = W and there is no weight gradient.

use tightrope_network::Gather;

use crate::Real;

/// y = W x.
pub(super) fn apply<T: Real>(gather: &Gather, inputs: usize, x: &[T], y: &mut [T]) {
    let outputs: usize = gather.shape().iter().product();
    for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact_mut(outputs)) {
        match gather.single() {
            Some(sources) => y.iter_mut().zip(sources).for_each(|(y, &j)| *y = x[j as usize]),
            None => {
                y.iter_mut().enumerate().for_each(|(i, y)| *y = gather.sources(i).iter().map(|&j| x[j as usize]).sum());
            }
        }
    }
}

/// x += Wᵀ y.
pub(super) fn transpose<T: Real>(gather: &Gather, inputs: usize, y: &[T], x: &mut [T]) {
    let outputs: usize = gather.shape().iter().product();
    for (y, x) in y.chunks_exact(outputs).zip(x.chunks_exact_mut(inputs)) {
        match gather.single() {
            Some(sources) => y.iter().zip(sources).for_each(|(&y, &j)| x[j as usize] += y),
            None => {
                for (i, &y) in y.iter().enumerate().filter(|(_, y)| **y != T::ZERO) {
                    gather.sources(i).iter().for_each(|&j| x[j as usize] += y);
                }
            }
        }
    }
}
