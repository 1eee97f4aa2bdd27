//! A CSV file taken apart within its own bytes, so that the cells take no more memory than the file.

use std::ops::Range;

use crate::caps;

/// What stands behind each cell that is kept: no byte of UTF-8.
pub(super) const END: u8 = 0xff;

/// The fields of a CSV file, one after the other, by RFC 4180 as far as it goes: a quote within a field that did not
/// begin with one is text, as is what follows a closing quote; blank lines are none. Commas separate them, or semicolons
/// or tabs where the first line has no comma. Where semicolons do, commas are decimal ones.
pub(super) struct Fields {
    /// Cells that were kept up to `written`, the file from `read` on.
    bytes: Vec<u8>,
    written: usize,
    read: usize,
    line: u32,
    separator: u8,
}

impl Fields {
    pub fn new(mut bytes: Vec<u8>) -> Fields {
        // So every field ends with a byte, in whose place the last cell's end is written.
        bytes.push(b'\n');
        let read = if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        let mut lines = bytes[read..].split(|byte| matches!(byte, b'\r' | b'\n'));
        let first = lines.find(|line| !line.is_empty());
        let mut quoted = false;
        let mut unquoted = first.unwrap_or_default().to_vec();
        unquoted.retain(|byte| {
            quoted ^= *byte == b'"';
            !quoted
        });
        let separator = *b",;\t".iter().find(|byte| unquoted.contains(byte)).unwrap_or(&b',');
        Fields { bytes, written: 0, read, line: 1, separator }
    }

    /// Whether numbers are written with a decimal comma, as programs do that separate by semicolons.
    pub fn decimal_comma(&self) -> bool {
        self.separator == b';'
    }

    /// Goes to the next row; its line.
    pub fn row(&mut self) -> Option<u32> {
        while let Some(byte @ (b'\r' | b'\n')) = self.bytes.get(self.read) {
            self.line += u32::from(*byte == b'\n');
            self.read += 1;
        }
        (self.read < self.bytes.len()).then_some(self.line)
    }

    /// Reads a field: where its trimmed text is until the next is read, and whether it is the row's last. Otherwise
    /// what is wrong with it.
    pub fn field(&mut self) -> Result<(Range<usize>, bool), String> {
        let start = self.written;
        let mut end = start;
        let mut quoted = self.bytes.get(self.read) == Some(&b'"');
        self.read += usize::from(quoted);
        let last = loop {
            // The file's last byte ends a field, but for one in quotes.
            let Some(&byte) = self.bytes.get(self.read) else {
                return Err("the field begins with a quote, and no other closes it".into());
            };
            self.read += 1;
            self.line += u32::from(byte == b'\n');
            match byte {
                b'"' if quoted => {
                    quoted = self.bytes.get(self.read) == Some(&b'"');
                    if !quoted {
                        continue;
                    }
                    self.read += 1;
                }
                _ if !quoted && byte == self.separator => break false,
                b'\r' | b'\n' if !quoted => break true,
                _ => {}
            }
            self.bytes[end] = byte;
            end += 1;
            if end - start > caps::FIELD {
                return Err("the field is over 1 MB; is a closing quote missing?".into());
            }
        };
        let text = std::str::from_utf8(&self.bytes[start..end]).map_err(|_| "the text is not UTF-8")?;
        let trimmed = text.trim_start();
        let first = start + text.len() - trimmed.len();
        Ok((first..first + trimmed.trim_end().len(), last))
    }

    /// The text of the field that was read last.
    pub fn text(&self, field: Range<usize>) -> &str {
        std::str::from_utf8(&self.bytes[field]).unwrap_or_default()
    }

    /// Keeps the text of the field that was read last, and [`END`] behind it; where it begins.
    pub fn keep(&mut self, field: Range<usize>) -> usize {
        let start = self.written;
        self.written += field.len();
        self.bytes.copy_within(field, start);
        self.bytes[self.written] = END;
        self.written += 1;
        start
    }

    /// All that was kept.
    pub fn kept(mut self) -> Vec<u8> {
        self.bytes.truncate(self.written);
        self.bytes
    }
}
