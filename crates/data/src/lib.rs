//! Data sets: loaders, fetching with checksums, and the embedded procedurally drawn digit set.
//!
//! [`load`] gives a whole split as a [`Dataset`] of pixels in [0, 1]. Each data set has one file
//! under `sets/` with its [`DatasetInfo`]: shape, classes, normalisation, published files and loader;
//! adding one is adding that file and its line in [`ALL`].
//!
//! ```
//! use tightrope_data::{Split, load};
//!
//! let digits = load("digits", Split::Test, None)?;
//! assert_eq!(digits.shape, [1, 28, 28]);
//! assert_eq!(digits.images.len(), digits.len() * 28 * 28);
//! # Ok::<(), tightrope_data::DataError>(())
//! ```

mod checksum;
mod dataset;
mod digits;
mod error;
mod fetch;
mod idx;
mod locate;
mod order;
mod registry;
mod sets;

pub use dataset::{Dataset, Split};
pub use digits::digits;
pub use error::DataError;
pub use fetch::{Fetched, FetchedFile, Origin, Progress, fetch, fetch_from, fetch_through};
pub use locate::default_root;
pub use order::shuffled;
pub use registry::{ALL, DatasetInfo, PublishedFile, Source, info, load};
