//! predictions.csv: what a run's model says about the rows that it is scored on, beside what is true. As that of
//! `predict`, with the target.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;

use minilote::data::{Dataset, Missing, Schema};
use minilote::files::write_whole;
use minilote::model::Model;
use minilote::train::{Roc, best_class};
use minilote::{Error, Result, Task};
use ndarray::{Array1, Array2};

use super::note;
use super::report::significant;

/// Significant digits that hold any probability of single precision.
const DIGITS: usize = 9;
/// Of values in a table's units, which may be far from 0 beside their spread: as many as a double keeps.
const DIGITS_OF_VALUES: usize = 15;
/// Columns that a note names.
const NAMED: usize = 5;

/// A number for each row: a value in the table's units, or the index of a class.
#[derive(Default)]
pub struct Predictions {
    pub targets: Vec<f64>,
    pub predictions: Vec<f64>,
    /// Of the second of two classes; empty for other tasks.
    pub probabilities: Vec<f64>,
}

/// The names of the columns that follow the row's: of the prediction, and of each class's probability.
pub fn head(model: &Model) -> Vec<String> {
    let probabilities = model.classes().iter().map(|class| format!("p({class})"));
    ["prediction".to_string()].into_iter().chain(probabilities).collect()
}

/// The cells of those columns: a class and all probabilities, or a value.
pub fn cells(model: &Model, meanings: &Array2<f64>, row: usize) -> Vec<String> {
    let class = model.classes().get(best_class(meanings, row)).cloned();
    let digits = if class.is_some() { DIGITS } else { DIGITS_OF_VALUES };
    class.into_iter().chain(meanings.row(row).iter().map(|&value| significant(value, digits))).collect()
}

/// How a table is read for a model: as it was trained, or as a flag says.
///
/// # Errors
/// [`Error::Config`] for means that a model of an earlier version, or of rows in memory, lacks.
pub fn schema(model: &Model, missing: Option<Missing>) -> Result<Schema> {
    let schema = Schema { missing: missing.unwrap_or(model.schema.missing), ..model.schema.clone() };
    let refused = "--missing mean: the model has nothing to fill in; --missing drop leaves rows out";
    schema.check().map_err(|_| Error::Config(refused.into()))?;
    Ok(schema)
}

/// Notes what of a file the model does not see.
pub fn tell(data: &Dataset) {
    if data.dropped > 0 {
        note(&format!("rows with missing values left out: {}", data.dropped));
    }
    if !data.unknown.is_empty() {
        note(&unknown(&data.unknown));
    }
}

/// How many cells of which columns training did not have.
fn unknown(columns: &[(String, usize)]) -> String {
    let all: usize = columns.iter().map(|(_, cells)| cells).sum();
    let named = columns.iter().take(NAMED).map(|(name, cells)| format!("{name:.40} {cells}"));
    let mut named: Vec<String> = named.collect();
    if columns.len() > NAMED {
        named.push(format!("… and {} more columns", columns.len() - NAMED));
    }
    format!("cells of unknown categories, taken as zeros: {all} ({})", named.join(", "))
}

/// Writes the file for outputs `[rows, outputs]`, targets in the table's own units, and the lines that they come from.
///
/// # Errors
/// [`Error::File`].
pub fn write(
    path: &Path,
    model: &Model,
    outputs: &Array2<f64>,
    targets: &Array1<f64>,
    lines: impl IntoIterator<Item = u64>,
) -> Result<()> {
    let failed = |error: &dyn Display| Error::file(path, error);
    let meanings = model.interpret(outputs);
    let mut writer = csv::Writer::from_writer(vec![]);
    let names = [vec!["row".to_string(), "target".into()], head(model)].concat();
    writer.write_record(&names).map_err(|error| failed(&error))?;
    for (row, (line, &target)) in lines.into_iter().zip(targets).enumerate() {
        let class = model.classes().get(target as usize).cloned();
        let target = class.unwrap_or_else(|| significant(target, DIGITS_OF_VALUES));
        let record = [vec![line.to_string(), target], cells(model, &meanings, row)].concat();
        writer.write_record(&record).map_err(|error| failed(&error))?;
    }
    write_whole(path, &writer.into_inner().map_err(|error| failed(&error))?)
}

/// Reads the file for its model.
///
/// # Errors
/// [`Error::File`] with the line that does not suit.
pub fn read(path: &Path, model: &Model) -> Result<Predictions> {
    let failed = |error: &dyn Display| Error::file(path, error);
    let classes: HashMap<&str, f64> =
        model.classes().iter().enumerate().map(|(i, class)| (class.as_str(), i as f64)).collect();
    let mut reader = csv::Reader::from_path(path).map_err(|error| failed(&error))?;
    // Runs of earlier versions have no rows, and of several classes no probabilities.
    let names = reader.headers().map_err(|error| failed(&error))?;
    let [target, prediction] =
        ["target", "prediction"].map(|name| names.iter().position(|other| other == name));
    let last = names.len().checked_sub(1);
    let probability = last.filter(|_| model.spec.task == Task::Binary);
    let mut all = Predictions::default();
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(|error| failed(&error))?;
        let known =
            |text: &str| if classes.is_empty() { text.parse().ok() } else { classes.get(text).copied() };
        let [target, prediction] = [target, prediction].map(|column| record.get(column?).and_then(known));
        let probability = probability.and_then(|column| record.get(column)).map(str::parse::<f64>);
        let (Some(target), Some(prediction), None | Some(Ok(_))) = (target, prediction, &probability) else {
            let line = row + 2;
            return Err(failed(&format!(
                "line {line} is no target, prediction and probability of this model"
            )));
        };
        all.targets.push(target);
        all.predictions.push(prediction);
        all.probabilities.extend(probability.and_then(Result::ok));
    }
    Ok(all)
}

impl Predictions {
    /// Rows of each true class (outer) by predicted class (inner).
    pub fn confusion(&self, classes: usize) -> Vec<Vec<usize>> {
        let mut counts = vec![vec![0; classes]; classes];
        for (&target, &prediction) in self.targets.iter().zip(&self.predictions) {
            counts[target as usize][prediction as usize] += 1;
        }
        counts
    }

    /// The ROC curve, where there are two classes.
    pub fn roc(&self) -> Option<Roc> {
        Roc::new(self.targets.iter().copied().zip(self.probabilities.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(targets: &[f64], probabilities: &[f64]) -> Predictions {
        let predictions = probabilities.iter().map(|&p| f64::from(p > 0.5)).collect();
        Predictions { targets: targets.into(), predictions, probabilities: probabilities.into() }
    }

    #[test]
    fn confusion_counts_true_by_predicted() {
        let predictions = binary(&[0.0, 1.0, 1.0], &[0.9, 0.8, 0.1]);
        assert_eq!(predictions.confusion(2), [[0, 1], [1, 1]]);
    }

    #[test]
    fn a_note_names_a_few_columns_with_unknown_categories() {
        let columns: Vec<_> = (0..7).map(|i| (format!("c{i}"), 9 - i)).collect();
        assert_eq!(unknown(&columns[..2]), "cells of unknown categories, taken as zeros: 17 (c0 9, c1 8)");
        let text = unknown(&columns);
        assert!(text.ends_with(": 42 (c0 9, c1 8, c2 7, c3 6, c4 5, … and 2 more columns)"), "{text}");
    }
}
