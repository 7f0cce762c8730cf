//! Binary PGM and PPM files (`P5`, `P6`) of the Netpbm formats, with bytes for samples.

use super::picture::Picture;

/// Decodes the content of a file that starts with `P5` or `P6`; the error says what is wrong with it.
///
/// `check` is asked about (width, height) before anything is taken from the pixels.
pub(super) fn decode(bytes: &[u8], check: impl Fn(usize, usize) -> Result<(), String>) -> Result<Picture, String> {
    let channels = if bytes.starts_with(b"P6") { 3 } else { 1 };
    let mut rest = &bytes[2..];
    let mut next =
        |what: &str| number(&mut rest).ok_or_else(|| format!("is a damaged PPM or PGM file (it has no {what})"));
    let (width, height, most) = (next("width")?, next("height")?, next("largest value")?);
    check(width, height)?;
    if most != 255 {
        return Err(format!("has samples up to {most}, and bytes up to 255 are read; convert it to 8 bits"));
    }
    // One character of white space, and no more: what follows are pixels.
    let Some((_, pixels)) = rest.split_first().filter(|(first, _)| first.is_ascii_whitespace()) else {
        return Err("is a damaged or truncated PPM or PGM file (it has no pixels)".into());
    };
    let size = channels * width * height;
    if pixels.len() != size {
        return Err(format!(
            "is a damaged or truncated PPM or PGM file ({} bytes of pixels, and {height}×{width} of {channels} need {size})",
            pixels.len()
        ));
    }
    Ok(Picture { channels, height, width, bytes: pixels.to_vec() })
}

/// The next number behind white space and comments, which is taken off `rest`.
fn number(rest: &mut &[u8]) -> Option<usize> {
    loop {
        let skipped = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        *rest = &rest[skipped..];
        if rest.first() != Some(&b'#') {
            break;
        }
        let line = rest.iter().position(|&byte| byte == b'\n')?;
        *rest = &rest[line..];
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (text, after) = rest.split_at(digits);
    *rest = after;
    // None as well for what no 64 bits hold.
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::decode::decode;

    #[test]
    fn colours_and_grey_come_back_byte_by_byte() {
        let colour = decode(b"P6\n# by hand\n2 1\n255\n\x01\x02\x03\x0a\x20\x06").unwrap();
        assert_eq!((colour.channels, colour.height, colour.width), (3, 1, 2));
        assert_eq!(colour.bytes, [1, 2, 3, 10, 32, 6]);
        let grey = decode(b"P5 1 2 255 #\x07").unwrap();
        assert_eq!((grey.channels, grey.height, grey.width, &grey.bytes[..]), (1, 2, 1, &b"#\x07"[..]));
    }

    #[test]
    fn every_cut_and_every_other_form_is_an_error() {
        let whole = b"P6\n2 2\n255\nabcdefghijkl";
        assert!(decode(whole).is_ok());
        for end in 0..whole.len() {
            assert!(decode(&whole[..end]).is_err(), "{end}");
        }
        for (bytes, part) in [
            (&b"P6 2 1 65535 \x00"[..], "up to 65535"),
            (b"P5 1 1 255\n12", "2 bytes of pixels"),
            (b"P5 0 1 255\n", "sides may be"),
            (b"P6 99999999999999999999 1 255\n", "no width"),
            (b"P6 20000 20000 255\n", "sides may be"),
            (b"P3 1 1 255\n1 1 1", "neither"),
        ] {
            let problem = decode(bytes).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
    }
}
