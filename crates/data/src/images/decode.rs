//! PNG, JPEG, PPM and PGM files, told by their content, to bytes; whatever loses or makes up something is refused.

use std::io::Cursor;
use std::path::Path;

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::picture::Picture;
use super::pnm;
use super::tree::Tree;
use crate::error::DataError;

/// Longest side that is decoded, so that a forged header takes no memory.
const MOST_SIDE: usize = 1 << 14;
const PNG: &[u8] = &[0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];
const JPEG: &[u8] = &[0xff, 0xd8, 0xff];

/// Reads the image at `path` of `tree`.
pub(crate) fn read(tree: &Tree, path: &Path) -> Result<Picture, DataError> {
    let wrong = |problem: String| {
        DataError::file(path, format!("{problem}; put a good copy in its place, or take the file out of the folder"))
    };
    let bytes = tree.content(path).map_err(|error| wrong(format!("cannot be read ({error})")))?;
    decode(&bytes).map_err(wrong)
}

/// Decodes the content of a file; the error says what is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> Result<Picture, String> {
    if bytes.is_empty() {
        Err("is empty, 0 bytes".into())
    } else if bytes.starts_with(PNG) {
        png(bytes)
    } else if bytes.starts_with(JPEG) {
        jpeg(bytes)
    } else if bytes.starts_with(b"P5") || bytes.starts_with(b"P6") {
        pnm::decode(bytes, check_size)
    } else {
        Err(format!("is neither a PNG nor a JPEG nor a binary PPM or PGM image (it starts with {})", start(bytes)))
    }
}

/// The first bytes, for readers.
fn start(bytes: &[u8]) -> String {
    bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn check_size(width: usize, height: usize) -> Result<(), String> {
    if width == 0 || height == 0 || width > MOST_SIDE || height > MOST_SIDE {
        return Err(format!("has {height}×{width} pixels, and sides may be from 1 to {MOST_SIDE}"));
    }
    Ok(())
}

fn png(bytes: &[u8]) -> Result<Picture, String> {
    let damaged = |error: png::DecodingError| format!("is a damaged or truncated PNG file ({error})");
    let limits = png::Limits { bytes: 4 * MOST_SIDE * MOST_SIDE };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    // Palettes and few bits become bytes; nothing is rounded.
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let info = reader.info();
    let (width, height) = (info.width as usize, info.height as usize);
    check_size(width, height)?;
    if info.bit_depth == png::BitDepth::Sixteen {
        return Err("has 16 bits a channel, and 8 are read; convert it to 8 bits".into());
    }
    let size = reader.output_buffer_size().ok_or("has more pixels than memory can hold")?;
    let mut content = vec![0; size];
    reader.next_frame(&mut content).map_err(damaged)?;
    // Reads to the end mark, without which the file is cut off.
    reader.finish().map_err(damaged)?;
    let (colour, _) = reader.output_color_type();
    let channels = colour.samples();
    let opaque = |pixels: &[u8]| pixels.chunks_exact(channels).all(|pixel| pixel[channels - 1] == u8::MAX);
    match colour {
        png::ColorType::Grayscale | png::ColorType::Rgb => Ok(Picture { channels, height, width, bytes: content }),
        png::ColorType::GrayscaleAlpha | png::ColorType::Rgba if opaque(&content) => {
            let bytes = content.chunks_exact(channels).flat_map(|pixel| &pixel[..channels - 1]).copied().collect();
            Ok(Picture { channels: channels - 1, height, width, bytes })
        }
        png::ColorType::GrayscaleAlpha | png::ColorType::Rgba => {
            Err("has transparent pixels, which have no one colour; flatten it onto a background".into())
        }
        png::ColorType::Indexed => Err("has a palette that could not be expanded; convert it to RGB".into()),
    }
}

fn jpeg(bytes: &[u8]) -> Result<Picture, String> {
    let damaged = |error: &dyn std::fmt::Debug| format!("is a damaged or truncated JPEG file ({error:?})");
    // Decoders fill what is missing of a cut file with grey. Neither mark occurs inside the coded pixels, and the mark of a
    // preview stands before the image's own scans.
    let last = |mark: [u8; 2]| bytes.windows(2).rposition(|pair| pair == mark);
    if last([0xff, 0xd9]) <= last([0xff, 0xda]) {
        return Err("is a truncated JPEG file (it has no end mark)".into());
    }
    let options = DecoderOptions::default().set_strict_mode(true).set_max_width(MOST_SIDE).set_max_height(MOST_SIDE);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| damaged(&error))?;
    let colour = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => ColorSpace::Luma,
        Some(ColorSpace::YCbCr | ColorSpace::RGB) => ColorSpace::RGB,
        Some(ColorSpace::CMYK | ColorSpace::YCCK) => {
            return Err("is a CMYK image, whose colours depend on a printer; convert it to RGB".into());
        }
        other => return Err(format!("has the colours {other:?}, which are not read; convert it to RGB")),
    };
    let info = decoder.info().ok_or_else(|| damaged(&"no header"))?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    check_size(width, height)?;
    decoder.set_options(options.jpeg_set_out_colorspace(colour));
    let content = decoder.decode().map_err(|error| damaged(&error))?;
    let channels = colour.num_components();
    if content.len() != channels * width * height {
        return Err(damaged(&"fewer pixels than promised"));
    }
    Ok(Picture { channels, height, width, bytes: content })
}
