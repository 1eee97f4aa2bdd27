use std::ops::ControlFlow;

use ndarray::Array2;
use serde::Serialize;

use super::checkpoint::Checkpoint;
use super::epoch::Running;
use super::fault::of_parameters;
use super::finish::{Finished, finish, outcome};
use super::group::Group;
use super::record::{Epoch, Norms, Rows, StepRecord, Validation};
use super::recovery::Recovery;
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

/// Who watches a run: progress, logs, and the wish to end it. Where training runs it is called, which may be a thread of
/// the caller's choice.
pub trait Observer: Send {
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

    /// Whether to make a checkpoint, after [`Observer::steps`] and before an end that it asked for. Asked where one
    /// model is trained alone.
    fn wants_checkpoint(&mut self) -> bool {
        false
    }

    /// Takes the checkpoint, to save it.
    fn checkpoint(&mut self, _: Checkpoint) -> Result<()> {
        Ok(())
    }

    /// The device was lost, as the error says, and another is in its place: training goes on from after so many
    /// updates. What was shown of later ones is not shown again.
    fn recovered(&mut self, _: &Error, _updates: usize) -> Result<()> {
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
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
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
#[derive(Clone)]
pub(super) struct Best {
    pub epoch: usize,
    pub valid: Option<Validation>,
    pub parameters: Vec<Array2<f64>>,
    pub ema: Vec<Statistics>,
    pub pytorch: Vec<Statistics>,
}

/// One of the models of a run.
#[derive(Clone, Default)]
pub(super) struct Run {
    pub epochs: usize,
    pub best: Option<Best>,
    pub end: Option<End>,
    pub history: Vec<[f64; 2]>,
}

/// Trains as long as the configuration says, keeps the weights of the best epoch (by validation loss;
/// the last epoch without validation rows), and computes the statistics that inference uses. The trainer is left with
/// the best epoch's weights and moving averages.
///
/// A trainer that has trained before begins a new run from its parameters and PyTorch's moving average as they are:
/// epochs, schedule, order of rows, dropout and the optimizer's state start over.
///
/// The future waits for the device in place: in a program with an executor, run it in a thread for itself
/// (`std::thread`, tokio's `spawn_blocking`).
///
/// # Errors
/// Those of [`Trainer::epoch`] and of the observer. Divergence or a failing device after a good epoch is no
/// error here: see [`End`]. Nor is a device that was lost, unless it is the caller's own: training goes on, with the
/// same bits, from a snapshot in memory that is a minute old at the most; the third loss ends it.
pub async fn train(trainer: &mut Trainer, observer: &mut dyn Observer) -> Result<Outcome> {
    train_all(&mut trainer.group, observer).await?.swap_remove(0)
}

/// [`train`] for each model of a group: one that ended before the others, by patience or as it diverged, is
/// frozen until they have ended. The group is left with the best parameters and moving averages of each.
///
/// # Errors
/// [`Error::Device`] where no model had a good epoch; the observer's. Inside, of each model: [`Error::Diverged`]
/// before its first good epoch.
pub async fn train_all(group: &mut Group, observer: &mut dyn Observer) -> Result<Vec<Result<Outcome>>> {
    group.start_over();
    let runs = (0..group.models()).map(|_| Run::default()).collect();
    go_on(group, observer, runs, Progress { epoch: 1, ..Progress::default() }, None).await
}

/// Goes on from a checkpoint of [`train`] by the same configuration on the same data, in a trainer that was just made.
/// On the same device the outcome has the same bits as without the stop.
///
/// # Errors
/// As for [`train`]; [`Error::Config`] with what differs, if configuration or data do.
pub async fn resume(
    trainer: &mut Trainer,
    checkpoint: Checkpoint,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let (running, runs, progress) = checkpoint.restore(&mut trainer.group)?;
    go_on(&mut trainer.group, observer, runs, progress, Some(running)).await?.swap_remove(0)
}

/// Trains to the end, whatever happens to the device, and makes the passes with the best weights.
async fn go_on(
    group: &mut Group,
    observer: &mut dyn Observer,
    mut runs: Vec<Run>,
    mut progress: Progress,
    mut running: Option<Running>,
) -> Result<Vec<Result<Outcome>>> {
    let mut recovery = Recovery::new(observer);
    let finished = loop {
        let trained = train_epochs(group, &mut recovery, &mut runs, &mut progress, running.take()).await;
        let failed = match trained {
            Ok(()) => break finish_again(group, &mut recovery, &runs, progress.step).await,
            Err(error @ Error::Device(_)) => error,
            Err(error) => return Err(error),
        };
        match recovery.recover(group, failed).await {
            Ok(place) => {
                let of_before;
                (of_before, runs, progress) = place;
                running = Some(of_before);
            }
            Err(error @ Error::Device(_)) if runs.iter().any(|run| run.best.is_some()) => break Err(error),
            Err(error) => return Err(error),
        }
    };
    let finished = match finished {
        Err(error @ Error::Device(_)) => runs.iter().map(|_| Err(error.clone())).collect(),
        finished => finished?,
    };
    let all = runs.into_iter().zip(finished).enumerate();
    Ok(all.map(|(model, (run, finished))| outcome(group, model, run, finished)).collect())
}

/// [`finish`], once more if the device is lost.
async fn finish_again(
    group: &mut Group,
    recovery: &mut Recovery<'_>,
    runs: &[Run],
    updates: usize,
) -> Result<Vec<Result<Finished>>> {
    loop {
        match finish(group, runs).await {
            Err(error @ Error::Device(_)) => recovery.renew(group, error, updates).await?,
            finished => return finished,
        }
    }
}

/// Trains from `progress.epoch` to the last, the first of which may be running.
async fn train_epochs(
    group: &mut Group,
    recovery: &mut Recovery<'_>,
    runs: &mut [Run],
    progress: &mut Progress,
    mut running: Option<Running>,
) -> Result<()> {
    let (epochs, patience) = (group.config(0).epochs, group.config(0).patience);
    let validates = !group.data().split.valid.is_empty();
    (progress.epochs, progress.steps) = (epochs, group.steps_per_epoch() * epochs);
    for number in progress.epoch..=epochs {
        progress.epoch = number;
        progress.models = runs.iter().filter(|run| run.end.is_none()).count();
        let running = running.take().unwrap_or_else(|| group.begin_epoch());
        let interrupted = train_epoch(group, running, recovery, progress, runs).await?;
        recovery.end_epoch(number);
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
    Ok(())
}

/// The rest of an epoch of all models, the validation of each, and its weights where they are its best so far; whether the
/// observer asked for an end.
async fn train_epoch(
    group: &mut Group,
    mut running: Running,
    observer: &mut Recovery<'_>,
    progress: &mut Progress,
    runs: &mut [Run],
) -> Result<bool> {
    let mut interrupted = false;
    observer.keep(group, &running, runs, progress).await?;
    while !interrupted && let Some(records) = group.advance(&mut running).await? {
        if let Some(last) = records.last() {
            (progress.step, progress.loss, progress.lr) = (last.step, last.loss, last.lr);
        }
        interrupted = observer.steps(&records, progress)?.is_break();
        observer.keep(group, &running, runs, progress).await?;
    }
    let epochs = group.end(running, interrupted);
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
            if let Some((what, way_out)) = of_parameters(&group.members[epoch.model].spec, &parameters) {
                let (epoch, step) = (epoch.epoch, group.updates);
                run.end = Some(End::Diverged(Error::Diverged { epoch, step, what, way_out }));
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
pub(super) fn live(group: &Group) -> Source {
    if group.config(0).stats == Source::Pytorch { Source::Pytorch } else { Source::Ema }
}
