//! Models on disk: θ and the buffers as safetensors beside the structure as `network.json`.

use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::NetworkError;
use crate::description::Description;
use crate::layout::TensorInfo;
use crate::model::Model;
use crate::network::Network;
use crate::temporary::temporary_path;
use crate::text::bytes_text;
use crate::weights::Weights;

/// Name of the parameters' file in a run folder.
pub const MODEL_FILE: &str = "model.safetensors";
/// Name of the structure's file in a run folder.
pub const NETWORK_FILE: &str = "network.json";

/// The regular file that output to `path` creates or replaces: `path` itself or, if that is a link, the file it leads to.
///
/// # Errors
/// If `path` is a folder, device, pipe or socket, or a link to nothing, or if its folder does not exist. Replacing
/// such a thing by a file would destroy what others rely on, so callers ask before they begin long work.
pub fn output_target(path: &Path) -> std::io::Result<PathBuf> {
    let refuse = |problem: String| Err(std::io::Error::other(format!("{problem}; choose another path")));
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => return path.canonicalize(),
        Ok(found) if found.is_dir() => return refuse("is a folder, not a file".into()),
        Ok(_) => return refuse("is a device, pipe or socket, not a regular file".into()),
        Err(_) if path.is_symlink() => return refuse("is a link that leads to no file".into()),
        Err(_) => {}
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            refuse(format!("the folder {} does not exist or cannot be reached; create it first", folder.display()))
        }
        _ => Ok(path.into()),
    }
}

