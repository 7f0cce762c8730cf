//! The two precisions: single with the vector kernels, double by the reference engine.

use std::sync::OnceLock;

use numpy::{Element, PyArray1, PyArrayDescrMethods, PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use tightrope::engine::{Engine, Loaded, Real, Reference};

use crate::errors;
use crate::network::Shared;

/// A scalar type of arrays that engines compute in.
pub trait Number: Real + Element {
    /// Whether it is double precision.
    const DOUBLE: bool;

    /// θ in this precision.
    fn theta(shared: &Shared) -> Vec<Self>;

    /// Where the network's handle in this precision is kept.
    fn place(shared: &Shared) -> &OnceLock<Box<dyn Loaded<Self>>>;

    /// A new handle.
    fn load(shared: &Shared) -> Result<Box<dyn Loaded<Self>>, tightrope::Error>;

    /// The network loaded at its θ and buffers, once.
    fn handle(shared: &Shared) -> Result<&dyn Loaded<Self>, tightrope::Error> {
        let place = Self::place(shared);
        if let Some(loaded) = place.get() {
            return Ok(&**loaded);
        }
        let loaded = Self::load(shared)?;
        // Another thread may have been faster; then this one goes.
        Ok(&**place.get_or_init(|| loaded))
    }
}

impl Number for f32 {
    const DOUBLE: bool = false;

    fn theta(shared: &Shared) -> Vec<f32> {
        shared.model.theta.clone()
    }

    fn place(shared: &Shared) -> &OnceLock<Box<dyn Loaded<f32>>> {
        &shared.single
    }

    fn load(shared: &Shared) -> Result<Box<dyn Loaded<f32>>, tightrope::Error> {
        let model = &shared.model;
        Ok(tightrope::default_engine()?.load(&model.network, &model.theta, &model.buffers)?)
    }
}

impl Number for f64 {
    const DOUBLE: bool = true;

    fn theta(shared: &Shared) -> Vec<f64> {
        shared.model.weights().theta().to_vec()
    }

    fn place(shared: &Shared) -> &OnceLock<Box<dyn Loaded<f64>>> {
        &shared.double
    }

    fn load(shared: &Shared) -> Result<Box<dyn Loaded<f64>>, tightrope::Error> {
        let buffers: Vec<f64> = shared.model.buffers.iter().map(|&value| f64::from(value)).collect();
        Ok(Engine::<f64>::load(&Reference, &shared.model.network, &Self::theta(shared), &buffers)?)
    }
}

/// True for an array of double precision, false for single; others are refused.
pub fn is_double(array: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = array.py();
    let untyped = array.cast::<PyUntypedArray>().map_err(PyErr::from)?;
    let dtype = untyped.dtype();
    if dtype.is_equiv_to(&numpy::dtype::<f64>(py)) {
        return Ok(true);
    }
    if dtype.is_equiv_to(&numpy::dtype::<f32>(py)) {
        return Ok(false);
    }
    Err(errors::input(py, format!("arrays of {dtype} are not computed with; give float32 or float64")))
}

/// The values of a contiguous array, copied.
pub fn values<T: Number>(array: &Bound<'_, PyAny>) -> PyResult<Vec<T>> {
    with_values(array, |values| values.to_vec())
}

/// Hands the values of a contiguous array of `T` to `read`, without a copy.
pub fn with_values<T: Number, R>(array: &Bound<'_, PyAny>, read: impl FnOnce(&[T]) -> R) -> PyResult<R> {
    let array: PyReadonlyArrayDyn<'_, T> = array.extract()?;
    let values = array.as_slice().map_err(|error| errors::input(array.py(), error.to_string()))?;
    Ok(read(values))
}

/// A flat array.
pub fn array<T: Number>(py: Python<'_>, values: Vec<T>) -> Py<PyAny> {
    PyArray1::from_vec(py, values).into_any().unbind()
}
