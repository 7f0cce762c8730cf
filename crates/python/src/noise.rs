//! The perturbations of smoothed gradients: the same draws as in a run of the command.

use pyo3::prelude::*;
use rayon::prelude::*;
use tightrope_noise::{Purpose, Stream};

use crate::number;

/// Draws that one thread makes at a time.
const CHUNK: usize = 4096;

/// δ ~ N(0, 1) of `member` at `step` of a run with `seed`, one draw for each of `count` elements of θ.
#[pyfunction]
pub fn perturbation(py: Python<'_>, seed: u64, step: u64, member: u64, count: usize) -> Py<PyAny> {
    let delta = py.detach(|| {
        let stream = Stream::new(seed, Purpose::Smoothing, step, member);
        let mut delta = vec![0.0_f32; count];
        let parts = delta.par_chunks_mut(CHUNK).enumerate();
        parts.for_each(|(chunk, part)| stream.gaussian((chunk * CHUNK) as u64, part));
        delta
    });
    number::array(py, delta)
}
