//! What a file may ask for at the most, each with its reason, and how files are opened and read within it.
//!
//! Numbers in a file are only claims: nothing is allocated by them. What is over a cap is refused with its name and a
//! way out, so that memory stays within four times the file and 64 MB: see SECURITY.md for how that is counted.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::{Error, Result};

/// Bytes of a table, decompressed: lines and places fit 32 bits.
pub const TABLE: u64 = (4 << 30) - 1;
/// Columns of a table: past the widest that a network is trained on, and the names still fit a model file.
pub const COLUMNS: usize = 100_000;
/// Bytes of a field: a missing closing quote is found here rather than at the end of the file.
pub const FIELD: usize = 1_000_000;
/// Bytes of the elements of an IDX file, as its header gives them: past the largest of the published sets.
pub const ELEMENTS: u64 = 2 << 30;
/// How many times its own size gzip may expand to: tables and images expand 3 to 30 times, a bomb 1000.
pub const EXPANSION: u64 = 100;
/// What gzip may expand to however small the file is, as a short file of zeros is no attack.
pub const EXPANDED: u64 = 16 << 20;
/// Bytes of a configuration file, which has a line for a flag.
pub const CONFIG: u64 = 1_000_000;
/// Bytes of a safetensors header: names and places of tensors, and a description of columns and layers.
pub const HEADER: usize = 1_000_000;
/// Tensors of a safetensors file: 1000 layers have at most five each.
pub const TENSORS: usize = 10_000;
/// Bytes of a model's description, in a tensor where it is too long for the header: its texts may take 14 times their
/// length in memory.
pub const DESCRIPTION: usize = 5_000_000;
/// Bytes of a checkpoint's state, in the same way: its numbers take 4 times their length, and 150,000 normalized units
/// fit.
pub const STATE: usize = 24_000_000;
/// Bytes of what the command notes in a checkpoint, which may take 16 times its length.
pub const NOTE: usize = 100_000;

/// Opens a file, and refuses what is none, as a directory, a pipe or a device, which may never end.
///
/// # Errors
/// [`Error::File`].
pub fn open(path: &Path) -> Result<File> {
    let failed = |error| Error::file(path, error);
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::file(
            path,
            "a directory, pipe or device, and no regular file: copy its content to one",
        ));
    }
    File::open(path).map_err(failed)
}

/// The content of a configuration file.
///
/// # Errors
/// [`Error::File`] if it can't be read, is over [`CONFIG`] or no text.
pub fn read_config(path: &Path) -> Result<String> {
    let mut bytes = vec![];
    open(path)?.take(CONFIG + 1).read_to_end(&mut bytes).map_err(|error| Error::file(path, error))?;
    if bytes.len() as u64 > CONFIG {
        return Err(Error::file(
            path,
            format!("over {CONFIG} bytes, the limit of a configuration: is it the data?"),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::file(path, format!("the text is not UTF-8, from byte {at} on"))
    })
}
