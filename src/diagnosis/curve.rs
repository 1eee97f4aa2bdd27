//! Learning curves: what training on more and more of the rows brings.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::{Doubling, NOISE, Slope, bound};
use crate::gpu::Autotune;
use crate::sweep::{MODELS, Mean, Trained};
use crate::train::{Config, Rows, TrainingData};
use crate::{Error, Result};

/// The slope is that of the fractions from half of the last one on, if they are three or more, else of the last three.
const LATE: f64 = 0.5;
/// The last three are within this factor, or their slope would say nothing of the end.
const SPAN: f64 = 4.0;

/// Shares of the training rows: rising, three or more, the last three within a factor of four.
#[derive(Clone, Debug, PartialEq)]
pub struct Fractions(pub Vec<f64>);

impl FromStr for Fractions {
    type Err = String;

    fn from_str(text: &str) -> Result<Fractions, String> {
        let all: Vec<f64> = text.split(',').filter_map(|part| part.trim().parse().ok()).collect();
        let inside = all.iter().all(|share| *share > 0.0 && *share <= 1.0);
        let rising = all.is_sorted_by(|a, b| a < b) && all.len() > text.matches(',').count();
        if !inside || !rising || !matches!(all[..], [.., third, _, last] if SPAN * third >= last) {
            return Err(
                "give three or more rising shares above 0 and up to 1, the last three within a factor of 4, \
                        as in 0.25,0.5,1"
                    .into(),
            );
        }
        Ok(Fractions(all))
    }
}

impl fmt::Display for Fractions {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0.iter().map(f64::to_string).collect::<Vec<_>>().join(","))
    }
}

impl Fractions {
    /// The settings of every model: all seeds of a fraction beside each other.
    ///
    /// # Errors
    /// [`Error::Config`] without validation rows or seeds, or for too many models.
    pub fn configs(&self, data: &TrainingData, base: &Config, seeds: usize) -> Result<Vec<Config>> {
        let refuse = |message: &str| Err(Error::Config(message.into()));
        if data.rows(Rows::Valid).is_empty() {
            return refuse("a learning curve is of validation rows: use --valid above 0");
        }
        if seeds == 0 {
            return refuse("a learning curve without models: --curve-seeds must be at least 1");
        }
        let models = self.0.len().saturating_mul(seeds);
        if models > MODELS {
            return refuse(&format!(
                "{} shares × {seeds} --curve-seeds are {models} models; a learning curve has at most {MODELS}: use fewer",
                self.0.len()
            ));
        }
        let Some(last) = base.seed.checked_add(seeds as u64 - 1) else {
            return refuse("--seed leaves no room for --curve-seeds: use a smaller one");
        };
        let mut configs = vec![];
        for &fraction in &self.0 {
            for seed in base.seed..=last {
                configs.push(Config { fraction, seed, autotune: Autotune::Off, ..base.clone() });
            }
        }
        Ok(configs)
    }
}

/// What the models of a fraction came to: means over seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Of the training rows.
    pub fraction: f64,
    /// So many.
    pub rows: usize,
    /// How many.
    pub seeds: usize,
    /// Seeds without a good epoch; the means are those of the others.
    pub diverged: usize,
    /// On the fraction's rows.
    pub train_loss: Option<Mean>,
    /// The same.
    pub train_accuracy: Option<Mean>,
    /// On the validation rows.
    pub valid_loss: Option<Mean>,
    /// The same.
    pub valid_accuracy: Option<Mean>,
}

/// A learning curve.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// By rising fractions.
    pub points: Vec<Point>,
    /// What it says of more rows; none where too many seeds diverged.
    pub doubling: Option<Doubling>,
}

impl Curve {
    /// Of models that were trained with the settings of [`Fractions::configs`].
    ///
    /// # Errors
    /// As for [`TrainingData::training_rows`].
    pub fn new(data: &TrainingData, trained: &[Trained]) -> Result<Curve> {
        let mut points = vec![];
        for models in trained.chunk_by(|a, b| a.config.fraction == b.config.fraction) {
            let mean = |value: &dyn Fn(&Trained) -> Option<f64>| Mean::of(models.iter().filter_map(value));
            points.push(Point {
                fraction: models[0].config.fraction,
                rows: data.training_rows(&models[0].config)?.len(),
                seeds: models.len(),
                diverged: models.iter().filter(|model| model.outcome.is_err()).count(),
                train_loss: mean(&|model| Some(model.train?.loss)),
                train_accuracy: mean(&|model| model.train?.accuracy),
                valid_loss: mean(&|model| Some(model.valid?.loss)),
                valid_accuracy: mean(&|model| model.valid?.accuracy),
            });
        }
        let doubling = doubling(&points, trained);
        Ok(Curve { points, doubling })
    }

    /// A table with a line for each fraction, each mean with its sample standard deviation beside it.
    pub fn csv(&self) -> String {
        let mut text = "fraction,rows,seeds,diverged".to_string();
        for name in ["train_loss", "train_accuracy", "valid_loss", "valid_accuracy"] {
            text += &format!(",{name},{name}_sd");
        }
        text.push('\n');
        let cell = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        for point in &self.points {
            let Point { fraction, rows, seeds, diverged, .. } = point;
            text += &format!("{fraction},{rows},{seeds},{diverged}");
            for mean in [point.train_loss, point.train_accuracy, point.valid_loss, point.valid_accuracy] {
                let deviation = mean.and_then(|mean| mean.deviation);
                text += &format!(",{},{}", cell(mean.map(|mean| mean.mean)), cell(deviation));
            }
            text.push('\n');
        }
        text
    }
}

/// The slope of validation loss over log2 of the rows, for each seed by its own models, and its mean over seeds; with
/// one seed its bound is [`NOISE`] times the error of the slope.
fn doubling(points: &[Point], trained: &[Trained]) -> Option<Doubling> {
    let half = LATE * points.last()?.fraction;
    let late = points.iter().filter(|point| point.fraction >= half).count().max(3);
    let from = points[points.len().checked_sub(late)?].fraction;
    let rows =
        |fraction| points.iter().find(|point| point.fraction == fraction).map(|point| point.rows as f64);
    let of_seed = |seed: u64| {
        let own = |model: &&Trained| model.config.seed == seed && model.config.fraction >= from;
        let point = |model: &Trained| Some((rows(model.config.fraction)?.log2(), model.valid?.loss));
        Slope::of(&trained.iter().filter(own).filter_map(point).collect::<Vec<_>>())
    };
    let first = points.first()?.fraction;
    let seeds = trained.iter().filter(|model| model.config.fraction == first).map(|model| model.config.seed);
    let slopes: Vec<Slope> = seeds.filter_map(of_seed).collect();
    let mean = Mean::of(slopes.iter().map(|slope| slope.slope))?;
    let bound = bound(mean, slopes.len()).unwrap_or(NOISE * slopes[0].error);
    Some(Doubling { change: mean.mean, bound, seeds: slopes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_rise_within_the_rows() {
        assert_eq!("0.01, 0.3,0.5,1".parse(), Ok(Fractions(vec![0.01, 0.3, 0.5, 1.0])));
        for wrong in [
            "",
            "0.5",
            "0.5,1",
            "0.3,0.5,1.1",
            "0.2,0.5,1",
            "0,0.5,1",
            "0.5,0.1,1",
            "0.1,0.1,1",
            "0.1,x,0.5,1",
            "0.1,,1",
        ] {
            assert!(wrong.parse::<Fractions>().is_err(), "{wrong}");
        }
    }
}
