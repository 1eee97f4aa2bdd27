//! What a verdict is judged by, as numbers.

use serde::Serialize;

use super::{FALL, NOISE, TREND};
use crate::data::TargetKind;
use crate::sweep::{Mean, Trained};
use crate::train::{End, Measured, Outcome, Rows, TrainingData, Validation};
use crate::{Result, Task};

/// The 97.5th percentiles of Student's t with 1, 2, … degrees of freedom; after them [`NOISE`] is near enough.
const STUDENT: [f64; 12] = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18];

/// What predicts without looking at a row: the classes' frequencies, or the mean, of the training rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trivial {
    /// What it always answers: the most frequent class, or "the mean".
    pub answer: String,
    /// On the training rows: the unit of shares.
    pub train: Validation,
    /// On the validation rows, where there are any.
    pub valid: Option<Validation>,
}

impl Trivial {
    /// Of a data set: cross-entropy `−mean ln p(class)` with the classes' frequencies p, or the mean squared
    /// distance from the mean, and the share of rows of the most frequent class.
    pub fn of(data: &TrainingData) -> Trivial {
        let targets = |part| data.rows(part).iter().map(|&row| data.targets[row as usize]);
        let n = data.rows(Rows::Train).len() as f64;
        let mean = targets(Rows::Train).sum::<f64>() / n;
        let mut counts =
            vec![0.0; if let TargetKind::Classes(of) = &data.schema.target.kind { of.len() } else { 0 }];
        if data.task != Task::Regression {
            targets(Rows::Train).for_each(|class| counts[class as usize] += 1.0);
        }
        let top =
            (0..counts.len()).fold(0, |top, class| if counts[class] > counts[top] { class } else { top });
        let on = |part| {
            let rows = data.rows(part).len() as f64;
            if data.task == Task::Regression {
                let loss = targets(part).map(|y| (y - mean).powi(2)).sum::<f64>() / rows;
                return Validation { loss, accuracy: None };
            }
            let loss = targets(part).map(|class| -(counts[class as usize] / n).ln()).sum::<f64>() / rows;
            let right = targets(part).filter(|&class| class as usize == top).count() as f64;
            Validation { loss, accuracy: Some(right / rows) }
        };
        let answer = match &data.schema.target.kind {
            TargetKind::Classes(classes) => format!("{:?}", classes[top]),
            TargetKind::Value => "the mean".into(),
        };
        let valid = (!data.rows(Rows::Valid).is_empty()).then(|| on(Rows::Valid));
        Trivial { answer, train: on(Rows::Train), valid }
    }
}

/// The slope of the least-squares line through values of each epoch, per epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Slope {
    /// `Σ(x − mean x)(y − mean y) / Σ(x − mean x)²`.
    pub slope: f64,
    /// `sqrt(Σ residual² / (n − 2) / Σ(x − mean x)²)`, as if the epochs were independent; infinite for two points.
    pub error: f64,
}

impl Slope {
    /// Of at least two points; none of fewer.
    pub fn of(points: &[(f64, f64)]) -> Option<Slope> {
        let n = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        if spread == 0.0 {
            return None;
        }
        let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
        let residual = |point: &(f64, f64)| (point.1 - y - slope * (point.0 - x)).powi(2);
        let residuals = points.iter().map(residual).sum::<f64>();
        let error = if n > 2.0 { (residuals / (n - 2.0) / spread).sqrt() } else { f64::INFINITY };
        Some(Slope { slope, error })
    }

    /// The mean of several, with its error.
    fn mean(all: &[Slope]) -> Option<Slope> {
        let n = all.len() as f64;
        let error = all.iter().map(|slope| slope.error.powi(2)).sum::<f64>().sqrt() / n;
        let slope = all.iter().map(|slope| slope.slope).sum::<f64>() / n;
        (!all.is_empty()).then_some(Slope { slope, error })
    }

    /// Whether it is above 0 by more than its noise.
    pub fn rises(&self) -> bool {
        self.slope > NOISE * self.error && self.slope > 0.0
    }
}

/// How a run's last epochs, at most [`TREND`], went. A training loss that is above or below inference's all along
/// does not change a slope.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Trend {
    /// How many.
    pub epochs: usize,
    /// Of validation loss.
    pub valid: Slope,
    /// Of validation loss less training loss.
    pub gap: Slope,
}

