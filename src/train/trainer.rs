use std::ops::ControlFlow;

use ndarray::Array2;

use super::config::Config;
use super::data::TrainingData;
use super::group::Group;
use super::planning::spec;
use super::record::{Epoch, Rows, StepRecord, Validation};
use super::statistics::Pass;
use crate::engine::{Device, Engine};
use crate::gpu::Tuning;
use crate::model::{Model, Source, Spec, Statistics};
use crate::program::Plan;
use crate::{Error, Result};

/// A network in training: a session on a device, and what the host keeps beside it. A [`Group`] of one.
#[derive(Debug)]
pub struct Trainer {
    pub(super) group: Group,
}

/// Of the one model of a group.
fn only<T>(mut of_models: Vec<T>) -> T {
    of_models.swap_remove(0)
}

impl Trainer {
    /// The network that a configuration describes for a data set.
    ///
    /// # Errors
    /// [`Error::Config`] if a layer or a flag is out of range.
    pub fn spec(data: &TrainingData, config: &Config) -> Result<Spec> {
        spec(data, config, &config.hidden.0)
    }

    /// Compiles all that training will run, without a device: [`Device::rewrite`] makes of it what a device runs.
    ///
    /// # Errors
    /// [`Error::Config`] as for [`Trainer::spec`], for a row or class that the data set lacks, and where a
    /// minibatch of one row would meet batch normalization.
    pub fn plan(data: &TrainingData, config: &Config) -> Result<Plan> {
        Group::plan(data, std::slice::from_ref(config), &config.hidden.0)
    }

    /// Sets a network up for training: checks that it fits the device, compiles, allocates, and loads
    /// the data set and the initial weights.
    ///
    /// # Errors
    /// As for [`Trainer::plan`]; [`Error::Fit`] with the batch size that would fit; [`Error::Device`];
    /// [`Error::File`] for `init_weights`.
    pub async fn new(data: TrainingData, config: Config, device: &Device) -> Result<Trainer> {
        let hidden = config.hidden.0.clone();
        Ok(Trainer { group: Group::new(data, vec![config], &hidden, device).await? })
    }

    /// Changes the learning rate from the next step on; the schedule goes on multiplying it.
    ///
    /// # Errors
    /// [`Error::Config`] as for [`Config::check`].
    pub fn set_learning_rate(&mut self, lr: f64) -> Result<()> {
        let config = Config { lr: Some(lr), ..self.config().clone() };
        config.check()?;
        self.group.members[0].config = config;
        self.group.write_hyper();
        Ok(())
    }

    /// Makes chunks no longer than so many steps: tests look after each.
    #[doc(hidden)]
    pub fn limit_chunks(&mut self, steps: usize) {
        self.group.longest = steps;
    }

    /// As it was given, but for a learning rate that was set since.
    pub fn config(&self) -> &Config {
        self.group.config(0)
    }

    /// What is trained on.
    pub fn data(&self) -> &TrainingData {
        self.group.data()
    }

    /// Ends the session, which frees the device's memory, and gives the data set back.
    pub fn into_data(self) -> TrainingData {
        self.group.into_data()
    }

    /// What was measured for it, or remembered.
    pub fn tuning(&self) -> &Tuning {
        &self.group.tuning
    }

    /// The session.
    pub fn engine(&self) -> &Engine {
        self.group.engine()
    }

