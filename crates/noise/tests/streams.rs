//! The streams' addressing and statistics.

use proptest::prelude::*;
use tightrope_noise::{Purpose, Stream, box_muller, philox4x32};

const COUNT: usize = 1 << 20;

fn gaussian(stream: Stream, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    stream.gaussian(0, &mut values);
    values
}

proptest! {
    /// Any piece of a stream equals the same piece of the whole: draws are addressed, not consumed.
    #[test]
    fn pieces_equal_the_whole(seed: u64, step: u64, member: u64, first in 0_u64..1000, length in 0_usize..70) {
        let stream = Stream::new(seed, Purpose::Test, step, member);
        let mut whole = vec![0.0; 1100];
        let mut piece = vec![0.0; length];
        let range = first as usize..first as usize + length;
        stream.gaussian(0, &mut whole);
        stream.gaussian(first, &mut piece);
        prop_assert_eq!(&piece, &whole[range.clone()]);
        stream.uniform(0, &mut whole);
        stream.uniform(first, &mut piece);
        prop_assert_eq!(&piece, &whole[range]);
        prop_assert!(whole.iter().all(|u| (0.0..1.0).contains(u)));
    }

    #[test]
    fn below_stays_below(seed: u64, index in 0_u64..1_000_000, bound in 1_usize..1_000_000) {
        prop_assert!(Stream::new(seed, Purpose::Test, 0, 0).below(index, bound) < bound);
    }
}

#[test]
fn every_part_of_the_address_matters() {
    let base = gaussian(Stream::new(1, Purpose::Smoothing, 5, 3), 64);
    let others = [
        Stream::new(2, Purpose::Smoothing, 5, 3),
        Stream::new(1 << 32 | 1, Purpose::Smoothing, 5, 3),
        Stream::new(1, Purpose::Init, 5, 3),
        Stream::new(1, Purpose::Smoothing, 6, 3),
        Stream::new(1, Purpose::Smoothing, 1 << 32 | 5, 3),
        Stream::new(1, Purpose::Smoothing, 5, 4),
    ];
    for other in others {
        let values = gaussian(other, 64);
        assert!(values.iter().zip(&base).all(|(a, b)| a != b), "{other:?} repeats draws of the first stream");
    }
}

/// Moments of 2²⁰ draws within five standard errors of the standard normal's.
#[test]
fn gaussian_moments() {
    let values = gaussian(Stream::new(7, Purpose::Test, 0, 0), COUNT);
    let n = COUNT as f64;
    let moment = |k: i32| values.iter().map(|&v| f64::from(v).powi(k)).sum::<f64>() / n;
    // Var(z^k) = E z^{2k} − (E z^k)²: 1, 2, 15, 96.
    for (k, mean, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0_f64)] {
        let error = (moment(k) - mean).abs() / (variance / n).sqrt();
        assert!(error < 5.0, "moment {k} is {} ({error:.1} standard errors off)", moment(k));
    }
}

/// Kolmogorov–Smirnov distance of 2²⁰ draws to the normal distribution function.
#[test]
fn gaussian_distribution() {
    let mut values = gaussian(Stream::new(8, Purpose::Test, 1, 2), COUNT);
    values.sort_by(f32::total_cmp);
    let n = COUNT as f64;
    let mut distance = 0.0_f64;
    for (i, &v) in values.iter().enumerate().step_by(64) {
        distance = distance.max((normal_cdf(f64::from(v)) - i as f64 / n).abs());
    }
    assert!(distance * n.sqrt() < 2.2, "KS statistic {}", distance * n.sqrt());
}

/// Neighbouring draws, members and steps are uncorrelated.
#[test]
fn draws_are_uncorrelated() {
    let a = gaussian(Stream::new(9, Purpose::Test, 0, 0), COUNT);
    let pairs = [
        a[1..].to_vec(),
        gaussian(Stream::new(9, Purpose::Test, 0, 1), COUNT),
        gaussian(Stream::new(9, Purpose::Test, 1, 0), COUNT),
    ];
    for b in pairs {
        let n = b.len();
        let correlation = a.iter().zip(&b).map(|(&x, &y)| f64::from(x * y)).sum::<f64>() / n as f64;
        assert!(correlation.abs() * (n as f64).sqrt() < 5.0, "correlation {correlation}");
    }
}

/// The bits of a few draws, so that a change of the generator (which would change every recorded run) shows.
#[test]
fn the_streams_are_frozen() {
    let values = gaussian(Stream::new(42, Purpose::Smoothing, 3, 1), 4);
    let words = Stream::new(42, Purpose::Smoothing, 3, 1).words(0);
    assert_eq!(words, philox4x32([0, 3, 1, 1 << 24], [42, 0]));
    let (a, b) = box_muller(words[0], words[1]);
    assert_eq!(values[..2], [a, b]);
    assert_eq!(box_muller(0x8000_0000, 0x2000_0000).0.to_bits(), box_muller(0x8000_0000, 0x2000_0000).1.to_bits());
}

/// Φ(x) by its power series around 0.
fn normal_cdf(x: f64) -> f64 {
    // Φ(x) = ½ + φ(x)·(x + x³/3 + x⁵/15 + …)
    if x.abs() > 8.0 {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut sum, mut term) = (x, x);
    let mut k = 1.0;
    while term.abs() > 1e-17 * sum.abs() {
        k += 2.0;
        term *= x * x / k;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}
