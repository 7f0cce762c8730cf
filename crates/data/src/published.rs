//! The files in which a data set is published, and how a copy is held against them.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::checksum::{Md5Hex, Sha256Hex};
use crate::dataset::Split;
use crate::idx;

/// One file of a data set.
#[derive(Debug)]
pub struct PublishedFile {
    /// Name of the file; with [`Packing::Gzip`] that of the plain one, which on disk may also be compressed (`NAME.gz`).
    pub name: &'static str,
    /// Another name that is in use for the same file.
    pub alias: &'static str,
    /// The split it belongs to; none for an archive of both.
    pub split: Option<Split>,
    /// How it is published.
    pub packing: Packing,
    /// Size in bytes, of the plain content with [`Packing::Gzip`].
    pub bytes: u64,
    /// What a copy is held against.
    pub check: Check,
    /// Name on the mirrors.
    pub remote: &'static str,
}

/// How a file is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Compressed; a plain copy is as good.
    Gzip,
    /// In one form only, which may be an archive.
    Only,
}

/// A published checksum, in lower-case hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// SHA-256 of the plain content; compressed copies differ from each other, their content does not.
    PlainSha256(&'static str),
    /// MD5 of the file as it is offered. None is known of an unpacked copy, whose size alone is looked at.
    Md5(&'static str),
}

impl Check {
    /// The digits.
    pub fn hexadecimal(self) -> &'static str {
        match self {
            Check::PlainSha256(digits) | Check::Md5(digits) => digits,
        }
    }
}

/// What a check of a file rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// The published checksum.
    Checksum,
    /// The size; no checksum is published of a file in this form.
    Size,
}

impl PublishedFile {
    /// True if `split` is in it.
    pub fn belongs_to(&self, split: Split) -> bool {
        self.split.is_none_or(|own| own == split)
    }

    /// The forms in which the file may lie in `folder`, in the order in which they are tried; the first is the one that is
    /// stored.
    pub fn candidates(&self, folder: &Path) -> Vec<PathBuf> {
        let names = match self.packing {
            Packing::Gzip => {
                vec![format!("{}.gz", self.name), self.name.into(), format!("{}.gz", self.alias), self.alias.into()]
            }
            Packing::Only => vec![self.name.into(), self.alias.into()],
        };
        names.into_iter().map(|name| folder.join(name)).collect()
    }

    /// The first form that is there.
    pub fn find(&self, folder: &Path) -> Option<PathBuf> {
        self.candidates(folder).into_iter().find(|path| path.is_file())
    }

    /// Holds the file at `path` against what is published; never reads past the published size.
    pub(crate) fn verify(&self, path: &Path) -> Result<Verified, String> {
        match self.check {
            Check::PlainSha256(published) => {
                let mut hasher = Sha256Hex::default();
                let (mut reader, _) = idx::open(path).map_err(unreadable)?;
                self.whole(&mut reader, |bytes| hasher.update(bytes))?;
                same("SHA-256", &hasher.finish(), published)?;
                Ok(Verified::Checksum)
            }
            Check::Md5(_) if self.packing == Packing::Gzip && !is_gzip(path).map_err(unreadable)? => {
                let mut reader = File::open(path).map_err(unreadable)?;
                self.whole(&mut reader, |_| ())?;
                Ok(Verified::Size)
            }
            Check::Md5(published) => {
                let mut hasher = Md5Hex::default();
                let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
                match self.packing {
                    Packing::Only => self.whole(&mut reader, |bytes| hasher.update(bytes))?,
                    // What is compressed has another size, not much beyond that of its content.
                    Packing::Gzip => {
                        stream(&mut reader, self.most(), |bytes| hasher.update(bytes))?;
                    }
                }
                same("MD5", &hasher.finish(), published)?;
                Ok(Verified::Checksum)
            }
        }
    }

    /// Most bytes of the file as it is offered.
    pub(crate) fn most(&self) -> u64 {
        match self.packing {
            Packing::Only => self.bytes,
            // Compressed content is never larger than plain content by more than a few bytes per block.
            Packing::Gzip => self.bytes + self.bytes / 1000 + 1024,
        }
    }

    /// Reads exactly as many bytes as are published.
    fn whole(&self, reader: &mut dyn Read, take: impl FnMut(&[u8])) -> Result<(), String> {
        let done = stream(reader, self.bytes, take)?;
        if done < self.bytes {
            return Err(format!("holds {done} bytes, the published file {}", self.bytes));
        }
        Ok(())
    }
}

/// Reads to the end and counts the bytes.
fn stream(reader: &mut dyn Read, most: u64, mut take: impl FnMut(&[u8])) -> Result<u64, String> {
    let mut buffer = vec![0; 1 << 16];
    let mut done = 0;
    loop {
        let count = reader.read(&mut buffer).map_err(unreadable)?;
        if count == 0 {
            return Ok(done);
        }
        done += count as u64;
        if done > most {
            return Err(format!("holds more than the published {most} bytes"));
        }
        take(&buffer[..count]);
    }
}

fn is_gzip(path: &Path) -> io::Result<bool> {
    idx::open(path).map(|(_, plain_length)| plain_length.is_none())
}

fn same(what: &str, found: &str, published: &str) -> Result<(), String> {
    if found == published {
        return Ok(());
    }
    Err(format!("has {what} {found}, the published file {published}"))
}

fn unreadable(error: io::Error) -> String {
    format!("is damaged or cannot be read ({error})")
}
