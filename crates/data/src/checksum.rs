//! SHA-256 as lower-case hexadecimal.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// A running SHA-256.
#[derive(Default)]
pub(crate) struct Sha256Hex(Sha256);

impl Sha256Hex {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> String {
        self.0.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
            hex
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Sha256Hex;

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
}
