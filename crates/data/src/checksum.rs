//! SHA-256 and MD5 as lower-case hexadecimal.

use std::fmt::Write;

use md5::Md5;
use sha2::{Digest, Sha256};

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
        hex
    })
}

/// A running SHA-256.
#[derive(Default)]
pub(crate) struct Sha256Hex(Sha256);

impl Sha256Hex {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> String {
        hexadecimal(&self.0.finalize())
    }
}

/// A running MD5, which publishers give for their files: it tells damage, not forgery.
#[derive(Default)]
pub(crate) struct Md5Hex(Md5);

impl Md5Hex {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> String {
        hexadecimal(&self.0.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::{Md5Hex, Sha256Hex};

    /// The one-block and the empty message of FIPS 180-4's examples.
    #[test]
    fn known_answers() {
        let hash = |bytes: &[u8]| {
            let mut hasher = Sha256Hex::default();
            hasher.update(bytes);
            hasher.finish()
        };
        assert_eq!(hash(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hash(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    /// The test suite of RFC 1321.
    #[test]
    fn known_answers_of_md5() {
        let hash = |bytes: &[u8]| {
            let mut hasher = Md5Hex::default();
            hasher.update(bytes);
            hasher.finish()
        };
        assert_eq!(hash(b"abc"), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hash(b""), "d41d8cd98f00b204e9800998ecf8427e");
    }
}
