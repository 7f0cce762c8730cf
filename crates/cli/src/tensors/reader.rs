//! Input batches: `x` [N, …input shape] and `y` [N] of a safetensors file, checked against a network.

use std::path::Path;

use anyhow::{Context as _, bail};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tightrope_engine::Real;
use tightrope_network::Network;

/// A checked batch.
#[derive(Clone, Debug)]
pub struct Inputs<T> {
    /// `[N, d]`, finite.
    pub x: Vec<T>,
    /// `[N]`, classes of the network.
    pub y: Vec<usize>,
}

impl<T: Real> Inputs<T> {
    /// Reads `x` (F32 or F64, `[N, …input shape]` or `[N, d]`) and `y` (an integer type, `[N]`).
    pub fn read(path: &Path, network: &Network) -> anyhow::Result<Self> {
        let place = path.display();
        let bytes = std::fs::read(path).with_context(|| {
            format!("{place}: cannot read; give a safetensors file with x [N, …input shape] and y [N]")
        })?;
        let file = SafeTensors::deserialize(&bytes)
            .with_context(|| format!("{place}: not a whole safetensors file; write it again"))?;
        let tensor = |name: &str| {
            file.tensor(name).map_err(|_| {
                let names = file.names().iter().take(8).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
                anyhow::anyhow!("{place}: no tensor `{name}`; it holds {names}; name the inputs `x` and the labels `y`")
            })
        };
        let x = Inputs::checked_x(&tensor("x")?, network).with_context(|| format!("{place}, tensor `x`"))?;
        let samples = x.len() / network.input_len();
        let y =
            checked_y(&tensor("y")?, samples, network.output_len()).with_context(|| format!("{place}, tensor `y`"))?;
        Ok(Inputs { x, y })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.y.len()
    }

    fn checked_x(tensor: &TensorView<'_>, network: &Network) -> anyhow::Result<Vec<T>> {
        let (shape, d) = (network.input_shape(), network.input_len());
        match tensor.shape() {
            [n, rest @ ..] if *n > 0 && (rest == shape || rest == [d]) => {}
            [0, ..] => bail!("holds no samples; give at least one"),
            other => bail!("has shape {other:?}, but the network reads {shape:?}; store it as [N, {}]", list(shape)),
        }
        let x: Vec<T> = match tensor.dtype() {
            Dtype::F32 => {
                tensor.data().as_chunks::<4>().0.iter().map(|b| T::from_f32(f32::from_le_bytes(*b))).collect()
            }
            Dtype::F64 => {
                tensor.data().as_chunks::<8>().0.iter().map(|b| T::from_f64(f64::from_le_bytes(*b))).collect()
            }
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
}

fn checked_y(tensor: &TensorView<'_>, samples: usize, classes: usize) -> anyhow::Result<Vec<usize>> {
    if tensor.shape() != [samples] {
        bail!(
            "has shape {:?}, but `x` holds {samples} samples; store one label per sample, [{samples}]",
            tensor.shape()
        );
    }
    let data = tensor.data();
    let y: Vec<i64> = match tensor.dtype() {
        Dtype::I64 => data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
        Dtype::I32 => data.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect(),
        Dtype::U8 => data.iter().map(|&b| b.into()).collect(),
        other => bail!("has type {other:?}; store it as I64"),
    };
    let label = |(i, &y): (usize, &i64)| match usize::try_from(y) {
        Ok(label) if label < classes => Ok(label),
        _ => bail!("sample {i} has label {y}, but the network has classes 0 to {}; correct the label", classes - 1),
    };
    y.iter().enumerate().map(label).collect()
}

fn list(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}
