use std::borrow::Cow;
use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2, Axis, concatenate};

use super::checks::{check, finite, fits_model_file};
use super::config::Config;
use super::record::Rows;
use super::split::{groups, split_of};
use super::values::Part;
use crate::checksum::Checksum;
use crate::data::{
    Dataset, Feature, Images, Inputs, Schema, Split, Standardize, Standardizer, Table, TargetKind, Unknown,
    fraction, is_idx, quoted, written_numbers,
};
use crate::model::Norm;
use crate::{Error, Result, Task};

/// A data set ready to be trained on: encoded, split and standardized.
#[derive(Clone, Debug)]
pub struct TrainingData {
    /// What is predicted.
    pub task: Task,
    /// Columns, categories and classes.
    pub schema: Schema,
    /// Of the training rows.
    pub standardizer: Standardizer,
    /// Of the training rows' target, for a regression.
    pub target: Option<Standardizer>,
    /// Standardized reals, or bytes as they are in the file.
    pub inputs: Inputs,
    /// A class index, or a standardized value, for each row.
    pub targets: Array1<f64>,
    /// Where each row comes from: a line of its CSV file (the header is line 1), or the number of its image, from 1; of
    /// rows from no file their number, from 1.
    pub lines: Vec<u64>,
    /// Which rows train, validate and test.
    pub split: Split,
    /// What a person should know: rows dropped, numbers taken as categories.
    pub notes: Vec<String>,
}

impl TrainingData {
    /// Of all numbers and which rows are for what, so that a change of the data shows.
    pub fn checksum(&self) -> u64 {
        let mut sum = Checksum::default();
        match &self.inputs {
            Inputs::Real(values) => values.iter().for_each(|value| sum = sum.add(&value.to_le_bytes())),
            Inputs::Bytes(values) => values.rows().into_iter().for_each(|row| {
                sum = sum.add(&row.to_vec());
            }),
        }
        self.targets.iter().for_each(|value| sum = sum.add(&value.to_le_bytes()));
        for rows in [&self.split.train, &self.split.valid, &self.split.test] {
            sum = sum.add(&rows.len().to_le_bytes());
            rows.iter().for_each(|row| sum = sum.add(&row.to_le_bytes()));
        }
        sum.value()
    }
}

/// A file of either kind, read but not encoded.
enum Source {
    Table(Table),
    Images(Images),
}

/// The file of labels that is named like a file of images: `train-labels-idx1-ubyte.gz` for
/// `train-images-idx3-ubyte.gz`.
pub fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let labels =
        images.with_file_name(name.replace("images-idx3", "labels-idx1").replace("images", "labels"));
    (labels != images && labels.exists()).then_some(labels)
}

impl Source {
    fn read(path: &Path, labels: Option<&Path>, need_labels: bool) -> Result<Source> {
        if !is_idx(path)? {
            if let Some(labels) = labels {
                let message = format!("--labels {} goes with an IDX file of images", labels.display());
                return Err(Error::data(path, message));
            }
            return Table::read(path).map(Source::Table);
        }
        let beside = if labels.is_none() && need_labels { labels_beside(path) } else { None };
        let labels = labels.or(beside.as_deref());
        if need_labels && labels.is_none() {
            let message = "a file of images needs its labels: give them with --labels FILE, or for --valid and \
                           --test name them like the images";
            return Err(Error::data(path, message));
        }
        Images::read(path, labels).map(Source::Images)
    }

    fn encode(&self, schema: &Schema, need_target: bool, unknown: Unknown) -> Result<Dataset> {
        match self {
            Source::Table(table) => schema.encode(table, need_target, unknown),
            Source::Images(images) => schema.encode_images(images, need_target),
        }
    }
}

/// Reads and encodes a file, targets too, for a model that has this schema.
///
/// # Errors
/// [`Error::Data`] and [`Error::File`] that say where the file does not suit the model.
pub fn read_for(schema: &Schema, path: &Path, labels: Option<&Path>, unknown: Unknown) -> Result<Dataset> {
    Source::read(path, labels, true)?.encode(schema, true, unknown)
}

/// Reads and encodes a file for a model to predict. The target column, or the labels, may be absent or damaged: they
/// are not read. Beside it the text of the columns that `keep` names, separated by commas (one whose name has a comma
/// stands alone): their names, then the cells of each row that is not dropped; nothing where none are asked for.
///
/// # Errors
/// As for [`read_for`]; [`Error::Data`] for a column to keep that there is not, [`Error::Config`] for images, which have
/// none.
pub fn read_to_predict(
    schema: &Schema,
    path: &Path,
    unknown: Unknown,
    keep: Option<&str>,
) -> Result<(Dataset, Vec<Vec<String>>)> {
    let source = Source::read(path, None, false)?;
    let data = source.encode(schema, false, unknown)?;
    let kept = match (&source, keep) {
        (_, None) => vec![],
        (Source::Images(_), _) => {
            let message = "--keep is of a table's columns, and these are images: leave it out";
            return Err(Error::Config(message.into()));
        }
        (Source::Table(table), Some(keep)) => {
            let names = named(table, keep);
            if names.is_empty() {
                return Err(Error::Config("--keep names no column: leave it out".into()));
            }
            let columns = names.iter().map(|name| table.column(name)).collect::<Result<Vec<_>>>()?;
            let cells = |row: &usize| columns.iter().map(|column| table.cell(*row, *column).into()).collect();
            std::iter::once(names).chain(data.places.iter().map(cells)).collect()
        }
    };
    Ok((data, kept))
}

