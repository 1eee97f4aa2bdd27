use std::ops::ControlFlow;

use ndarray::Array2;
use serde::Serialize;

use super::group::Group;
use super::record::{Epoch, Norms, Rows, StepRecord, Validation};
use super::statistics::Pass;
use super::trainer::Trainer;
use crate::model::{Model, Source, Spec, Statistics};
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
    /// Models that are still training.
    pub models: usize,
    /// The last epoch's validation; the lowest of all models.
    pub valid: Option<Validation>,
    /// The best epoch's; the lowest of all models.
    pub best: Option<Validation>,
}

/// Who watches a run: progress, logs, and the wish to end it.
pub trait Observer {
    /// After a chunk of steps; `Break` ends the run here, with the best model so far.
    fn steps(&mut self, _: &[StepRecord], _: &Progress) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    /// After an epoch, for each model that is still training; `best` if its weights are the ones to keep so far.
    fn epoch(&mut self, _: &Epoch, _: Option<&Validation>, _best: bool) -> Result<()> {
        Ok(())
    }

    /// After [`Observer::epoch`], where there is batch normalization: the moving average of each one's statistics.
    fn statistics(&mut self, _: &Epoch, _: &[Statistics]) -> Result<()> {
        Ok(())
    }

    /// Whether to call [`Observer::norms`], for which parameters are read from the device after every epoch.
    fn watches_norms(&self) -> bool {
        false
    }

