//! Rows of a file as numbers, by a schema.

use std::collections::HashMap;

use ndarray::{Array1, Array2};

use super::infer::class_name;
use super::table::is_missing;
use super::{
    Dataset, Feature, FeatureKind, Images, Inputs, Missing, Schema, Table, TargetKind, listed, quoted,
};
use crate::{Error, Result};

impl Schema {
    /// Encodes a table's rows. Columns are found by name, in any order, and others are ignored; the
    /// target is read, and has to exist, only if `need_target`.
    ///
    /// Errors, all [`Error::Data`]: a model of images, a missing column (the nearest name is suggested),
    /// a missing cell that the schema does not allow, a cell that is not a finite number in a numeric
    /// column, a category or class that the schema lacks, or more rows than memory holds.
    pub fn encode(&self, table: &Table, need_target: bool) -> Result<Dataset> {
        let column = |feature: &Feature| match feature.kind {
            FeatureKind::Pixels { .. } => {
                Err(Error::data(&table.file, "this is a table, and the model was trained on images (IDX)"))
            }
            _ => table.column(&feature.name),
        };
        let columns = self.features.iter().map(column).collect::<Result<Vec<_>>>()?;
        let target = need_target.then(|| table.column(&self.target.name)).transpose()?;
        let rows = table.usable_rows(&columns, target, self.missing)?;

        let too_large = || {
            let message =
                format!("{} rows of {} encoded features do not fit in memory", rows.len(), self.width());
            Error::data(&table.file, message)
        };
        let mut values = Vec::new();
        let size = rows.len().checked_mul(self.width()).ok_or_else(too_large)?;
        values.try_reserve_exact(size).map_err(|_| too_large())?;

        let lookups: Vec<_> = self.features.iter().map(|feature| lookup(levels(&feature.kind))).collect();
        for row in &rows {
            for ((feature, column), lookup) in self.features.iter().zip(&columns).zip(&lookups) {
                let fills = self.missing == Missing::Mean && is_missing(table.cell(*row, *column));
                match &feature.kind {
                    FeatureKind::Numeric { fill: Some(fill) } if fills => values.push(*fill),
                    FeatureKind::Categorical { levels, fill } => {
                        let level = match fill {
                            Some(fill) if fills => *fill,
                            _ => index(table, *row, *column, lookup, levels, "category")?,
                        };
                        values.extend((0..levels.len()).map(|other| f64::from(u8::from(other == level))));
                    }
                    _ => values.push(table.number(*row, *column)?),
                }
            }
        }
        let inputs = Array2::from_shape_vec((rows.len(), self.width()), values).map_err(|_| too_large())?;
        let targets = target.map(|column| self.table_targets(table, column, &rows)).transpose()?;
        Ok(Dataset {
            inputs: Inputs::Real(inputs),
            targets,
            lines: rows.iter().map(|row| table.lines[*row].into()).collect(),
            dropped: table.rows() - rows.len(),
            file: table.file.clone(),
        })
    }

    /// Encodes images, and their labels if `need_target`.
    ///
    /// Errors, all [`Error::Data`]: a model of a table, another number of pixels than the schema's, no
    /// labels where they are needed, or a label that the schema lacks.
    pub fn encode_images(&self, images: &Images, need_target: bool) -> Result<Dataset> {
        let refuse = |message: String| Error::data(&images.file, message);
        let [Feature { kind: FeatureKind::Pixels { count }, .. }] = self.features.as_slice() else {
            return Err(refuse("these are images (IDX), and the model was trained on a table".into()));
        };
        if *count != images.pixels.ncols() {
            let message = format!("{} pixels an image; the model takes {count}", images.pixels.ncols());
            return Err(refuse(message));
        }
        let targets = match (&images.labels, &self.target.kind) {
            _ if !need_target => None,
            (None, _) => return Err(refuse("the file of the labels is needed too".into())),
            (Some(labels), TargetKind::Value) => Some(labels.iter().map(|label| f64::from(*label)).collect()),
            (Some(labels), TargetKind::Classes(classes)) => {
                let lookup = lookup(classes);
                let target = |(image, label): (usize, &u8)| match lookup.get(label.to_string().as_str()) {
                    Some(class) => Ok(*class as f64),
                    None => Err(refuse(format!(
                        "label {label} of image {} is none of the model's: {}",
                        image + 1,
                        listed(classes)
                    ))),
                };
                Some(labels.iter().enumerate().map(target).collect::<Result<Array1<f64>>>()?)
            }
        };
        Ok(Dataset {
            inputs: Inputs::Bytes(images.pixels.clone()),
            targets,
            lines: (1..=images.pixels.nrows() as u64).collect(),
            dropped: 0,
            file: images.file.clone(),
        })
    }

    fn table_targets(&self, table: &Table, column: usize, rows: &[usize]) -> Result<Array1<f64>> {
        let TargetKind::Classes(classes) = &self.target.kind else {
            return rows.iter().map(|row| table.number(*row, column)).collect();
        };
        let lookup = lookup(classes);
        let target = |row: &usize| {
            let class = index(table, *row, column, &lookup, classes, "class").or_else(|error| {
                // A class of numbers may be written in another way, as `1.0` for `1`.
                let name = table.cell(*row, column).parse().map(class_name).unwrap_or_default();
                lookup.get(name.as_str()).copied().ok_or(error)
            });
            Ok(class? as f64)
        };
        rows.iter().map(target).collect()
    }
}

fn levels(kind: &FeatureKind) -> &[String] {
    if let FeatureKind::Categorical { levels, .. } = kind { levels } else { &[] }
}

fn lookup(names: &[String]) -> HashMap<&str, usize> {
    names.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect()
}

fn index(
    table: &Table,
    row: usize,
    column: usize,
    lookup: &HashMap<&str, usize>,
    names: &[String],
    what: &str,
) -> Result<usize> {
    let cell = table.cell(row, column);
    lookup.get(cell).copied().ok_or_else(|| {
        let message = format!("{what} {} is none of the model's: {}", quoted(cell), listed(names));
        table.error(Some(row), column, message)
    })
}
