//! The schema of a training file, found from its content.

use std::collections::BTreeMap;

use super::table::is_missing;
use super::{Feature, FeatureKind, Images, Missing, Schema, Table, Target, TargetKind, Task, listed, quoted};
use crate::{Error, Result};

const LEVEL_LIMIT: usize = 1000;
const IDENTIFIER_ROWS: usize = 20;
const INTEGER_CLASS_LIMIT: usize = 20;

impl Schema {
    /// The schema of a training table without the columns to ignore, and the task if none is given.
    ///
    /// A column is numeric if all its cells are numbers, and categorical otherwise; a target of text, or
    /// of at most 20 different integers, is classes. Errors, all [`Error::Data`]: no target column, no
    /// other column, a missing cell that `missing` does not allow, text in a column that is at least 90 %
    /// numbers, an infinite number, a categorical column of over 1000 levels or (above 20 rows) of
    /// different cells only, a target that does not suit `task`, has one class, or a class of one row, or is ignored.
    pub fn of_table(
        table: &Table,
        target: &str,
        ignore: &[String],
        task: Option<Task>,
        missing: Missing,
    ) -> Result<(Schema, Task)> {
        let target = table.column(target)?;
        let ignored = ignore.iter().map(|name| table.column(name)).collect::<Result<Vec<_>>>()?;
        if ignored.contains(&target) {
            return Err(table.error(None, target, "the target can't be ignored"));
        }
        let is_feature = |column: &usize| *column != target && !ignored.contains(column);
        let columns: Vec<usize> = (0..table.names.len()).filter(is_feature).collect();
        let rows = table.usable_rows(&columns, Some(target), missing)?;
        let (kind, task) = target_kind(table, target, &rows, task)?;
        let feature = |column: usize| {
            let kind = feature_kind(table, column, &rows)?;
            Ok(Feature { name: table.names[column].clone(), kind })
        };
        let schema = Schema {
            features: columns.into_iter().map(feature).collect::<Result<_>>()?,
            target: Target { name: table.names[target].clone(), kind },
            missing,
        };
        schema.check().map_err(|message| Error::data(&table.file, message))?;
        Ok((schema, task))
    }

    /// The schema of labeled training images, and the task if none is given; the classes are the labels
    /// that occur.
    ///
    /// Errors, all [`Error::Data`]: no labels, or labels that do not suit `task`, are all the same, or
    /// occur once.
    pub fn of_images(images: &Images, task: Option<Task>) -> Result<(Schema, Task)> {
        let refuse = |image: Option<u64>, message: String| {
            let place = image.map_or(String::new(), |image| format!("label of image {image}: "));
            Error::data(&images.file, place + &message)
        };
        let Some(labels) = &images.labels else {
            return Err(refuse(None, "training needs the file of the labels too".into()));
        };
        let mut counts: BTreeMap<u8, (usize, u64)> = BTreeMap::new();
        for (label, image) in labels.iter().zip(1..) {
            counts.entry(*label).or_insert((0, image)).0 += 1;
        }
        let (kind, task) = if task == Some(Task::Regression) && counts.len() > 1 {
            (TargetKind::Value, Task::Regression)
        } else {
            let classes = counts.into_iter().map(|(label, (count, first))| (label.to_string(), count, first));
            class_kind(classes.collect(), task, "", refuse)?
        };
        let feature =
            Feature { name: "pixel".into(), kind: FeatureKind::Pixels { count: images.pixels.ncols() } };
        let target = Target { name: "label".into(), kind };
        let schema = Schema { features: vec![feature], target, missing: Missing::Refuse };
        schema.check().map_err(|message| refuse(None, message))?;
        Ok((schema, task))
    }
}

/// A number as the name of a class: `1` for the cells `1`, `1.0` and `+1`.
pub(super) fn class_name(number: f64) -> String {
    // Adding 0 turns -0 into 0.
    (number + 0.0).to_string()
}

/// The first row whose cell is not a number, if the column is not one of numbers but for a few typos.
fn first_text(table: &Table, column: usize, rows: &[usize]) -> Result<Option<usize>> {
    let mut texts = rows.iter().copied().filter(|row| table.parsed(*row, column).is_none());
    let Some(first) = texts.next() else { return Ok(None) };
    let numbers = rows.len() - 1 - texts.count();
    if numbers * 10 < rows.len() * 9 {
        return Ok(Some(first));
    }
    let cell = quoted(table.cell(first, column));
    let message = format!("{cell} is not a number, and {numbers} of the column's {} cells are", rows.len());
    Err(table.error(Some(first), column, message))
}

