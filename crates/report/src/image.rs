//! Pixels as a PNG inside a `data:` address.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use png::{BitDepth, ColorType, Encoder};

/// The picture of `pixels` `[C, H, W]`: RGB for three channels, else grey from the first one. Values in [0, 1] are shown as
/// they are, others are stretched from their smallest to their largest. None if the shape is not that of the pixels.
pub fn data_uri(shape: [usize; 3], pixels: &[f32]) -> Option<String> {
    let [channels, height, width] = shape;
    let plane = height.checked_mul(width).filter(|&plane| plane > 0)?;
    if plane.checked_mul(channels) != Some(pixels.len()) || channels == 0 {
        return None;
    }
    let shown = if channels == 3 { 3 } else { 1 };
    let values = &pixels[..shown * plane];
    let ends = values
        .iter()
        .filter(|value| value.is_finite())
        .fold((0.0_f32, 1.0_f32), |(low, high), &value| (low.min(value), high.max(value)));
    let byte = |value: f32| (255.0 * (value - ends.0) / (ends.1 - ends.0)).round() as u8;
    let bytes: Vec<u8> = (0..plane).flat_map(|at| (0..shown).map(move |c| byte(values[c * plane + at]))).collect();

    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    encoder.set_color(if shown == 3 { ColorType::Rgb } else { ColorType::Grayscale });
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&bytes).ok()?;
    writer.finish().ok()?;
    Some(format!("data:image/png;base64,{}", STANDARD.encode(file)))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::{STANDARD, data_uri};

    fn decoded(uri: &str) -> (u32, u32, Vec<u8>) {
        let file = STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        bytes.truncate(info.buffer_size());
        (info.width, info.height, bytes)
    }

    #[test]
    fn pixels_come_back() {
        let grey = data_uri([1, 2, 3], &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]).unwrap();
        assert_eq!(decoded(&grey), (3, 2, vec![0, 51, 102, 153, 204, 255]));
        let colour = data_uri([3, 1, 2], &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0]).unwrap();
        assert_eq!(decoded(&colour), (2, 1, vec![255, 0, 0, 0, 255, 0]));
        // Two channels show the first; what is beyond [0, 1] is stretched; what is no number is black.
        let other = data_uri([2, 1, 3], &[-1.0, 1.0, f32::NAN, 9.0, 9.0, 9.0]).unwrap();
        assert_eq!(decoded(&other), (3, 1, vec![0, 255, 0]));
    }

    #[test]
    fn shapes_that_do_not_fit_have_no_picture() {
        for (shape, length) in [([1, 2, 2], 3), ([0, 2, 2], 0), ([1, 0, 2], 0), ([1, usize::MAX, 2], 4)] {
            assert_eq!(data_uri(shape, &vec![0.5; length]), None, "{shape:?}");
        }
    }
}
