//! Input batches: `x` [N, …input shape] and `y` (or `label`) [N] of a safetensors file, checked against a network.

use std::path::Path;

use anyhow::{Context as _, bail};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tightrope_engine::Real;
use tightrope_network::Network;

use crate::values::counted;

/// Arrays as they stand in the file.
#[derive(Clone, Debug)]
pub struct Arrays<T> {
    /// `[N, …shape]`, finite.
    pub x: Vec<T>,
    /// Shape of one sample.
    pub shape: Vec<usize>,
    /// `[N]`.
    pub y: Vec<i64>,
}

/// A batch that fits a network.
#[derive(Clone, Debug)]
pub struct Inputs<T> {
    /// `[N, d]`, finite.
    pub x: Vec<T>,
    /// `[N]`, classes of the network.
    pub y: Vec<usize>,
}

impl<T: Real> Arrays<T> {
    /// Reads `x` (F32 or F64, `[N, …]`) and `y` (an integer type, `[N]`). Where `y` is none or something else, as the outputs
    /// that other programs store beside their inputs, the labels are `label`.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Arrays::read_as(path, |_| Ok(()))
    }

    /// As [`Arrays::read`]; `fits` looks at the shape of `x` first.
    fn read_as(path: &Path, fits: impl Fn(&[usize]) -> anyhow::Result<()>) -> anyhow::Result<Self> {
        let place = path.display();
        let bytes = std::fs::read(path).with_context(|| {
            format!("{place}: cannot read; give a safetensors file with x [N, …input shape] and y [N]")
        })?;
        let file = SafeTensors::deserialize(&bytes)
            .with_context(|| format!("{place}: {}", tightrope_network::no_safetensors(&bytes)))?;
        let tensor = |name: &str| {
            file.tensor(name).map_err(|_| {
                let names = file.names().iter().take(8).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
                anyhow::anyhow!("{place}: no tensor `{name}`; it holds {names}; name the inputs `x` and the labels `y`")
            })
        };
        let named = |name: &str| format!("{place}, tensor `{name}`");
        let x = tensor("x")?;
        let is_list = |y: &TensorView<'_>| is_integer(y.dtype()) && y.shape().len() == 1;
        let (y_name, y) = match (file.tensor("y"), file.tensor("label")) {
            (Ok(y), Err(_)) if !is_integer(y.dtype()) && y.shape().len() > 1 => bail!(
                "{}: has type {:?} and shape {:?}, which are outputs, not labels; store each sample's class as `label`, I64 [N]",
                named("y"),
                y.dtype(),
                y.shape()
            ),
            (Ok(y), Ok(label)) if !is_list(&y) => ("label", label),
            (Err(_), Ok(label)) => ("label", label),
            (Ok(y), _) => ("y", y),
            (Err(_), Err(_)) => ("y", tensor("y")?),
        };
        let shape = match x.shape() {
            [0, ..] => Err(anyhow::anyhow!("holds no samples; give at least one")),
            [_, shape @ ..] if !shape.is_empty() && !shape.contains(&0) => fits(x.shape()).map(|()| shape.to_vec()),
            other => Err(anyhow::anyhow!("has shape {other:?}; store it as [N, …shape of a sample]")),
        };
        let shape = shape.with_context(|| named("x"))?;
        let x = finite_values(&x, shape.iter().product()).with_context(|| named("x"))?;
        let samples = x.len() / shape.iter().product::<usize>();
        let y = integers(&y, samples).with_context(|| named(y_name))?;
        Ok(Arrays { x, shape, y })
    }
}

impl<T: Real> Inputs<T> {
    /// Reads `x` (F32 or F64, `[N, …input shape]`, or d numbers a sample in another shape) and the labels; see
    /// [`Arrays::read`].
    pub fn read(path: &Path, network: &Network) -> anyhow::Result<Self> {
        let (shape, d) = (network.input_shape(), network.input_len());
        let arrays = Arrays::read_as(path, |found| match found {
            [_, rest @ ..] if rest == shape || rest.iter().product::<usize>() == d && !is_reordered(rest, shape) => {
                Ok(())
            }
            other => bail!("has shape {other:?}, but the network reads {shape:?}; store it as [N, {}]", list(shape)),
        })?;
        let y = labels(&arrays.y, network.output_len()).with_context(|| format!("{}, tensor `y`", path.display()))?;
        Ok(Inputs { x: arrays.x, y })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.y.len()
    }
}

/// Whether the axes are those of `shape` in another order: pixels before channels, most likely.
fn is_reordered(found: &[usize], shape: &[usize]) -> bool {
    let sorted = |shape: &[usize]| {
        let mut sides = shape.to_vec();
        sides.sort_unstable();
        sides
    };
    found != shape && sorted(found) == sorted(shape)
}

fn is_integer(kind: Dtype) -> bool {
    matches!(kind, Dtype::I64 | Dtype::I32 | Dtype::U8)
}

/// The values of `x`, of `d` elements a sample.
fn finite_values<T: Real>(tensor: &TensorView<'_>, d: usize) -> anyhow::Result<Vec<T>> {
    let x: Vec<T> = match tensor.dtype() {
        Dtype::F32 => tensor.data().as_chunks::<4>().0.iter().map(|b| T::from_f32(f32::from_le_bytes(*b))).collect(),
        Dtype::F64 => tensor.data().as_chunks::<8>().0.iter().map(|b| T::from_f64(f64::from_le_bytes(*b))).collect(),
        other => bail!("has type {other:?}; store it as F32"),
    };
    if let Some(position) = x.iter().position(|v| !v.is_finite()) {
        bail!(
            "holds {} in sample {}, element {}; every input must be a finite number",
            x[position],
            position / d,
            position % d
        );
    }
    Ok(x)
}

fn integers(tensor: &TensorView<'_>, samples: usize) -> anyhow::Result<Vec<i64>> {
    if tensor.shape() != [samples] {
        let single = match tensor.shape() {
            [] | [1] => "; if all of `x` is one sample, give it an axis for the samples, [1, …], and store [1] here",
            _ => "",
        };
        bail!(
            "has shape {:?}, but `x` holds {}; store one label per sample, [{samples}]{single}",
            tensor.shape(),
            counted(samples, "sample", "samples")
        );
    }
    let data = tensor.data();
    Ok(match tensor.dtype() {
        Dtype::I64 => data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
        Dtype::I32 => data.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect(),
        Dtype::U8 => data.iter().map(|&b| b.into()).collect(),
        other => bail!("has type {other:?}; store it as I64"),
    })
}

fn labels(y: &[i64], classes: usize) -> anyhow::Result<Vec<usize>> {
    let label = |(i, &y): (usize, &i64)| match usize::try_from(y) {
        Ok(label) if label < classes => Ok(label),
        _ => bail!("sample {i} has label {y}, but the network has classes 0 to {}; correct the label", classes - 1),
    };
    y.iter().enumerate().map(label).collect()
}

fn list(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}
