//! The order in which an epoch visits the training images.

use tightrope_noise::{Purpose, Stream};

/// A permutation of `0..count`, a pure function of its arguments (Fisher–Yates over the shuffle stream of `epoch`).
pub fn shuffled(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    shuffle(&mut order, &Stream::new(seed, Purpose::Shuffle, epoch, 0));
    order
}

/// Permutes `items` with one draw of `stream` per position, every permutation equally likely.
pub(crate) fn shuffle<T>(items: &mut [T], stream: &Stream) {
    for last in (1..items.len()).rev() {
        items.swap(last, stream.below(last as u64, last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::shuffled;

    #[test]
    fn every_index_comes_once() {
        for count in [0, 1, 2, 3, 10, 1001] {
            let mut order = shuffled(count, 5, 2);
            order.sort_unstable();
            assert_eq!(order, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_order_depends_on_seed_and_epoch_only() {
        assert_eq!(shuffled(100, 1, 1), shuffled(100, 1, 1));
        assert_ne!(shuffled(100, 1, 1), shuffled(100, 1, 2));
        assert_ne!(shuffled(100, 1, 1), shuffled(100, 2, 1));
    }

    /// A change here would change every trained network, so the values are pinned.
    #[test]
    fn the_order_is_pinned() {
        assert_eq!(shuffled(10, 1, 0), [3, 9, 6, 7, 4, 0, 1, 5, 2, 8]);
    }

    #[test]
    fn all_orders_of_three_are_equally_likely() {
        let mut counts = [0_u32; 27];
        for epoch in 0..6000 {
            let order = shuffled(3, 9, epoch);
            counts[order[0] * 9 + order[1] * 3 + order[2]] += 1;
        }
        let seen: Vec<u32> = counts.into_iter().filter(|&count| count > 0).collect();
        assert_eq!(seen.len(), 6);
        // 1000 ± 29 expected; five standard deviations.
        assert!(seen.iter().all(|&count| (855..=1145).contains(&count)), "{seen:?}");
    }
}
