//! The IDX format: a magic number, big-endian dimensions, then unsigned bytes; plain or gzip-compressed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::DataError;

/// Unsigned bytes with their dimensions.
#[derive(Debug, PartialEq)]
pub(crate) struct Idx<const RANK: usize> {
    pub(crate) dims: [usize; RANK],
    pub(crate) bytes: Vec<u8>,
}

/// Opens `path` for reading its plain content: gzip is told by its first two bytes, not by the name.
///
/// The second value is the number of plain bytes where it is known without reading (plain files).
pub(crate) fn open(path: &Path) -> std::io::Result<(Box<dyn Read>, Option<u64>)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    if reader.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        Ok((Box::new(MultiGzDecoder::new(reader)), None))
    } else {
        Ok((Box::new(reader), Some(length)))
    }
}

/// Reads an IDX file of unsigned bytes with `RANK` dimensions, the first of them the number of items.
///
/// `item` are the dimensions that every item must have; at most `max_items` items are accepted.
/// Nothing larger than the file's true content is ever allocated.
pub(crate) fn read<const RANK: usize>(
    path: &Path,
    item: &[usize],
    max_items: usize,
    mend: &str,
) -> Result<Idx<RANK>, DataError> {
    let wrong = |problem: String| DataError::file(path, format!("{problem}; {mend}"));
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => wrong("truncated: the file ends too early".into()),
        std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => {
            wrong(format!("damaged gzip data ({error})"))
        }
        _ => DataError::file(path, format!("cannot be read ({error}); check that it is a readable file")),
    };
    let (mut reader, length) = open(path).map_err(unreadable)?;

    let mut word = [0; 4];
    reader.read_exact(&mut word).map_err(unreadable)?;
    let magic = u32::from_be_bytes(word);
    let expected = 0x0800 + RANK as u32;
    let named_gzip = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    if magic != expected && named_gzip && length.is_some() {
        return Err(wrong(format!(
            "its name says gzip, but it is neither a gzip file, which starts with 0x1f8b, nor an IDX file, which starts \
             with 0x{expected:08x}; it starts with 0x{magic:08x}{}",
            known_start(word)
        )));
    }
    if magic != expected {
        return Err(wrong(format!(
            "wrong magic number 0x{magic:08x}: an IDX file of unsigned bytes with {RANK} dimension(s) starts with 0x{expected:08x}"
        )));
    }
    let mut dims = [0; RANK];
    for dim in &mut dims {
        reader.read_exact(&mut word).map_err(unreadable)?;
        *dim = u32::from_be_bytes(word) as usize;
    }
    if dims[1..] != *item {
        return Err(wrong(format!("holds items of {:?}, expected {item:?}", &dims[1..])));
    }
    if dims[0] == 0 || dims[0] > max_items {
        return Err(wrong(format!("the header promises {} items, expected 1 to {max_items}", dims[0])));
    }
    // Cannot overflow: the items are few and of known size.
    let payload: usize = dims.iter().product();
    let content = (4 + 4 * RANK + payload) as u64;
    if let Some(length) = length
        && length != content
    {
        let what = if length < content { "truncated" } else { "trailing bytes" };
        return Err(wrong(format!("{what}: the header promises {content} bytes, the file has {length}")));
    }
    // Grows with what is really there, so that a lying header costs nothing.
    let mut bytes = Vec::new();
    reader.by_ref().take(payload as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() < payload {
        return Err(wrong(format!(
            "truncated: the header promises {payload} bytes of data, there are {}",
            bytes.len()
        )));
    }
    // Also lets the gzip reader check its own checksum.
    if reader.read(&mut [0]).map_err(unreadable)? > 0 {
        return Err(wrong(format!("trailing bytes after the {payload} that the header promises")));
    }
    Ok(Idx { dims, bytes })
}

