//! The fronts that proposals are made from, held against the sampler's own crate.

use optimizer::Direction;
use tightrope_statistics::pareto::{front, hypervolume};

/// A second implementation agrees on points without structure, in two to four dimensions.
#[test]
fn another_implementation_agrees() {
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1_u64 << 24) as f64
    };
    for dimensions in 2..=4 {
        let points: Vec<Vec<f64>> = (0..12).map(|_| (0..dimensions).map(|_| random()).collect()).collect();
        let directions = vec![Direction::Maximize; dimensions];
        let mut theirs = optimizer::pareto::pareto_front_indices(&points, &directions);
        let mut ours = front(&points);
        theirs.sort_unstable();
        ours.sort_unstable();
        assert_eq!(ours, theirs);
        let theirs = optimizer::pareto::hypervolume(&points, &vec![0.0; dimensions], &directions);
        assert!((hypervolume(&points) - theirs).abs() < 1e-12);
    }
}
