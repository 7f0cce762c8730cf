//! The splits of a data set that a run reads.

use std::path::Path;

use tightrope_data::{DataError, Dataset, Options, Split, has_validation, load_with};

use crate::config::Config;

impl Config {
    /// How the data set's images are read: `dir` as in [`tightrope_data::load`], `progress` as in [`Options`].
    pub fn data_options<'a>(&self, dir: Option<&'a Path>, progress: &'a (dyn Fn(usize, usize) + Sync)) -> Options<'a> {
        let resize = match self.data.resize[..] {
            [height, width] => Some([height, width]),
            _ => None,
        };
        Options { dir, resize, progress }
    }

    /// The training images, and what evaluations look at: the validation split of a data set that has one, else the test
    /// split; none where a part of the training images is kept for them ([`crate::Job`] takes it).
    ///
    /// # Errors
    /// As [`tightrope_data::load_with`].
    pub fn load_splits(&self, options: &Options<'_>) -> Result<(Dataset, Option<Dataset>), DataError> {
        let load = |split| load_with(&self.dataset, split, options);
        let train = load(Split::Train)?;
        let evaluated = match (has_validation(&self.dataset, options.dir)?, self.train.validation > 0.0) {
            (true, _) => Some(Split::Validation),
            (false, true) => None,
            (false, false) => Some(Split::Test),
        };
        Ok((train, evaluated.map(load).transpose()?))
    }
}
