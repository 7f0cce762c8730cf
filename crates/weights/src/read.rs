//! A file of weights, whichever kind it is.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::{NamedTensor, WeightsError, torch};

/// The tensors of a PyTorch state dict (`.pt`, `.pth`, `.bin`; a zip archive) in its order, or those of a safetensors file, which
/// has none, sorted by name.
///
/// # Errors
/// If the file cannot be read, is damaged, or holds no tensors.
pub fn read(path: &Path) -> Result<Vec<NamedTensor>, WeightsError> {
    let bytes = std::fs::read(path).map_err(|e| WeightsError::file(path, format!("cannot be read ({e})")))?;
    let tensors = if torch::is_archive(&bytes) {
        torch::tensors(path, &bytes)?
    } else if bytes.starts_with(b"\x80") && bytes.get(1).is_some_and(|&protocol| protocol <= 5) {
        let problem = "is a state dict in PyTorch's format from before version 1.6, or another pickle; load it and save it anew: \
                       torch.save(torch.load(file), file)";
        return Err(WeightsError::file(path, problem));
    } else {
        safetensors(path, &bytes)?
    };
    if tensors.is_empty() {
        return Err(WeightsError::file(path, "holds no tensors"));
    }
    Ok(tensors)
}

fn safetensors(path: &Path, bytes: &[u8]) -> Result<Vec<NamedTensor>, WeightsError> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| {
        WeightsError::file(
            path,
            format!("is neither a PyTorch state dict nor a safetensors file ({e}); give one of them"),
        )
    })?;
    let mut views = file.tensors();
    views.sort_by(|(a, _), (b, _)| a.cmp(b));
    let tensor = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let data = view.data();
        let words = |size: usize| data.chunks_exact(size);
        let values = match view.dtype() {
            Dtype::F32 => words(4).map(|w| f32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect(),
            Dtype::F64 => {
                words(8).map(|w| f64::from_le_bytes([w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]]) as f32).collect()
            }
            Dtype::I64 => {
                words(8).map(|w| i64::from_le_bytes([w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]]) as f32).collect()
            }
            Dtype::BF16 => {
                words(2).map(|w| f32::from_bits(u32::from(u16::from_le_bytes([w[0], w[1]])) << 16)).collect()
            }
            other => {
                let problem = format!("tensor `{name}` has elements of {other:?}; convert it to single precision");
                return Err(WeightsError::file(path, problem));
            }
        };
        Ok(NamedTensor { name, shape: view.shape().to_vec(), values })
    };
    views.into_iter().map(tensor).collect()
}
