//! One decoded image.

/// Bytes of an image, row by row, the channels of a pixel beside each other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picture {
    /// 1 (grey) or 3 (red, green, blue).
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// height·width·channels values.
    pub(crate) bytes: Vec<u8>,
}

impl Picture {
    /// True if every pixel is grey, however many channels it is stored in.
    pub(crate) fn is_grey(&self) -> bool {
        self.channels == 1 || self.bytes.chunks_exact(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2])
    }

    /// Writes the planes [C, H, W] to `out`, which is as long as they are: grey pixels three times for three channels, the
    /// first of three equal values for one.
    pub(crate) fn planes(&self, out: &mut [u8]) {
        let area = self.height * self.width;
        for (channel, plane) in out.chunks_exact_mut(area).enumerate() {
            let first = if self.channels == 1 { 0 } else { channel };
            let values = self.bytes[first..].iter().step_by(self.channels);
            plane.iter_mut().zip(values).for_each(|(out, &byte)| *out = byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Picture;

    #[test]
    fn planes_come_channel_by_channel() {
        let colour = Picture { channels: 3, height: 1, width: 2, bytes: vec![1, 2, 3, 4, 5, 6] };
        let mut out = [0; 6];
        colour.planes(&mut out);
        assert_eq!(out, [1, 4, 2, 5, 3, 6]);
        assert!(!colour.is_grey());
        let grey = Picture { channels: 1, height: 1, width: 2, bytes: vec![7, 8] };
        grey.planes(&mut out);
        assert_eq!(out, [7, 8, 7, 8, 7, 8]);
        let stored_as_colour = Picture { channels: 3, height: 1, width: 2, bytes: vec![7, 7, 7, 8, 8, 8] };
        assert!(stored_as_colour.is_grey());
        let mut out = [0; 2];
        stored_as_colour.planes(&mut out);
        assert_eq!(out, [7, 8]);
    }
}
