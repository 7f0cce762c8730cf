//! Data sets: loaders, fetching with checksums, and the embedded procedurally drawn digit set.
//!
//! [`load`] gives a whole split as a [`Dataset`] of pixels in [0, 1]. Each data set has one file
//! under `sets/` with its [`DatasetInfo`]: shape, classes, normalisation, published files and loader;
//! adding one is adding that file and its line in [`ALL`]. An image folder may stand in for a set's own files, and the
//! set `folder` is any image folder.
//!
//! ```
//! use tightrope_data::{Split, load};
//!
//! let digits = load("digits", Split::Test, None)?;
//! assert_eq!(digits.shape, [1, 28, 28]);
//! assert_eq!(digits.images().len(), digits.len() * 28 * 28);
//! # Ok::<(), tightrope_data::DataError>(())
//! ```

mod checksum;
mod cifar;
mod dataset;
mod digits;
mod error;
mod fetch;
mod idx;
mod idx_pair;
mod images;
mod locate;
mod mat;
mod names;
mod order;
mod pixels;
mod published;
mod registry;
mod sets;
mod tar;
mod validation;
mod zip;

pub use dataset::{Dataset, Form, Split};
pub use digits::digits;
pub use error::DataError;
pub use fetch::{Fetched, FetchedFile, Origin, Progress, fetch, fetch_from, fetch_through};
pub use locate::{Place, default_root};
pub use names::{ClassDifference, are_indices};
pub use order::shuffled;
pub use published::{Check, Packing, PublishedFile, Verified};
pub use registry::{ALL, DatasetInfo, Options, Source, has_validation, info, load, load_with};
pub use validation::Parts;
