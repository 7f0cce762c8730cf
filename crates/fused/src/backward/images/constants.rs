//! The constants of a packet's linear forms, which gain a little from every neuron between the margins and the pixels.
//!
//! Tens of thousands of terms, of which loose bounds make the early ones large: added one after the other in f32 they lose
//! the last two digits of a margin. Few terms at a time are added plainly, and their sum to the rest with what rounding
//! takes away kept aside (Knuth's TwoSum), which costs six operations for some hundred.

use crate::backward::images::walk::TOGETHER;
use crate::simd::lanes::{Lanes, WIDTH};

/// How many neurons' or pixels' terms are added plainly.
pub const PLAIN: usize = 32;

/// One constant for each margin walked together and each image.
pub struct Constants {
    sums: [[f32; WIDTH]; TOGETHER],
    lost: [[f32; WIDTH]; TOGETHER],
}

impl Constants {
    /// All zero.
    pub fn zero() -> Self {
        Constants { sums: [[0.0; WIDTH]; TOGETHER], lost: [[0.0; WIDTH]; TOGETHER] }
    }

    /// Adds `terms` to the margins' constants.
    ///
    /// # Safety
    /// The machine has `S`.
    #[inline(always)]
    pub unsafe fn add<S: Lanes, const VP: usize>(&mut self, terms: [S::V; VP]) {
        for (v, &term) in terms.iter().enumerate() {
            // SAFETY: sixteen values each; the machine is the caller's word.
            unsafe {
                let (place, lost) = (self.sums[v].as_mut_ptr(), self.lost[v].as_mut_ptr());
                let before = S::load_any(place);
                let sum = S::add(before, term);
                let share = S::sub(sum, before);
                let error = S::add(S::sub(before, S::sub(sum, share)), S::sub(term, share));
                S::store_any(place, sum);
                S::store_any(lost, S::add(S::load_any(lost), error));
            }
        }
    }

    /// The constants; of sums that overflowed nothing is known to be lost.
    pub fn total(&self) -> [[f32; WIDTH]; TOGETHER] {
        let mut total = self.sums;
        for (total, lost) in total.iter_mut().flatten().zip(self.lost.iter().flatten()) {
            *total += if lost.is_finite() { *lost } else { 0.0 };
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::scalar::Scalar;

    /// One large term and many small ones: plainly added, nothing would be left of these.
    #[test]
    fn small_terms_are_not_lost() {
        let mut constants = Constants::zero();
        let mut plain = 0.0_f32;
        for term in std::iter::once(1e8).chain(std::iter::repeat_n(1.0, 1000)).chain([-1e8]) {
            // SAFETY: every machine has this.
            unsafe { constants.add::<Scalar, 1>([Scalar::splat(term)]) };
            plain += term;
        }
        assert_eq!((constants.total()[0], plain), ([1000.0; WIDTH], 0.0));
    }

    /// What overflows stays infinite, and what is no number stays none.
    #[test]
    fn overflow_shows() {
        for (terms, expected) in [([3e38, 3e38], f32::INFINITY), ([f32::NEG_INFINITY, 1.0], f32::NEG_INFINITY)] {
            let mut constants = Constants::zero();
            for term in terms {
                // SAFETY: every machine has this.
                unsafe { constants.add::<Scalar, 1>([Scalar::splat(term)]) };
            }
            assert_eq!(constants.total()[0], [expected; WIDTH]);
        }
        let mut constants = Constants::zero();
        // SAFETY: every machine has this.
        unsafe { constants.add::<Scalar, 1>([Scalar::splat(f32::NAN)]) };
        assert!(constants.total()[0][0].is_nan());
    }
}
