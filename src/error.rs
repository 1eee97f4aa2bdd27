//! What can go wrong, by kind; the kind sets the command's exit code.

use std::path::{Path, PathBuf};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every failure says what, where, and what to do about it.
///
/// | kind | exit code |
/// |---|---|
/// | [`Error::Config`] | 2 |
/// | [`Error::Data`] | 3 |
/// | [`Error::Device`] | 4 |
/// | [`Error::Diverged`] | 5 |
/// | [`Error::File`] | 6 |
/// | [`Error::Fit`] | 7 |
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The fields are what the messages say.
pub enum Error {
    /// A flag, a configuration key or an argument of the library that can't be used.
    #[error("{0}")]
    Config(String),

    /// Content of a data file that can't be used. `row` is the line of the file, counted from 1
    /// (the header is line 1); `column` is the name of a column.
    #[error("{}{}", position(.file, *.row, .column.as_deref()), .message)]
    Data { file: PathBuf, row: Option<u64>, column: Option<String>, message: String },

    /// No device, a device that was lost, or one that refused work.
    #[error("{0}")]
    Device(String),

    /// The loss or a statistic stopped being a finite number.
    #[error("training diverged in epoch {epoch}, step {step}: {what} is not finite; {way_out}")]
    Diverged { epoch: usize, step: usize, what: String, way_out: &'static str },

    /// A file that can't be read, written or understood.
    #[error("{}: {message}", .path.display())]
    File { path: PathBuf, message: String },

    /// A program that does not fit the device.
    #[error("{tensor} needs {needed} and the device allows {limit} ({rule}); {way_out}")]
    Fit { tensor: String, needed: String, limit: String, rule: String, way_out: String },
}

impl Error {
    /// The exit code of the command for this kind of error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Config(_) => 2,
            Error::Data { .. } => 3,
            Error::Device(_) => 4,
            Error::Diverged { .. } => 5,
            Error::File { .. } => 6,
            Error::Fit { .. } => 7,
        }
    }

    /// An error about a data file as a whole.
    pub fn data(file: &Path, message: impl Into<String>) -> Error {
        Error::Data { file: file.into(), row: None, column: None, message: message.into() }
    }

    /// An error about a file that could not be read or written.
    pub fn file(path: &Path, message: impl ToString) -> Error {
        Error::File { path: path.into(), message: message.to_string() }
    }
}

fn position(file: &Path, row: Option<u64>, column: Option<&str>) -> String {
    let mut text = file.display().to_string();
    if let Some(row) = row {
        text += &format!(", line {row}");
    }
    if let Some(column) = column {
        text += &format!(", column {column:?}");
    }
    text + ": "
}
