//! Whether a data set can be trained on and remembered.

use ndarray::Array1;

use crate::data::{Inputs, Schema, Split, Standardizer, TargetKind, quoted};
use crate::{Error, Result, Task, caps};

/// Whether there are rows, of as many features as a model takes.
pub fn suits(rows: usize, width: usize, wanted: usize) -> Result<()> {
    if rows == 0 {
        return Err(Error::Config("there are no rows".into()));
    }
    if width != wanted {
        return Err(Error::Config(format!("{rows} rows of {width} features; the model takes {wanted}")));
    }
    Ok(())
}

/// Whether targets are indices of so many classes.
pub fn of_classes(targets: &Array1<f64>, classes: usize) -> Result<()> {
    let is_one = |target: f64| target >= 0.0 && target.fract() == 0.0 && target < classes as f64;
    match targets.iter().position(|&target| !is_one(target)) {
        None => Ok(()),
        Some(row) => {
            let (row, class) = (row + 1, targets[row]);
            Err(Error::Config(format!("row {row} is of class {class}; there are {classes}, counted from 0")))
        }
    }
}

/// Whether classes and the split are in range: kernels check no index.
pub fn check(task: Task, schema: &Schema, rows: usize, targets: &Array1<f64>, split: &Split) -> Result<()> {
    if schema.outputs(task).is_none() {
        return Err(Error::Config(format!(
            "the target, or its number of classes, does not suit the task, {task}"
        )));
    }
    if let TargetKind::Classes(classes) = &schema.target.kind {
        of_classes(targets, classes.len())?;
    }
    let Split { train, valid, test } = split;
    let inside = [train, valid, test].into_iter().flatten().all(|&row| (row as usize) < rows);
    if targets.len() != rows || !inside {
        return Err(Error::Config(format!("a target for each of {rows} rows, and a split of them, needed")));
    }
    Ok(())
}

/// Whether all values are finite.
pub fn finite(schema: &Schema, inputs: &Inputs, targets: &Array1<f64>) -> Result<()> {
    let refuse =
        |what: String| Err(Error::Config(format!("{what} is not finite: mend that row or leave it out")));
    if let Inputs::Real(values) = inputs
        && let Some(((row, column), _)) = values.indexed_iter().find(|(_, value)| !value.is_finite())
    {
        return refuse(format!("{} of row {}", quoted(&schema.feature_names()[column]), row + 1));
    }
    match targets.iter().position(|target| !target.is_finite()) {
        Some(row) => refuse(format!("the target of row {}", row + 1)),
        None => Ok(()),
    }
}

/// Whether what a model remembers of its table has room in a model file, which is written after all training.
pub fn fits_model_file(schema: &Schema, standardizer: &Standardizer) -> Result<()> {
    // The rest is for the layers.
    const ROOM: usize = caps::DESCRIPTION / 10 * 9;
    let text =
        serde_json::to_string(&(schema, standardizer)).map_err(|error| Error::Config(error.to_string()))?;
    if text.len() > ROOM {
        return Err(Error::Config(format!(
            "names, categories and statistics of {} features take {} bytes of a model file, over the limit of {ROOM}: \
             leave columns out, shorten their names, or use smaller images",
            schema.width(),
            text.len()
        )));
    }
    Ok(())
}
