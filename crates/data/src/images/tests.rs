//! Decoding: what is written by encoders comes back, and what is damaged or loses something is refused by name.

use std::path::Path;

use jpeg_encoder::{ColorType, Encoder};

use super::decode::decode;
use super::picture::Picture;
use super::tree::Tree;

/// A PNG file of bytes, row by row.
pub(crate) fn png(colour: png::ColorType, depth: png::BitDepth, [height, width]: [u32; 2], bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if colour == png::ColorType::Indexed {
        encoder.set_palette(vec![10, 20, 30, 40, 50, 60]);
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(bytes).unwrap();
    writer.finish().unwrap();
    file
}

/// A JPEG file of the best quality.
pub(crate) fn jpeg(colour: ColorType, [height, width]: [u16; 2], bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    Encoder::new(&mut file, 100).encode(bytes, width, height, colour).unwrap();
    file
}

/// Bytes that change slowly, as those of photographs.
fn smooth(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 2 % 200) as u8 + 20).collect()
}

#[track_caller]
fn refused(bytes: &[u8], part: &str) {
    let problem = decode(bytes).unwrap_err();
    assert!(problem.contains(part), "{problem}");
}

#[test]
fn png_files_come_back_byte_by_byte() {
    let bytes: Vec<u8> = (0..36).map(|i| i * 7).collect();
    let eight = png::BitDepth::Eight;
    let grey = Picture { channels: 1, height: 4, width: 9, bytes: bytes.clone() };
    assert_eq!(decode(&png(png::ColorType::Grayscale, eight, [4, 9], &bytes)).unwrap(), grey);
    let colour = Picture { channels: 3, height: 4, width: 3, bytes: bytes.clone() };
    assert_eq!(decode(&png(png::ColorType::Rgb, eight, [4, 3], &bytes)).unwrap(), colour);
    // Palettes and few bits are expanded: 0b0110_0000 are the entries 0, 1, 1.
    let palette = decode(&png(png::ColorType::Indexed, png::BitDepth::One, [1, 3], &[0b0110_0000])).unwrap();
    assert_eq!(palette.bytes, [10, 20, 30, 40, 50, 60, 40, 50, 60]);
    let bits = decode(&png(png::ColorType::Grayscale, png::BitDepth::Two, [1, 4], &[0b0001_1011])).unwrap();
    assert_eq!(bits.bytes, [0, 85, 170, 255]);
}

#[test]
fn opaque_pixels_lose_their_fourth_channel_and_others_are_refused() {
    let eight = png::BitDepth::Eight;
    let opaque = decode(&png(png::ColorType::Rgba, eight, [1, 2], &[1, 2, 3, 255, 4, 5, 6, 255])).unwrap();
    assert_eq!((opaque.channels, opaque.bytes), (3, vec![1, 2, 3, 4, 5, 6]));
    let grey = decode(&png(png::ColorType::GrayscaleAlpha, eight, [1, 2], &[1, 255, 4, 255])).unwrap();
    assert_eq!((grey.channels, grey.bytes), (1, vec![1, 4]));
    refused(&png(png::ColorType::Rgba, eight, [1, 2], &[1, 2, 3, 255, 4, 5, 6, 254]), "transparent");
}

#[test]
fn jpeg_files_come_back_closely() {
    let bytes = smooth(16 * 24);
    let grey = decode(&jpeg(ColorType::Luma, [16, 24], &bytes)).unwrap();
    assert_eq!((grey.channels, grey.height, grey.width), (1, 16, 24));
    assert!(grey.bytes.iter().zip(&bytes).all(|(a, b)| a.abs_diff(*b) <= 2));
    let bytes: Vec<u8> = smooth(16 * 24).into_iter().flat_map(|value| [value, value / 2, 255 - value]).collect();
    let colour = decode(&jpeg(ColorType::Rgb, [16, 24], &bytes)).unwrap();
    assert_eq!((colour.channels, colour.height, colour.width), (3, 16, 24));
    assert!(colour.bytes.iter().zip(&bytes).all(|(a, b)| a.abs_diff(*b) <= 4));
}

#[test]
fn what_cannot_be_read_rightly_is_refused() {
    refused(b"", "empty, 0 bytes");
    refused(b"<html>", "neither a PNG nor a JPEG nor a binary PPM or PGM image (it starts with 3c 68 74 6d)");
    refused(&png(png::ColorType::Grayscale, png::BitDepth::Sixteen, [1, 2], &[0, 1, 2, 3]), "16 bits");
    refused(&jpeg(ColorType::Cmyk, [8, 8], &[9; 256]), "CMYK");
    refused(&jpeg(ColorType::CmykAsYcck, [8, 8], &[9; 256]), "CMYK");
}

#[test]
fn every_cut_of_a_png_file_is_an_error() {
    let whole = png(png::ColorType::Rgb, png::BitDepth::Eight, [4, 3], &(0..36).collect::<Vec<u8>>());
    // The end mark has four bytes of checksum, which say nothing about the pixels.
    for end in 0..whole.len() - 4 {
        assert!(decode(&whole[..end]).is_err(), "{end} of {}", whole.len());
    }
}

#[test]
fn every_cut_of_a_jpeg_file_is_an_error() {
    for (colour, channels) in [(ColorType::Luma, 1), (ColorType::Rgb, 3)] {
        let whole = jpeg(colour, [16, 16], &smooth(16 * 16 * channels));
        for end in 0..whole.len() - 1 {
            assert!(decode(&whole[..end]).is_err(), "{end} of {}", whole.len());
        }
        // A preview in the header has an end mark of its own.
        let preview = [&whole[..2], &[0xff, 0xe1, 0, 4, 0xff, 0xd9], &whole[2..]].concat();
        decode(&preview).unwrap();
        for end in 0..preview.len() - 2 {
            assert!(decode(&preview[..end]).is_err(), "{end} of {} with a preview", preview.len());
        }
    }
}

#[test]
fn damage_never_ends_in_a_panic_or_much_memory() {
    let files = [
        png(png::ColorType::Rgb, png::BitDepth::Eight, [4, 3], &(0..36).collect::<Vec<u8>>()),
        jpeg(ColorType::Rgb, [16, 16], &smooth(768)),
        jpeg(ColorType::Luma, [8, 8], &smooth(64)),
    ];
    for file in files {
        for position in 0..file.len() {
            for change in [1_u8, 0x80, 0xff] {
                let mut damaged = file.clone();
                damaged[position] ^= change;
                if let Ok(picture) = decode(&damaged) {
                    assert_eq!(picture.bytes.len(), picture.channels * picture.height * picture.width);
                }
            }
        }
    }
}

#[test]
fn errors_name_the_file_and_what_to_do() {
    let message = super::decode::read(&Tree::Disk, Path::new("no such.png")).unwrap_err().to_string();
    assert!(message.starts_with("no such.png: cannot be read") && message.contains("put a good copy"), "{message}");
}