    /// After [`Observer::epoch`], where it is watched: the norms of each layer's weight.
    fn norms(&mut self, _: &Epoch, _: &[Norms]) -> Result<()> {
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
    /// Training and validation loss of each epoch that had both.
    pub history: Vec<[f64; 2]>,
}

/// The best weights so far, with the moving averages that belong to them.
struct Best {
    epoch: usize,
    valid: Option<Validation>,
    parameters: Vec<Array2<f64>>,
    ema: Vec<Statistics>,
    pytorch: Vec<Statistics>,
}

/// One of the models of a run.
#[derive(Default)]
struct Run {
    epochs: usize,
    best: Option<Best>,
    end: Option<End>,
    history: Vec<[f64; 2]>,
}

/// Trains as long as the configuration says, keeps the weights of the best epoch (by validation loss;
/// the last epoch without validation rows), and computes the statistics that inference uses.
///
/// # Errors
/// Those of [`Trainer::epoch`] and of the observer. Divergence or a failing device after a good epoch is no
/// error here: see [`End`].
pub async fn train(trainer: &mut Trainer, observer: &mut dyn Observer) -> Result<Outcome> {
    train_all(&mut trainer.group, observer).await?.swap_remove(0)
}

/// [`train`] for each model of a group: one that ended before the others, by patience or as it diverged, is
/// frozen until they have ended. The group is left with the best parameters of each.
///
/// # Errors
/// [`Error::Device`] where no model had a good epoch; the observer's. Inside, of each model: [`Error::Diverged`]
/// before its first good epoch.
pub async fn train_all(group: &mut Group, observer: &mut dyn Observer) -> Result<Vec<Result<Outcome>>> {
    let (epochs, patience) = (group.config(0).epochs, group.config(0).patience);
    let validates = !group.data().split.valid.is_empty();
    let steps = group.steps_per_epoch() * epochs;
    let mut progress = Progress { epochs, steps, ..Progress::default() };
    let mut runs: Vec<Run> = (0..group.models()).map(|_| Run::default()).collect();
    let mut lost = None;
    for number in 1..=epochs {
        progress.epoch = number;
        progress.models = runs.iter().filter(|run| run.end.is_none()).count();
        let interrupted = match train_epoch(group, observer, &mut progress, &mut runs).await {
            Ok(interrupted) => interrupted,
            Err(error @ Error::Device(_)) if runs.iter().any(|run| run.best.is_some()) => {
                lost = Some(error);
                break;
            }
            Err(error) => return Err(error),
        };
        for run in runs.iter_mut().filter(|run| run.end.is_none()) {
            let since = run.best.as_ref().map_or(0, |best| number - best.epoch);
            if interrupted {
                run.end = Some(End::Interrupted);
            } else if validates && patience > 0 && since >= patience && number < epochs {
                run.end = Some(End::Stopped);
            }
        }
        if runs.iter().all(|run| run.end.is_some()) {
            break;
        }
        for (model, _) in runs.iter().enumerate().filter(|(_, run)| run.end.is_some()) {
            group.freeze(model);
        }
    }
    let finished = if let Some(error) = lost { Err(error) } else { finish(group, &runs).await };
    let finished = match finished {
        Err(error @ Error::Device(_)) => runs.iter().map(|_| Err(error.clone())).collect(),
        finished => finished?,
    };
    let all = runs.into_iter().zip(finished).enumerate();
    Ok(all.map(|(model, (run, finished))| outcome(group, model, run, finished)).collect())
}

/// An epoch of all models, the validation of each, and its weights where they are its best so far; whether the
/// observer asked for an end.
async fn train_epoch(
    group: &mut Group,
    observer: &mut dyn Observer,
    progress: &mut Progress,
    runs: &mut [Run],
) -> Result<bool> {
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
    let epochs = group.epoch(observe).await?;
    if let Some(error) = failure {
        return Err(error);
    }
    let interrupted = epochs.iter().flatten().any(|epoch| epoch.interrupted);
    let mut valid: Vec<Result<Option<Validation>>> = epochs.iter().map(|_| Ok(None)).collect();
    if !group.data().split.valid.is_empty() && epochs.iter().any(Result::is_ok) {
        let statistics = group.moving(live(group));
        let evaluated = group.evaluate(Rows::Valid, statistics.iter().map(Vec::as_slice)).await?;
        valid = evaluated.into_iter().map(|valid| valid.map(Some)).collect();
    }
    let mut seen = vec![];
    for ((run, epoch), valid) in runs.iter_mut().zip(epochs).zip(valid) {
        if run.end.is_some() {
            continue;
        }
        run.epochs = progress.epoch;
        match epoch.and_then(|epoch| Ok((epoch, valid?))) {
            Ok((epoch, valid)) => {
                // Without validation rows every epoch is better than the one before.
                let better = run
                    .best
                    .as_ref()
                    .is_none_or(|best| epoch.complete && (valid.is_none() || loss(valid) < loss(best.valid)));
                run.history.extend(valid.map(|valid| [epoch.loss, valid.loss]));
                seen.push((epoch, valid, better));
            }
            Err(error) => run.end = Some(End::Diverged(error)),
        }
    }
    progress.valid =
        seen.iter().map(|(_, valid, _)| *valid).min_by(|a, b| loss(*a).total_cmp(&loss(*b))).flatten();
    let better = seen.iter().any(|(.., better)| *better);
    let watched = observer.watches_norms() && !seen.is_empty();
    let mut parameters = if better || watched { group.parameters().await? } else { vec![] };
    let gradients = if watched { group.gradients().await? } else { None };
    let norms: Vec<Vec<Norms>> = parameters
        .iter()
        .enumerate()
        .map(|(model, parameters)| {
            let gradients = gradients.as_ref().map(|gradients| &gradients[model][..]);
            norms(&group.members[model].spec, parameters, gradients)
        })
        .collect();
    for (epoch, valid, better) in seen {
        let run = &mut runs[epoch.model];
        if better {
            let parameters = std::mem::take(&mut parameters[epoch.model]);
            if !parameters.iter().flatten().all(|value| value.is_finite()) {
                let (epoch, step) = (epoch.epoch, group.updates);
                run.end = Some(End::Diverged(Error::Diverged { epoch, step, what: "a parameter".into() }));
                continue;
            }
            if progress.best.is_none_or(|best| loss(valid) < best.loss) {
                progress.best = valid;
            }
            let member = &group.members[epoch.model];
            let [ema, pytorch] = [Source::Ema, Source::Pytorch].map(|source| member.statistics(source));
            run.best = Some(Best { epoch: epoch.epoch, valid, parameters, ema, pytorch });
        }
        observer.epoch(&epoch, valid.as_ref(), better)?;
        let statistics = group.members[epoch.model].statistics(Source::Ema);
        if !statistics.is_empty() {
            observer.statistics(&epoch, &statistics)?;
        }
        if watched {
            observer.norms(&epoch, &norms[epoch.model])?;
        }
    }
    Ok(interrupted)
}

/// The norms of the weights, and of their gradients where they are known.
fn norms(spec: &Spec, parameters: &[Array2<f64>], gradients: Option<&[Array2<f64>]>) -> Vec<Norms> {
    let norm = |values: &Array2<f64>| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let all = spec.parameters().into_iter().zip(parameters).enumerate();
    let weights = all.filter(|(_, (parameter, _))| parameter.decayed);
    let of_weight = |(i, (_, weight)): (usize, (_, &Array2<f64>))| Norms {
        weight: norm(weight),
        gradient: gradients.map(|gradients| norm(&gradients[i])),
    };
    weights.map(of_weight).collect()
}

/// What epochs are compared by.
fn loss(valid: Option<Validation>) -> f64 {
    valid.map_or(f64::NEG_INFINITY, |valid| valid.loss)
}

/// The moving average that validation uses while training goes on.
fn live(group: &Group) -> Source {
    if group.config(0).stats == Source::Pytorch { Source::Pytorch } else { Source::Ema }
}

/// What passes over the data with a model's best weights came to.
struct Finished {
    population: Vec<Statistics>,
    pooled: Vec<Statistics>,
    /// Of the configuration's source.
    statistics: Vec<Statistics>,
    valid: Option<Validation>,
    sources: Vec<SourceReport>,
}

impl Finished {
    fn new(passes: &[Pass]) -> Finished {
        let population = passes.iter().map(Pass::population).collect();
        let pooled = passes.iter().map(Pass::pooled).collect();
        Finished { population, pooled, statistics: vec![], valid: None, sources: vec![] }
    }

