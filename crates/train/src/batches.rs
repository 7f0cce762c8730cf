//! The minibatches of an epoch, made ahead of the trainer on a thread of their own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

use tightrope_data::{Dataset, shuffled};

use crate::TrainError;
use crate::augment::Augmentation;
use crate::config::Config;

/// Minibatches that wait for the trainer at most, besides the one that is being made.
const AHEAD: usize = 1;

/// Images of a minibatch and their classes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Batch {
    /// [N, C, H, W].
    pub(crate) inputs: Vec<f32>,
    pub(crate) labels: Vec<usize>,
}

/// What the minibatches of a run are made from; each is a pure function of seed, epoch and position.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    data: Arc<Dataset>,
    /// Images that are trained on, by their index in `data`.
    chosen: Arc<[usize]>,
    /// Images of an optimiser step: its micro-batches together.
    batch: usize,
    seed: u64,
    augmentation: Option<Augmentation>,
}

impl Source {
    /// Minibatches as `config` asks for them from the images `chosen` of `data`, the first `limit_train` of them.
    pub(crate) fn new(config: &Config, data: &Arc<Dataset>, chosen: &[usize]) -> Result<Self, TrainError> {
        let limit = if config.limit_train == 0 { chosen.len() } else { config.limit_train.min(chosen.len()) };
        Ok(Source {
            data: Arc::clone(data),
            chosen: chosen[..limit].into(),
            batch: config.train.batch * config.train.accumulate,
            seed: config.seed,
            augmentation: Augmentation::new(&config.train, data)?,
        })
    }

    /// Images of an epoch.
    pub(crate) fn samples(&self) -> usize {
        self.chosen.len()
    }

    /// The minibatches of `epoch` from `position` on, one after the other as they are asked for.
    pub(crate) fn epoch(&self, epoch: usize, position: usize) -> impl Iterator<Item = Batch> + use<> {
        let source = self.clone();
        let order = shuffled(self.chosen.len(), self.seed, epoch as u64);
        let count = order.len().div_ceil(self.batch);
        let mut plain = Vec::new();
        (position..count).map(move |position| {
            let first = position * source.batch;
            let places = &order[first..(first + source.batch).min(order.len())];
            source.make(epoch as u64, places, &mut plain)
        })
    }

    fn make(&self, epoch: u64, places: &[usize], plain: &mut Vec<f32>) -> Batch {
        let mut inputs = Vec::with_capacity(places.len() * self.data.image_len());
        let mut labels = Vec::with_capacity(places.len());
        for &place in places {
            let index = self.chosen[place];
            match &self.augmentation {
                Some(augmentation) => {
                    augmentation.append(&self.data, index, [self.seed, epoch], plain, &mut inputs);
                }
                None => self.data.append_image(index, &mut inputs),
            }
            labels.push(self.data.labels[index]);
        }
        Batch { inputs, labels }
    }

    /// The same as [`Source::epoch`], the next one always in the making; without a thread to be had, as they are asked for.
    pub(crate) fn ahead(&self, epoch: usize, position: usize) -> Ahead {
        let (sender, receiver) = sync_channel(AHEAD);
        let batches = self.epoch(epoch, position);
        // Sending fails when nobody waits any more.
        let work = move || batches.map_while(|batch| sender.send(batch).ok()).for_each(drop);
        match Builder::new().name("minibatches".into()).spawn(work) {
            Ok(thread) => Ahead::Thread { receiver: Some(receiver), thread: Some(thread) },
            Err(_) => Ahead::Here(Box::new(self.epoch(epoch, position))),
        }
    }
}

/// Minibatches made ahead; dropped, it ends its thread.
pub(crate) enum Ahead {
    /// A thread makes them; both are there until the end.
    Thread { receiver: Option<Receiver<Batch>>, thread: Option<JoinHandle<()>> },
    /// They are made when they are asked for.
    Here(Box<dyn Iterator<Item = Batch>>),
}

impl Iterator for Ahead {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        match self {
            Ahead::Here(batches) => batches.next(),
            Ahead::Thread { receiver, thread } => {
                let batch = receiver.as_ref().and_then(|receiver| receiver.recv().ok());
                if batch.is_none()
                    && let Some(thread) = thread.take()
                    && let Err(panic) = thread.join()
                {
                    std::panic::resume_unwind(panic);
                }
                batch
            }
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Ahead::Thread { receiver, thread } = self {
            drop(receiver.take());
            if let Some(thread) = thread.take() {
                // A panic there has been seen where its minibatch was missed, or its minibatch was not needed.
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tightrope_data::{Dataset, Split, load};

    use super::{Batch, Source};
    use crate::config::Config;

    fn source(overrides: &[&str]) -> (Source, Arc<Dataset>) {
        let base = ["dataset=digits", "train.batch=16", "seed=3"];
        let overrides: Vec<String> = base.iter().chain(overrides).map(|text| text.to_string()).collect();
        let data = Arc::new(load("digits", Split::Test, None).unwrap());
        let chosen: Vec<usize> = (0..100).map(|i| 2 * i).collect();
        let config = Config::parse("", "(test)", &overrides).unwrap();
        (Source::new(&config, &data, &chosen).unwrap(), data)
    }

    #[test]
    fn every_chosen_image_comes_once() {
        let (source, data) = source(&[]);
        let batches: Vec<Batch> = source.epoch(4, 0).collect();
        assert_eq!(batches.iter().map(|batch| batch.labels.len()).collect::<Vec<_>>(), [16, 16, 16, 16, 16, 16, 4]);
        let bits = |image: &[f32]| image.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let mut seen: Vec<_> = batches.iter().flat_map(|batch| batch.inputs.chunks(784).map(bits)).collect();
        let mut wanted: Vec<_> = (0..100).map(|i| bits(&data.image(2 * i))).collect();
        seen.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn batches_made_ahead_are_the_same_from_any_position() {
        for overrides in [&[][..], &["train.flip=true", "train.crop=3"], &["train.crop=2", "train.crop_padding=edge"]] {
            let (source, _) = source(overrides);
            let all: Vec<Batch> = source.epoch(1, 0).collect();
            for position in [0, 1, 6, 7] {
                assert_eq!(source.ahead(1, position).collect::<Vec<_>>(), all[position..], "{overrides:?}");
            }
            assert_ne!(source.epoch(2, 0).next(), all.first().cloned());
        }
    }

    #[test]
    fn augmentation_changes_images_and_no_labels() {
        let ((plain, _), (augmented, _)) = (source(&[]), source(&["train.crop=3"]));
        let (plain, augmented): (Vec<Batch>, Vec<Batch>) =
            (plain.epoch(0, 0).collect(), augmented.epoch(0, 0).collect());
        for (plain, augmented) in plain.iter().zip(&augmented) {
            assert_eq!(plain.labels, augmented.labels);
            assert_ne!(plain.inputs, augmented.inputs);
        }
    }

    #[test]
    fn who_stops_early_ends_the_thread() {
        let (source, _) = source(&[]);
        let mut ahead = source.ahead(0, 0);
        assert!(ahead.next().is_some());
        // Returns only when the thread has ended.
        drop(ahead);
    }
}
