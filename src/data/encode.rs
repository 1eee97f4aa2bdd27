//! Rows of a file as numbers, by a schema.

use std::cmp::Reverse;
use std::collections::HashMap;

use ndarray::{Array1, Array2};

use super::infer::class_name;
use super::table::is_missing;
use super::{
    Dataset, Feature, FeatureKind, Images, Inputs, Missing, Schema, Table, TargetKind, Unknown, listed,
    quoted,
};
use crate::{Error, Result};

/// What a name stands for, and what to do if it is not known.
const CATEGORY: (&str, &str) =
    ("category", "; predict and evaluate take it as none of these with --unknown zero");
const CLASS: (&str, &str) = ("class", "");

impl Schema {
    /// Encodes a table's rows. Columns are found by name, in any order, and others are ignored; the
    /// target is read, and has to exist, only if `need_target`.
    ///
    /// Errors, all [`Error::Data`]: a model of images, a missing column (the nearest name is suggested),
    /// a missing cell that the schema does not allow, a cell that is not a finite number in a numeric
    /// column, a class that the schema lacks, a category that it lacks and `unknown` does not allow, or more rows than
    /// memory holds.
    pub fn encode(&self, table: &Table, need_target: bool, unknown: Unknown) -> Result<Dataset> {
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
        let mut counts = vec![0; columns.len()];
        for row in &rows {
            let features = self.features.iter().zip(&columns).zip(&lookups).zip(&mut counts);
            for (((feature, column), lookup), count) in features {
                let fills = self.missing == Missing::Mean && is_missing(table.cell(*row, *column));
                match &feature.kind {
                    FeatureKind::Numeric { fill: Some(fill) } if fills => values.push(*fill),
                    FeatureKind::Categorical { levels, fill } => {
                        let level = match (fill, unknown) {
                            (Some(fill), _) if fills => Some(*fill),
                            (_, Unknown::Zero) => lookup.get(table.cell(*row, *column)).copied(),
                            _ => Some(index(table, *row, *column, lookup, levels, CATEGORY)?),
                        };
                        *count += usize::from(level.is_none());
                        let indicator = |other| f64::from(u8::from(level == Some(other)));
                        values.extend((0..levels.len()).map(indicator));
                    }
                    _ => values.push(table.number(*row, *column)?),
                }
            }
        }
        let inputs = Array2::from_shape_vec((rows.len(), self.width()), values).map_err(|_| too_large())?;
        let targets = target.map(|column| self.table_targets(table, column, &rows)).transpose()?;
        let names = self.features.iter().map(|feature| feature.name.clone());
        let mut unknown: Vec<_> = names.zip(counts).filter(|(_, count)| *count > 0).collect();
        unknown.sort_by_key(|(_, count)| Reverse(*count));
        Ok(Dataset {
            inputs: Inputs::Real(inputs),
            targets,
            lines: rows.iter().map(|row| table.lines[*row].into()).collect(),
            dropped: table.rows() - rows.len(),
            places: rows,
            unknown,
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
            places: (0..images.pixels.nrows()).collect(),
            dropped: 0,
            unknown: vec![],
            file: images.file.clone(),
        })
    }

    fn table_targets(&self, table: &Table, column: usize, rows: &[usize]) -> Result<Array1<f64>> {
        let TargetKind::Classes(classes) = &self.target.kind else {
            return rows.iter().map(|row| table.number(*row, column)).collect();
        };
        let lookup = lookup(classes);
        let target = |row: &usize| {
            let class = index(table, *row, column, &lookup, classes, CLASS).or_else(|error| {
                // A class of numbers may be written in another way, as `1.0` for `1`.
                let name = table.parsed(*row, column).map(class_name).unwrap_or_default();
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
    (what, way_out): (&str, &str),
) -> Result<usize> {
    let cell = table.cell(row, column);
    lookup.get(cell).copied().ok_or_else(|| {
        let message = format!("{what} {} is none of the model's: {}{way_out}", quoted(cell), listed(names));
        table.error(Some(row), column, message)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::table;
    use super::*;

    #[test]
    fn unknown_categories_are_zeros_where_asked_and_unknown_classes_never() {
        let training = table("size,color,kind\n1,red,a\n2,blue,b\n3,red,a\n4,blue,b\n");
        let (schema, _) = Schema::of_table(&training, "kind", &[], None, Missing::Mean).unwrap();
        let new = table("size,color,kind\n1,red,a\n2,green,b\n,violet,a\n4,,b\n");
        let refused = schema.encode(&new, true, Unknown::Refuse).unwrap_err().to_string();
        assert!(refused.contains("category \"green\"") && refused.contains("--unknown zero"), "{refused}");
        let data = schema.encode(&new, true, Unknown::Zero).unwrap();
        // A missing cell is no unknown category.
        let expected = ndarray::array![[1.0, 0.0, 1.0], [2.0, 0.0, 0.0], [2.5, 0.0, 0.0], [4.0, 1.0, 0.0]];
        assert_eq!((data.inputs, data.unknown), (Inputs::Real(expected), vec![("color".to_string(), 2)]));

        let other = table("size,color,kind\n1,green,c\n");
        let refused = schema.encode(&other, true, Unknown::Zero).unwrap_err().to_string();
        assert!(refused.contains("class \"c\"") && !refused.contains("--unknown"), "{refused}");
    }
}
