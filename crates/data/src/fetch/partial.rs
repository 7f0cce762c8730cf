//! A file under construction: it takes its name only when it is whole.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tightrope_network::{remove_abandoned, temporary_path};

/// Bytes go to a temporary file beside the destination; dropped unfinished, it leaves nothing behind.
pub(crate) struct PartialFile {
    file: File,
    temporary: PathBuf,
    destination: PathBuf,
    finished: bool,
}

impl PartialFile {
    /// Starts the file that is to become `destination`, and its folder.
    ///
    /// Links are followed; a destination that is there but is no regular file is refused.
    pub(crate) fn create(destination: &Path) -> io::Result<Self> {
        let destination = &*match std::fs::metadata(destination) {
            Ok(found) if found.is_file() => destination.canonicalize()?,
            Ok(_) => return Err(io::Error::other("is there and is no regular file")),
            Err(_) => destination.to_path_buf(),
        };
        if let Some(folder) = destination.parent() {
            std::fs::create_dir_all(folder)?;
        }
        destination.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
        remove_abandoned(destination);
        let temporary = temporary_path(destination);
        let file = File::create(&temporary)?;
        // Marks the writer as alive; where there are no locks, the process number alone does.
        let _ = file.try_lock();
        Ok(PartialFile { file, temporary, destination: destination.into(), finished: false })
    }

    /// Where the bytes are for now.
    pub(crate) fn path(&self) -> &Path {
        &self.temporary
    }

    /// Flushes to disk and gives the file its name, replacing what had it.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.temporary, &self.destination)?;
        self.finished = true;
        Ok(())
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.finished {
            // Whatever went wrong has been reported; a leftover that cannot be removed changes nothing.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}