impl Trend {
    fn of(history: &[[f64; 2]]) -> Option<Trend> {
        let last = &history[history.len().saturating_sub(TREND)..];
        let points = |of: fn(&[f64; 2]) -> f64| -> Vec<(f64, f64)> {
            last.iter().enumerate().map(|(epoch, both)| (epoch as f64, of(both))).collect()
        };
        let (valid, gap) = (points(|both| both[1]), points(|both| both[1] - both[0]));
        Some(Trend { epochs: last.len(), valid: Slope::of(&valid)?, gap: Slope::of(&gap)? })
    }
}

/// One model: the weights that were kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// On the rows that it was trained on.
    pub train: Measured,
    /// On the validation rows.
    pub valid: Option<Measured>,
    /// None of one epoch, or without validation rows.
    pub trend: Option<Trend>,
    /// Whether all epochs were trained and the best is among the last.
    pub ended_at_best: bool,
}

impl Fit {
    /// Of a run, and what its model does.
    pub fn new(outcome: &Outcome, train: Measured, valid: Option<Measured>) -> Fit {
        let finished = matches!(outcome.end, End::Finished);
        let ended_at_best = finished && outcome.best_epoch + TREND / 2 > outcome.epochs;
        Fit { train, valid, trend: Trend::of(&outcome.history), ended_at_best }
    }
}

/// Whether networks of more parameters or less L2 were tried, and what they brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rivals {
    /// How many.
    pub count: usize,
    /// How many had a validation loss lower by [`FALL`] of the trivial predictor's.
    pub better: usize,
}

/// What a verdict is judged by.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    /// What predicts without looking at a row.
    pub trivial: Trivial,
    /// One model for each seed that learned something.
    pub fits: Vec<Fit>,
    /// Seeds, and those whose loss or statistics stopped being finite.
    pub seeds: usize,
    /// See `seeds`.
    pub diverged: usize,
    /// Rows that validate.
    pub valid_rows: usize,
    /// Of a sweep.
    pub rivals: Option<Rivals>,
    /// Of a learning curve: how validation loss changes as the training rows are doubled, where it was measured.
    pub curve: Option<Doubling>,
}

/// How validation loss changes as the training rows are doubled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Doubling {
    /// The mean over seeds of the slope of validation loss over log2 of the rows.
    pub change: f64,
    /// Within ± this the mean is known, at 95 %.
    pub bound: f64,
    /// How many.
    pub seeds: usize,
}

impl Evidence {
    /// Of the models of a combination, or of one.
    pub fn new(data: &TrainingData, models: &[Trained]) -> Evidence {
        let fit = |model: &Trained| Some(Fit::new(model.outcome.as_ref().ok()?, model.train?, model.valid));
        let diverged = |model: &&Trained| {
            let end: Result<&Outcome, _> = model.outcome.as_ref();
            end.map_or(true, |outcome| matches!(outcome.end, End::Diverged(_)))
        };
        Evidence {
            trivial: Trivial::of(data),
            fits: models.iter().filter_map(fit).collect(),
            seeds: models.len(),
            diverged: models.iter().filter(diverged).count(),
            valid_rows: data.rows(Rows::Valid).len(),
            rivals: None,
            curve: None,
        }
    }

    /// The trivial predictor's loss, which shares are of.
    pub fn unit(&self) -> f64 {
        self.trivial.train.loss
    }

    /// Training loss.
    pub fn train(&self) -> Option<Mean> {
        Mean::of(self.fits.iter().map(|fit| fit.train.loss))
    }

    /// Validation loss.
    pub fn valid(&self) -> Option<Mean> {
        Mean::of(self.fits.iter().filter_map(|fit| Some(fit.valid?.loss)))
    }

    /// Validation loss less training loss.
    pub fn gap(&self) -> Option<Mean> {
        Mean::of(self.fits.iter().filter_map(|fit| Some(fit.valid?.loss - fit.train.loss)))
    }

