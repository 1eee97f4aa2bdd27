//! Reading a CSV file with a header into memory, as text.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::fields::{END, Fields};
use super::source::{Source, open};
use super::{Missing, nearest, quoted};
use crate::{Error, Result, caps};

/// A mark tells where so many cells begin.
const MARKED: usize = 8;

/// The cells of a CSV file, as trimmed text.
#[derive(Clone, Debug)]
pub struct Table {
    /// The file that was read.
    pub(crate) file: PathBuf,
    /// The names of the columns, all different.
    pub(crate) names: Vec<String>,
    /// The line of the file on which each row begins; the header is line 1 unless blank lines lead.
    pub(crate) lines: Vec<u32>,
    /// All cells, row by row, each with [`END`] behind it.
    cells: Vec<u8>,
    /// Where every eighth cell begins.
    marks: Vec<u32>,
    /// Whether 1,5 is a number.
    decimal_comma: bool,
}

impl Table {
    /// Reads a CSV file (UTF-8, with a header, gzip or not; separated by commas, or where the header has none by
    /// semicolons, with which 1,5 is 1.5, or tabs), in four times its memory at the most.
    ///
    /// Blank lines are skipped. Errors: [`Error::File`] if the file can't be read or decompressed;
    /// [`Error::Data`] for an empty file, a header alone, an empty or repeated column name, a row with
    /// another number of fields than the header, text that is not UTF-8, and what is over a cap of [`caps`].
    pub fn read(path: &Path) -> Result<Table> {
        Table::of(open(path)?)
    }

    /// The same with the file's content; errors name `path`.
    ///
    /// # Errors
    /// As for [`Table::read`].
    pub fn from_bytes(path: &Path, content: &[u8]) -> Result<Table> {
        Table::of(Source::new(path, content, content.len() as u64)?)
    }

    fn of(mut source: Source) -> Result<Table> {
        let content = source.read(caps::TABLE + 1)?;
        if content.len() as u64 > caps::TABLE {
            return Err(Error::data(source.path, "the content is over 4 GiB; split the file"));
        }
        let mut fields = Fields::new(content);
        let mut table = Table {
            file: source.path.into(),
            names: Vec::new(),
            lines: Vec::new(),
            cells: Vec::new(),
            marks: Vec::new(),
            decimal_comma: fields.decimal_comma(),
        };
        table.header(&mut fields)?;
        while let Some(line) = fields.row() {
            table.row(&mut fields, line)?;
        }
        if table.lines.is_empty() {
            return Err(Error::data(&table.file, "the file has a header and no rows"));
        }
        table.cells = fields.kept();
        Ok(table)
    }

    fn header(&mut self, fields: &mut Fields) -> Result<()> {
        let Some(line) = fields.row() else { return Err(Error::data(&self.file, "the file is empty")) };
        let refuse = |column: Option<&str>, message: String| Error::Data {
            file: self.file.clone(),
            row: Some(line.into()),
            column: column.map(Into::into),
            message,
        };
        for number in 1.. {
            let failed = |message: String| refuse(None, format!("field {number}: {message}"));
            let (field, last) = fields.field().map_err(failed)?;
            if number > caps::COLUMNS {
                let message = format!("over {} columns, the limit: leave some out", caps::COLUMNS);
                return Err(refuse(None, message));
            }
            if field.is_empty() {
                let message = "the column has no name (pandas leaves its index out with to_csv(index=False))";
                return Err(failed(message.into()));
            }
            self.names.push(fields.text(field).into());
            if last {
                break;
            }
        }
        let mut seen = HashSet::new();
        if let Some(name) = self.names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(refuse(Some(name), "two columns have this name".into()));
        }
        Ok(())
    }

    fn row(&mut self, fields: &mut Fields, line: u32) -> Result<()> {
        let (columns, first) = (self.names.len(), self.lines.len() * self.names.len());
        self.lines.push(line);
        for index in 0.. {
            let field = fields.field();
            let (field, last) = field.map_err(|message| self.error(Some(self.rows() - 1), index, message))?;
            if index < columns {
                let start = fields.keep(field);
                if (first + index).is_multiple_of(MARKED) {
                    self.marks.push(start as u32);
                }
            }
            if last && index + 1 != columns {
                let message = format!("expected {columns} fields, found {}", index + 1);
                return Err(self.error(Some(self.rows() - 1), columns, message));
            }
            if last {
                break;
            }
        }
        Ok(())
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
        let from = &self.cells[self.marks[index / MARKED] as usize..];
        let cell = from.split(|&byte| byte == END).nth(index % MARKED);
        std::str::from_utf8(cell.unwrap_or_default()).unwrap_or_default()
    }

    /// Where the column of this name is; otherwise an [`Error::Data`] that suggests the nearest name.
    pub(crate) fn column(&self, name: &str) -> Result<usize> {
        self.names.iter().position(|other| other == name).ok_or_else(|| {
            let hint = match nearest(name, self.names.iter().map(String::as_str)) {
                Some(other) => format!("; did you mean {}?", quoted(other)),
                None => format!("; the columns are {}", super::listed(&self.names)),
            };
            Error::data(&self.file, format!("no column {}{hint}", quoted(name)))
        })
    }

    /// A cell as a number, if it is one.
    pub(super) fn parsed(&self, row: usize, column: usize) -> Option<f64> {
        let cell = self.cell(row, column);
        let with_point = || cell.replacen(',', ".", 1).parse().ok();
        cell.parse().ok().or_else(|| if self.decimal_comma { with_point() } else { None })
    }

    /// A cell as a finite number of single precision's range; otherwise an [`Error::Data`].
    pub(super) fn number(&self, row: usize, column: usize) -> Result<f64> {
        let cell = self.cell(row, column);
        let message = match self.parsed(row, column) {
            Some(number) if number.abs() <= f64::from(f32::MAX) => return Ok(number),
            Some(_) => format!("{} is not a finite number within ±3.4e38", quoted(cell)),
            None => format!("{} is not a number", quoted(cell)),
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
                        "the cell is missing ({}); --missing mean fills in the training file's mean or most \
                         frequent category, --missing drop leaves such rows out",
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
            row: row.and_then(|row| self.lines.get(row).copied().map(u64::from)),
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