impl TrainingData {
    /// Reads a CSV table or an IDX file of images, and what the configuration's `valid` and `test` name.
    ///
    /// # Errors
    /// [`Error::Data`] and [`Error::File`] for what is wrong with a file, [`Error::Config`] for flags that
    /// do not suit it.
    pub fn read(path: &Path, config: &Config) -> Result<TrainingData> {
        let source = Source::read(path, config.labels.as_deref(), true)?;
        let (schema, task) = match &source {
            Source::Table(table) => {
                let target = config.target.as_deref().ok_or_else(|| {
                    let names = &table.names()[..table.names().len().min(20)];
                    let more = if names.len() < table.names().len() { ", …" } else { "" };
                    let names = names.join(", ") + more;
                    Error::Config(format!(
                        "--target COLUMN is missing: which column to predict? One of {names}"
                    ))
                })?;
                let mut ignore = named(table, config.ignore.as_deref().unwrap_or_default());
                ignore.extend(config.group.clone());
                Schema::of_table(table, target, &ignore, config.task, config.missing)?
            }
            Source::Images(_) if config.ignore.is_some() || config.group.is_some() => {
                let message = "--ignore and --group are of a table's columns, and these are images";
                return Err(Error::Config(message.into()));
            }
            Source::Images(images) => Schema::of_images(images, config.task)?,
        };
        let data = source.encode(&schema, true, Unknown::Refuse)?;
        let groups = match (&source, &config.group) {
            (Source::Table(table), Some(group)) => Some(groups(table, group, &data)?),
            _ => None,
        };
        // The text is not needed any more, and may take as much memory as the numbers.
        drop(source);
        let note_of = |data: &Dataset| {
            let note = format!("{}: rows with missing values dropped: {}", data.file.display(), data.dropped);
            (data.dropped > 0).then_some(note)
        };
        let mut notes = Vec::from_iter(note_of(&data));
        for Feature { name, kind } in &schema.features {
            notes.extend(kind.written_numbers().map(|example| {
                format!(
                    "column {}: {} categories, most of which look like numbers, as {}; a column is one \
                     number where its cells have nothing but digits, sign, point and exponent",
                    quoted(name),
                    kind.width(),
                    quoted(example),
                )
            }));
        }
        if let TargetKind::Classes(classes) = &schema.target.kind
            && let Some(example) = written_numbers(classes).filter(|example| example.parse::<f64>().is_err())
        {
            notes.push(format!(
                "target {}: {} classes, most of which look like numbers, as {}; to predict a value, write it with \
                 nothing but digits, sign, point and exponent",
                quoted(&schema.target.name),
                classes.len(),
                quoted(example),
            ));
        }
        let missing = || Error::data(path, "the file has no targets");
        let targets = data.targets.ok_or_else(missing)?;
        let refuse = |message| Error::data(path, message);
        let mut split = split_of(&targets, &schema, task, config, groups.as_deref(), &refuse)?;
        let (mut inputs, mut targets, mut lines) = (data.inputs, targets, data.lines);
        for (part, rows) in [(&config.valid, &mut split.valid), (&config.test, &mut split.test)] {
            if let Part::File(file) = part {
                let more = read_for(&schema, file, None, Unknown::Refuse)?;
                notes.extend(note_of(&more));
                let more_targets =
                    more.targets.ok_or_else(|| Error::data(file, "the file has no targets"))?;
                let first = targets.len() as u32;
                *rows = (first..first + more_targets.len() as u32).collect();
                inputs =
                    join(inputs, more.inputs).ok_or_else(|| Error::data(file, "another kind of file"))?;
                lines.extend(more.lines);
                targets.append(Axis(0), more_targets.view()).map_err(|e| Error::data(file, e.to_string()))?;
            }
        }
        let data = TrainingData::new(task, schema, inputs, targets, split, config.standardize, notes)?;
        Ok(TrainingData { lines, ..data })
    }

