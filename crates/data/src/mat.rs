//! MATLAB files of version 5, as far as data sets come in them: arrays of real numbers, compressed or not.
//!
//! A file is a header of 128 bytes and elements, each a type, a size and content; a matrix is an element made of others
//! (flags, dimensions, name, numbers), and a compressed element is a whole matrix in zlib form.

use std::io::{self, ErrorKind, Read};
use std::path::Path;

use flate2::read::ZlibDecoder;

use crate::error::DataError;

const HEADER: usize = 128;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
/// Longest name of an array, in bytes.
const LONGEST_NAME: usize = 256;
/// Most dimensions of an array.
const MOST_DIMS: usize = 8;

/// One array, its numbers in column-major order: the first dimension runs fastest.
#[derive(Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) name: String,
    pub(crate) dims: Vec<usize>,
    pub(crate) numbers: Numbers,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Numbers {
    Bytes(Vec<u8>),
    /// Numbers of any other type.
    Floats(Vec<f64>),
}

impl Numbers {
    fn len(&self) -> usize {
        match self {
            Numbers::Bytes(bytes) => bytes.len(),
            Numbers::Floats(numbers) => numbers.len(),
        }
    }

    /// The numbers as f64.
    pub(crate) fn floats(&self) -> Vec<f64> {
        match self {
            Numbers::Bytes(bytes) => bytes.iter().map(|&byte| f64::from(byte)).collect(),
            Numbers::Floats(numbers) => numbers.clone(),
        }
    }
}

/// The arrays in the file at `path`, none of more than `most` numbers.
pub(crate) fn read(path: &Path, most: usize, mend: &str) -> Result<Vec<Array>, DataError> {
    let wrong = |error: io::Error| {
        let problem = match error.kind() {
            ErrorKind::UnexpectedEof => "truncated: the file ends too early".into(),
            ErrorKind::InvalidData => error.to_string(),
            ErrorKind::InvalidInput => format!("damaged zlib data ({error})"),
            _ => format!("cannot be read ({error})"),
        };
        DataError::file(path, format!("{problem}; {mend}"))
    };
    let file = std::fs::File::open(path).map_err(wrong)?;
    arrays(&mut io::BufReader::with_capacity(1 << 16, file), most).map_err(wrong)
}

fn invalid(problem: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, problem.into())
}

fn arrays(reader: &mut dyn Read, most: usize) -> io::Result<Vec<Array>> {
    let mut header = [0; HEADER];
    reader.read_exact(&mut header)?;
    match (&header[124..126], &header[126..128]) {
        ([0, 1], b"IM") => {}
        (_, b"IM") => return Err(invalid("is no MATLAB file of version 5")),
        (_, b"MI") => return Err(invalid("is a MATLAB file with the highest byte first, which is not read")),
        _ => return Err(invalid("is no MATLAB file of version 5 (it may be of version 7.3, which is HDF5)")),
    }
    let mut found = Vec::new();
    while let Some(tag) = Tag::read(reader)? {
        match tag.kind {
            COMPRESSED => {
                let mut packed = Read::take(&mut *reader, tag.size as u64);
                let mut plain = ZlibDecoder::new(&mut packed);
                let inner = Tag::must(&mut plain)?;
                if inner.kind != MATRIX {
                    return Err(invalid(format!(
                        "holds a compressed element of type {}, and a matrix is read",
                        inner.kind
                    )));
                }
                found.push(array(&mut plain, most)?);
                // To the end, where the checksum stands.
                if io::copy(&mut plain.take(64), &mut io::sink())? == 64 {
                    return Err(invalid("holds more in a compressed element than its matrix"));
                }
                drain(&mut packed)?;
            }
            MATRIX => {
                let mut content = Read::take(&mut *reader, tag.size as u64);
                found.push(array(&mut content, most)?);
                drain(&mut content)?;
            }
            kind => return Err(invalid(format!("holds an element of type {kind}, and matrices are read"))),
        }
    }
    Ok(found)
}

