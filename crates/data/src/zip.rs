//! Zip archives in memory, as far as data sets come in them: plain and deflated files, with 32-bit sizes.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::Crc;
use flate2::read::DeflateDecoder;

const END: [u8; 4] = *b"PK\x05\x06";
const ENTRY: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";
/// Bytes of the end record without its comment, which may have 65,535.
const END_BYTES: usize = 22;

/// An archive: its files have paths below its own, as if it were a folder.
#[derive(Debug)]
pub(crate) struct Zip {
    path: PathBuf,
    bytes: Vec<u8>,
    members: BTreeMap<String, Member>,
}

#[derive(Debug)]
struct Member {
    /// Where its local header stands.
    header: usize,
    packed: usize,
    plain: usize,
    deflated: bool,
    crc: u32,
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, problem)
}

/// Little-endian numbers out of `bytes`; an error where they end.
fn word(bytes: &[u8], at: usize) -> io::Result<usize> {
    let word = at.checked_add(4).and_then(|end| bytes.get(at..end)).ok_or(ErrorKind::UnexpectedEof)?;
    Ok(u32::from_le_bytes([word[0], word[1], word[2], word[3]]) as usize)
}

fn half(bytes: &[u8], at: usize) -> io::Result<usize> {
    let half = at.checked_add(2).and_then(|end| bytes.get(at..end)).ok_or(ErrorKind::UnexpectedEof)?;
    Ok(usize::from(u16::from_le_bytes([half[0], half[1]])))
}

impl Zip {
    /// Reads the archive at `path` and the list of its files.
    pub(crate) fn open(path: &Path) -> io::Result<Zip> {
        Zip::new(path, std::fs::read(path)?)
    }

    fn new(path: &Path, bytes: Vec<u8>) -> io::Result<Zip> {
        let tail = bytes.len().saturating_sub(END_BYTES + usize::from(u16::MAX));
        let end = bytes[tail..].windows(4).rposition(|window| window == END);
        let end = tail + end.ok_or_else(|| invalid("it has no end record: it is truncated or no zip archive"))?;
        let (size, mut at) = (word(&bytes, end + 12)?, word(&bytes, end + 16)?);
        // The number of entries has 16 bits and is often exceeded; the size of their list is what counts.
        let stop = at.checked_add(size).filter(|&stop| stop <= end).ok_or_else(|| invalid("its list is damaged"))?;
        let mut members = BTreeMap::new();
        while at < stop {
            if bytes.get(at..at + 4) != Some(&ENTRY[..]) {
                return Err(invalid("its list is damaged"));
            }
            let (name, extra, comment) = (half(&bytes, at + 28)?, half(&bytes, at + 30)?, half(&bytes, at + 32)?);
            let text = bytes.get(at + 46..at + 46 + name).ok_or(ErrorKind::UnexpectedEof)?;
            let member = Member {
                header: word(&bytes, at + 42)?,
                packed: word(&bytes, at + 20)?,
                plain: word(&bytes, at + 24)?,
                deflated: match half(&bytes, at + 10)? {
                    0 => false,
                    8 => true,
                    _ => return Err(invalid("it is compressed in another way than by deflate")),
                },
                crc: word(&bytes, at + 16)? as u32,
            };
            let text = String::from_utf8_lossy(text).into_owned();
            if !text.ends_with('/') {
                members.insert(text, member);
            }
            at += 46 + name + extra + comment;
        }
        Ok(Zip { path: path.into(), bytes, members })
    }

    /// The archive's own path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The name in the archive of the file at `path`, or of the folder.
    fn name(&self, path: &Path) -> Option<String> {
        let inner = path.strip_prefix(&self.path).ok()?;
        let parts: Option<Vec<&str>> = inner.iter().map(|part| part.to_str()).collect();
        parts.map(|parts| parts.join("/"))
    }

    pub(crate) fn is_file(&self, path: &Path) -> bool {
        self.name(path).is_some_and(|name| self.members.contains_key(&name))
    }

    /// What lies in `folder`, in the order of its names: files, and folders with a last `/`.
    pub(crate) fn entries(&self, folder: &Path) -> Vec<String> {
        let prefix = self.name(folder).unwrap_or_default() + "/";
        let inside = self.members.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
        let mut entries: Vec<String> = inside
            .map(|(name, _)| match name[prefix.len()..].split_once('/') {
                Some((folder, _)) => format!("{folder}/"),
                None => name[prefix.len()..].into(),
            })
            .collect();
        entries.dedup();
        entries
    }

