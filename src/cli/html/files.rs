//! What a run's directory holds, read back.

use std::fs;
use std::path::{Path, PathBuf};

use minilote::diagnosis::path_of as word;
use minilote::model::{Model, initialize, read_weights};
use minilote::{Error, Result};
use ndarray::Array2;
use serde_json::Value;

use crate::cli::predictions::{self, Predictions};
use crate::cli::train::Train;
use crate::cli::{checkpoints, config, run};

/// A run. Its JSON is kept as it is: runs of earlier versions lack a few fields, and numbers that are not finite
/// are null.
pub struct Run {
    pub name: String,
    pub directory: PathBuf,
    pub train: Train,
    pub environment: Value,
    pub summary: Value,
    /// The log's lines, by kind.
    pub epochs: Vec<Value>,
    pub statistics: Vec<Value>,
    pub norms: Vec<Value>,
    /// Number, learning rate and loss of each update, if they were logged.
    pub steps: Vec<[f64; 3]>,
    pub model: Model,
    /// None in runs of earlier versions.
    pub predictions: Option<Predictions>,
}

impl Run {
    /// Reads a run's directory.
    ///
    /// # Errors
    /// [`Error::File`] that says what is missing or damaged, and how to get it.
    pub fn read(directory: &Path) -> Result<Run> {
        check(directory)?;
        let path = |file: &str| directory.join(file);
        let model = Model::load(&path(run::MODEL))?;
        let scored = path(run::PREDICTIONS);
        let predictions = scored.exists().then(|| predictions::read(&scored, &model)).transpose()?;
        let mut all = Run {
            name: directory.display().to_string(),
            directory: directory.into(),
            train: config::read(&path(run::CONFIG))?,
            environment: json(&path(run::ENVIRONMENT))?,
            summary: json(&path(run::SUMMARY))?,
            epochs: vec![],
            statistics: vec![],
            norms: vec![],
            steps: vec![],
            model,
            predictions,
        };
        all.read_log(&path(run::LOG))?;
        Ok(all)
    }

    fn read_log(&mut self, path: &Path) -> Result<()> {
        let text = fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
        for (number, line) in text.lines().enumerate() {
            let line: Value = serde_json::from_str(line)
                .map_err(|error| Error::file(path, format!("line {}: {error}", number + 1)))?;
            match line["event"].as_str() {
                Some("epoch") => self.epochs.push(line),
                Some("statistics") => self.statistics.push(line),
                Some("norms") => self.norms.push(line),
                Some("step") => {
                    self.steps.push(["/step", "/lr", "/loss"].map(|key| at(&line, key).unwrap_or(f64::NAN)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A number of the summary.
    pub fn score(&self, pointer: &str) -> Option<f64> {
        at(&self.summary, pointer)
    }

    /// Updates of an epoch.
    pub fn updates_per_epoch(&self) -> Option<f64> {
        self.updates_of(self.score("/rows/train")?)
    }

    /// Updates that take so many rows.
    pub fn updates_of(&self, rows: f64) -> Option<f64> {
        Some((rows / self.score("/batch")?).ceil())
    }

    /// The rows that the model is scored on.
    pub fn scored(&self) -> &str {
        self.summary["scored"].as_str().unwrap_or("test")
    }

    /// The parameters that the run began with; none where the file of --init-weights is gone.
    pub fn start(&self) -> Option<Vec<Array2<f64>>> {
        let config = &self.train.config;
        match &config.init_weights {
            Some(path) => read_weights(&self.model.spec, path).ok().map(|(parameters, _)| parameters),
            None => Some(initialize(&self.model.spec, config.init, config.seed)),
        }
    }
}

/// A number of JSON; NaN for null, which stands for numbers that are not finite.
pub fn at(value: &Value, pointer: &str) -> Option<f64> {
    value.pointer(pointer).map(|value| value.as_f64().unwrap_or(f64::NAN))
}

pub fn json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
    serde_json::from_str(&text).map_err(|error| Error::file(path, error))
}

/// Whether a directory holds a whole run.
fn check(directory: &Path) -> Result<()> {
    let refuse = |message: String| Err(Error::file(directory, message));
    if !directory.is_dir() {
        return refuse("no directory: give the directory of a run, as minilote train prints it".into());
    }
    let needed = [run::CONFIG, run::ENVIRONMENT, run::LOG, run::MODEL, run::SUMMARY];
    let missing: Vec<&str> = needed.into_iter().filter(|file| !directory.join(file).is_file()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if let Ok(summary) = json(&directory.join(run::SUMMARY))
        && let Some(error) = summary["error"].as_str()
    {
        return refuse(format!("the run has no model to report on: {error}"));
    }
    let config = directory.join(run::CONFIG);
    let way_out = if checkpoints::all(directory).is_ok_and(|all| !all.is_empty()) {
        format!("minilote train --resume {} goes on with the run", word(directory))
    } else if config.is_file() {
        format!("minilote train --config {} repeats the run", word(&config))
    } else {
        "minilote train DATA --target COLUMN makes a whole one".into()
    };
    let what = if missing.len() == needed.len() { "this is no run" } else { "the run is incomplete" };
    refuse(format!("{what}: there is no {}; {way_out}", missing.join(", ")))
}