    /// Scales a data set by the statistics of its training rows. `inputs` are as in the table, `[rows, features]`, and
    /// scaled by `mode`; `targets` are class indices or values, and values are scaled alike, but by their deviation where
    /// `mode` is the variance.
    ///
    /// # Errors
    /// [`Error::Config`] if there are no training rows, a value to predict is the same in all of them, the schema is
    /// wrong or of another number of features, targets, classes and split do not suit the rows, or a value is not finite.
    pub fn new(
        task: Task,
        schema: Schema,
        mut inputs: Inputs,
        mut targets: Array1<f64>,
        split: Split,
        mode: Standardize,
        notes: Vec<String>,
    ) -> Result<TrainingData> {
        schema.check().map_err(Error::Config)?;
        if schema.width() != inputs.width() {
            let (named, given) = (schema.width(), inputs.width());
            return Err(Error::Config(format!("the schema has {named} features, the inputs have {given}")));
        }
        check(task, &schema, inputs.rows(), &targets, &split)?;
        finite(&schema, &inputs, &targets)?;
        if split.train.is_empty() {
            return Err(Error::Config("no rows are left to train on: use smaller --valid and --test".into()));
        }
        let standardizer = Standardizer::fit(mode, &inputs, &split.train);
        let target = (task == Task::Regression).then(|| {
            let of_train = split.train.iter().map(|&row| targets[row as usize]);
            // Divided by its variance, a value far from 1 would hardly be seen, or drown all else.
            let mode = if mode == Standardize::Variance { Standardize::Standard } else { mode };
            Standardizer::fit_values(mode, of_train)
        });
        if let Some(target) = &target {
            // Standardized, every row's value would be lost.
            if target.affine().1 == [0.0] {
                let message = "the target is the same in all training rows: use more rows, or another split by --split-seed";
                return Err(Error::Config(message.into()));
            }
            targets.iter_mut().for_each(|value| target.apply_row(std::slice::from_mut(value)));
        }
        if let Inputs::Real(values) = &mut inputs {
            standardizer.apply(values);
        }
        fits_model_file(&schema, &standardizer)?;
        let lines = (1..=targets.len() as u64).collect();
        Ok(TrainingData { task, schema, standardizer, target, inputs, targets, lines, split, notes })
    }

    /// The rows of a part.
    pub fn rows(&self, part: Rows) -> &[u32] {
        match part {
            Rows::Train => &self.split.train,
            Rows::Valid => &self.split.valid,
            Rows::Test => &self.split.test,
        }
    }

    /// The training rows that a configuration's fraction leaves, in rising order.
    ///
    /// # Errors
    /// [`Error::Config`] if a class loses all its rows, or batch normalization all rows but one.
    pub fn training_rows(&self, config: &Config) -> Result<Cow<'_, [u32]>> {
        let all = &self.split.train;
        if config.fraction >= 1.0 {
            return Ok(Cow::Borrowed(all));
        }
        let part = fraction(all, &self.targets, self.task, config.fraction, config.seed);
        if part.len() < 2 && config.norm != Norm::None {
            return Err(Error::Config(format!(
                "a fraction of {} of {} training rows is one row, which can't be batch normalized: use more rows, or \
                 larger fractions, as in --learning-curve=0.4,0.7,1",
                config.fraction,
                all.len()
            )));
        }
        if let TargetKind::Classes(classes) = &self.schema.target.kind {
            let count = |rows: &[u32]| {
                let mut counts = vec![0; classes.len()];
                rows.iter().for_each(|&row| counts[self.targets[row as usize] as usize] += 1);
                counts
            };
            let (of_all, of_part) = (count(all), count(&part));
            if let Some(lost) = (0..classes.len()).find(|&class| of_all[class] > 0 && of_part[class] == 0) {
                return Err(Error::Config(format!(
                    "class {:?} has {} of {} training rows, and none in a fraction of {}: use more rows, or larger \
                     fractions, as in --learning-curve=0.4,0.7,1",
                    classes[lost],
                    of_all[lost],
                    all.len(),
                    config.fraction
                )));
            }
        }
        Ok(Cow::Owned(part))
    }

    /// Whether what may have been changed since it was made is still in range.
    pub(super) fn check(&self) -> Result<()> {
        let rows = self.inputs.rows();
        if self.lines.len() != rows {
            return Err(Error::Config(format!("a line for each of {rows} rows needed")));
        }
        check(self.task, &self.schema, rows, &self.targets, &self.split)
    }
}

/// The columns that --ignore or --keep names.
fn named(table: &Table, text: &str) -> Vec<String> {
    if table.names().iter().any(|name| name == text) {
        return vec![text.into()];
    }
    text.split(',').map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect()
}

fn join(first: Inputs, second: Inputs) -> Option<Inputs> {
    fn rows<T: Clone>(first: Array2<T>, second: Array2<T>) -> Option<Array2<T>> {
        concatenate(Axis(0), &[first.view(), second.view()]).ok()
    }
    match (first, second) {
        (Inputs::Real(first), Inputs::Real(second)) => rows(first, second).map(Inputs::Real),
        (Inputs::Bytes(first), Inputs::Bytes(second)) => rows(first, second).map(Inputs::Bytes),
        _ => None,
    }
}
