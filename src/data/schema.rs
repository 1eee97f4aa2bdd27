//! What a model remembers about its training file: the columns, their kinds, the classes.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::quoted;
use crate::caps;

/// Four statistics of each encoded feature have to find room in a model file.
const WIDTH_LIMIT: usize = caps::DESCRIPTION / 16;

/// What is done with a missing cell: `NA`, `N/A`, `?`, `null`, `nan`, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// It is an error.
    #[default]
    Refuse,
    /// The column's mean, or its most frequent category, over the rows of the training file.
    Mean,
    /// The row is left out.
    Drop,
}

/// What is done with a category that the training file did not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Unknown {
    /// It is an error.
    #[default]
    Refuse,
    /// It is none of the column's: all its encoded features are 0.
    Zero,
}

/// What a model predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// One of two classes.
    Binary,
    /// One of several classes.
    Classification,
    /// A number.
    Regression,
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Task::Binary => "binary",
            Task::Classification => "classification",
            Task::Regression => "regression",
        })
    }
}

/// The features and the target of a training file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The features, in the order of the training file.
    pub features: Vec<Feature>,
    /// What is predicted.
    pub target: Target,
    /// What is done with missing cells.
    pub missing: Missing,
}

/// A column of the training file, or its images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// The name of the column.
    pub name: String,
    /// What it holds.
    pub kind: FeatureKind,
}

/// What a feature holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum FeatureKind {
    /// Numbers; one encoded feature.
    Numeric {
        /// The mean over the rows of the training file, for [`Missing::Mean`]; models of earlier versions, or of
        /// rows in memory, lack it.
        fill: Option<f64>,
    },
    /// Categories; one encoded 0/1 feature a level.
    Categorical {
        /// The categories, sorted.
        levels: Vec<String>,
        /// The index of the most frequent level, likewise.
        fill: Option<usize>,
    },
    /// The images of an IDX file; one encoded feature a pixel.
    Pixels {
        /// Pixels an image.
        count: usize,
    },
}

/// One of a column's categories that are numbers as people write them, `$1,200` or `3.5%`, if most of them are.
pub(crate) fn written_numbers(levels: &[String]) -> Option<&str> {
    let is_number = |level: &&String| {
        let bare: String = level.chars().filter(|char| !"$€£¥%,'".contains(*char)).collect();
        bare.contains(|char: char| char.is_ascii_digit()) && bare.parse::<f64>().is_ok()
    };
    let numbers: Vec<&String> = levels.iter().filter(is_number).collect();
    let plain = |level: &&&String| level.parse::<f64>().is_ok();
    let example = numbers.iter().find(|level| !plain(level)).or(numbers.first())?;
    (2 * numbers.len() > levels.len()).then_some(example.as_str())
}

impl FeatureKind {
    /// See [`written_numbers`].
    pub(crate) fn written_numbers(&self) -> Option<&str> {
        let FeatureKind::Categorical { levels, .. } = self else { return None };
        written_numbers(levels)
    }

    /// Encoded features.
    pub(crate) fn width(&self) -> usize {
        match self {
            FeatureKind::Numeric { .. } => 1,
            FeatureKind::Categorical { levels, .. } => levels.len(),
            FeatureKind::Pixels { count } => *count,
        }
    }
}

/// The column that a model predicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The name of the column.
    pub name: String,
    /// What it holds.
    pub kind: TargetKind,
}

/// What a target holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// The names of the classes, in the order of their indices.
    Classes(Vec<String>),
    /// A number.
    Value,
}

impl Schema {
    /// Outputs of a network for this target: one a class, or one for two classes or a value; `None` if
    /// the task does not suit the target.
    pub fn outputs(&self, task: Task) -> Option<usize> {
        match (&self.target.kind, task) {
            (TargetKind::Classes(classes), Task::Binary) => (classes.len() == 2).then_some(1),
            (TargetKind::Classes(classes), Task::Classification) => Some(classes.len()),
            (TargetKind::Value, Task::Regression) => Some(1),
            _ => None,
        }
    }

