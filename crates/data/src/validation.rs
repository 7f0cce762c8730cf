//! A validation split taken from the training images.

use tightrope_noise::{Purpose, Stream};

use crate::dataset::Dataset;
use crate::order::shuffle;

/// Indices of training images, in two parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Images that are trained on, in ascending order.
    pub train: Vec<usize>,
    /// Images that are kept for validation, in ascending order.
    pub validation: Vec<usize>,
}

impl Dataset {
    /// Keeps the part `fraction` in [0, 1) of the images for validation, rounded to whole images, each class in
    /// proportion: a pure function of labels, fraction and `seed`. Every class that has images keeps one to train on.
    pub fn parts(&self, fraction: f64, seed: u64) -> Parts {
        let mut members = vec![Vec::new(); self.classes];
        self.labels.iter().enumerate().for_each(|(index, &label)| members[label].push(index));
        let quotas: Vec<f64> = members.iter().map(|list| fraction * list.len() as f64).collect();
        let most = |class: usize| members[class].len().saturating_sub(1);
        let mut counts: Vec<usize> = (0..self.classes).map(|class| (quotas[class] as usize).min(most(class))).collect();
        // Largest remainders first; equal ones in the order of the classes.
        let mut order: Vec<usize> = (0..self.classes).collect();
        order.sort_by(|&a, &b| quotas[b].fract().total_cmp(&quotas[a].fract()));
        let mut missing = ((fraction * self.len() as f64).round() as usize).saturating_sub(counts.iter().sum());
        for class in order {
            if missing > 0 && counts[class] < most(class) {
                counts[class] += 1;
                missing -= 1;
            }
        }
        let mut kept = vec![false; self.len()];
        for (class, list) in members.iter_mut().enumerate() {
            shuffle(list, &Stream::new(seed, Purpose::Validation, class as u64, 0));
            list[..counts[class]].iter().for_each(|&index| kept[index] = true);
        }
        let (validation, train) = (0..self.len()).partition(|&index| kept[index]);
        Parts { train, validation }
    }
}

#[cfg(test)]
mod tests {
    use crate::dataset::{Dataset, Form, Split};

    /// `counts[c]` images of class c, the classes mixed.
    fn set(counts: &[usize]) -> Dataset {
        let mut labels = Vec::new();
        for round in 0..counts.iter().copied().max().unwrap_or(0) {
            labels.extend((0..counts.len()).filter(|&class| round < counts[class]));
        }
        let pixels = vec![0; labels.len()];
        Dataset::from_bytes("set", Split::Train, [1, 1, 1], counts.len(), pixels, labels, Form::Files)
    }

    #[test]
    fn every_class_gives_its_share() {
        let set = set(&[100, 50, 20, 0]);
        let parts = set.parts(0.1, 3);
        let count = |class| parts.validation.iter().filter(|&&index| set.labels[index] == class).count();
        assert_eq!([count(0), count(1), count(2), count(3)], [10, 5, 2, 0]);
        let mut all = [parts.train.clone(), parts.validation.clone()].concat();
        assert!(parts.train.is_sorted() && parts.validation.is_sorted());
        all.sort_unstable();
        assert_eq!(all, (0..170).collect::<Vec<_>>());
    }

    #[test]
    fn the_choice_depends_on_the_seed_alone() {
        let set = set(&[40, 40]);
        assert_eq!(set.parts(0.25, 1), set.parts(0.25, 1));
        assert_ne!(set.parts(0.25, 1), set.parts(0.25, 2));
        // A larger part holds a smaller one.
        let (small, large) = (set.parts(0.1, 1), set.parts(0.5, 1));
        assert!(small.validation.iter().all(|index| large.validation.contains(index)));
    }

    #[test]
    fn the_whole_is_met_and_no_class_is_used_up() {
        // 0.3 and 0.3 and 0.4 images: the largest remainder gives one.
        let parts = set(&[3, 3, 4]).parts(0.1, 0);
        assert_eq!(parts.validation.len(), 1);
        let parts = set(&[1, 9]).parts(0.9, 0);
        assert!(parts.train.contains(&0), "{parts:?}");
        assert_eq!(parts.validation.len(), 8);
        assert!(set(&[5, 5]).parts(0.0, 0).validation.is_empty());
    }
}
