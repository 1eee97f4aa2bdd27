//! The content of a file that may be compressed.

use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::{Error, Result, caps};

/// A reader of content, decompressed if it begins with the magic of gzip.
pub(super) struct Source<'a> {
    /// What errors name.
    pub path: &'a Path,
    reader: Box<dyn Read + 'a>,
    /// What may be read yet of compressed content.
    room: Option<u64>,
}

/// Of a file.
pub(super) fn open(path: &Path) -> Result<Source<'_>> {
    let file = caps::open(path)?;
    let size = file.metadata().map_err(|error| Error::file(path, error))?.len();
    Source::new(path, BufReader::with_capacity(1 << 16, file), size)
}

impl<'a> Source<'a> {
    /// `path` is what errors name, `size` how many bytes `reader` has.
    pub fn new(path: &'a Path, mut reader: impl Read + 'a, size: u64) -> Result<Source<'a>> {
        let mut head = Vec::new();
        reader.by_ref().take(2).read_to_end(&mut head).map_err(|error| Error::file(path, error))?;
        let compressed = head == [0x1f, 0x8b];
        let whole = Cursor::new(head).chain(reader);
        let reader: Box<dyn Read + 'a> =
            if compressed { Box::new(BufReader::new(MultiGzDecoder::new(whole))) } else { Box::new(whole) };
        let room = compressed.then(|| size.saturating_mul(caps::EXPANSION).max(caps::EXPANDED));
        Ok(Source { path, reader, room })
    }

    /// At most `limit` bytes more; memory grows with what is really read, not with `limit`.
    pub fn read(&mut self, limit: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let room = self.room.unwrap_or(u64::MAX);
        let read = (&mut self.reader).take(limit.min(room.saturating_add(1))).read_to_end(&mut content);
        let read = read.map_err(|error| Error::file(self.path, error))? as u64;
        if read > room {
            let message = format!(
                "gzip expands to over {} times the file's size and {} MiB, as a bomb does: if it is none, \
                 decompress the file first",
                caps::EXPANSION,
                caps::EXPANDED >> 20
            );
            return Err(Error::file(self.path, message));
        }
        self.room = self.room.map(|room| room - read);
        Ok(content)
    }
}
