//! CIFAR's binary form: records of label bytes and 3072 pixel bytes [3, 32, 32], in files or in the archive of them.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::dataset::{Dataset, Form, Split};
use crate::error::DataError;
use crate::published::PublishedFile;
use crate::tar;

pub(crate) const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;
/// More than any file of these names holds.
const MOST_RECORDS: usize = 100_000;

/// How one of the two data sets lies in its files.
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    pub(crate) classes: usize,
    /// Bytes before the pixels; the last one is the label.
    pub(crate) label_bytes: usize,
    /// Folder inside the archive.
    pub(crate) folder: &'static str,
    pub(crate) archive: &'static PublishedFile,
    pub(crate) train: &'static [&'static str],
    pub(crate) test: &'static [&'static str],
}

impl Layout {
    fn files(&self, split: Split) -> &'static [&'static str] {
        match split {
            Split::Train => self.train,
            Split::Test => self.test,
            Split::Validation => &[],
        }
    }

    /// The place of an unpacked file in `folder`, with or without the archive's own folder.
    fn unpacked(&self, folder: &Path, file: &str) -> Option<PathBuf> {
        [folder.join(self.folder).join(file), folder.join(file)].into_iter().find(|path| path.is_file())
    }

    /// True if `folder` holds the archive, or an unpacked file of `split`.
    pub(crate) fn holds(&self, folder: &Path, split: Split) -> bool {
        let files = self.files(split);
        let archive = !files.is_empty() && self.archive.find(folder).is_some();
        archive || files.iter().any(|file| self.unpacked(folder, file).is_some())
    }

    /// Reads a split from `folder`: unpacked files, if there is any, else the archive.
    pub(crate) fn load(&self, folder: &Path, split: Split) -> Result<Dataset, DataError> {
        let files = self.files(split);
        let mend = format!("delete it and run `tightrope data fetch {}` again", self.name);
        let mut parts = Vec::new();
        if files.iter().any(|file| self.unpacked(folder, file).is_some()) {
            for file in files {
                let path = self.unpacked(folder, file).ok_or_else(|| {
                    let problem = "missing, and others of the set are there; unpack the archive again";
                    DataError::file(folder.join(file), problem)
                })?;
                let bytes = std::fs::read(&path)
                    .map_err(|error| DataError::file(&path, format!("cannot be read ({error}); {mend}")))?;
                parts.push((path, bytes));
            }
        } else {
            let archive = self.archive.find(folder).unwrap_or_else(|| folder.join(self.archive.name));
            parts = self.unpack(&archive, files, &mend)?;
        }
        let record = self.label_bytes + PIXELS;
        let total: usize = parts.iter().map(|(_, bytes)| bytes.len() / record).sum();
        let (mut pixels, mut labels) = (Vec::with_capacity(total * PIXELS), Vec::with_capacity(total));
        for (path, bytes) in &parts {
            if bytes.is_empty() || bytes.len() % record != 0 {
                let problem = format!(
                    "holds {} bytes, and a file of this set holds records of {record}; it is truncated or another file, {mend}",
                    bytes.len()
                );
                return Err(DataError::file(path, problem));
            }
            for (index, bytes) in bytes.chunks_exact(record).enumerate() {
                let label = usize::from(bytes[self.label_bytes - 1]);
                if label >= self.classes {
                    let problem =
                        format!("record {index} has label {label}, not between 0 and {}; {mend}", self.classes - 1);
                    return Err(DataError::file(path, problem));
                }
                labels.push(label);
                pixels.extend_from_slice(&bytes[self.label_bytes..]);
            }
        }
        Ok(Dataset::from_bytes(self.name, split, SHAPE, self.classes, pixels, labels, Form::Files))
    }

    /// The content of `files` in the archive, in their order.
    fn unpack(&self, archive: &Path, files: &[&str], mend: &str) -> Result<Vec<(PathBuf, Vec<u8>)>, DataError> {
        let wrong = |error: io::Error| {
            let problem = match error.kind() {
                io::ErrorKind::UnexpectedEof => "truncated: the archive ends too early".into(),
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => format!("damaged archive ({error})"),
                _ => format!("cannot be read ({error})"),
            };
            DataError::file(archive, format!("{problem}; {mend}"))
        };
        let file = std::fs::File::open(archive).map_err(wrong)?;
        let mut plain = MultiGzDecoder::new(io::BufReader::with_capacity(1 << 16, file));
        let most = (MOST_RECORDS * (self.label_bytes + PIXELS)) as u64;
        let mut found: Vec<Option<Vec<u8>>> = vec![None; files.len()];
        let take = |name: &str, size: u64, content: &mut dyn Read| -> io::Result<()> {
            let base = name.rsplit('/').next().unwrap_or(name);
            let Some(place) = files.iter().position(|file| *file == base) else { return Ok(()) };
            if size > most {
                let problem = format!("{name} is of {size} bytes, more than {most}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            }
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            found[place] = Some(bytes);
            Ok(())
        };
        tar::visit(&mut plain, take).map_err(wrong)?;
        let mut parts = Vec::new();
        for (file, bytes) in files.iter().zip(found) {
            let path = archive.join(file);
            let bytes = bytes.ok_or_else(|| DataError::file(archive, format!("holds no {file}; {mend}")))?;
            parts.push((path, bytes));
        }
        Ok(parts)
    }
}
