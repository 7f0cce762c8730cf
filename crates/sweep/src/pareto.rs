//! Pareto fronts of points that are to be large in every coordinate, their hypervolume, and means over repetitions.

/// True if `a` is nowhere smaller than `b` and somewhere larger.
fn dominates(a: &[f64], b: &[f64]) -> bool {
    let all = a.iter().zip(b).all(|(a, b)| a >= b);
    all && a.iter().zip(b).any(|(a, b)| a > b)
}

/// Indices of the points that no other dominates, the largest first coordinates first; equal points are all on the front.
///
/// All points have the same number of coordinates, and none is NaN.
pub fn front(points: &[Vec<f64>]) -> Vec<usize> {
    let free = |&i: &usize| points.iter().all(|other| !dominates(other, &points[i]));
    let mut front: Vec<usize> = (0..points.len()).filter(free).collect();
    front.sort_by(|&a, &b| points[b].partial_cmp(&points[a]).unwrap_or(std::cmp::Ordering::Equal).then(a.cmp(&b)));
    front
}

/// Volume of what lies between the origin and the points: the union of the boxes [0, p] over all `points`
/// (Zitzler and Thiele 1998, with reference point 0).
///
/// Coordinates below 0 count as 0. For accuracies it is in [0, 1].
pub fn hypervolume(points: &[Vec<f64>]) -> f64 {
    let Some(dimensions) = points.iter().map(Vec::len).min().filter(|&dimensions| dimensions > 0) else { return 0.0 };
    let last = dimensions - 1;
    let mut sorted: Vec<&Vec<f64>> = points.iter().collect();
    sorted.sort_by(|a, b| b[last].total_cmp(&a[last]));
    if last == 0 {
        return sorted[0][0].max(0.0);
    }
    // Slices between neighbouring values of the last coordinate; each has the base of all points above it.
    let mut base: Vec<Vec<f64>> = Vec::new();
    let mut volume = 0.0;
    for (i, point) in sorted.iter().enumerate() {
        base.push(point[..last].to_vec());
        let below = sorted.get(i + 1).map_or(0.0, |next| next[last]).max(0.0);
        let height = point[last].max(0.0) - below;
        if height > 0.0 {
            volume += height * hypervolume(&base);
        }
    }
    volume
}

/// Mean and spread of repetitions.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Moments {
    /// Repetitions.
    pub count: usize,
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation (n − 1); none for a single repetition.
    pub std: Option<f64>,
}

impl Moments {
    /// Of `values`; none if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let std = (count > 1).then(|| (squares / (count as f64 - 1.0)).sqrt());
        (count > 0).then_some(Moments { count, mean, std })
    }
}

#[cfg(test)]
mod tests {
    use optimizer::Direction;

    use super::{Moments, front, hypervolume};

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn fronts_and_volumes_have_their_closed_forms() {
        let points = [[0.9, 0.2], [0.5, 0.5], [0.5, 0.4], [0.2, 0.9], [0.1, 0.1], [0.9, 0.2]].map(|p| p.to_vec());
        assert_eq!(front(&points), [0, 5, 1, 3]);
        // A staircase: 0.2·0.9 + 0.3·0.5 + 0.4·0.2.
        close(hypervolume(&points), 0.41);
        close(hypervolume(&points[1..2]), 0.25);
        close(hypervolume(&[vec![-1.0, 0.5]]), 0.0);
        assert_eq!((hypervolume(&[]), front(&[])), (0.0, vec![]));
        close(hypervolume(&[vec![0.3], vec![0.7]]), 0.7);
        // Two boxes that share a corner cube of side 0.5: 2·0.5·0.5 − 0.125.
        close(hypervolume(&[vec![1.0, 0.5, 0.5], vec![0.5, 1.0, 0.5]]), 0.375);
        // n points on the line x + y = 1 fill n/(2(n+1)) of the unit square's half below it.
        for n in 1..30_usize {
            let line: Vec<Vec<f64>> = (1..=n).map(|i| i as f64 / (n + 1) as f64).map(|x| vec![x, 1.0 - x]).collect();
            assert_eq!(front(&line).len(), n);
            close(hypervolume(&line), n as f64 / (2.0 * (n + 1) as f64));
        }
    }

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
            close(hypervolume(&points), optimizer::pareto::hypervolume(&points, &vec![0.0; dimensions], &directions));
        }
    }

    #[test]
    fn means_and_deviations() {
        let moments = Moments::of(&[1.0, 2.0, 4.0]).unwrap();
        close(moments.mean, 7.0 / 3.0);
        close(moments.std.unwrap(), (7.0_f64 / 3.0).sqrt());
        assert_eq!(Moments::of(&[0.5]), Some(Moments { count: 1, mean: 0.5, std: None }));
        assert_eq!(Moments::of(&[]), None);
    }
}