    /// How well the gap is known, at 95 %: ± by the spread over seeds, and ± by that over validation rows, which all
    /// seeds share, so that more seeds do not lower it. One seed has no spread.
    pub fn bounds(&self) -> (Option<f64>, f64) {
        let squares: Vec<f64> =
            self.fits.iter().filter_map(|fit| Some(fit.valid?.standard_error.powi(2))).collect();
        let error = (squares.iter().sum::<f64>() / squares.len().max(1) as f64).sqrt();
        let rows = student(self.valid_rows).unwrap_or(f64::INFINITY) * error;
        (self.gap().and_then(|gap| bound(gap, squares.len())), rows)
    }

    /// Both bounds as one.
    pub fn bound(&self) -> f64 {
        let (seeds, rows) = self.bounds();
        seeds.unwrap_or(0.0).hypot(rows)
    }

    /// The mean over seeds: slopes of validation loss and of the gap.
    pub fn trend(&self) -> Option<Trend> {
        let all: Vec<Trend> = self.fits.iter().filter_map(|fit| fit.trend).collect();
        let mean = |of: fn(&Trend) -> Slope| Slope::mean(&all.iter().map(of).collect::<Vec<_>>());
        let epochs = all.iter().map(|trend| trend.epochs).min()?;
        Some(Trend { epochs, valid: mean(|trend| trend.valid)?, gap: mean(|trend| trend.gap)? })
    }

    /// Whether the network went on learning what does not hold for validation rows.
    pub fn grows(&self) -> bool {
        self.trend().is_some_and(|trend| {
            let far = trend.gap.slope * trend.epochs as f64 > FALL * self.unit();
            far && trend.gap.rises() && trend.valid.rises()
        })
    }

    /// Whether more rows would help: validation loss falls by more than [`FALL`] of the trivial predictor's as they are
    /// doubled, and by more than its bound; or surely by less. None where that is not decided or not measured.
    pub fn helps(&self) -> Option<bool> {
        let Doubling { change, bound, .. } = self.curve?;
        let least = FALL * self.unit();
        if -change > least.max(bound) {
            Some(true)
        } else if bound - change < least {
            Some(false)
        } else {
            None
        }
    }

    /// Whether most seeds were still getting better as their epochs ended.
    pub fn cut_short(&self) -> bool {
        let falls = |fit: &&Fit| {
            let fell = |trend: Trend| -trend.valid.slope * trend.epochs as f64 > FALL * self.unit();
            fit.ended_at_best && fit.trend.is_some_and(fell)
        };
        2 * self.fits.iter().filter(falls).count() > self.fits.len()
    }
}

/// So many standard errors are within ± of a mean of so many values, at 95 %; none of one.
fn student(values: usize) -> Option<f64> {
    Some(STUDENT.get(values.checked_sub(2)?).copied().unwrap_or(NOISE))
}

/// Within ± this a mean over so many seeds is known, at 95 %; none for one.
pub fn bound(mean: Mean, seeds: usize) -> Option<f64> {
    Some(student(seeds)? * mean.deviation? / (seeds as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_known_by_its_residuals() {
        let line: Vec<(f64, f64)> = (0..5).map(|x| (x.into(), 3.0 - 0.5 * f64::from(x))).collect();
        let slope = Slope::of(&line).unwrap();
        assert!((slope.slope + 0.5).abs() < 1e-12 && slope.error < 1e-12 && !slope.rises());
        // By hand: residuals −1/3, 2/3, −1/3 over Σ(x − 1)² = 2.
        let bent = Slope::of(&[(0.0, 0.0), (1.0, 2.0), (2.0, 2.0)]).unwrap();
        assert!((bent.slope - 1.0).abs() < 1e-12 && (bent.error - (1.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!(!bent.rises() && Slope::of(&line[..1]).is_none());
        let two = Slope::of(&[(0.0, 0.0), (1.0, 2.0)]).unwrap();
        assert!(two.slope == 2.0 && !two.rises());
    }

    #[test]
    fn few_seeds_know_a_mean_badly() {
        let mean = Mean { mean: 1.0, deviation: Some(1.0) };
        assert_eq!(bound(mean, 1), None);
        assert!((bound(mean, 2).unwrap() - 12.71 / 2f64.sqrt()).abs() < 1e-12);
        assert!((bound(mean, 100).unwrap() - 0.2).abs() < 1e-12);
    }
}
