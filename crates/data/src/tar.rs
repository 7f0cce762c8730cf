//! Tar archives, as far as data sets come in them: plain files one after the other.

use std::io::{self, Read};

const BLOCK: usize = 512;

/// Calls `take` with name, size and content of every plain file in the archive that `reader` gives.
///
/// What `take` leaves of a file is passed over.
///
/// # Errors
/// `InvalidData` if it is no tar archive, `UnexpectedEof` if it ends early, and the errors of `reader` and `take`.
pub(crate) fn visit<E: From<io::Error>>(
    reader: &mut dyn Read,
    mut take: impl FnMut(&str, u64, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut header = [0; BLOCK];
    loop {
        reader.read_exact(&mut header)?;
        // Two blocks of zeros end the archive; one is enough to know.
        if header == [0; BLOCK] {
            return Ok(());
        }
        check(&header)?;
        let size = number(&header[124..136])?;
        let name = text(&header[..100]);
        let prefix = if &header[257..262] == b"ustar" { text(&header[345..500]) } else { String::new() };
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let mut content = Read::take(&mut *reader, size);
        if matches!(header[156], b'0' | 0) {
            take(&name, size, &mut content)?;
        }
        io::copy(&mut content, &mut io::sink())?;
        if content.limit() > 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        reader.read_exact(&mut header[..padding as usize])?;
    }
}

/// The header's own checksum: the sum of its bytes, those of the checksum read as spaces.
fn check(header: &[u8; BLOCK]) -> io::Result<()> {
    let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
    let own: u64 = header[148..156].iter().map(|&byte| u64::from(byte)).sum();
    if number(&header[148..156])? == sum - own + 8 * u64::from(b' ') {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "a header in the tar archive is damaged"))
}

/// A number in octal digits, ended by a space or a zero byte.
fn number(field: &[u8]) -> io::Result<u64> {
    let digits = text(field);
    let digits = digits.trim();
    u64::from_str_radix(if digits.is_empty() { "0" } else { digits }, 8)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no tar archive"))
}

/// Text up to the first zero byte.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io;

    use super::{BLOCK, visit};

    /// An archive of plain files.
    pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, content) in files {
            let mut header = [0; BLOCK];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
            header[156] = b'0';
            header[257..263].copy_from_slice(b"ustar\0");
            header[148..156].fill(b' ');
            let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            bytes.extend(header);
            bytes.extend(*content);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }

    fn contents(mut bytes: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        visit::<io::Error>(&mut bytes, |name, size, reader| {
            let mut content = Vec::new();
            // The second file is left unread.
            if !name.ends_with("skipped") {
                reader.read_to_end(&mut content)?;
            }
            if content.len() as u64 != size && !name.ends_with("skipped") {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            found.push((name.to_string(), content));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn files_come_in_order() {
        let long = vec![7; 1500];
        let bytes = archive(&[("folder/a.bin", b"abc"), ("skipped", &long), ("b", &long), ("empty", b"")]);
        let names = |list: &[(String, Vec<u8>)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let found = contents(&bytes).unwrap();
        assert_eq!(names(&found), ["folder/a.bin", "skipped", "b", "empty"]);
        assert_eq!((&*found[0].1, &found[2].1, found[3].1.len()), (&b"abc"[..], &long, 0));
    }

    #[test]
    fn the_program_tar_writes_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        std::fs::write(folder.path().join("inner/file"), b"content").unwrap();
        let made =
            std::process::Command::new("tar").arg("cf").arg("-").arg("-C").arg(folder.path()).arg("inner").output();
        let found = contents(&made.unwrap().stdout).unwrap();
        assert_eq!(found, [("inner/file".to_string(), b"content".to_vec())]);
    }

    #[test]
    fn damaged_archives_are_errors() {
        let whole = archive(&[("a", &[1; 700])]);
        // Up to the end mark every cut is seen.
        for end in 0..whole.len() - 2 * BLOCK {
            assert!(contents(&whole[..end]).is_err(), "{end}");
        }
        let mut flipped = whole.clone();
        flipped[3] ^= 1;
        assert_eq!(contents(&flipped).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(contents(&[b'x'; 2048]).is_err());
    }
}
