//! Reading a CSV file with a header into memory, as text.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use csv::ByteRecord;

use super::source::{open, read_up_to};
use super::{Missing, nearest, quoted};
use crate::{Error, Result};

const CONTENT_LIMIT: u64 = 4 << 30;
const COLUMN_LIMIT: usize = 100_000;
const FIELD_LIMIT: usize = 1_000_000;

/// The cells of a CSV file, as trimmed text.
#[derive(Clone, Debug)]
pub struct Table {
    /// The file that was read.
    pub(crate) file: PathBuf,
    /// The names of the columns, all different.
    pub(crate) names: Vec<String>,
    /// The line of the file on which each row begins; the header is line 1 unless blank lines lead.
    pub(crate) lines: Vec<u64>,
    /// All cells, row by row, end to end.
    text: String,
    /// Where each cell ends in `text`.
    ends: Vec<usize>,
}

impl Table {
    /// Reads a CSV file (comma-separated, UTF-8, with a header; gzip or not).
    ///
    /// Blank lines are skipped. Errors: [`Error::File`] if the file can't be read or decompressed;
    /// [`Error::Data`] for an empty file, a header alone, an empty or repeated column name, a row with
    /// another number of fields than the header, text that is not UTF-8, more than 100,000 columns, a
    /// field over 1 MB, or content over 4 GiB.
    pub fn read(path: &Path) -> Result<Table> {
        let content = read_up_to(&mut *open(path)?, CONTENT_LIMIT + 1, path)?;
        if content.len() as u64 > CONTENT_LIMIT {
            return Err(Error::data(path, "the content is over 4 GiB; split the file"));
        }
        Table::parse(path, content.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&content))
    }

    fn parse(path: &Path, content: &[u8]) -> Result<Table> {
        let error = |row, column: Option<&str>, message: String| Error::Data {
            file: path.into(),
            row: Some(row),
            column: column.map(Into::into),
            message,
        };
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(content);
        let mut table = Table {
            file: path.into(),
            names: Vec::new(),
            lines: Vec::new(),
            text: String::new(),
            ends: Vec::new(),
        };
        let mut record = ByteRecord::new();
        let mut lines = LineCounter { content, offset: 0, line: 1 };
        while reader.read_byte_record(&mut record).map_err(|error| Error::data(path, error.to_string()))? {
            let line = lines.advance(record.position().map_or(0, |position| position.byte()));
            let header = table.names.is_empty();
            if header && record.len() > COLUMN_LIMIT {
                let message = format!("{} columns; the limit is {COLUMN_LIMIT}", record.len());
                return Err(error(line, None, message));
            }
            if !header && record.len() != table.names.len() {
                let message = format!("expected {} fields, found {}", table.names.len(), record.len());
                return Err(error(line, None, message));
            }
            for (index, field) in record.iter().enumerate() {
                let name = table.names.get(index).filter(|_| !header).map(String::as_str);
                let failed = |message: &str| match name {
                    Some(name) => error(line, Some(name), message.into()),
                    None => error(line, None, format!("field {}: {message}", index + 1)),
                };
                if field.len() > FIELD_LIMIT {
                    return Err(failed("the field is over 1 MB; is a closing quote missing?"));
                }
                let cell = std::str::from_utf8(field).map_err(|_| failed("the text is not UTF-8"))?.trim();
                if !header {
                    table.text.push_str(cell);
                    table.ends.push(table.text.len());
                } else if cell.is_empty() {
                    return Err(failed("the column has no name"));
                } else {
                    table.names.push(cell.into());
                }
            }
            if header {
                let mut seen = HashSet::new();
                if let Some(name) = table.names.iter().find(|name| !seen.insert(name.as_str())) {
                    return Err(error(line, Some(name), "two columns have this name".into()));
                }
                if let [only] = table.names.as_slice()
                    && let Some(other) = [";", "\t"].into_iter().find(|other| only.contains(other))
                {
                    let message = format!("the fields are separated by {other:?}; commas are needed");
                    return Err(error(line, None, message));
                }
            } else {
                table.lines.push(line);
            }
        }
        if table.names.is_empty() {
            return Err(Error::data(path, "the file is empty"));
        }
        if table.lines.is_empty() {
            return Err(Error::data(path, "the file has a header and no rows"));
        }
        Ok(table)
    }

    /// The names of the columns, all different.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.lines.len()
    }

    /// The text of a cell; empty for a row or column that the table lacks.
    pub fn cell(&self, row: usize, column: usize) -> &str {
        if row >= self.rows() || column >= self.names.len() {
            return "";
        }
        let index = row * self.names.len() + column;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }

    /// Where the column of this name is; otherwise an [`Error::Data`] that suggests the nearest name.
    pub(super) fn column(&self, name: &str) -> Result<usize> {
        self.names.iter().position(|other| other == name).ok_or_else(|| {
            let hint = match nearest(name, self.names.iter().map(String::as_str)) {
                Some(other) => format!("; did you mean {}?", quoted(other)),
                None => format!("; the columns are {}", super::listed(&self.names)),
            };
            Error::data(&self.file, format!("no column {}{hint}", quoted(name)))
        })
    }

    /// A cell as a finite number of single precision's range; otherwise an [`Error::Data`].
    pub(super) fn number(&self, row: usize, column: usize) -> Result<f64> {
        let cell = self.cell(row, column);
        let message = match cell.parse::<f64>() {
            Ok(number) if number.abs() <= f64::from(f32::MAX) => return Ok(number),
            Ok(_) => format!("{} is not a finite number within ±3.4e38", quoted(cell)),
            Err(_) => format!("{} is not a number", quoted(cell)),
        };
        Err(self.error(Some(row), column, message))
    }

    /// The rows to use, at least one, by what is done with missing cells of the columns given.
    pub(super) fn usable_rows(
        &self,
        features: &[usize],
        target: Option<usize>,
        missing: Missing,
    ) -> Result<Vec<usize>> {
        let mut rows = Vec::new();
        for row in 0..self.rows() {
            let gap = |columns: &[usize]| columns.iter().copied().find(|c| is_missing(self.cell(row, *c)));
            let target_gap = gap(target.as_slice());
            match (missing, target_gap, if missing == Missing::Mean { None } else { gap(features) }) {
                (_, None, None) => rows.push(row),
                (Missing::Drop, ..) => {}
                (_, Some(column), _) => {
                    let message = "the target is missing, and it can't be filled in; \
                                   --missing drop leaves such rows out";
                    return Err(self.error(Some(row), column, message));
                }
                (_, _, Some(column)) => {
                    let message = format!(
                        "the cell is missing ({}); training with --missing mean fills in the column's mean \
                         or most frequent category, --missing drop leaves such rows out",
                        quoted(self.cell(row, column)),
                    );
                    return Err(self.error(Some(row), column, message));
                }
            }
        }
        if rows.is_empty() {
            return Err(Error::data(
                &self.file,
                "every row has a missing cell, so --missing drop leaves none",
            ));
        }
        Ok(rows)
    }

    /// An error about one cell, or, without a row, about a column.
    pub(super) fn error(&self, row: Option<usize>, column: usize, message: impl Into<String>) -> Error {
        Error::Data {
            file: self.file.clone(),
            row: row.and_then(|row| self.lines.get(row).copied()),
            column: self.names.get(column).cloned(),
            message: message.into(),
        }
    }
}

/// Whether a cell's text stands for no value.
pub fn is_missing(cell: &str) -> bool {
    matches!(cell, "" | "NA" | "N/A" | "?")
        || ["null", "nan"].iter().any(|word| cell.eq_ignore_ascii_case(word))
}

/// Turns the offset of a record into a line. The CSV reader's own count is of where it began to look
/// for the record, which is short of the record by the blank lines between.
struct LineCounter<'a> {
    content: &'a [u8],
    offset: usize,
    line: u64,
}

impl LineCounter<'_> {
    fn advance(&mut self, offset: u64) -> u64 {
        let skipped = &self.content[self.offset..];
        let passed = (offset as usize).saturating_sub(self.offset).min(skipped.len());
        let blank = skipped[passed..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.line += skipped[..passed + blank].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.offset += passed + blank;
        self.line
    }
}
