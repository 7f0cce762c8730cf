//! Safetensors output in pieces: the file grows in a temporary place and appears whole at the end.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use tightrope_network::{bytes_text, output_target, remove_abandoned, temporary_path};

/// A type that tensors hold.
pub trait Element: Copy {
    /// Type name in safetensors files.
    const DTYPE: &'static str;
    /// Appends the little-endian bytes.
    fn extend_bytes(self, bytes: &mut Vec<u8>);
}

macro_rules! element {
    ($t:ty, $name:literal) => {
        impl Element for $t {
            const DTYPE: &'static str = $name;
            fn extend_bytes(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }
        }
    };
}

element!(f32, "F32");
element!(f64, "F64");
element!(i64, "I64");

/// Name, type and shape of a tensor to come.
#[derive(Clone, Debug)]
pub struct TensorShape {
    name: String,
    dtype: &'static str,
    size: u64,
    shape: Vec<usize>,
}

impl TensorShape {
    /// A tensor of `T`; the first axis is the one it is written along.
    pub fn new<T: Element>(name: impl Into<String>, shape: &[usize]) -> Self {
        TensorShape { name: name.into(), dtype: T::DTYPE, size: size_of::<T>() as u64, shape: shape.to_vec() }
    }
}

/// A safetensors file being written.
#[derive(Debug)]
pub struct TensorWriter {
    file: File,
    path: PathBuf,
    temporary: PathBuf,
    places: Vec<Place>,
    bytes: u64,
    finished: bool,
}

#[derive(Debug)]
struct Place {
    name: String,
    offset: u64,
    row_bytes: u64,
}

impl TensorWriter {
    /// Begins the file beside `path`; fails at once if the folder cannot be written or `path` is no regular file.
    ///
    /// `metadata` goes into the file's header as it is.
    pub fn create(path: &Path, tensors: &[TensorShape], metadata: &[(&str, String)]) -> anyhow::Result<Self> {
        let path = &*output_target(path).with_context(|| format!("-o {}", path.display()))?;
        let mut header = Map::new();
        if !metadata.is_empty() {
            let entries: Map<String, Value> =
                metadata.iter().map(|(name, value)| (name.to_string(), Value::from(value.as_str()))).collect();
            header.insert("__metadata__".into(), entries.into());
        }
        let mut places = Vec::new();
        let mut end = 0;
        for TensorShape { name, dtype, size, shape } in tensors {
            let row_bytes = shape[1..].iter().product::<usize>() as u64 * size;
            let bytes = row_bytes * shape[0] as u64;
            places.push(Place { name: name.clone(), offset: end, row_bytes });
            header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [end, end + bytes]}));
            end += bytes;
        }
        let mut header = serde_json::to_vec(&header)?;
        header.resize(header.len().next_multiple_of(8), b' ');
        let start = 8 + header.len() as u64;
        places.iter_mut().for_each(|place| place.offset += start);

        path.file_name().with_context(|| format!("{}: names no file to write", path.display()))?;
        remove_abandoned(path);
        let temporary = temporary_path(path);
        let file = File::create(&temporary)
            .with_context(|| format!("{}: cannot write here; choose another place with -o", path.display()))?;
        // Marks the writer as alive; where there are no locks, the process number alone does.
        let _ = file.try_lock();
        let mut writer =
            TensorWriter { file, path: path.into(), temporary, places, bytes: start + end, finished: false };
        let begun = (|| {
            writer.file.write_all(&(start - 8).to_le_bytes())?;
            writer.file.write_all(&header)?;
            writer.file.set_len(start + end)
        })();
        begun.with_context(|| writer.trouble())?;
        Ok(writer)
    }

    /// Writes rows of tensor `name` from row `first` on.
    pub fn write<T: Element>(&mut self, name: &str, first: usize, values: &[T]) -> anyhow::Result<()> {
        let place = self.places.iter().find(|place| place.name == name);
        let place = place.with_context(|| format!("tensor `{name}` was not declared"))?;
        let mut bytes = Vec::with_capacity(size_of_val(values));
        values.iter().for_each(|value| value.extend_bytes(&mut bytes));
        let offset = place.offset + first as u64 * place.row_bytes;
        let written = self.file.seek(SeekFrom::Start(offset)).and_then(|_| self.file.write_all(&bytes));
        written.with_context(|| self.trouble())
    }

    /// Flushes the file and puts it in its place.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let moved = self.file.sync_all().and_then(|()| std::fs::rename(&self.temporary, &self.path));
        moved.with_context(|| self.trouble())?;
        self.finished = true;
        Ok(())
    }

    fn trouble(&self) -> String {
        let needed = bytes_text(usize::try_from(self.bytes).unwrap_or(usize::MAX));
        let path = self.path.display();
        format!("{path}: cannot write the {needed} that it needs; free some space or choose another place with -o")
    }
}

impl Drop for TensorWriter {
    fn drop(&mut self) {
        if !self.finished {
            // An error is on its way already; a leftover temporary file is harmless.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TensorShape, TensorWriter};

    #[test]
    fn pieces_make_a_valid_file_and_dropping_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.safetensors");
        let shapes = [TensorShape::new::<f32>("a", &[3, 2]), TensorShape::new::<f64>("b", &[1])];
        drop(TensorWriter::create(&path, &shapes, &[]).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        let mut writer = TensorWriter::create(&path, &shapes, &[]).unwrap();
        writer.write("a", 1, &[3.0_f32, 4.0, 5.0, 6.0]).unwrap();
        writer.write("a", 0, &[1.0_f32, 2.0]).unwrap();
        writer.write("b", 0, &[7.0_f64]).unwrap();
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let expected: Vec<u8> = (1..=6).flat_map(|v| (v as f32).to_le_bytes()).collect();
        assert_eq!(file.tensor("a").unwrap().data(), expected);
        assert_eq!(file.tensor("b").unwrap().data(), 7.0_f64.to_le_bytes());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
