//! What taped bounds leave behind for their gradients.

use std::sync::Arc;

use pyo3::prelude::*;
use tightrope::engine::{Cotangents, LayerCotangent, Tape as EngineTape, Wants};
use tightrope::network::NodeId;

use crate::errors::raise;
use crate::margins::MarginRows;
use crate::network::Shared;
use crate::number::{self, Number};
use crate::running;

/// The tape of one call of `Network.bounds`.
#[pyclass(frozen, module = "tightrope._tightrope")]
pub struct Tape(Arc<Kept>);

struct Kept {
    shared: Arc<Shared>,
    tape: EngineTape,
    /// The nodes of the layer bounds, in order.
    layers: Vec<NodeId>,
    /// Which of the tape's margins the bounds are, if they are not all that it has.
    margins: Option<Arc<MarginRows>>,
    double: bool,
}

/// Gradients of θ, of the region's centres and radii, and of the specification's rows.
type Gradients = (Option<Py<PyAny>>, Option<Py<PyAny>>, Option<Py<PyAny>>, Option<Py<PyAny>>);

impl Tape {
    pub fn new(
        shared: Arc<Shared>,
        tape: EngineTape,
        layers: Vec<NodeId>,
        margins: Option<Arc<MarginRows>>,
        double: bool,
    ) -> Self {
        Tape(Arc::new(Kept { shared, tape, layers, margins, double }))
    }
}

#[pymethods]
impl Tape {
    /// Pulls cotangents back: on the lower bounds, on the upper ones, and on (position, lower, upper) of layers.
    fn vjp(
        &self,
        py: Python<'_>,
        lower: Bound<'_, PyAny>,
        upper: Option<Bound<'_, PyAny>>,
        layers: Vec<(usize, Bound<'_, PyAny>, Bound<'_, PyAny>)>,
        theta: bool,
        region: bool,
        matrix: bool,
    ) -> PyResult<Gradients> {
        if self.0.double {
            self.pull::<f64>(py, &lower, upper.as_ref(), &layers, theta, region, matrix)
        } else {
            self.pull::<f32>(py, &lower, upper.as_ref(), &layers, theta, region, matrix)
        }
    }
}

impl Tape {
    fn pull<T: Number>(
        &self,
        py: Python<'_>,
        lower: &Bound<'_, PyAny>,
        upper: Option<&Bound<'_, PyAny>>,
        layers: &[(usize, Bound<'_, PyAny>, Bound<'_, PyAny>)],
        theta: bool,
        region: bool,
        matrix: bool,
    ) -> PyResult<Gradients> {
        let layers = layers
            .iter()
            .map(|(position, lower, upper)| {
                let node = self.0.layers[*position];
                Ok(LayerCotangent { node, lower: number::values(lower)?, upper: number::values(upper)? })
            })
            .collect::<PyResult<_>>()?;
        let rows = |array| {
            number::with_values(array, |values: &[T]| match &self.0.margins {
                Some(margins) => margins.scatter(values),
                None => values.to_vec(),
            })
        };
        let cotangents: Cotangents<T> = Cotangents {
            lower: rows(lower)?,
            upper: upper.map(rows).transpose()?.unwrap_or_default(),
            layers,
            buffers: Vec::new(),
        };
        let kept = Arc::clone(&self.0);
        let work = move || -> Result<_, tightrope::Error> {
            let at = T::handle(&kept.shared)?;
            let wants = Wants { theta, input: region, buffers: false };
            let gradients = at.vjp(&kept.tape, &cotangents, wants)?;
            let matrix = matrix.then(|| at.vjp_spec(&kept.tape, &cotangents.lower)).transpose()?;
            Ok((gradients, matrix))
        };
        let (gradients, matrix) = running::in_pool(py, work)?.map_err(|error| raise(py, error))?;
        let (center, radius) = gradients.region.map(|region| (region.center, region.radius)).unzip();
        let array = |values: Option<Vec<T>>| values.map(|values| number::array(py, values));
        Ok((array(gradients.theta), array(center), array(radius), array(matrix)))
    }
}
