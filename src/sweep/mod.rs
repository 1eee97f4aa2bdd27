//! Sweeps: the models of a grid of settings, trained side by side, and how they compare.

mod grid;
mod leaderboard;

use std::ops::ControlFlow;

pub(crate) use grid::MODELS;
pub use grid::{Grid, label, name, passes, room};
pub use leaderboard::{Leaderboard, Mean, Row, Seed};

use crate::model::{Model, Statistics};
use crate::train::{
    Config, End, Epoch, Group, Measured, Norms, Observer, Outcome, Progress, Rows, StepRecord, TrainingData,
    Validation, measure, train_all,
};
use crate::{Device, Error, Result};

/// A model that was trained.
#[derive(Debug)]
pub struct Trained {
    /// Its settings.
    pub config: Config,
    /// As alone: [`Error::Diverged`] before the first good epoch, or what was learned.
    pub outcome: Result<Outcome>,
    /// Of the best epoch's weights on the training rows, with the model's own statistics; none where the outcome is
    /// an error or the device was lost.
    pub train: Option<Measured>,
    /// The same on the validation rows, where there are any.
    pub valid: Option<Measured>,
}

impl Trained {
    /// Measures models that were trained with these settings, of as many layers each.
    ///
    /// # Errors
    /// As for [`measure`].
    pub async fn measure(
        data: &TrainingData,
        models: impl IntoIterator<Item = (Config, Result<Outcome>)>,
        device: &Device,
    ) -> Result<Vec<Trained>> {
        let new = |(config, outcome)| Trained { config, outcome, train: None, valid: None };
        let mut all: Vec<Trained> = models.into_iter().map(new).collect();
        let lost = |trained: &Trained| matches!(&trained.outcome, Ok(Outcome { end: End::Lost(_), .. }));
        if all.iter().any(lost) {
            return Ok(all);
        }
        let mut learned: Vec<(&Model, &Config)> = vec![];
        for trained in &all {
            learned.extend(trained.outcome.as_ref().map(|outcome| (&outcome.model, &trained.config)));
        }
        let train = measure(&learned, data, Rows::Train, device).await?;
        let valid = match data.rows(Rows::Valid) {
            [] => vec![None; train.len()],
            _ => measure(&learned, data, Rows::Valid, device).await?.into_iter().map(Some).collect(),
        };
        let measured = all.iter_mut().filter(|trained| trained.outcome.is_ok());
        for (trained, (train, valid)) in measured.zip(train.into_iter().zip(valid)) {
            (trained.train, trained.valid) = (Some(train), valid);
        }
        Ok(all)
    }
}

/// What a sweep came to.
#[derive(Debug)]
pub struct Sweep {
    /// In the order of their settings; without those whose pass was not reached.
    pub trained: Vec<Trained>,
    /// Why it ended before its last pass: [`End::Interrupted`] or [`End::Lost`].
    pub broken: Option<End>,
}

/// Trains a model for each of the settings, pass by pass: see [`passes`].
///
/// The model of a seed is what [`crate::train::train`] makes of the same data and settings: initial weights, order
/// of rows and dropout are the seed's. The split is that of `data`, the same for all.
///
/// # Errors
/// Those of the observer, and of [`Group::new`] and [`train_all`] in the first pass.
pub async fn sweep(
    data: &TrainingData,
    configs: &[Config],
    passes: &[Vec<usize>],
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Sweep> {
    sweep_saving(data, configs, passes, device, observer, &mut |_| {}).await
}

/// [`sweep`] that gives what was trained, in the order of the settings, to `save` after each pass that another follows.
///
/// # Errors
/// As for [`sweep`].
pub async fn sweep_saving(
    data: &TrainingData,
    configs: &[Config],
    passes: &[Vec<usize>],
    device: &Device,
    observer: &mut dyn Observer,
    save: &mut (dyn FnMut(&[Trained]) + Send),
) -> Result<Sweep> {
    // The number of each in `configs`, and what it came to.
    let (mut numbers, mut trained) = (vec![], vec![]);
    let mut broken = None;
    let mut waiting = configs.len();
    for (number, models) in passes.iter().enumerate() {
        waiting -= models.len();
        let watch = Pass { observer: &mut *observer, models, waiting, before: number, passes: passes.len() };
        let of_pass: Vec<Config> = models.iter().map(|&model| configs[model].clone()).collect();
        match train_pass(data, of_pass, device, watch).await {
            Ok((of_pass, end)) => {
                for (&model, of_model) in models.iter().zip(of_pass) {
                    let at = numbers.partition_point(|&number| number < model);
                    numbers.insert(at, model);
                    trained.insert(at, of_model);
                }
                broken = end;
            }
            // What earlier passes trained is kept.
            Err(error @ (Error::Device(_) | Error::Fit { .. })) if !trained.is_empty() => {
                broken = Some(End::Lost(error));
            }
            Err(error) => return Err(error),
        }
        if broken.is_some() {
            break;
        }
        if number + 1 < passes.len() {
            save(&trained);
        }
    }
    Ok(Sweep { trained, broken })
}

/// Trains models side by side and measures them on the training rows; with what should end the sweep.
async fn train_pass(
    data: &TrainingData,
    configs: Vec<Config>,
    device: &Device,
    mut watch: Pass<'_>,
) -> Result<(Vec<Trained>, Option<End>)> {
    let mut group = Group::new(data.clone(), configs.clone(), &room(&configs), device).await?;
    let outcomes = train_all(&mut group, &mut watch).await?;
    let broken = outcomes.iter().flatten().find_map(|outcome| match &outcome.end {
        End::Interrupted => Some(End::Interrupted),
        End::Lost(error) => Some(End::Lost(error.clone())),
        _ => None,
    });
    // The device's memory is free for what measures them.
    drop(group);
    let trained = Trained::measure(data, configs.into_iter().zip(outcomes), device).await?;
    Ok((trained, broken))
}

/// Shows a pass to the observer of the whole sweep.
struct Pass<'a> {
    observer: &'a mut dyn Observer,
    /// Their numbers in the sweep.
    models: &'a [usize],
    /// Models of the passes to come.
    waiting: usize,
    before: usize,
    passes: usize,
}

impl Observer for Pass<'_> {
    fn steps(&mut self, records: &[StepRecord], progress: &Progress) -> Result<ControlFlow<()>> {
        let progress = Progress {
            step: self.before * progress.steps + progress.step,
            steps: self.passes * progress.steps,
            models: self.waiting + progress.models,
            ..*progress
        };
        let of_sweep =
            |record: &StepRecord| StepRecord { model: self.models[record.model], ..record.clone() };
        let records: Vec<StepRecord> = records.iter().map(of_sweep).collect();
        self.observer.steps(&records, &progress)
    }

    fn epoch(&mut self, epoch: &Epoch, valid: Option<&Validation>, best: bool) -> Result<()> {
        self.observer.epoch(&Epoch { model: self.models[epoch.model], ..*epoch }, valid, best)
    }

    fn statistics(&mut self, epoch: &Epoch, statistics: &[Statistics]) -> Result<()> {
        self.observer.statistics(&Epoch { model: self.models[epoch.model], ..*epoch }, statistics)
    }

    fn recovered(&mut self, error: &Error, updates: usize) -> Result<()> {
        self.observer.recovered(error, updates)
    }

    fn watches_norms(&self) -> bool {
        self.observer.watches_norms()
    }

    fn norms(&mut self, epoch: &Epoch, norms: &[Norms]) -> Result<()> {
        self.observer.norms(&Epoch { model: self.models[epoch.model], ..*epoch }, norms)
    }
}