    /// The content of the file at `path`.
    pub(crate) fn content(&self, path: &Path) -> io::Result<Vec<u8>> {
        let member = self.name(path).and_then(|name| self.members.get(&name)).ok_or(ErrorKind::NotFound)?;
        let header = member.header;
        if self.bytes.get(header..header.saturating_add(4)) != Some(&LOCAL[..]) {
            return Err(invalid("the archive is damaged at this file"));
        }
        let start = header + 30 + half(&self.bytes, header + 26)? + half(&self.bytes, header + 28)?;
        let end = start.checked_add(member.packed);
        let packed = end.and_then(|end| self.bytes.get(start..end)).ok_or(ErrorKind::UnexpectedEof)?;
        let mut content = Vec::new();
        if member.deflated {
            // One byte more than promised tells of too many.
            DeflateDecoder::new(packed).take(member.plain as u64 + 1).read_to_end(&mut content)?;
        } else {
            content.extend_from_slice(packed);
        }
        let mut crc = Crc::new();
        crc.update(&content);
        if content.len() != member.plain || crc.sum() != member.crc {
            return Err(invalid(
                "the archive is damaged at this file: it has not the checksum that it was packed with",
            ));
        }
        Ok(content)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::path::Path;

    use flate2::write::DeflateEncoder;
    use flate2::{Compression, Crc};

    use super::{END, ENTRY, LOCAL, Zip};

    /// An archive of files, every second one deflated, and an entry for a folder.
    pub(crate) fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let (mut bytes, mut list) = (Vec::new(), Vec::new());
        let files = [("folder/".to_string(), Vec::new())].into_iter().chain(files.iter().cloned());
        for (i, (name, content)) in files.enumerate() {
            let mut crc = Crc::new();
            crc.update(&content);
            let (method, packed) = if i % 2 == 0 {
                (0_u16, content.clone())
            } else {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&content).unwrap();
                (8, encoder.finish().unwrap())
            };
            let numbers = [crc.sum(), packed.len() as u32, content.len() as u32].map(u32::to_le_bytes).concat();
            let start = bytes.len() as u32;
            // Version and flags, method, time and date, checksum and sizes, lengths of the name and of nothing.
            let common = |extra: &[u8]| {
                let lengths = [(name.len() as u16).to_le_bytes(), [0, 0]].concat();
                [&[20, 0, 0, 0], &method.to_le_bytes()[..], &[0; 4], &numbers, &lengths, extra].concat()
            };
            bytes.extend([&LOCAL[..], &common(&[]), name.as_bytes(), &packed].concat());
            let rest = [&[0; 10][..], &start.to_le_bytes()].concat();
            list.extend([&ENTRY[..], &[20, 0], &common(&rest), name.as_bytes()].concat());
        }
        let place = [list.len() as u32, bytes.len() as u32].map(u32::to_le_bytes).concat();
        bytes.extend([&list[..], &END, &[0; 8], &place, &[0, 0]].concat());
        bytes
    }

    fn sample() -> Vec<u8> {
        let file = |name: &str, content: &[u8]| (name.to_string(), content.to_vec());
        archive(&[
            file("folder/b", &[7; 900]),
            file("folder/a", b"text"),
            file("folder/in/c", b""),
            file("other", b"x"),
        ])
    }

    #[test]
    fn files_have_paths_below_the_archive() {
        let zip = Zip::new(Path::new("some/all.zip"), sample()).unwrap();
        let at = |name: &str| Path::new("some/all.zip").join(name);
        assert_eq!(zip.entries(&at("folder")), ["a", "b", "in/"]);
        assert_eq!(zip.entries(&at("nothing")), [""; 0]);
        assert!(zip.is_file(&at("other")) && !zip.is_file(&at("folder")) && !zip.is_file(Path::new("other")));
        assert_eq!(zip.content(&at("folder/a")).unwrap(), b"text");
        assert_eq!(zip.content(&at("folder/b")).unwrap(), [7; 900]);
        assert_eq!(zip.content(&at("folder/in/c")).unwrap(), b"");
        assert!(zip.content(&at("folder")).is_err());
    }

    #[test]
    fn the_program_zip_or_python_writes_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made.zip");
        let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED)\n\
                      z.writestr('inner/file', 'content' * 50)\nz.comment = b'a comment'\nz.close()\n";
        match std::process::Command::new("python3").arg("-c").arg(script).arg(&path).status() {
            Ok(status) if status.success() => {}
            _ => return eprintln!("SKIPPED: no python3"),
        }
        let zip = Zip::open(&path).unwrap();
        assert_eq!(zip.content(&path.join("inner/file")).unwrap(), "content".repeat(50).as_bytes());
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let whole = sample();
        let names = ["folder/a", "folder/b", "folder/in/c", "other"];
        let read = |bytes: Vec<u8>| -> std::io::Result<Vec<Vec<u8>>> {
            let zip = Zip::new(Path::new("z"), bytes)?;
            names.iter().map(|name| zip.content(&Path::new("z").join(name))).collect()
        };
        let good = read(whole.clone()).unwrap();
        for end in 0..whole.len() - 2 {
            assert!(read(whole[..end].to_vec()).is_err(), "{end}");
        }
        for position in 0..whole.len() {
            for change in [1, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[position] ^= change;
                // Dates and the like say nothing; content that is read is right.
                if let Ok(found) = read(damaged) {
                    assert_eq!(found, good, "{position}");
                }
            }
        }
    }
}