    fn statistics(&self, source: Source, best: &Best) -> Vec<Statistics> {
        match source {
            Source::Ema => best.ema.clone(),
            Source::Population => self.population.clone(),
            Source::Pooled => self.pooled.clone(),
            Source::Pytorch => best.pytorch.clone(),
        }
    }
}

/// Restores the best weights and compares the sources of statistics.
async fn finish(group: &mut Group, runs: &[Run]) -> Result<Vec<Result<Finished>>> {
    let chosen = group.config(0).stats;
    group.set_parameters(runs.iter().map(|run| run.best.as_ref().map_or(&[][..], |best| &best.parameters)));
    let rows = if group.data().split.valid.is_empty() { Rows::Train } else { Rows::Valid };
    let passes = group.statistics_pass().await?;
    let mut all: Vec<Result<Finished>> =
        passes.into_iter().map(|passes| Ok(Finished::new(&passes?))).collect();
    let normalizes = group.engine().plan().spec.batch_norms().next().is_some();
    for source in [Source::Ema, Source::Population, Source::Pooled, Source::Pytorch] {
        // Without batch normalization there is nothing to compare.
        if !normalizes && source != chosen {
            continue;
        }
        let of_model = |(finished, run): (&Result<Finished>, &Run)| match (finished, &run.best) {
            (Ok(finished), Some(best)) => finished.statistics(source, best),
            _ => vec![],
        };
        let statistics: Vec<Vec<Statistics>> = all.iter().zip(runs).map(of_model).collect();
        let evaluated = group.evaluate(rows, statistics.iter().map(Vec::as_slice)).await?;
        for ((result, statistics), evaluated) in all.iter_mut().zip(statistics).zip(evaluated) {
            let (finished, evaluated) = match (&mut *result, evaluated) {
                (Ok(finished), Ok(evaluated)) => (finished, evaluated),
                (Ok(_), Err(error)) => {
                    *result = Err(error);
                    continue;
                }
                (Err(_), _) => continue,
            };
            if normalizes {
                let (mean_drift, variance_drift) = drift(&statistics, &finished.population);
                let loss = evaluated.loss;
                finished.sources.push(SourceReport { source, loss, mean_drift, variance_drift });
            }
            if source == chosen {
                finished.statistics = statistics;
                finished.valid = (rows == Rows::Valid).then_some(evaluated);
            }
        }
    }
    Ok(all)
}

/// What a model's run came to. Where the last passes failed it is the best epoch with its moving averages.
fn outcome(group: &Group, model: usize, run: Run, finished: Result<Finished>) -> Result<Outcome> {
    let Some(best) = run.best else {
        return Err(match (run.end, finished) {
            (Some(End::Diverged(error)), _) | (_, Err(error)) => error,
            _ => Error::Config("no epoch was trained: --epochs is 0".into()),
        });
    };
    let (epochs, best_epoch, history) = (run.epochs, best.epoch, run.history);
    match finished {
        Ok(Finished { statistics, valid, sources, .. }) => {
            let model = group.model_of(model, best.parameters, statistics, group.config(0).stats);
            let end = run.end.unwrap_or(End::Finished);
            Ok(Outcome { model, end, epochs, best_epoch, valid, sources, history })
        }
        Err(error) => {
            let source = live(group);
            let statistics = if source == Source::Pytorch { best.pytorch } else { best.ema };
            let model = group.model_of(model, best.parameters, statistics, source);
            let end = if let Error::Device(_) = error { End::Lost(error) } else { End::Diverged(error) };
            Ok(Outcome { model, end, epochs, best_epoch, valid: best.valid, sources: vec![], history })
        }
    }
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
