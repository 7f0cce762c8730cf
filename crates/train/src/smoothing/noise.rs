//! Sources of the perturbations δ.

use rayon::prelude::*;
use tightrope_engine::{Perturbation, Real};

/// Elements of θ that are perturbed or accumulated as one unit of work.
pub(super) const CHUNK: usize = 4096;

/// Perturbations δ ~ N(0, σ²S²), S diagonal and mostly the identity, addressed by member and element, so that any thread can regenerate any of them.
pub trait Noise: Sync {
    /// The standard deviation σ ≥ 0.
    fn sigma(&self) -> f64;

    /// The diagonal of S, one factor ≥ 0 for each element of θ; the identity if absent.
    fn scales(&self) -> Option<&[f32]> {
        None
    }

    /// Fills `out` with elements `first .. first + out.len()` of δ of `member`.
    fn fill(&self, member: u64, first: usize, out: &mut [f32]);

    /// Writes θ + sign·δ of `member` into `sample`, which has the length of `theta`.
    fn perturb<T: Real>(&self, theta: &[T], member: u64, sign: f32, sample: &mut [T])
    where
        Self: Sized,
    {
        sample.par_chunks_mut(CHUNK).zip(theta.par_chunks(CHUNK)).enumerate().for_each(|(chunk, (sample, theta))| {
            let mut delta = [0.0; CHUNK];
            let delta = &mut delta[..theta.len()];
            self.fill(member, chunk * CHUNK, delta);
            for ((s, &t), &d) in sample.iter_mut().zip(theta).zip(&*delta) {
                *s = t + T::from_f32(sign * d);
            }
        });
    }
}

/// The same values as [`tightrope_engine::Loaded::members`] uses.
impl Noise for Perturbation<'_> {
    fn sigma(&self) -> f64 {
        f64::from(self.sigma)
    }

    fn scales(&self) -> Option<&[f32]> {
        self.scales
    }

    fn fill(&self, member: u64, first: usize, out: &mut [f32]) {
        self.stream(member).gaussian(first as u64, out);
        self.stretch(first, out);
        out.iter_mut().for_each(|value| *value *= self.sigma);
    }
}

/// The noise of the members from `first` on, counted from 0.
#[derive(Clone, Copy, Debug)]
pub struct Shifted<'a, N> {
    /// Where it comes from.
    pub noise: &'a N,
    /// The member that is number 0 here.
    pub first: u64,
}

impl<N: Noise> Noise for Shifted<'_, N> {
    fn sigma(&self) -> f64 {
        self.noise.sigma()
    }

    fn scales(&self) -> Option<&[f32]> {
        self.noise.scales()
    }

    fn fill(&self, member: u64, first: usize, out: &mut [f32]) {
        self.noise.fill(self.first + member, first, out);
    }
}
