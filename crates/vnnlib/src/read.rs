//! Property files and texts.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use flate2::read::MultiGzDecoder;

use crate::error::VnnlibError;
use crate::{Property, normal, parser};

/// Longest property that is read, in bytes.
pub const MAX_BYTES: u64 = 1 << 28;

impl Property {
    /// Parses VNN-LIB text; `origin` names it in messages.
    ///
    /// VNN-LIB 1.0: constants X_i and Y_i, assertions of `<=`, `>=`, `<`, `>`, `=`, `distinct` between linear expressions
    /// (`+`, `-`, `*`, `/` by numbers), nested in `and`, `or`, `not` and `=>`, with `true` and `false`. VNN-LIB 2.0: one
    /// network with one input and one output tensor, `==` and `!=`; hidden tensors may be declared, not constrained.
    /// Floating-point types count as real numbers; of whole-number types only whole inputs count ([`Property::whole`]).
    ///
    /// Numbers are read as the nearest f64, and sums and products of numbers are rounded to it; `<` and `>` are strict.
    /// An input bound that is a quotient stands for the exact quotient. Constraints that relate inputs to each other or to
    /// outputs become rows over [`Property::sums`]; those over inputs alone also tighten the boxes, and may give an input
    /// the bounds it lacks. Contradictory bounds of an input leave no case: the property holds, and
    /// [`Property::contradiction`] says why.
    ///
    /// ```
    /// let text = b"(declare-const X_0 Real) (declare-const Y_0 Real) ; one input, one output
    ///     (assert (or (and (>= X_0 0) (<= X_0 1e-1)) (<= 2 X_0 3.5)))
    ///     (assert (<= (* 2 Y_0) (- X_0 X_0)))";
    /// let property = tightrope_vnnlib::Property::parse(text, "(inline)").unwrap();
    /// assert_eq!(property.cases.len(), 2);
    /// assert_eq!((property.cases[0].upper[0], property.cases[1].lower[0]), (0.1, 2.0));
    /// assert_eq!(property.cases[0].unsafe_outputs[0][0].coefficients, [2.0]);
    /// ```
    ///
    /// # Errors
    /// With line and column if the text is no such property, an input is not bounded from both sides, there are more than
    /// 4 194 304 inputs or 1024 sums of them, or the disjunctive normal form exceeds 4 194 304 conjunctions.
    pub fn parse(text: &[u8], origin: &str) -> Result<Property, VnnlibError> {
        Property::parse_until(text, origin, None)
    }

    /// The same until `deadline`, if there is one.
    ///
    /// # Errors
    /// As [`Property::parse`], or [`VnnlibError::Late`].
    pub fn parse_until(text: &[u8], origin: &str, deadline: Option<Instant>) -> Result<Property, VnnlibError> {
        parser::parse(text, deadline).and_then(|script| normal::property(&script, deadline)).map_err(
            |fault| match fault.late {
                true => VnnlibError::Late { origin: origin.into() },
                false => VnnlibError::at(origin, text, fault.offset, fault.problem),
            },
        )
    }

    /// Reads a file of at most [`MAX_BYTES`], unpacked if it is packed by gzip. Where `path` does not exist, the file with
    /// `.gz` behind its name, or without it, stands in for it.
    ///
    /// # Errors
    /// As [`Property::parse`], or if the file cannot be read.
    pub fn read(path: &Path) -> Result<Property, VnnlibError> {
        Property::read_until(path, None)
    }

    /// The same until `deadline`, if there is one.
    ///
    /// # Errors
    /// As [`Property::read`], or [`VnnlibError::Late`].
    pub fn read_until(path: &Path, deadline: Option<Instant>) -> Result<Property, VnnlibError> {
        let text = read_limited(path, MAX_BYTES, "a VNN-LIB property")?;
        Property::parse_until(&text, &path.display().to_string(), deadline)
    }
}

/// The content of a file, unpacked, that is not longer than `limit`.
pub(crate) fn read_limited(path: &Path, limit: u64, what: &str) -> Result<Vec<u8>, VnnlibError> {
    let fail = |problem: String| VnnlibError::File { path: path.into(), problem };
    let unreadable = |e: std::io::Error| fail(format!("cannot be read ({e}); give {what}"));
    let mut bytes = Vec::new();
    std::fs::File::open(stored(path))
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    let mut packing = "";
    if bytes.starts_with(&GZIP) && bytes.len() as u64 <= limit {
        let mut unpacked = Vec::new();
        MultiGzDecoder::new(&bytes[..])
            .take(limit + 1)
            .read_to_end(&mut unpacked)
            .map_err(|e| fail(format!("cannot be unpacked ({e}); pack it by gzip once more")))?;
        (bytes, packing) = (unpacked, ", unpacked");
    }
    match bytes.len() as u64 > limit {
        true => Err(fail(format!("is longer than {limit} bytes{packing}; give {what}"))),
        false => Ok(bytes),
    }
}

/// First bytes of a file packed by gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The file that stands for `path`: itself, or where there is none its packed or unpacked twin.
fn stored(path: &Path) -> Cow<'_, Path> {
    if path.exists() {
        return path.into();
    }
    let twin = match path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz")) {
        true => path.with_extension(""),
        false => {
            let mut name = path.as_os_str().to_owned();
            name.push(".gz");
            name.into()
        }
    };
    if twin.exists() { twin.into() } else { path.into() }
}
