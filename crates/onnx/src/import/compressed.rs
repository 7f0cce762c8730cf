//! Files that gzip has compressed.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::Problem;

/// Most bytes that a compressed file may have when it is not: a few may claim a whole memory.
const MOST: u64 = 1 << 30;

/// The content of the file `path`, or of `path`.gz where there is no such file.
pub fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut name = OsString::from(path);
            name.push(".gz");
            std::fs::read(PathBuf::from(name)).map_err(|_| error)?
        }
        bytes => bytes?,
    };
    Ok(match unpacked(&bytes)? {
        Cow::Borrowed(_) => bytes,
        Cow::Owned(plain) => plain,
    })
}

/// `bytes` themselves, or what gzip made them of.
pub fn unpacked(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut plain = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(MOST + 1).read_to_end(&mut plain);
    read.map_err(|e| Problem::Model(format!("not a whole gzip file ({e}); compress it again")))?;
    if plain.len() as u64 > MOST {
        return Err(Problem::Model("holds more than 1 GiB; decompress it and give the plain file".into()));
    }
    Ok(Cow::Owned(plain))
}
