//! The split of a data set as a configuration has it.

use std::collections::HashMap;

use ndarray::Array1;

use super::config::Config;
use super::values::Part;
use crate::data::{
    Dataset, Schema, Split, Splitting, Table, TargetKind, quoted, split, split_groups, split_ordered,
};
use crate::{Error, Result, Task};

/// A number for each of the rows, by the text of a column.
pub fn groups(table: &Table, column: &str, rows: &Dataset) -> Result<Vec<usize>> {
    let column = table.column(column)?;
    let mut known = HashMap::new();
    let group = |&row: &usize| {
        let count = known.len();
        *known.entry(table.cell(row, column)).or_insert(count)
    };
    Ok(rows.places.iter().map(group).collect())
}

/// The split by the configuration's fractions; a part that is a file has no rows yet.
pub fn split_of(
    targets: &Array1<f64>,
    schema: &Schema,
    task: Task,
    config: &Config,
    groups: Option<&[usize]>,
    refuse: &dyn Fn(String) -> Error,
) -> Result<Split> {
    let fraction = |part: &Part| if let Part::Fraction(fraction) = part { *fraction } else { 0.0 };
    let (valid, test) = (fraction(&config.valid), fraction(&config.test));
    let split = match (groups, config.split) {
        (Some(groups), _) => split_groups(groups, valid, test, config.split_seed())?,
        (None, Splitting::Ordered) => split_ordered(targets.len(), valid, test)?,
        (None, Splitting::Random) => split(targets, task, valid, test, config.split_seed())?,
    };
    for (flag, fraction, rows) in [("--valid", valid, &split.valid), ("--test", test, &split.test)] {
        if fraction > 0.0 && rows.is_empty() {
            let count = targets.len();
            let what = if groups.is_some() { "rows, or their groups," } else { "rows" };
            return Err(refuse(format!(
                "{count} {what} are too few for {flag} {fraction}: use {flag} 0 or a file"
            )));
        }
    }
    // A random split leaves each class a row.
    let trained = |class: &usize| split.train.iter().any(|&row| targets[row as usize] as usize == *class);
    if let TargetKind::Classes(classes) = &schema.target.kind
        && let Some(class) = (0..classes.len()).find(|class| !trained(class))
    {
        return Err(refuse(format!(
            "class {} has no row to train on: {}",
            quoted(&classes[class]),
            match groups {
                Some(_) => "try another --split-seed",
                None => "its rows stand at the file's end, which --split ordered takes to validate and test",
            }
        )));
    }
    Ok(split)
}
