//! Many image files at once, decoded on all threads into one block of memory.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::picture::Picture;
use super::tree::Tree;
use super::{decode, resize};
use crate::error::DataError;

/// Longest name of a file that a list may give, in bytes: what file systems allow.
const LONGEST_NAME: usize = 255;

/// `name` of a file in one folder, as a list of images gives it; none if it leads elsewhere or is no name.
pub(crate) fn file_name(name: &str) -> Option<&str> {
    let leads_on = name.is_empty() || name.len() > LONGEST_NAME || name.contains(['/', '\\', '\0']);
    (!leads_on).then_some(name)
}

/// A file and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    pub(crate) label: usize,
}

impl Entry {
    /// The first file of each class, then the second of each, and so on; `members` are the files of the classes.
    pub(crate) fn in_turn(members: &[Vec<PathBuf>]) -> Vec<Entry> {
        let most = members.iter().map(Vec::len).max().unwrap_or(0);
        let round = |place: usize| {
            let file = move |(label, list): (usize, &Vec<PathBuf>)| {
                list.get(place).map(|path| Entry { path: path.clone(), label })
            };
            members.iter().enumerate().filter_map(file)
        };
        (0..most).flat_map(round).collect()
    }
}

/// What is to become of the files.
pub(crate) struct Wanted<'a> {
    /// Where the files lie.
    pub(crate) tree: &'a Tree,
    /// Channels, height and width that all must have; those of the first image, if left open.
    pub(crate) shape: Option<[usize; 3]>,
    /// Height and width that every image is brought to.
    pub(crate) resize: Option<[usize; 2]>,
    /// Called with (images read, images in all), from any thread.
    pub(crate) progress: &'a (dyn Fn(usize, usize) + Sync),
}

/// How often progress is told, in images.
const TELL_EVERY: usize = 64;

/// Why an image does not go into the block.
enum Misfit {
    /// It has colours, and the block is grey.
    Colour,
    Error(DataError),
}

/// Shape [C, H, W] and pixels [N, C, H, W] of the images of `entries`, of which there must be some.
///
/// Left open, there is one channel if all images are grey and three if any has colours; grey ones then count three times.
/// Of several errors the first in the list is told, whatever the number of threads.
pub(crate) fn read(entries: &[Entry], wanted: &Wanted<'_>) -> Result<([usize; 3], Vec<u8>), DataError> {
    let first = picture(&entries[0], wanted)?;
    let open = || [if first.is_grey() { 1 } else { 3 }, first.height, first.width];
    let shape = wanted.shape.unwrap_or_else(open);
    match fill(entries, shape, wanted) {
        Ok(pixels) => Ok((shape, pixels)),
        Err((_, Misfit::Error(error))) => Err(error),
        Err((_, Misfit::Colour)) if wanted.shape.is_none() => {
            let shape = [3, shape[1], shape[2]];
            match fill(entries, shape, wanted) {
                Ok(pixels) => Ok((shape, pixels)),
                Err((_, Misfit::Error(error))) => Err(error),
                Err((index, Misfit::Colour)) => Err(colour(&entries[index])),
            }
        }
        Err((index, Misfit::Colour)) => Err(colour(&entries[index])),
    }
}

fn colour(entry: &Entry) -> DataError {
    DataError::file(&entry.path, "is a colour image, and this data set is grey; convert it to grey")
}

fn picture(entry: &Entry, wanted: &Wanted<'_>) -> Result<Picture, DataError> {
    let picture = decode::read(wanted.tree, &entry.path)?;
    Ok(match wanted.resize {
        Some(size) => resize::resize(picture, size),
        None => picture,
    })
}

fn fill(entries: &[Entry], shape: [usize; 3], wanted: &Wanted<'_>) -> Result<Vec<u8>, (usize, Misfit)> {
    let [channels, height, width] = shape;
    let mut pixels = vec![0; entries.len() * channels * height * width];
    let done = AtomicUsize::new(0);
    let one = |entry: &Entry, out: &mut [u8]| {
        let picture = picture(entry, wanted).map_err(Misfit::Error)?;
        if [picture.height, picture.width] != [height, width] {
            return Err(Misfit::Error(unequal(entry, &picture, &entries[0], shape, wanted)));
        }
        if channels == 1 && !picture.is_grey() {
            return Err(Misfit::Colour);
        }
        picture.planes(out);
        let count = done.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_multiple_of(TELL_EVERY) || count == entries.len() {
            (wanted.progress)(count, entries.len());
        }
        Ok(())
    };
    let parts = pixels.par_chunks_mut(channels * height * width).zip(entries).enumerate();
    let misfit = parts.find_map_first(|(index, (out, entry))| one(entry, out).err().map(|misfit| (index, misfit)));
    misfit.map_or(Ok(pixels), Err)
}

fn unequal(entry: &Entry, picture: &Picture, first: &Entry, shape: [usize; 3], wanted: &Wanted<'_>) -> DataError {
    let [_, height, width] = shape;
    let expected = match wanted.shape {
        Some(_) => format!("images of this data set have {height}×{width}"),
        None => format!("{} has {height}×{width}", first.path.display()),
    };
    let problem = format!(
        "has {}×{} pixels (height×width), but {expected}; let all be brought to one size by data.resize = [{height}, {width}]",
        picture.height, picture.width
    );
    DataError::file(&entry.path, problem)
}
