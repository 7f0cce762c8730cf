//! The Python module `tightrope._tightrope`: what the package in `python/` stands on.

mod attacking;
mod bounding;
mod certifying;
mod data;
mod errors;
mod margins;
mod network;
mod noise;
mod number;
mod recipes;
mod running;
mod tape;
mod training;
mod verifying;

use pyo3::prelude::*;

/// Networks, bounds and the jobs of the command for the package `tightrope`, which is the interface.
#[pymodule]
mod _tightrope {
    #[pymodule_export]
    use super::attacking::attack;
    #[pymodule_export]
    use super::certifying::certify;
    #[pymodule_export]
    use super::data::{dataset, dataset_names};
    #[pymodule_export]
    use super::network::Network;
    #[pymodule_export]
    use super::noise::perturbation;
    #[pymodule_export]
    use super::recipes::{recipe, recipe_names};
    #[pymodule_export]
    use super::set_threads;
    #[pymodule_export]
    use super::tape::Tape;
    #[pymodule_export]
    use super::training::train;
    #[pymodule_export]
    use super::verifying::{check, verify};
    #[pymodule_export]
    use super::version;
}

/// The version of the package.
#[pyo3::pyfunction]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Sets the number of threads of the engines; once, before the first computation.
#[pyo3::pyfunction]
fn set_threads(py: Python<'_>, threads: usize) -> PyResult<()> {
    tightrope::check_threads("set_threads", threads).map_err(|error| errors::raise(py, error))?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(|_| {
        errors::input(py, "the threads are running already: call set_threads before the first computation")
    })
}
