//! Networks as Python holds them: structure, numbers and the handles of the engines.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::time::{ClockId, clock_gettime};
use tightrope::Model;
use tightrope::engine::Loaded;
use tightrope::network::{Description, Weights};

use crate::bounding::Question;
use crate::errors::{self, raise};
use crate::number::{self, Number};
use crate::running;
use crate::tape::Tape;

/// A model and what engines have prepared for it.
pub struct Shared {
    /// Batch norms as they are stored.
    pub model: Model,
    pub single: OnceLock<Box<dyn Loaded<f32>>>,
    pub double: OnceLock<Box<dyn Loaded<f64>>>,
}

/// A network with its numbers; it never changes.
#[pyclass(frozen, module = "tightrope._tightrope")]
pub struct Network(pub Arc<Shared>);

/// Name, shape, lower and upper bounds of a pre-activation.
type Layer = (String, Vec<usize>, Py<PyAny>, Py<PyAny>);
/// Lower bounds, upper bounds, those of the layers, and a tape.
type Bounds = (Py<PyAny>, Option<Py<PyAny>>, Vec<Layer>, Option<Tape>);

impl Network {
    pub fn of(model: Model) -> Self {
        Network(Arc::new(Shared { model, single: OnceLock::new(), double: OnceLock::new() }))
    }

    /// A model of engines in single precision, which its numbers must fit.
    fn checked(py: Python<'_>, model: Model) -> PyResult<Self> {
        let network = &model.network;
        network
            .check_theta(&model.theta)
            .and_then(|()| network.check_weights(&model.weights()))
            .and_then(|()| network.check_buffers(&model.buffers))
            .map_err(|error| raise(py, error))?;
        Ok(Network::of(model))
    }
}

#[pymethods]
impl Network {
    /// The model at a path: a run folder, an ONNX file, or safetensors with its description.
    #[staticmethod]
    fn from_file(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let model = py.detach(|| tightrope::load_trainable(path)).map_err(|error| raise(py, error))?;
        Ok(Network::of(model))
    }

    /// The model that the bytes of an ONNX file hold; `origin` is what messages call it.
    #[staticmethod]
    fn from_onnx_bytes(py: Python<'_>, bytes: &[u8], origin: &str) -> PyResult<Self> {
        let model = tightrope::onnx::import_bytes(bytes, origin).map_err(|error| raise(py, error))?;
        Network::checked(py, model)
    }

    /// The network that JSON describes, with zeros for θ.
    #[staticmethod]
    fn from_description(py: Python<'_>, json: &str) -> PyResult<Self> {
        let described = Description::from_json(json, "the description").and_then(|description| description.build());
        let network = described.map_err(|error| raise(py, error))?;
        let theta = vec![0.0; network.parameters().total()];
        Ok(Network::of(Model::new(network, theta)))
    }

    /// The same network at another θ, and at other buffers if there are any.
    fn with_parameters(&self, py: Python<'_>, theta: Bound<'_, PyAny>, buffers: Option<Vec<f32>>) -> PyResult<Self> {
        let network = self.0.model.network.clone();
        let needed = network.parameters().total();
        let fits = |length: usize| {
            let message = format!("θ has {length} values, but the network has {needed} parameters");
            if length == needed { Ok(()) } else { Err(errors::input(py, message)) }
        };
        let mut model = if number::is_double(&theta)? {
            let theta = number::values::<f64>(&theta)?;
            fits(theta.len())?;
            Model::with_weights(network, Weights::new(theta))
        } else {
            let theta = number::values::<f32>(&theta)?;
            fits(theta.len())?;
            Model::new(network, theta)
        };
        model.buffers = buffers.unwrap_or_else(|| self.0.model.buffers.clone());
        Network::checked(py, model)
    }

    #[getter]
    fn input_shape(&self) -> Vec<usize> {
        self.0.model.network.input_shape().to_vec()
    }

    /// Number of logits.
    #[getter]
    fn outputs(&self) -> usize {
        self.0.model.network.output_len()
    }

