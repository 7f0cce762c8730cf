//! The Philox4x32-10 counter-based generator (Salmon et al., SC 2011).

const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Four random words from a 128-bit `counter` and a 64-bit `key`.
#[inline]
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key[0] = key[0].wrapping_add(WEYL[0]);
            key[1] = key[1].wrapping_add(WEYL[1]);
        }
        let first = u64::from(MULTIPLIER[0]) * u64::from(counter[0]);
        let second = u64::from(MULTIPLIER[1]) * u64::from(counter[2]);
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
    }
    counter
}

/// As [`philox4x32`] for `N` consecutive counters, word by word, so that a compiler can vectorise the rounds.
#[inline(always)]
pub(crate) fn philox_wide<const N: usize>(first: u32, tail: [u32; 3], mut key: [u32; 2]) -> [[u32; N]; 4] {
    let mut words = [[0; N], [tail[0]; N], [tail[1]; N], [tail[2]; N]];
    for i in 0..N {
        words[0][i] = first.wrapping_add(i as u32);
    }
    for round in 0..10 {
        if round > 0 {
            key[0] = key[0].wrapping_add(WEYL[0]);
            key[1] = key[1].wrapping_add(WEYL[1]);
        }
        for i in 0..N {
            let one = u64::from(MULTIPLIER[0]) * u64::from(words[0][i]);
            let two = u64::from(MULTIPLIER[1]) * u64::from(words[2][i]);
            let (b, d) = (words[1][i], words[3][i]);
            words[0][i] = (two >> 32) as u32 ^ b ^ key[0];
            words[1][i] = two as u32;
            words[2][i] = (one >> 32) as u32 ^ d ^ key[1];
            words[3][i] = one as u32;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{philox_wide, philox4x32};

    #[test]
    fn wide_rounds_are_the_same() {
        let wide = philox_wide::<16>(u32::MAX - 5, [7, 8, 9], [10, 11]);
        for i in 0..16 {
            let counter = (u32::MAX - 5).wrapping_add(i as u32);
            assert_eq!(wide.map(|word| word[i]), philox4x32([counter, 7, 8, 9], [10, 11]));
        }
    }

    /// Known answers of the Random123 distribution (`kat_vectors`, philox4x32 10).
    #[test]
    fn known_answers() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }
}
