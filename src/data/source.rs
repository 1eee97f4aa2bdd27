//! Opening a file that may be compressed.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::{Error, Result};

/// A reader of the content of `path`, decompressed if the file begins with the magic of gzip.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read>> {
    let failed = |error| Error::file(path, error);
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
    let mut head = Vec::new();
    file.by_ref().take(2).read_to_end(&mut head).map_err(failed)?;
    let compressed = head == [0x1f, 0x8b];
    let whole = Cursor::new(head).chain(file);
    Ok(if compressed { Box::new(BufReader::new(MultiGzDecoder::new(whole))) } else { Box::new(whole) })
}

/// At most `limit` bytes of `reader`; memory grows with what is really read, not with `limit`.
pub(super) fn read_up_to(reader: &mut dyn Read, limit: u64, path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    reader.take(limit).read_to_end(&mut content).map_err(|error| Error::file(path, error))?;
    Ok(content)
}