    /// The session, for tests that spoil what it holds.
    #[doc(hidden)]
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.group.engine
    }

    /// Updates so far.
    pub fn updates(&self) -> usize {
        self.group.updates
    }

    /// Minibatches of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.group.steps_per_epoch()
    }

    /// Trains one epoch: all training rows once, in the order that seed and epoch give. After as many epochs
    /// as the configuration has, a cosine leaves the rate at 0.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a loss or a statistic is not finite; [`Error::Device`].
    pub async fn epoch(&mut self) -> Result<Epoch> {
        self.epoch_with(|_| ControlFlow::Continue(())).await
    }

    /// [`Trainer::epoch`] that shows the records of each chunk of steps, and ends where it is told to.
    ///
    /// # Errors
    /// As for [`Trainer::epoch`].
    pub async fn epoch_with(
        &mut self,
        observe: impl FnMut(&[StepRecord]) -> ControlFlow<()>,
    ) -> Result<Epoch> {
        only(self.group.epoch(observe).await?)
    }

    /// An epoch over the training rows in an order of the caller's.
    ///
    /// # Errors
    /// As for [`Trainer::epoch`]; [`Error::Config`] if the order is not of the training rows' length or
    /// names a row that the data set lacks.
    pub async fn epoch_in_order(
        &mut self,
        order: &[u32],
        observe: impl FnMut(&[StepRecord]) -> ControlFlow<()>,
    ) -> Result<Epoch> {
        let rows = self.data().targets.len();
        let expected = self.data().split.train.len();
        if order.len() != expected || order.iter().any(|&row| row as usize >= rows) {
            return Err(Error::Config(format!("an epoch's order must name {expected} rows below {rows}")));
        }
        only(self.group.epoch_in_order(vec![order.to_vec()], observe).await?)
    }

    /// The parameters as they are.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub async fn parameters(&mut self) -> Result<Vec<Array2<f64>>> {
        Ok(only(self.group.parameters().await?))
    }

    /// Overwrites the parameters; the optimizer's state and the moving averages stay, until [`super::train`] begins a
    /// run.
    ///
    /// # Errors
    /// [`Error::Config`] that names the parameter that has another shape than the network's.
    pub fn set_parameters(&mut self, parameters: &[Array2<f64>]) -> Result<()> {
        self.group.set_parameters([parameters])
    }

    /// Loss and accuracy of a part of the data set under given statistics. Changes nothing of the
    /// model.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the loss is not finite; [`Error::Config`] if there are no such rows, or names the
    /// layer that has other statistics than the network's; [`Error::Device`].
    pub async fn evaluate(&mut self, rows: Rows, statistics: &[Statistics]) -> Result<Validation> {
        only(self.group.evaluate(rows, [statistics]).await?)
    }

    /// The moving averages so far: PyTorch's for [`Source::Pytorch`], else the debiased ones.
    pub fn moving(&self, source: Source) -> Vec<Statistics> {
        only(self.group.moving(source))
    }

    /// One pass over the training minibatches with the parameters as they are.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a statistic is not finite; [`Error::Device`].
    pub async fn statistics_pass(&mut self) -> Result<Vec<Pass>> {
        only(self.group.statistics_pass().await?)
    }

    /// The statistics of a source, which may take a pass over the training rows.
    ///
    /// # Errors
    /// As for [`Trainer::statistics_pass`].
    pub async fn statistics(&mut self, source: Source) -> Result<Vec<Statistics>> {
        match source {
            Source::Ema | Source::Pytorch => Ok(self.moving(source)),
            Source::Population => Ok(self.statistics_pass().await?.iter().map(Pass::population).collect()),
            Source::Pooled => Ok(self.statistics_pass().await?.iter().map(Pass::pooled).collect()),
        }
    }

    /// A model from parameters and statistics of this trainer's network; see [`Model::check`].
    pub fn model_of(
        &self,
        parameters: Vec<Array2<f64>>,
        statistics: Vec<Statistics>,
        source: Source,
    ) -> Model {
        self.group.model_of(0, parameters, statistics, source)
    }

    /// The model as it is now, with the configuration's source of statistics.
    ///
    /// # Errors
    /// As for [`Trainer::statistics`].
    pub async fn model(&mut self) -> Result<Model> {
        let source = self.config().stats;
        let parameters = self.parameters().await?;
        let statistics = self.statistics(source).await?;
        Ok(self.model_of(parameters, statistics, source))
    }
}