    /// Names and shapes of the parameters, in θ's order.
    #[getter]
    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        self.0.model.network.parameters().iter().map(|info| (info.name.clone(), info.shape.clone())).collect()
    }

    /// Names and shapes of the buffers.
    #[getter]
    fn buffers(&self) -> Vec<(String, Vec<usize>)> {
        self.0.model.network.buffers().iter().map(|info| (info.name.clone(), info.shape.clone())).collect()
    }

    /// The values of the buffers.
    fn buffer_values(&self) -> Vec<f32> {
        self.0.model.buffers.clone()
    }

    /// θ, in double precision if asked for.
    fn theta(&self, py: Python<'_>, double: bool) -> Py<PyAny> {
        if double { number::array(py, f64::theta(&self.0)) } else { number::array(py, f32::theta(&self.0)) }
    }

    /// The structure as JSON.
    fn description(&self) -> String {
        // Plain numbers and names always have a JSON form.
        serde_json::to_string(&Description::of(&self.0.model.network)).unwrap_or_default()
    }

    /// SHA-256 over structure and numbers.
    fn checksum(&self) -> String {
        tightrope::checksum(&self.0.model)
    }

    /// The bytes of an ONNX file.
    fn to_onnx<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = tightrope::onnx::export_bytes(&self.0.model).map_err(|error| raise(py, error))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Writes the parameters as safetensors at `path`, and the structure as JSON beside it.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        self.0.model.save(&path).map_err(|error| raise(py, error))
    }

    /// Logits of `x`, flat.
    fn forward(&self, py: Python<'_>, x: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        fn logits<T: Number>(py: Python<'_>, shared: &Arc<Shared>, x: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
            let (shared, x) = (Arc::clone(shared), number::values::<T>(x)?);
            let work = move || -> Result<_, tightrope::Error> { Ok(T::handle(&shared)?.forward(&x)?) };
            let logits = running::in_pool(py, work)?.map_err(|error| raise(py, error))?;
            Ok(number::array(py, logits))
        }
        if number::is_double(&x)? { logits::<f64>(py, &self.0, &x) } else { logits::<f32>(py, &self.0, &x) }
    }

    /// Bounds over regions; see [`Question`].
    fn bounds(&self, py: Python<'_>, question: Question<'_>) -> PyResult<Bounds> {
        if question.is_double()? { self.bound::<f64>(py, &question) } else { self.bound::<f32>(py, &question) }
    }

    /// Seconds of processor time, of all threads together, that a question takes a Rust program which has the inputs in memory
    /// and the network loaded: the region is made and bounded. What the overhead of calls is measured by.
    fn processor_seconds(&self, py: Python<'_>, question: Question<'_>) -> PyResult<f64> {
        let clock = || {
            let time = clock_gettime(ClockId::ProcessCPUTime);
            time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
        };
        let start = clock();
        let owned = question.owned::<f32>(&self.0)?;
        // From a thread outside the pool, as that of a program is: the engine hands the work over by itself.
        py.detach(|| owned.answer(&self.0)).map_err(|error| raise(py, error))?;
        Ok(clock() - start)
    }
}

impl Network {
    fn bound<T: Number>(&self, py: Python<'_>, question: &Question<'_>) -> PyResult<Bounds> {
        let (shared, owned) = (Arc::clone(&self.0), question.owned::<T>(&self.0)?);
        let answer = running::in_pool(py, move || owned.answer(&shared))?.map_err(|error| raise(py, error))?;
        let bounds = answer.bounds;
        // Infinite bounds of layers say little, NaN says nothing.
        let is_number = |value: &T| value.partial_cmp(value).is_some();
        let samples = bounds.lower.len() / bounds.rows.max(1);
        let ends = bounds.layers.iter().flat_map(|layer| [&layer.lower, &layer.upper]).chain(&bounds.upper);
        let lost = ends.map(|values| (values.iter().position(|value| !is_number(value)), values.len()));
        let lost = lost.chain([(bounds.lower.iter().position(|value| !value.is_finite()), bounds.lower.len())]);
        for (position, length) in lost {
            if let Some(position) = position {
                let sample = position / (length / samples);
                return Err(errors::input(
                    py,
                    format!("the bounds of sample {sample} overflow; use a smaller eps, or float64 inputs"),
                ));
            }
        }
        let nodes: Vec<_> = bounds.layers.iter().map(|layer| layer.node).collect();
        let tape = answer.tape.map(|tape| Tape::new(Arc::clone(&self.0), tape, nodes, answer.margins, T::DOUBLE));
        let layers = bounds.layers.into_iter().map(|layer| {
            let node = self.0.model.network.node(layer.node);
            let array = |values| number::array(py, values);
            (node.name.clone(), node.shape.clone(), array(layer.lower), array(layer.upper))
        });
        let upper = bounds.upper.map(|upper| number::array(py, upper));
        Ok((number::array(py, bounds.lower), upper, layers.collect(), tape))
    }
}
