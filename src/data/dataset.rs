//! Rows of numbers, ready for training or prediction.

use std::path::PathBuf;

use ndarray::{Array1, Array2, Axis};

/// Encoded features, `[rows, width]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Inputs {
    /// Numbers of a table; a categorical column takes one 0/1 column a level.
    Real(Array2<f64>),
    /// Pixels of images, 0 to 255.
    Bytes(Array2<u8>),
}

impl Inputs {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Inputs::Real(values) => values.nrows(),
            Inputs::Bytes(values) => values.nrows(),
        }
    }

    /// The number of encoded features.
    pub fn width(&self) -> usize {
        match self {
            Inputs::Real(values) => values.ncols(),
            Inputs::Bytes(values) => values.ncols(),
        }
    }

    /// A copy of some rows.
    ///
    /// # Panics
    ///
    /// If a row number is not less than the number of rows.
    pub fn select(&self, rows: &[u32]) -> Inputs {
        let rows: Vec<usize> = rows.iter().map(|&row| row as usize).collect();
        match self {
            Inputs::Real(values) => Inputs::Real(values.select(Axis(0), &rows)),
            Inputs::Bytes(values) => Inputs::Bytes(values.select(Axis(0), &rows)),
        }
    }
}

impl From<Array2<f64>> for Inputs {
    fn from(values: Array2<f64>) -> Inputs {
        Inputs::Real(values)
    }
}

/// A file's rows, encoded by a [`Schema`](super::Schema).
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// The features, `[rows, width]`.
    pub inputs: Inputs,
    /// The index of the class, or the value, of each row, `[rows]`; `None` if they were not asked for.
    pub targets: Option<Array1<f64>>,
    /// Where each row comes from: a line of the CSV file (the header is line 1), or the number of the
    /// image, from 1.
    pub lines: Vec<u64>,
    /// Which row of the table, or image, each row is, from 0.
    pub places: Vec<usize>,
    /// How many rows [`Missing::Drop`](super::Missing::Drop) left out.
    pub dropped: usize,
    /// The columns with categories that [`Unknown::Zero`](super::Unknown::Zero) allowed, and how many cells of each had
    /// one, the most first.
    pub unknown: Vec<(String, usize)>,
    /// The file that was read.
    pub file: PathBuf,
}

impl Dataset {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.inputs.rows()
    }

    /// The number of encoded features.
    pub fn width(&self) -> usize {
        self.inputs.width()
    }
}
