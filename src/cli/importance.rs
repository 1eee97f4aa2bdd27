//! Permutation importance of a table's columns: for people, and as a file.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use minilote::data::Inputs;
use minilote::files::write_whole;
use minilote::model::Model;
use minilote::train::{Importance, importance};
use minilote::{Device, Error, Result};
use ndarray::Array1;

use super::note;
use super::progress::interrupted;
use super::report::{number, percent, spread, table};

/// Shuffles of each column.
pub const SHUFFLES: usize = 5;
/// Columns that are printed; the file has all.
const SHOWN: usize = 12;

/// Refuses what has no columns, before there is a model.
///
/// # Errors
/// [`Error::Config`].
pub fn check(inputs: &Inputs) -> Result<()> {
    match inputs {
        Inputs::Real(_) => Ok(()),
        Inputs::Bytes(_) => Err(Error::Config(
            "--importance is of a table's columns, and images have none: leave it out".into(),
        )),
    }
}

/// Of rows that [`Model::prepare`] gave, with targets in the table's own units; none where a signal ended it.
///
/// # Errors
/// As for [`importance`].
pub async fn measure(
    model: &Model,
    inputs: &Inputs,
    targets: &Array1<f64>,
    seed: u64,
    device: &Device,
    quiet: bool,
) -> Result<Option<Vec<Importance>>> {
    let mut last = Instant::now();
    let mut observe = |done: usize, all: usize| {
        if !quiet && last.elapsed() >= Duration::from_secs(5) {
            last = Instant::now();
            note(&format!("importance: {:.0} %", 100.0 * done as f64 / all as f64));
        }
        if interrupted().is_some() {
            note("interrupted: the columns' importance was not finished, and is left out");
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    importance(model, inputs, targets, SHUFFLES, seed, device, &mut observe).await
}

/// A line for each column, the most important first.
pub fn text(all: &[Importance]) -> String {
    let mut rows = vec![vec!["column".to_string(), "loss".into()]];
    if all.iter().any(|column| column.error.is_some()) {
        rows[0].push("error".into());
    }
    for Importance { column, loss, error } in all.iter().take(SHOWN) {
        let mut row = vec![column.chars().take(40).collect(), spread(Some(*loss), &number)];
        row.extend(error.map(|error| spread(Some(error), &percent)));
        rows.push(row);
    }
    let text = format!("importance, what {SHUFFLES} shuffles of a column add:\n{}", table(&rows, 1));
    match all.len().saturating_sub(SHOWN) {
        0 => text,
        more => text + &format!("… and {more} more columns of less importance\n"),
    }
}

/// Writes all as CSV.
///
/// # Errors
/// [`Error::File`].
pub fn write(path: &Path, all: &[Importance]) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| Error::file(path, error);
    let mut writer = csv::Writer::from_writer(vec![]);
    writer
        .write_record(["column", "loss", "loss_sd", "error", "error_sd"])
        .map_err(|error| failed(&error))?;
    let cell = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    for Importance { column, loss, error } in all {
        let values =
            [Some(loss.mean), loss.deviation, error.map(|e| e.mean), error.and_then(|e| e.deviation)];
        let record = std::iter::once(column.clone()).chain(values.map(cell));
        writer.write_record(record).map_err(|error| failed(&error))?;
    }
    write_whole(path, &writer.into_inner().map_err(|error| failed(&error))?)
}
