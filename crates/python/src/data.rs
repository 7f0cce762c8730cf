//! Labelled samples: data sets by name, or arrays.

use std::path::PathBuf;

use numpy::PyArray1;
use pyo3::prelude::*;
use tightrope::data::{ALL, Options, Split, load_with};
use tightrope::{Dataset, network::Network};

use crate::errors::{named, raise};
use crate::number;

/// Samples as Python names or holds them; keys that do not apply are None.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Given<'py> {
    name: String,
    split: String,
    limit: Option<usize>,
    data_dir: Option<PathBuf>,
    /// `[N, C, H, W]` in single precision.
    x: Option<Bound<'py, PyAny>>,
    y: Vec<usize>,
    shape: [usize; 3],
    classes: usize,
}

fn split(py: Python<'_>, name: &str) -> PyResult<Split> {
    let found = [Split::Train, Split::Test, Split::Validation].into_iter().find(|split| split.name() == name);
    found.ok_or_else(|| named(py, "DataError", format!("split `{name}`: use train, test or validation")))
}

fn load(
    py: Python<'_>,
    name: &str,
    split_name: &str,
    data_dir: Option<PathBuf>,
    limit: Option<usize>,
) -> PyResult<Dataset> {
    let split = split(py, split_name)?;
    let loaded = py.detach(|| {
        let options = Options { dir: data_dir.as_deref(), ..Options::default() };
        load_with(name, split, &options)
    });
    let set = loaded.map_err(|error| raise(py, error))?;
    Ok(set.limit(limit.unwrap_or(usize::MAX)))
}

impl Given<'_> {
    /// The samples, read or copied.
    pub fn dataset(&self, py: Python<'_>) -> PyResult<Dataset> {
        let Some(x) = &self.x else {
            return load(py, &self.name, &self.split, self.data_dir.clone(), self.limit);
        };
        let refuse = |message: String| Err(named(py, "DataError", message));
        let (x, size) = (number::values::<f32>(x)?, self.shape.iter().product::<usize>());
        if x.len() != self.y.len() * size {
            return refuse(format!("{} pixels and {} labels: samples have {size} pixels each", x.len(), self.y.len()));
        }
        if let Some((sample, label)) = self.y.iter().enumerate().find(|(_, label)| **label >= self.classes) {
            return refuse(format!("sample {sample} has label {label}, but there are {} classes", self.classes));
        }
        let set = Dataset::own(&self.name, split(py, &self.split)?, self.shape, self.classes, x, self.y.clone());
        if let Some(sample) = set.not_finite() {
            return refuse(format!("sample {sample} has a pixel that is no finite number; remove or mend it"));
        }
        Ok(set.limit(self.limit.unwrap_or(usize::MAX)))
    }

    /// The samples, which must be those of `network`.
    pub fn of(&self, py: Python<'_>, network: &Network) -> PyResult<Dataset> {
        let set = self.dataset(py)?;
        if set.is_empty() {
            return Err(named(py, "DataError", "there are no samples; give at least one".into()));
        }
        if set.image_len() != network.input_len() || set.classes != network.output_len() {
            let message = format!(
                "data set `{}` has images {:?} and {} classes, but the model reads {:?} and has {} logits; give the data \
                 set the model was trained on",
                set.name,
                set.shape,
                set.classes,
                network.input_shape(),
                network.output_len()
            );
            return Err(named(py, "DataError", message));
        }
        Ok(set)
    }
}

/// Pixels, labels, shape of an image, number of classes and names of the classes of a data set's split.
type Arrays = (Py<PyAny>, Py<PyArray1<i64>>, [usize; 3], usize, Option<Vec<String>>);

/// The split of a known data set.
#[pyfunction]
pub fn dataset(
    py: Python<'_>,
    name: &str,
    split: &str,
    data_dir: Option<PathBuf>,
    limit: Option<usize>,
) -> PyResult<Arrays> {
    let set = load(py, name, split, data_dir, limit)?;
    let labels = set.labels.iter().map(|&label| label as i64).collect();
    let labels = PyArray1::from_vec(py, labels).unbind();
    Ok((number::array(py, set.images().into_owned()), labels, set.shape, set.classes, set.class_names))
}

/// Name and title of every known data set.
#[pyfunction]
pub fn dataset_names() -> Vec<(&'static str, &'static str)> {
    ALL.iter().map(|info| (info.name, info.title)).collect()
}
