//! The learning curve that `train` makes where it is asked to.

use std::path::Path;

use minilote::diagnosis::{Curve, Fractions};
use minilote::files::write_whole;
use minilote::sweep::{Mean, passes, sweep};
use minilote::train::{Config, End, TrainingData};
use minilote::{Device, Result};

use super::report::{number, percent, spread, table};
use super::watch::Watch;
use super::{note, run};

/// Flags of `train`.
#[derive(clap::Args)]
pub struct LearningCurve {
    /// Train on 10 %, 20 %, … of the training rows as well, all side by side, to measure whether more rows would
    /// help; or on the shares given, as in --learning-curve=0.25,0.5,1. Columns are scaled by all training rows
    #[arg(
        long = "learning-curve",
        value_name = "SHARE,…",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1",
        help_heading = "Diagnosis"
    )]
    fractions: Option<Fractions>,

    /// Models of each share of the learning curve: those of --seed and the numbers that follow it, which decide
    /// initial weights, the order of rows and which rows a share has
    #[arg(long = "curve-seeds", value_name = "COUNT", default_value_t = 5, help_heading = "Diagnosis")]
    seeds: usize,
}

/// What is to be trained for it.
pub struct Planned {
    configs: Vec<Config>,
    passes: Vec<Vec<usize>>,
}

impl LearningCurve {
    /// What is to be trained, if it was asked for.
    ///
    /// # Errors
    /// As for [`Fractions::configs`] and [`passes`].
    pub fn plan(&self, data: &TrainingData, base: &Config, device: &Device) -> Result<Option<Planned>> {
        let Some(fractions) = &self.fractions else { return Ok(None) };
        let configs = fractions.configs(data, base, self.seeds)?;
        let passes = passes(data, &configs, device)?;
        Ok(Some(Planned { configs, passes }))
    }
}

impl Planned {
    /// Trains the models and writes the curve's file into the run's directory; no curve, and why, where the training
    /// was ended before all of them had.
    ///
    /// # Errors
    /// As for [`sweep`]; [`minilote::Error::File`].
    pub async fn run(
        &self,
        data: &TrainingData,
        device: &Device,
        quiet: bool,
        directory: &Path,
    ) -> Result<Result<Curve, End>> {
        if !quiet {
            note(&format!("learning curve: {} models", self.configs.len()));
        }
        let mut watch = Watch::new(&self.configs, quiet);
        let done = sweep(data, &self.configs, &self.passes, device, &mut watch).await;
        watch.finish();
        let done = done?;
        if let Some(end) = done.broken {
            note("the learning curve was not finished, and is left out");
            return Ok(Err(end));
        }
        let curve = Curve::new(data, &done.trained)?;
        write_whole(&directory.join(run::LEARNING_CURVE), curve.csv().as_bytes())?;
        Ok(Ok(curve))
    }
}

/// The curve for people.
pub fn text(curve: &Curve) -> String {
    let head = ["share", "rows", "train loss", "valid loss", "train", "valid", "diverged"];
    let mut rows = vec![head.map(String::from)];
    for point in &curve.points {
        let loss = |mean: Option<Mean>| spread(mean, &number);
        let accuracy = |mean: Option<Mean>| spread(mean, &percent);
        rows.push([
            percent(point.fraction),
            point.rows.to_string(),
            loss(point.train_loss),
            loss(point.valid_loss),
            accuracy(point.train_accuracy),
            accuracy(point.valid_accuracy),
            point.diverged.to_string(),
        ]);
    }
    let seeds = curve.points.first().map_or(0, |point| point.seeds);
    format!("learning curve, means and deviations of {seeds} seeds:\n{}", table(&rows, 0))
}