fn feature_kind(table: &Table, column: usize, rows: &[usize]) -> Result<FeatureKind> {
    let rows: Vec<usize> = rows.iter().copied().filter(|row| !is_missing(table.cell(*row, column))).collect();
    if rows.is_empty() {
        return Err(table.error(None, column, "every cell is missing: leave the column out by --ignore"));
    }
    if first_text(table, column, &rows)?.is_none() {
        let numbers = rows.iter().map(|row| table.number(*row, column));
        let mean = numbers.sum::<Result<f64>>()? / rows.len() as f64;
        return Ok(FeatureKind::Numeric { fill: Some(mean) });
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        *counts.entry(table.cell(*row, column)).or_default() += 1;
        if counts.len() > LEVEL_LIMIT {
            break;
        }
    }
    if counts.len() > LEVEL_LIMIT || (counts.len() == rows.len() && rows.len() > IDENTIFIER_ROWS) {
        let found = match counts.len() {
            ..=LEVEL_LIMIT => counts.len().to_string(),
            _ => format!("over {LEVEL_LIMIT}"),
        };
        let message = format!(
            "{found} different texts in {} cells (the limit is {LEVEL_LIMIT}, and not all different); \
             leave an identifier out by --ignore, and write numbers as 1234.5",
            rows.len(),
        );
        return Err(table.error(None, column, message));
    }
    // The first of equals: `rev`, as the maximum of equals is the last.
    let fill = counts.values().enumerate().rev().max_by_key(|(_, count)| **count).map(|(level, _)| level);
    let levels = counts.keys().map(|level| level.to_string()).collect();
    Ok(FeatureKind::Categorical { levels, fill })
}

fn target_kind(
    table: &Table,
    column: usize,
    rows: &[usize],
    task: Option<Task>,
) -> Result<(TargetKind, Task)> {
    let text = first_text(table, column, rows)?;
    if let (Some(row), Some(Task::Regression)) = (text, task) {
        let message = format!("{} is not a number; regression needs one", quoted(table.cell(row, column)));
        return Err(table.error(Some(row), column, message));
    }
    let refuse = |line: Option<u64>, message: String| Error::Data {
        file: table.file.clone(),
        row: line,
        column: Some(table.names[column].clone()),
        message,
    };
    let mut counts: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    let mut integers = text.is_none();
    for row in rows {
        let name = if text.is_some() {
            table.cell(*row, column).into()
        } else {
            let number = table.number(*row, column)?;
            integers &= number.fract() == 0.0;
            // From 2^53 on different integers may be one f64, and only their text tells them apart.
            if number.abs() < 2f64.powi(53) { class_name(number) } else { table.cell(*row, column).into() }
        };
        // Past the limit values need no more counting, and classes are refused.
        if counts.len() <= LEVEL_LIMIT {
            counts.entry(name).or_insert((0, table.lines[*row].into())).0 += 1;
        }
    }
    let values = text.is_none() && !(integers && counts.len() <= INTEGER_CLASS_LIMIT);
    if task == Some(Task::Regression) || (task.is_none() && values) {
        if counts.len() < 2 {
            return Err(refuse(None, "the target is the same in all rows".into()));
        }
        return Ok((TargetKind::Value, Task::Regression));
    }
    let mut classes: Vec<_> = counts.into_iter().map(|(name, (count, first))| (name, count, first)).collect();
    if text.is_none() {
        let number = |name: &str| name.parse::<f64>().unwrap_or(0.0);
        classes.sort_by(|(a, ..), (b, ..)| number(a).total_cmp(&number(b)));
    }
    let hint = if text.is_none() { ", or train with --task regression" } else { "" };
    class_kind(classes, task, hint, refuse)
}

/// Checks classes, each with its count and first line, and chooses the task.
fn class_kind(
    classes: Vec<(String, usize, u64)>,
    task: Option<Task>,
    hint: &str,
    refuse: impl Fn(Option<u64>, String) -> Error,
) -> Result<(TargetKind, Task)> {
    let names: Vec<String> = classes.iter().map(|(name, ..)| name.clone()).collect();
    if let [only] = names.as_slice() {
        return Err(refuse(None, format!("the target has only one class, {}", quoted(only))));
    }
    if names.len() > LEVEL_LIMIT {
        return Err(refuse(None, format!("over {LEVEL_LIMIT} classes, the limit{hint}")));
    }
    if let Some((name, _, first)) = classes.iter().find(|(_, count, _)| *count == 1) {
        let message = format!(
            "class {} occurs in this row only; a class needs two rows, one to train on and one to test: \
             remove the row, merge the class{hint}",
            quoted(name),
        );
        return Err(refuse(Some(*first), message));
    }
    if task == Some(Task::Binary) && names.len() != 2 {
        let message = format!("a binary task has two classes; the target has {}", listed(&names));
        return Err(refuse(None, message));
    }
    let found = if names.len() == 2 { Task::Binary } else { Task::Classification };
    Ok((TargetKind::Classes(names), task.unwrap_or(found)))
}