/// What a file that starts with `word` is, where that is commonly met under a wrong name.
fn known_start(word: [u8; 4]) -> &'static str {
    match word {
        [b'P', b'K', ..] => " as a zip archive does",
        [b'B', b'Z', b'h', _] => " as a bzip2 file does",
        [0xfd, b'7', b'z', b'X'] => " as an xz file does",
        [0x28, 0xb5, 0x2f, 0xfd] => " as a zstd file does",
        [b'<', ..] => " as a web page does",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tempfile::TempDir;

    use super::{Idx, read};

    const MEND: &str = "fetch it again";

    fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn images(count: u32, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, 3];
        for dim in [count, 2, 3] {
            bytes.extend(dim.to_be_bytes());
        }
        bytes.extend((0..payload).map(|i| i as u8));
        bytes
    }

    fn outcome(bytes: &[u8]) -> Result<Idx<3>, String> {
        let (_folder, path) = file(bytes);
        read::<3>(&path, &[2, 3], 100, MEND).map_err(|error| {
            let message = error.to_string();
            assert!(message.starts_with(&path.display().to_string()), "{message}");
            assert!(message.ends_with(MEND), "{message}");
            message
        })
    }

    #[track_caller]
    fn fails(bytes: &[u8], part: &str) {
        for form in [bytes.to_vec(), gzip(bytes)] {
            let message = outcome(&form).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn plain_and_compressed_files_read_the_same() {
        let bytes = images(4, 24);
        let plain = outcome(&bytes).unwrap();
        assert_eq!(plain, Idx { dims: [4, 2, 3], bytes: (0..24).collect() });
        assert_eq!(outcome(&gzip(&bytes)).unwrap(), plain);
    }

    #[test]
    fn damaged_content_is_named() {
        fails(&[], "truncated");
        fails(&images(4, 24)[..10], "truncated");
        fails(&images(4, 23), "truncated");
        fails(&images(4, 25), "trailing bytes");
        fails(&[0, 0, 8, 1, 0, 0, 0, 1, 9], "wrong magic number 0x00000801");
        fails(b"<html>Not found</html>", "wrong magic number 0x3c68746d");
        fails(&images(0, 0), "promises 0 items");
    }

    #[test]
    fn a_lying_header_is_refused_before_any_memory_is_taken() {
        fails(&images(u32::MAX, 24), "promises 4294967295 items");
        fails(&images(100, 24), "truncated");
        let mut wide = images(4, 24);
        wide[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        fails(&wide, "holds items of [4294967295, 3], expected [2, 3]");
    }

    #[test]
    fn gzip_bombs_stop_at_the_promised_size() {
        let mut bomb = images(4, 24);
        bomb.resize(1 << 26, 0);
        let message = outcome(&gzip(&bomb)).unwrap_err();
        assert!(message.contains("trailing bytes after the 24"), "{message}");
    }

    #[test]
    fn damaged_gzip_is_named() {
        let whole = gzip(&images(4, 24));
        let message = outcome(&whole[..whole.len() - 3]).unwrap_err();
        assert!(message.contains("truncated"), "{message}");
        let mut flipped = whole.clone();
        let crc = flipped.len() - 8;
        flipped[crc] ^= 1;
        assert!(outcome(&flipped).unwrap_err().contains("damaged gzip"));
        let mut tail = whole;
        tail.extend(b"tail!");
        outcome(&tail).unwrap_err();
    }

    #[test]
    fn a_misnamed_file_is_told_by_its_name_and_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.gz");
        let message = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read::<3>(&path, &[2, 3], 100, MEND).unwrap_err().to_string()
        };
        let zip = message(b"PK\x03\x04 and so on");
        assert!(zip.contains("its name says gzip") && zip.contains("0x504b0304 as a zip archive does"), "{zip}");
        assert!(message(b"<html>Not found</html>").contains("as a web page does"));
        // Compressed rightly, with something else inside.
        assert!(message(&gzip(b"<html>Not found</html>")).contains("wrong magic number"));
        // A plain file under the name of a compressed one is read all the same.
        std::fs::write(&path, images(4, 24)).unwrap();
        assert!(read::<3>(&path, &[2, 3], 100, MEND).is_ok());
    }

    #[test]
    fn an_unreadable_path_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read::<1>(&folder.path().join("none"), &[], 10, MEND).is_err());
        assert!(read::<1>(folder.path(), &[], 10, MEND).is_err());
    }
}