/// Reads what is left of an element, which must be there.
fn drain<R: Read>(content: &mut io::Take<R>) -> io::Result<()> {
    io::copy(content, &mut io::sink())?;
    if content.limit() > 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Type and size of an element; small ones (up to four bytes) stand in the tag itself.
struct Tag {
    kind: u32,
    size: usize,
    small: Option<[u8; 4]>,
}

impl Tag {
    /// The next tag; none at the end of the file.
    fn read(reader: &mut dyn Read) -> io::Result<Option<Tag>> {
        let mut bytes = [0; 8];
        let mut filled = 0;
        while filled < bytes.len() {
            match reader.read(&mut bytes[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (first, second) = (word(0), word(4));
        if first >> 16 == 0 {
            return Ok(Some(Tag { kind: first, size: second as usize, small: None }));
        }
        let size = (first >> 16) as usize;
        if size > 4 {
            return Err(invalid("has a damaged element"));
        }
        Ok(Some(Tag { kind: first & 0xffff, size, small: Some(second.to_le_bytes()) }))
    }

    /// The next tag, which must be there.
    fn must(reader: &mut dyn Read) -> io::Result<Tag> {
        Tag::read(reader)?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    /// The content, at most `limit` bytes, and what fills it up to eight.
    fn content(&self, reader: &mut dyn Read, limit: usize) -> io::Result<Vec<u8>> {
        if let Some(bytes) = self.small {
            return Ok(bytes[..self.size].to_vec());
        }
        if self.size > limit {
            return Err(invalid(format!("promises an element of {} bytes, expected at most {limit}", self.size)));
        }
        // Grows with what is really there, so that a lying size costs nothing.
        let mut bytes = Vec::new();
        Read::take(&mut *reader, self.size as u64).read_to_end(&mut bytes)?;
        if bytes.len() < self.size {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let padding = self.size.next_multiple_of(8) - self.size;
        reader.read_exact(&mut [0; 8][..padding])?;
        Ok(bytes)
    }
}

/// The parts of a matrix.
fn array(reader: &mut dyn Read, most: usize) -> io::Result<Array> {
    let mut part = |limit: usize| -> io::Result<Vec<u8>> { Tag::must(reader)?.content(reader, limit) };
    let flags = part(8)?;
    let class = *flags.first().ok_or_else(|| invalid("has a matrix without a class"))?;
    // 6 to 15: double, single and whole numbers; bit 3 of the second byte: complex.
    if !(6..=15).contains(&class) || flags.get(1).is_some_and(|&bits| bits & 0x08 != 0) {
        return Err(invalid(format!("holds an array of class {class}, and real numbers are read")));
    }
    let dims = part(4 * MOST_DIMS)?;
    let dims = dims.chunks_exact(4).map(|word| i32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let dims: Option<Vec<usize>> = dims.map(|dim| usize::try_from(dim).ok()).collect();
    let dims = dims.ok_or_else(|| invalid("has a matrix with a negative dimension"))?;
    let count = dims.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
    let count = count.filter(|&count| count <= most);
    let count = count.ok_or_else(|| invalid(format!("promises {dims:?} numbers, expected at most {most}")))?;
    let name = part(LONGEST_NAME)?;
    let tag = Tag::must(reader)?;
    let content = tag.content(reader, count * width(tag.kind)?)?;
    let numbers = numbers(tag.kind, content)?;
    if numbers.len() != count {
        return Err(invalid(format!("promises {count} numbers and holds {}", numbers.len())));
    }
    Ok(Array { name: String::from_utf8_lossy(&name).into_owned(), dims, numbers })
}

/// Bytes of a number of the type `kind`.
fn width(kind: u32) -> io::Result<usize> {
    match kind {
        1 | 2 => Ok(1),
        3 | 4 => Ok(2),
        5..=7 => Ok(4),
        9 => Ok(8),
        other => Err(invalid(format!("holds numbers of type {other}, which is not read"))),
    }
}

fn numbers(kind: u32, content: Vec<u8>) -> io::Result<Numbers> {
    // Reads as many numbers of N bytes as there are.
    fn all<const N: usize>(content: &[u8], value: impl Fn([u8; N]) -> f64) -> Numbers {
        let word = |word: &[u8]| value(std::array::from_fn(|i| word[i]));
        Numbers::Floats(content.chunks_exact(N).map(word).collect())
    }
    Ok(match kind {
        1 => all(&content, |bytes| f64::from(i8::from_le_bytes(bytes))),
        2 => Numbers::Bytes(content),
        3 => all(&content, |bytes| f64::from(i16::from_le_bytes(bytes))),
        4 => all(&content, |bytes| f64::from(u16::from_le_bytes(bytes))),
        5 => all(&content, |bytes| f64::from(i32::from_le_bytes(bytes))),
        6 => all(&content, |bytes| f64::from(u32::from_le_bytes(bytes))),
        7 => all(&content, |bytes| f64::from(f32::from_le_bytes(bytes))),
        9 => all(&content, f64::from_le_bytes),
        other => return Err(invalid(format!("holds numbers of type {other}, which is not read"))),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::{Array, Numbers, arrays};

    fn element(kind: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = [kind.to_le_bytes(), (content.len() as u32).to_le_bytes()].concat();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// A matrix of `class` with numbers of the type `kind`.
    fn matrix(name: &str, class: u8, dims: &[i32], kind: u32, content: &[u8]) -> Vec<u8> {
        let dims: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        let parts = [
            element(6, &[class, 0, 0, 0, 0, 0, 0, 0]),
            element(5, &dims),
            element(1, name.as_bytes()),
            element(kind, content),
        ];
        element(14, &parts.concat())
    }

    fn file(elements: &[Vec<u8>], compressed: bool) -> Vec<u8> {
        let mut bytes = vec![b' '; 124];
        bytes.extend([0, 1, b'I', b'M']);
        for element in elements {
            if compressed {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(element).unwrap();
                let packed = encoder.finish().unwrap();
                bytes.extend(15_u32.to_le_bytes());
                bytes.extend((packed.len() as u32).to_le_bytes());
                bytes.extend(packed);
            } else {
                bytes.extend(element);
            }
        }
        bytes
    }

    /// A file as SVHN has them: `X` of [32, 32, 3, N] bytes and `y` of [N, 1] bytes.
    pub(crate) fn svhn(x: &[u8], y: &[u8], compressed: bool) -> Vec<u8> {
        let count = y.len() as i32;
        file(&[matrix("X", 9, &[32, 32, 3, count], 2, x), matrix("y", 9, &[count, 1], 2, y)], compressed)
    }

    fn read(bytes: &[u8]) -> std::io::Result<Vec<Array>> {
        arrays(&mut &bytes[..], 1000)
    }

    #[test]
    fn plain_and_compressed_arrays_read_the_same() {
        let doubles: Vec<u8> = [1.5_f64, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let elements = [matrix("image", 9, &[2, 3], 2, &[1, 2, 3, 4, 5, 6]), matrix("y", 6, &[2, 1], 9, &doubles)];
        for compressed in [false, true] {
            let found = read(&file(&elements, compressed)).unwrap();
            let image =
                Array { name: "image".into(), dims: vec![2, 3], numbers: Numbers::Bytes(vec![1, 2, 3, 4, 5, 6]) };
            let y = Array { name: "y".into(), dims: vec![2, 1], numbers: Numbers::Floats(vec![1.5, -2.0]) };
            assert_eq!(found, [image, y]);
        }
    }

    #[test]
    fn small_elements_stand_in_their_tag() {
        let mut parts = element(6, &[9, 0, 0, 0, 0, 0, 0, 0]);
        parts.extend(element(5, &[1_i32, 2].map(i32::to_le_bytes).concat()));
        parts.extend([1, 0, 1, 0, b'y', 0, 0, 0]);
        parts.extend([2, 0, 2, 0, 7, 8, 0, 0]);
        let found = read(&file(&[element(14, &parts)], false)).unwrap();
        assert_eq!(found, [Array { name: "y".into(), dims: vec![1, 2], numbers: Numbers::Bytes(vec![7, 8]) }]);
    }

    #[test]
    fn every_cut_and_lying_size_is_an_error() {
        let elements = [matrix("X", 9, &[4, 5], 2, &[3; 20])];
        for compressed in [false, true] {
            let whole = file(&elements, compressed);
            for end in (0..whole.len()).filter(|&end| end != 128) {
                assert!(read(&whole[..end]).is_err(), "{end} {compressed}");
            }
        }
        let message = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert!(
            message(&file(&[matrix("X", 9, &[4, 6], 2, &[3; 20])], true)).contains("promises 24 numbers and holds 20")
        );
        assert!(message(&file(&[matrix("X", 9, &[i32::MAX; 4], 2, &[3; 20])], true)).contains("expected at most 1000"));
        assert!(message(&file(&[matrix("X", 9, &[-1, 5], 2, &[3; 20])], true)).contains("negative"));
        assert!(message(&file(&[matrix("X", 4, &[4, 5], 2, &[3; 20])], true)).contains("class 4"));
        let mut huge = file(&[], false);
        huge.extend([14_u32, u32::MAX].map(u32::to_le_bytes).concat());
        assert!(read(&huge).is_err());
        assert!(message(&[b'x'; 200]).contains("no MATLAB file of version 5"));
    }

    #[test]
    fn flipped_bits_never_end_in_a_panic() {
        let whole = svhn(&[5; 32 * 32 * 3], &[10], true);
        for position in 0..whole.len() {
            for bit in [1, 0x80] {
                let mut damaged = whole.clone();
                damaged[position] ^= bit;
                // The text of the header says nothing; all else is checked by zlib.
                let _ = arrays(&mut &damaged[..], 10_000);
            }
        }
    }
}
