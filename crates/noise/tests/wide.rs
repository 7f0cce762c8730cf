//! The vectorisable generator gives the same bits as the plain one, at every alignment and length.

use tightrope_noise::{Purpose, Stream};

#[test]
fn same_bits() {
    for member in 0..4 {
        let stream = Stream::new(3, Purpose::Test, 5, member);
        for first in [0, 1, 2, 3, 4, 63, 1000] {
            for len in [0, 1, 3, 4, 63, 64, 65, 200, 1000] {
                let (mut plain, mut wide) = (vec![0.0; len], vec![1.0; len]);
                stream.gaussian(first, &mut plain);
                stream.gaussian_wide(first, &mut wide);
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&plain), bits(&wide), "from {first}, {len} draws");
            }
        }
    }
}
