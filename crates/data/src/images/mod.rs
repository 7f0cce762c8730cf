//! Image files: PNG, JPEG, PPM and PGM, decoded to bytes, resized, and folders of them.

mod decode;
mod folder;
mod picture;
mod pnm;
mod read;
mod resize;
#[cfg(test)]
pub(crate) mod tests;
mod tree;

pub(crate) use folder::{classes_of, image_folder, listing};
pub(crate) use read::{Entry, Wanted, file_name, read};
pub(crate) use tree::Tree;