    /// The number of encoded features: a categorical column has one a level, images one a pixel.
    pub fn width(&self) -> usize {
        self.features.iter().fold(0, |width, feature| width.saturating_add(feature.kind.width()))
    }

    /// The names of the encoded features: `age`, `color=red`, `pixel_0`.
    pub fn feature_names(&self) -> Vec<String> {
        let names = |feature: &Feature| -> Vec<String> {
            let name = &feature.name;
            match &feature.kind {
                FeatureKind::Numeric { .. } => vec![name.clone()],
                FeatureKind::Categorical { levels, .. } => {
                    levels.iter().map(|level| format!("{name}={level}")).collect()
                }
                FeatureKind::Pixels { count } => (0..*count).map(|pixel| format!("{name}_{pixel}")).collect(),
            }
        };
        self.features.iter().flat_map(names).collect()
    }

    /// Whether a schema from an untrusted file makes sense; otherwise what is wrong. At most
    /// 312,500 encoded features are accepted.
    pub fn check(&self) -> Result<(), String> {
        if self.features.is_empty() {
            return Err("there are no features".into());
        }
        if self.width() > WIDTH_LIMIT {
            return Err(format!("over {WIDTH_LIMIT} encoded features"));
        }
        let mut names = HashSet::from([self.target.name.as_str()]);
        for Feature { name, kind } in &self.features {
            if !names.insert(name) {
                return Err(format!("two columns are named {}", quoted(name)));
            }
            let wrong = |what: &str| Err(format!("feature {}: {what}", quoted(name)));
            let filled = match kind {
                FeatureKind::Numeric { fill: Some(fill) } if !fill.is_finite() => {
                    return wrong("the fill is not finite");
                }
                FeatureKind::Numeric { fill } => fill.is_some(),
                FeatureKind::Categorical { levels, fill } => {
                    check_names(levels, 1).or_else(|what| wrong(&what))?;
                    if fill.is_some_and(|fill| fill >= levels.len()) {
                        return wrong("the fill is not a level");
                    }
                    fill.is_some()
                }
                FeatureKind::Pixels { .. } if self.features.len() > 1 => {
                    return wrong("images and other features");
                }
                FeatureKind::Pixels { count: 0 } => return wrong("images without pixels"),
                FeatureKind::Pixels { .. } => continue,
            };
            if self.missing == Missing::Mean && !filled {
                return wrong("there is no fill for missing cells");
            }
        }
        match &self.target.kind {
            TargetKind::Classes(classes) => {
                check_names(classes, 2).map_err(|what| format!("the classes: {what}"))
            }
            TargetKind::Value => Ok(()),
        }
    }
}

fn check_names(names: &[String], least: usize) -> Result<(), String> {
    let mut seen = HashSet::new();
    match names.iter().find(|name| name.is_empty() || !seen.insert(name.as_str())) {
        _ if names.len() < least => Err(format!("{} of them; {least} are needed", names.len())),
        Some(name) => Err(format!("{} is empty or repeated", quoted(name))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_that_are_numbers_as_people_write_them_are_known() {
        let found = |levels: &[&str]| {
            let levels = levels.iter().map(|level| level.to_string()).collect();
            FeatureKind::Categorical { levels, fill: None }.written_numbers().map(String::from)
        };
        assert_eq!(found(&["0.5", "$1,200", "-$3"]).as_deref(), Some("$1,200"));
        assert_eq!(found(&["3.2%", "4%", "unknown"]).as_deref(), Some("3.2%"));
        assert_eq!(found(&["1", "2", "many"]).as_deref(), Some("1"));
        for levels in [
            &["low", "high"][..],
            &["A1", "B2"],
            &["2026-01-02", "2026-01-03"],
            &["inf", "nan", "$"],
            &["1", "x"],
        ] {
            assert_eq!(found(levels), None, "{levels:?}");
        }
        assert_eq!(FeatureKind::Numeric { fill: None }.written_numbers(), None);
    }
}
