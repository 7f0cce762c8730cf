//! Values that lie in other files beside the model.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use crate::error::Problem;
use crate::proto::TensorProto;

/// Where the files of a model's external data may lie: its own folder and those below.
pub struct Files<'a> {
    /// None for a model that came as bytes.
    folder: Option<&'a Path>,
}

impl<'a> Files<'a> {
    /// The files beside the model file `model`, if it is one.
    pub fn beside(model: Option<&'a Path>) -> Self {
        let folder = |path: &'a Path| match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        Files { folder: model.map(folder) }
    }

    /// The `length` bytes of the tensor called `name`.
    pub fn read(&self, proto: &TensorProto, name: &str, length: usize) -> Result<Vec<u8>, Problem> {
        let fail = |problem: String| Problem::tensor(name, problem);
        let entry =
            |key: &str| proto.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
        let Some(location) = entry("location") else {
            return Err(fail("its values lie in another file that is not named; the file is damaged".into()));
        };
        let Some(folder) = self.folder else {
            return Err(fail(format!("its values lie in {location} (external data), which needs the model as a file")));
        };
        let number = |key: &str, otherwise: u64| match entry(key) {
            None => Ok(otherwise),
            Some(text) => text
                .parse::<u64>()
                .map_err(|_| fail(format!("the {key} of its values in {location} is {text:?}; the file is damaged"))),
        };
        let (offset, given) = (number("offset", 0)?, number("length", length as u64)?);
        if given != length as u64 {
            return Err(fail(format!(
                "takes {length} bytes, but {given} are said to lie in {location}; the file is damaged"
            )));
        }
        let path = self.resolve(folder, location).map_err(fail)?;
        let cannot = |e: std::io::Error| {
            fail(format!("its values cannot be read from {} ({e}); put it beside the model", path.display()))
        };
        let mut file = File::open(&path).map_err(cannot)?;
        let size = file.metadata().map_err(cannot)?;
        if !size.is_file() || offset.checked_add(given).is_none_or(|end| end > size.len()) {
            return Err(fail(format!(
                "its values are bytes {offset} to {} of {}, which is no file of that length; it belongs to another model \
                 or is damaged",
                offset.saturating_add(given),
                path.display()
            )));
        }
        file.seek(SeekFrom::Start(offset)).map_err(cannot)?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes).map_err(cannot)?;
        Ok(bytes)
    }

    /// The file that `location` names, which must lie in the model's folder: a model from somewhere must not read others.
    fn resolve(&self, folder: &Path, location: &str) -> Result<PathBuf, String> {
        let inside =
            Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let outside = || {
            format!(
                "its values lie in {location}, outside the model's folder; put the file there and name it without a path"
            )
        };
        if !inside || location.is_empty() || location.contains('\0') {
            return Err(outside());
        }
        let path = folder.join(location);
        let missing = |e: std::io::Error| {
            format!("its values lie in {}, which cannot be read ({e}); put it beside the model", path.display())
        };
        // A link may lead out of the folder where the name does not.
        let (real, root) = (path.canonicalize().map_err(missing)?, folder.canonicalize().map_err(missing)?);
        if real.starts_with(root) { Ok(real) } else { Err(outside()) }
    }
}