/// Writes `bytes` to a temporary file beside `path`, flushes it to disk and renames it: the file is there whole or not at all.
///
/// # Errors
/// If it cannot be written, or for what [`output_target`] refuses; links are followed.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let path = &*output_target(path)?;
    path.file_name().ok_or_else(|| std::io::Error::other("the path names no file"))?;
    let temporary = temporary_path(path);
    let result = (|| {
        let mut file = std::fs::File::create(&temporary)?;
        // Marks the writer as alive; where there are no locks, the process number alone does.
        let _ = file.try_lock();
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    let result =
        result.map_err(|e| std::io::Error::new(e.kind(), format!("{e}, while writing {}", bytes_text(bytes.len()))));
    if result.is_err() {
        // The temporary file may not exist; the first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

impl Network {
    /// Reads θ from a safetensors file by parameter name (f32 or f64, exactly); tensors of other names are ignored.
    ///
    /// # Errors
    /// If the file is damaged, a parameter is missing, has another shape or holds NaN or infinity.
    pub fn weights_from_safetensors(&self, path: &Path) -> Result<Weights, NetworkError> {
        self.weights_from_bytes(&read(path)?, path)
    }

    /// As [`Network::weights_from_safetensors`] on a file's content; `path` names it in errors.
    ///
    /// # Errors
    /// As there.
    pub fn weights_from_bytes(&self, bytes: &[u8], path: &Path) -> Result<Weights, NetworkError> {
        let file = deserialize(bytes, path)?;
        let mut theta: Vec<f64> = Vec::new();
        for info in self.parameters().iter() {
            theta.extend(numbers(&file, info, path)?);
        }
        Ok(Weights::new(theta))
    }

    /// Reads the buffers from a safetensors file's content by name, as [`Network::weights_from_bytes`] reads θ.
    ///
    /// # Errors
    /// As there, or if a variance is negative or a number no f32.
    pub fn buffers_from_bytes(&self, bytes: &[u8], path: &Path) -> Result<Vec<f32>, NetworkError> {
        let file = deserialize(bytes, path)?;
        let mut buffers: Vec<f32> = Vec::new();
        for info in self.buffers().iter() {
            let values = numbers(&file, info, path)?;
            if let Some(position) = values.iter().position(|&value| f64::from(value as f32) != value) {
                let problem = format!(
                    "holds {} at element {position}, which is no single-precision number; store it as F32",
                    values[position]
                );
                return Err(NetworkError::Parameter { path: path.into(), name: info.name.clone(), problem });
            }
            buffers.extend(values.iter().map(|&value| value as f32));
        }
        self.check_buffers(&buffers).map_err(|e| NetworkError::file(path, e))?;
        Ok(buffers)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, NetworkError> {
    std::fs::read(path).map_err(|e| {
        NetworkError::file(path, format!("cannot be read ({e}); give a run folder, or a .safetensors file that exists"))
    })
}

fn deserialize<'a>(bytes: &'a [u8], path: &Path) -> Result<SafeTensors<'a>, NetworkError> {
    SafeTensors::deserialize(bytes).map_err(|e| NetworkError::file(path, format!("{} ({e})", no_safetensors(bytes))))
}

/// What is said of `bytes` that are no safetensors file.
pub fn no_safetensors(bytes: &[u8]) -> &'static str {
    match bytes.starts_with(&[0x1f, 0x8b]) {
        true => "is compressed by gzip, which safetensors files are not; unpack it by gunzip",
        false => "not a whole safetensors file; write it again",
    }
}

/// The finite numbers of one tensor.
fn numbers(file: &SafeTensors<'_>, info: &TensorInfo, path: &Path) -> Result<Vec<f64>, NetworkError> {
    let problem = |problem: String| NetworkError::Parameter { path: path.into(), name: info.name.clone(), problem };
    let tensor = file.tensor(&info.name).map_err(|_| {
        let names = file.names().iter().take(8).map(|s| s.to_string()).collect::<Vec<_>>().join(", ");
        problem(format!("missing; the file holds {names}…; use the network description that belongs to it"))
    })?;
    if tensor.shape() != info.shape {
        return Err(problem(format!("has shape {:?}, the network needs {:?}", tensor.shape(), info.shape)));
    }
    let values: Vec<f64> = match tensor.dtype() {
        Dtype::F32 => tensor.data().as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        Dtype::F64 => tensor.data().as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        other => return Err(problem(format!("has type {other:?}; store it as F32"))),
    };
    if let Some(position) = values.iter().position(|v| !v.is_finite()) {
        return Err(problem(format!(
            "holds {} at element {position}; the file is damaged or the training diverged",
            values[position]
        )));
    }
    Ok(values)
}

impl Model {
    /// θ and the buffers as a safetensors file, one tensor per parameter and buffer.
    ///
    /// # Errors
    /// If one of them does not have the network's length or holds NaN or infinity.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, NetworkError> {
        let (parameters, buffers) = (self.network.parameters(), self.network.buffers());
        self.network.check_theta(&self.theta)?;
        self.network.check_buffers(&self.buffers)?;
        let bytes: Vec<(&TensorInfo, Vec<u8>)> = parameters
            .iter()
            .map(|info| (info, &self.theta[info.range()]))
            .chain(buffers.iter().map(|info| (info, &self.buffers[info.range()])))
            .map(|(info, values)| (info, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let mut views = Vec::new();
        for (info, data) in &bytes {
            let view = TensorView::new(Dtype::F32, info.shape.clone(), data)
                .map_err(|e| NetworkError::Network(e.to_string()))?;
            views.push((info.name.as_str(), view));
        }
        safetensors::serialize(views, None).map_err(|e| NetworkError::Network(e.to_string()))
    }

    /// Writes `model.safetensors` and `network.json` into `folder`, each whole or not at all, in single precision.
    ///
    /// # Errors
    /// If θ does not fit the network, or a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), NetworkError> {
        let description = serde_json::to_string_pretty(&Description::of(&self.network))
            .map_err(|e| NetworkError::Network(e.to_string()))?;
        let weights = self.to_safetensors()?;
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            write_atomically(&path, bytes).map_err(|e| NetworkError::file(path, e))
        };
        write(NETWORK_FILE, description.as_bytes())?;
        write(MODEL_FILE, &weights)
    }

    /// Reads a run folder, or a `.safetensors` file whose description lies beside it
    /// (`X.json`, `X.toml` or `network.json` for `X.safetensors`).
    ///
    /// # Errors
    /// If a file is missing, cannot be read, or does not fit the description.
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
            return Err(NetworkError::file(
                path,
                format!(
                    "no network description found; looked for {tried}. Put the network's description (network.json of a \
                     run folder, or one written by hand: see README, \"Your own network\") there, or give an .onnx file"
                ),
            ));
        };
        let network = Description::read(description)?.build()?;
        let bytes = read(&weights)?;
        let (exact, buffers) =
            (network.weights_from_bytes(&bytes, &weights)?, network.buffers_from_bytes(&bytes, &weights)?);
        Ok(Model { buffers, ..Model::with_weights(network, exact) })
    }
}

#[cfg(test)]
mod tests {
    use super::write_atomically;

    #[test]
    fn only_regular_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let refusal = |name: &str| write_atomically(&path(name), b"new").unwrap_err().to_string();
        std::fs::create_dir(path("folder")).unwrap();
        assert!(refusal("folder").contains("is a folder"));
        assert!(refusal("missing/file").contains("create it"));
        write_atomically(&path("file"), b"old").unwrap();
        assert!(refusal("file/below").contains("choose another path"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::{FileTypeExt, symlink};
            let null = std::path::Path::new("/dev/null");
            assert!(write_atomically(null, b"new").unwrap_err().to_string().contains("device"));
            assert!(null.metadata().unwrap().file_type().is_char_device());
            symlink(null, path("null")).unwrap();
            assert!(refusal("null").contains("device"));
            symlink(path("nothing"), path("dangling")).unwrap();
            assert!(refusal("dangling").contains("leads to no file"));
            symlink(path("file"), path("link")).unwrap();
            write_atomically(&path("link"), b"new").unwrap();
            assert!(path("link").is_symlink());
            assert_eq!(std::fs::read(path("file")).unwrap(), b"new");
        }
    }
}
