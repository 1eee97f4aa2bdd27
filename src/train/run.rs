use std::ops::ControlFlow;

use ndarray::Array2;
use serde::Serialize;

use super::record::{Epoch, Rows, StepRecord, Validation};
use super::statistics::Pass;
use super::trainer::Trainer;
use crate::model::{Model, Source, Statistics};
use crate::{Error, Result};

/// Where a run is, after a chunk of steps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// From 1.
    pub epoch: usize,
    /// At the most.
    pub epochs: usize,
    /// Updates so far and in all.
    pub step: usize,
    /// At the most.
    pub steps: usize,
    /// The last step's.
    pub loss: f64,
    /// The last step's.
    pub lr: f64,
    /// The last epoch's validation, and the best.
    pub valid: Option<Validation>,
    /// The best epoch's.
    pub best: Option<Validation>,
}

/// Who watches a run: progress, logs, and the wish to end it.
pub trait Observer {
    /// After a chunk of steps; `Break` ends the run here, with the best model so far.
    fn steps(&mut self, _: &[StepRecord], _: &Progress) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    /// After an epoch; `best` if its weights are the ones to keep so far.
    fn epoch(&mut self, _: &Epoch, _: Option<&Validation>, _best: bool) -> Result<()> {
        Ok(())
    }
}

/// Nobody.
impl Observer for () {}

/// Why a run ended.
#[derive(Debug)]
pub enum End {
    /// All epochs were trained.
    Finished,
    /// Validation did not improve for the epochs of `patience`.
    Stopped,
    /// The observer asked for it.
    Interrupted,
    /// A loss or statistic stopped being finite; the model is the last good one.
    Diverged(Error),
    /// The device failed; the model is the best so far, with the moving averages as statistics, since no pass
    /// over the training rows could be made.
    Lost(Error),
}

/// One source of inference statistics: the loss under it, and how far it is from `population`.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    /// Which.
    pub source: Source,
    /// On the validation rows, or the training rows where there are none.
    pub loss: f64,
    /// For each batch normalization: the largest `|mean − population mean| / population sigma`.
    pub mean_drift: Vec<f64>,
    /// For each batch normalization: the largest `|ln(variance / population variance)|`.
    pub variance_drift: Vec<f64>,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The best epoch's weights.
    pub model: Model,
    /// Why it ended.
    pub end: End,
    /// Epochs that were begun.
    pub epochs: usize,
    /// The epoch whose weights were kept, from 1.
    pub best_epoch: usize,
    /// Of the best epoch's weights, with the model's own statistics.
    pub valid: Option<Validation>,
    /// Empty without batch normalization.
    pub sources: Vec<SourceReport>,
}

/// The best weights so far, with the moving averages that belong to them.
struct Best {
    epoch: usize,
    valid: Option<Validation>,
    parameters: Vec<Array2<f64>>,
    ema: Vec<Statistics>,
    pytorch: Vec<Statistics>,
}

/// Trains as long as the configuration says, keeps the weights of the best epoch (by validation loss;
/// the last epoch without validation rows), and computes the statistics that inference uses.
///
/// # Errors
/// Those of [`Trainer::epoch`] and of the observer. Divergence or a failing device after a good epoch is no
/// error here: see [`End`].
pub async fn train(trainer: &mut Trainer, observer: &mut dyn Observer) -> Result<Outcome> {
    let config = trainer.config().clone();
    let validates = !trainer.data().split.valid.is_empty();
    let live = if config.stats == Source::Pytorch { Source::Pytorch } else { Source::Ema };
    let steps = trainer.steps_per_epoch() * config.epochs;
    let mut progress = Progress { epochs: config.epochs, steps, ..Progress::default() };
    let mut best: Option<Best> = None;
    let mut end = End::Finished;
    for number in 1..=config.epochs {
        progress.epoch = number;
        let trained = train_epoch(trainer, observer, &mut progress, live, best.as_ref()).await;
        let (epoch, valid, better) = match (trained, &best) {
            (Ok(done), _) => done,
            (Err(error @ (Error::Diverged { .. } | Error::Device(_))), Some(_)) => {
                end = ended_by(error);
                break;
            }
            (Err(error), _) => return Err(error),
        };
        let is_best = better.is_some();
        best = better.or(best);
        observer.epoch(&epoch, valid.as_ref(), is_best)?;
        if epoch.interrupted {
            end = End::Interrupted;
            break;
        }
        let since = best.as_ref().map_or(0, |best| number - best.epoch);
        if validates && config.patience > 0 && since >= config.patience && number < config.epochs {
            end = End::Stopped;
            break;
        }
    }
    let best = best.ok_or_else(|| Error::Config("no epoch was trained: --epochs is 0".into()))?;
    if let End::Lost(_) = end {
        return Ok(as_it_was(trainer, best, end, progress.epoch, live));
    }
    match finish(trainer, &best, progress.epoch).await {
        Ok(outcome) => Ok(Outcome { end, ..outcome }),
        Err(error @ (Error::Diverged { .. } | Error::Device(_))) => {
            Ok(as_it_was(trainer, best, ended_by(error), progress.epoch, live))
        }
        Err(error) => Err(error),
    }
}

