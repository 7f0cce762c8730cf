//! Models on disk: θ as safetensors beside the structure as `network.json`.

use std::io::Write;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::NetworkError;
use crate::description::Description;
use crate::network::{Model, Network};

/// Name of the parameters' file in a run folder.
pub const MODEL_FILE: &str = "model.safetensors";
/// Name of the structure's file in a run folder.
pub const NETWORK_FILE: &str = "network.json";

/// Writes `bytes` to a temporary file beside `path`, flushes it to disk and renames it: the file is there whole or not at all.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let name = path.file_name().ok_or_else(|| std::io::Error::other("the path names no file"))?;
    let mut temporary = name.to_os_string();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let result = (|| {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if result.is_err() {
        // The temporary file may not exist; the first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

impl Network {
    /// θ as a safetensors file, one tensor per parameter.
    ///
    /// # Errors
    /// If θ does not have the network's length or holds NaN or infinity.
    pub fn theta_to_safetensors(&self, theta: &[f32]) -> Result<Vec<u8>, NetworkError> {
        self.check_theta(theta)?;
        let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = self
            .parameters()
            .iter()
            .map(|info| {
                (
                    info.name.clone(),
                    info.shape.clone(),
                    theta[info.range()].iter().flat_map(|v| v.to_le_bytes()).collect(),
                )
            })
            .collect();
        let mut views = Vec::new();
        for (name, shape, data) in &bytes {
            let view =
                TensorView::new(Dtype::F32, shape.clone(), data).map_err(|e| NetworkError::Network(e.to_string()))?;
            views.push((name.as_str(), view));
        }
        safetensors::serialize(views, None).map_err(|e| NetworkError::Network(e.to_string()))
    }

    /// Reads θ from a safetensors file by parameter name (f32 or f64); tensors of other names are ignored.
    ///
    /// # Errors
    /// If the file is damaged, a parameter is missing, has another shape or holds NaN or infinity.
    pub fn theta_from_safetensors(&self, path: &Path) -> Result<Vec<f32>, NetworkError> {
        let bytes = std::fs::read(path).map_err(|e| NetworkError::file(path, e))?;
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|e| NetworkError::file(path, format!("not a whole safetensors file ({e}); write it again")))?;
        let mut theta = Vec::new();
        for info in self.parameters().iter() {
            let problem =
                |problem: String| NetworkError::Parameter { path: path.into(), name: info.name.clone(), problem };
            let tensor = file.tensor(&info.name).map_err(|_| {
                let names = file.names().iter().take(8).map(|s| s.to_string()).collect::<Vec<_>>().join(", ");
                problem(format!("missing; the file holds {names}…; use the network description that belongs to it"))
            })?;
            if tensor.shape() != info.shape {
                return Err(problem(format!("has shape {:?}, the network needs {:?}", tensor.shape(), info.shape)));
            }
            match tensor.dtype() {
                Dtype::F32 => theta.extend(tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))),
                Dtype::F64 => {
                    theta.extend(tensor.data().as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32))
                }
                other => return Err(problem(format!("has type {other:?}; store it as F32"))),
            }
            if let Some(position) = theta[info.offset..].iter().position(|v| !v.is_finite()) {
                return Err(problem(format!(
                    "holds {} at element {position}; the file is damaged or the training diverged",
                    theta[info.offset + position]
                )));
            }
        }
        Ok(theta)
    }
}

impl Model {
    /// Writes `model.safetensors` and `network.json` into `folder`, each whole or not at all.
    pub fn save(&self, folder: &Path) -> Result<(), NetworkError> {
        let description = serde_json::to_string_pretty(&Description::of(&self.network))
            .map_err(|e| NetworkError::Network(e.to_string()))?;
        let weights = self.network.theta_to_safetensors(&self.theta)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            write_atomically(&path, bytes).map_err(|e| NetworkError::file(path, e))
        };
        write(NETWORK_FILE, description.as_bytes())?;
        write(MODEL_FILE, &weights)
    }

    /// Reads a run folder, or a `.safetensors` file whose description lies beside it
    /// (`X.json`, `X.toml` or `network.json` for `X.safetensors`).
    pub fn load(path: &Path) -> Result<Self, NetworkError> {
        let (weights, candidates) = if path.is_dir() {
            (path.join(MODEL_FILE), vec![path.join(NETWORK_FILE)])
        } else {
            (
                path.to_path_buf(),
                vec![path.with_extension("json"), path.with_extension("toml"), path.with_file_name(NETWORK_FILE)],
            )
        };
        let Some(description) = candidates.iter().find(|file| file.is_file()) else {
            let tried = candidates.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
            return Err(NetworkError::file(path, format!("no network description found; looked for {tried}")));
        };
        let network = Description::read(description)?.build()?;
        let theta = network.theta_from_safetensors(&weights)?;
        Ok(Model { network, theta })
    }
}
