//! The certificate file: magic, version, SHA-256 of the body, body (a [`Certificate`] in the postcard encoding).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tightrope_network::{Description, Network, Weights, write_atomically};
use tightrope_vnnlib::Property;

use crate::error::CertificateError;
use crate::proof::Proof;

/// First bytes of every certificate file.
pub const MAGIC: [u8; 8] = *b"TIGHTCRT";
/// Version of the format, four little-endian bytes after the magic.
pub const VERSION: u32 = 2;
/// Longest file that is read.
pub const MAX_BYTES: u64 = 4 << 30;

const HEADER: usize = MAGIC.len() + 4 + 32;

/// A proof with the digests of the network and the property it is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// [`network_digest`].
    pub network: [u8; 32],
    /// [`property_digest`].
    pub property: [u8; 32],
    /// The proof.
    pub proof: Proof,
}

/// SHA-256 over a network's structure (its JSON description) and exact weights ([`Weights::visit_bytes`]).
///
/// # Errors
/// If the network has no description.
pub fn network_digest(network: &Network, weights: &Weights) -> Result<[u8; 32], CertificateError> {
    let description =
        serde_json::to_vec(&Description::of(network)).map_err(|e| CertificateError::Network(e.to_string()))?;
    let mut hash = Sha256::new();
    hash.update(description);
    weights.visit_bytes(|part| hash.update(part));
    Ok(hash.finalize().into())
}

/// SHA-256 over every number of a property, each list after its length.
pub fn property_digest(property: &Property) -> [u8; 32] {
    let mut hash = Sha256::new();
    let count = |hash: &mut Sha256, n: usize| hash.update((n as u64).to_le_bytes());
    let numbers = |hash: &mut Sha256, values: &[f64]| {
        hash.update((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| hash.update(value.to_bits().to_le_bytes()));
    };
    count(&mut hash, property.inputs);
    count(&mut hash, property.outputs);
    count(&mut hash, property.cases.len());
    for case in &property.cases {
        numbers(&mut hash, &case.lower);
        numbers(&mut hash, &case.upper);
        for open in [&case.open_lower, &case.open_upper, &case.rounded_lower, &case.rounded_upper] {
            count(&mut hash, open.len());
            open.iter().for_each(|&index| count(&mut hash, index as usize));
        }
        count(&mut hash, case.unsafe_outputs.len());
        for conjunction in &case.unsafe_outputs {
            count(&mut hash, conjunction.len());
            for row in conjunction {
                numbers(&mut hash, &row.coefficients);
                numbers(&mut hash, &[row.bound]);
                count(&mut hash, usize::from(row.strict));
            }
        }
    }
    // Nothing follows where there are none, as before there were any.
    for sum in &property.sums {
        count(&mut hash, sum.len());
        for &(input, factor) in sum {
            count(&mut hash, input as usize);
            numbers(&mut hash, &[factor]);
        }
    }
    hash.finalize().into()
}

impl Certificate {
    /// `proof` as a certificate of these.
    ///
    /// # Errors
    /// As [`network_digest`].
    pub fn new(
        network: &Network,
        weights: &Weights,
        property: &Property,
        proof: Proof,
    ) -> Result<Self, CertificateError> {
        Ok(Certificate { network: network_digest(network, weights)?, property: property_digest(property), proof })
    }

    /// The content of a certificate file.
    ///
    /// # Errors
    /// If the proof is too large for a file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CertificateError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 32]);
        let mut bytes = postcard::to_extend(self, bytes).map_err(|e| CertificateError::Format(e.to_string()))?;
        let digest = Sha256::digest(&bytes[HEADER..]);
        bytes[HEADER - 32..HEADER].copy_from_slice(&digest);
        Ok(bytes)
    }

    /// Reads the content of a certificate file. Memory stays within a small multiple of `bytes`.
    ///
    /// # Errors
    /// If they are no certificate, damaged, or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CertificateError> {
        let refuse = |problem: String| Err(CertificateError::Format(problem));
        if bytes.len() < HEADER || bytes[..MAGIC.len()] != MAGIC {
            return refuse(
                "it does not begin as a certificate does; give a file written by `verify --certificate`".into(),
            );
        }
        let version = bytes[MAGIC.len()..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
        if version != VERSION {
            return refuse(format!("it has format version {version}, this program reads version {VERSION}"));
        }
        let (header, body) = bytes.split_at(HEADER);
        if Sha256::digest(body)[..] != header[HEADER - 32..] {
            return refuse("its checksum does not fit; the file is damaged, write it again".into());
        }
        match postcard::take_from_bytes(body) {
            Ok((certificate, [])) => Ok(certificate),
            Ok((_, rest)) => refuse(format!("{} bytes follow its end; write it again", rest.len())),
            Err(error) => refuse(format!("its content does not decode ({error}); write it again")),
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If the proof is too large for a file, or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), CertificateError> {
        write_atomically(path, &self.to_bytes()?).map_err(|e| CertificateError::file(path, e))
    }

    /// Reads a file of at most [`MAX_BYTES`].
    ///
    /// # Errors
    /// If the file cannot be read, is too large, damaged, or of another version.
    pub fn read(path: &Path) -> Result<Self, CertificateError> {
        let unreadable =
            |e: std::io::Error| CertificateError::file(path, format!("cannot be read ({e}); give a certificate file"));
        let mut file = File::open(path).map_err(unreadable)?;
        // Pipes and devices do not say how much will come: what does not begin as a certificate is not read on.
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(HEADER as u64).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.starts_with(&MAGIC) {
            file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        }
        if bytes.len() as u64 > MAX_BYTES {
            return Err(CertificateError::file(
                path,
                format!("is longer than {MAX_BYTES} bytes, where certificates end"),
            ));
        }
        Certificate::from_bytes(&bytes).map_err(|e| CertificateError::file(path, e))
    }
}