/// The end that an error of the device or of the numbers means, where there is a model to keep.
fn ended_by(error: Error) -> End {
    if let Error::Device(_) = error { End::Lost(error) } else { End::Diverged(error) }
}

/// The best epoch with its moving averages: what needs no further pass.
fn as_it_was(trainer: &Trainer, best: Best, end: End, epochs: usize, live: Source) -> Outcome {
    let statistics = if live == Source::Pytorch { best.pytorch } else { best.ema };
    Outcome {
        model: trainer.model_of(best.parameters, statistics, live),
        end,
        epochs,
        best_epoch: best.epoch,
        valid: best.valid,
        sources: vec![],
    }
}

/// An epoch, its validation, and its weights if they are the best so far.
async fn train_epoch(
    trainer: &mut Trainer,
    observer: &mut dyn Observer,
    progress: &mut Progress,
    live: Source,
    best: Option<&Best>,
) -> Result<(Epoch, Option<Validation>, Option<Best>)> {
    let mut failure = None;
    let observe = |records: &[StepRecord]| {
        if let Some(last) = records.last() {
            (progress.step, progress.loss, progress.lr) = (last.step, last.loss, last.lr);
        }
        observer.steps(records, progress).unwrap_or_else(|error| {
            failure = Some(error);
            ControlFlow::Break(())
        })
    };
    let epoch = trainer.epoch_with(observe).await?;
    if let Some(error) = failure {
        return Err(error);
    }
    let mut valid = None;
    if !trainer.data().split.valid.is_empty() {
        let statistics = trainer.moving(live);
        valid = Some(trainer.evaluate(Rows::Valid, &statistics).await?);
    }
    progress.valid = valid;
    let loss = |valid: Option<Validation>| valid.map_or(f64::NEG_INFINITY, |valid| valid.loss);
    // Without validation rows every epoch is better than the one before.
    let improved = best.is_none_or(|best| valid.is_none() || loss(valid) < loss(best.valid));
    if !improved || (!epoch.complete && best.is_some()) {
        return Ok((epoch, valid, None));
    }
    let parameters = trainer.parameters().await?;
    if !parameters.iter().flatten().all(|value| value.is_finite()) {
        let (epoch, step) = (epoch.epoch, trainer.updates());
        return Err(Error::Diverged { epoch, step, what: "a parameter".into() });
    }
    progress.best = valid;
    let [ema, pytorch] = [Source::Ema, Source::Pytorch].map(|source| trainer.moving(source));
    let number = epoch.epoch;
    Ok((epoch, valid, Some(Best { epoch: number, valid, parameters, ema, pytorch })))
}

/// Restores the best weights, compares the sources of statistics, and makes the model.
async fn finish(trainer: &mut Trainer, best: &Best, epochs: usize) -> Result<Outcome> {
    let source = trainer.config().stats;
    trainer.set_parameters(&best.parameters);
    let rows = if trainer.data().split.valid.is_empty() { Rows::Train } else { Rows::Valid };
    let passes = trainer.statistics_pass().await?;
    let population: Vec<Statistics> = passes.iter().map(Pass::population).collect();
    let pooled: Vec<Statistics> = passes.iter().map(Pass::pooled).collect();
    let mut sources = vec![];
    let (mut chosen, mut valid) = (vec![], None);
    for (candidate, statistics) in [
        (Source::Ema, best.ema.clone()),
        (Source::Population, population.clone()),
        (Source::Pooled, pooled),
        (Source::Pytorch, best.pytorch.clone()),
    ] {
        // Without batch normalization there is nothing to compare.
        if statistics.is_empty() && candidate != source {
            continue;
        }
        let evaluated = trainer.evaluate(rows, &statistics).await?;
        if !statistics.is_empty() {
            let (mean_drift, variance_drift) = drift(&statistics, &population);
            sources.push(SourceReport {
                source: candidate,
                loss: evaluated.loss,
                mean_drift,
                variance_drift,
            });
        }
        if candidate == source {
            (chosen, valid) = (statistics, (rows == Rows::Valid).then_some(evaluated));
        }
    }
    let model = trainer.model_of(best.parameters.clone(), chosen, source);
    Ok(Outcome { model, end: End::Finished, epochs, best_epoch: best.epoch, valid, sources })
}

fn drift(statistics: &[Statistics], population: &[Statistics]) -> (Vec<f64>, Vec<f64>) {
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    // A unit that is constant has no deviation to measure by.
    let sigma = |variance: f64| (variance + crate::model::EPS).sqrt();
    let of_layer = |(a, b): (&Statistics, &Statistics)| {
        let (means, variances) = (a.mean.iter().zip(&b.mean), a.variance.iter().zip(&b.variance));
        (
            largest(&mut means.zip(&b.variance).map(|((a, b), variance)| (a - b).abs() / sigma(*variance))),
            largest(&mut variances.map(|(a, b)| 2.0 * (sigma(*a) / sigma(*b)).ln().abs())),
        )
    };
    statistics.iter().zip(population).map(of_layer).unzip()
}
