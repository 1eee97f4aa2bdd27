//! Values of the configuration that read and write as on the command line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Units of the hidden layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(pub Vec<usize>);

impl From<Vec<usize>> for Sizes {
    fn from(units: Vec<usize>) -> Sizes {
        Sizes(units)
    }
}

/// Rows of a minibatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// So many; the last of an epoch may have fewer.
    Rows(usize),
    /// All training rows.
    Full,
}

/// Rows set apart: a fraction of the data set or a file of their own.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Of the rows, at least 0 and below 1.
    Fraction(f64),
    /// All rows of a file.
    File(PathBuf),
}

impl Part {
    /// The file, if it is one.
    pub(super) fn file(&self) -> Option<&Path> {
        if let Part::File(path) = self { Some(path) } else { None }
    }
}

/// Adam's two decays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Betas(pub f64, pub f64);

/// An optimizer by name: see [`crate::ops::Rule`] for the formulas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Against the gradient
    Sgd,
    /// Against a decaying sum of gradients
    Momentum,
    #[default]
    /// Kingma and Ba 2015
    Adam,
    /// Adam with decoupled weight decay
    Adamw,
}

/// How the learning rate changes over training: see [`super::schedule::factor`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    #[default]
    /// The same throughout
    Constant,
    /// Times a factor every so many epochs
    Step,
    /// Half a cosine, down to 0
    Cosine,
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        f.write_str(&self.0.iter().map(usize::to_string).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        if text == "none" {
            return Ok(Sizes(vec![]));
        }
        let size = |part: &str| match part.trim().parse() {
            Ok(0) => Err("a layer needs at least 1 unit; \"none\" is a linear model".to_string()),
            Ok(size) => Ok(size),
            Err(_) => Err(format!("{part:?} is no number of units; give them as in 64,64, or \"none\"")),
        };
        text.split(',').map(size).collect::<Result<_, _>>().map(Sizes)
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Batch::Rows(rows) => rows.fmt(f),
            Batch::Full => f.write_str("full"),
        }
    }
}

impl FromStr for Batch {
    type Err = String;

    fn from_str(text: &str) -> Result<Batch, String> {
        match (text, text.parse()) {
            ("full", _) => Ok(Batch::Full),
            (_, Ok(rows)) if rows > 0 => Ok(Batch::Rows(rows)),
            _ => Err("give a number of rows from 1 on, or \"full\"".into()),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Part::Fraction(fraction) => fraction.fmt(f),
            Part::File(path) => path.display().fmt(f),
        }
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Part, String> {
        match text.parse() {
            Ok(fraction) if (0.0..1.0).contains(&fraction) => Ok(Part::Fraction(fraction)),
            Ok(fraction) => Err(format!("{fraction} is no fraction: it must be at least 0 and below 1")),
            Err(_) => Ok(Part::File(text.into())),
        }
    }
}

impl fmt::Display for Betas {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{},{}", self.0, self.1)
    }
}

impl FromStr for Betas {
    type Err = String;

    fn from_str(text: &str) -> Result<Betas, String> {
        let parts: Vec<f64> = text.split(',').filter_map(|part| part.trim().parse().ok()).collect();
        match parts[..] {
            [beta1, beta2] if text.matches(',').count() == 1 => Ok(Betas(beta1, beta2)),
            _ => Err("give two numbers, as in 0.9,0.999".into()),
        }
    }
}

/// In a configuration file these are written as on the command line.
macro_rules! as_text {
    ($($kind:ident),*) => {$(
        impl Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<$kind, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Sizes, Batch, Part, Betas);
