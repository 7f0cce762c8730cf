//! Pareto fronts of points that are to be large in every coordinate, and their hypervolume.

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

#[cfg(test)]
mod tests {
    use super::{front, hypervolume};

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

    #[test]
    fn hypervolume_agrees_with_counted_squares() {
        let points = [(7, 3), (3, 8), (5, 5), (2, 8), (7, 2)];
        let inside = |x: i32, y: i32| points.iter().any(|&(px, py)| x < px && y < py);
        let counted = (0..10).flat_map(|x| (0..10).map(move |y| (x, y))).filter(|&(x, y)| inside(x, y)).count();
        let points = points.map(|(x, y)| vec![f64::from(x), f64::from(y)]);
        assert_eq!(hypervolume(&points), counted as f64);
    }
}
