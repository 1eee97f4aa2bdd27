use std::ops::ControlFlow;
use std::time::Instant;

use ndarray::Array2;

use super::config::Config;
use super::data::TrainingData;
use super::planning::{CHUNK, batch_rows, evaluation_rows, plan, way_out};
use super::record::{Epoch, StepRecord};
use super::schedule;
use super::statistics::{BatchStatistics, Moving, of_record};
use crate::data::epoch_order;
use crate::engine::{Device, Engine};
use crate::gpu::Tuning;
use crate::model::{Model, Source, Spec, Statistics, initialize, read_weights};
use crate::ops::{Space, Step};
use crate::program::{Mode, Plan};
use crate::{Error, Result, Task};

/// A chunk is made as long as fits into this, so that progress shows and a driver's watchdog sleeps.
const CHUNK_SECONDS: f64 = 0.5;

/// A network in training: a session on a device, and what the host keeps beside it.
pub struct Trainer {
    pub(super) engine: Engine,
    pub(super) config: Config,
    pub(super) spec: Spec,
    pub(super) data: TrainingData,
    pub(super) moving: Vec<Moving>,
    pub(super) updates: usize,
    pub(super) epoch: usize,
    batch: usize,
    pub(super) chunk: usize,
    tuning: Tuning,
}

impl Trainer {
    /// The network that a configuration describes for a data set.
    ///
    /// # Errors
    /// [`Error::Config`] if a layer or a flag is out of range.
    pub fn spec(data: &TrainingData, config: &Config) -> Result<Spec> {
        config.check()?;
        let outputs = data.schema.outputs(data.task).unwrap_or(1);
        let (hidden, function) = (&config.hidden.0, config.activation);
        let inputs = data.inputs.width();
        let spec = Spec::mlp(data.task, inputs, hidden, outputs, function, config.norm, config.dropout);
        spec.check()?;
        Ok(spec)
    }

    /// Compiles all that training will run, without a device: [`Device::rewrite`] makes of it what a device runs.
    ///
    /// # Errors
    /// [`Error::Config`] as for [`Trainer::spec`], for a row or class that the data set lacks, and where a
    /// minibatch of one row would meet batch normalization.
    pub fn plan(data: &TrainingData, config: &Config) -> Result<Plan> {
        data.check()?;
        let spec = Trainer::spec(data, config)?;
        let batch = batch_rows(&spec, data, config)?;
        Ok(plan(&spec, data, config, batch))
    }

    /// Sets a network up for training: checks that it fits the device, compiles, allocates, and loads
    /// the data set and the initial weights.
    ///
    /// # Errors
    /// As for [`Trainer::plan`]; [`Error::Fit`] with the batch size that would fit; [`Error::Device`];
    /// [`Error::File`] for `init_weights`.
    pub async fn new(data: TrainingData, config: Config, device: &Device) -> Result<Trainer> {
        let compiled = Trainer::plan(&data, &config)?;
        let plan = device.rewrite(compiled.clone());
        let spec = plan.spec.clone();
        let batch = batch_rows(&spec, &data, &config)?;
        if device.check(&plan, "").is_err() {
            device.check(&plan, &way_out(&spec, &data, &config, device, batch))?;
        }
        let (parameters, start) = match &config.init_weights {
            Some(path) => read_weights(&spec, path)?,
            None => {
                let start =
                    |(_, n): (usize, usize)| Statistics { mean: vec![0.0; n], variance: vec![1.0; n] };
                (initialize(&spec, config.init, config.seed), spec.batch_norms().map(start).collect())
            }
        };
        let (plan, tuning) = device.tune(compiled, config.autotune).await?;
        let mut engine = Engine::new(device, plan).await?;
        engine.write_inputs(&data.inputs, &data.standardizer.affine());
        engine.write(Space::Targets, data.targets.as_slice().unwrap_or(&[]));
        let mut trainer = Trainer {
            engine,
            spec,
            moving: start.into_iter().map(Moving::new).collect(),
            updates: 0,
            epoch: 0,
            batch,
            chunk: 1,
            tuning,
            data,
            config,
        };
        trainer.engine.write_parameters(&parameters);
        trainer.write_hyper();
        Ok(trainer)
    }

    /// Learning rate, L2, weight decay and dropout key, as the optimizer and dropout read them.
    fn write_hyper(&mut self) {
        let l2 = self.config.lambda / self.data.split.train.len() as f64;
        // 24 bits, which an f32 holds exactly.
        let key = (self.config.seed ^ self.config.seed >> 24 ^ self.config.seed >> 48) & 0xff_ffff;
        let hyper = [self.config.learning_rate(), l2, self.config.decay(), key as f64];
        self.engine.write(Space::Hyper, &hyper);
    }

    /// Changes the learning rate from the next step on; the schedule goes on multiplying it.
    pub fn set_learning_rate(&mut self, lr: f64) {
        self.config.lr = Some(lr);
        self.write_hyper();
    }

    /// As it was given, but for a learning rate that was set since.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is trained on.
    pub fn data(&self) -> &TrainingData {
        &self.data
    }

    /// Ends the session, which frees the device's memory, and gives the data set back.
    pub fn into_data(self) -> TrainingData {
        self.data
    }

    /// What was measured for it, or remembered.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// The session.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Updates so far.
    pub fn updates(&self) -> usize {
        self.updates
    }

    /// Minibatches of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.data.split.train.len().div_ceil(self.batch)
    }

    /// Trains one epoch: all training rows once, in the order that seed and epoch give.
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
        let order = epoch_order(&self.data.split.train, self.config.order, self.config.seed, self.epoch);
        self.epoch_in_order(&order, observe).await
    }

    /// An epoch over the training rows in an order of the caller's.
    ///
    /// # Errors
    /// As for [`Trainer::epoch`]; [`Error::Config`] if the order is not of the training rows' length or
    /// names a row that the data set lacks.
    pub async fn epoch_in_order(
        &mut self,
        order: &[u32],
        mut observe: impl FnMut(&[StepRecord]) -> ControlFlow<()>,
    ) -> Result<Epoch> {
        let rows = self.data.targets.len();
        if order.len() != self.data.split.train.len() || order.iter().any(|&row| row as usize >= rows) {
            let expected = self.data.split.train.len();
            return Err(Error::Config(format!("an epoch's order must name {expected} rows below {rows}")));
        }
        let started = Instant::now();
        self.epoch += 1;
        self.engine.write_order(order);
        let per_epoch = self.steps_per_epoch();
        let total = per_epoch * self.config.epochs;
        let mut epoch = Epoch { epoch: self.epoch, complete: true, ..Epoch::default() };
        let mut correct = 0.0;
        let mut at = 0;
        while at < per_epoch {
            let count = self.chunk.min(per_epoch - at).min(self.engine.plan().slots);
            let mut steps = vec![];
            for (slot, step) in (at..at + count).enumerate() {
                let factor = schedule::factor(&self.config, self.updates + slot, per_epoch, total);
                steps.push(self.step(Mode::Train, order.len(), step, slot, factor));
            }
            let chunk_started = Instant::now();
            let log = self.engine.run(&steps).await?;
            self.adapt(count, chunk_started.elapsed().as_secs_f64());
            let record = self.engine.plan().record;
            let mut records = vec![];
            for ((program, step), record) in steps.iter().zip(log.chunks(record)) {
                self.updates += 1;
                let rows = self.engine.plan().programs[*program].rows;
                let batches = self.check_record(record, rows)?;
                for (moving, batch) in self.moving.iter_mut().zip(&batches) {
                    moving.update(batch);
                }
                epoch.rows += rows;
                epoch.loss += record[0];
                correct += record[1];
                epoch.lr = self.config.learning_rate() * step.lr_factor;
                records.push(StepRecord {
                    epoch: self.epoch,
                    step: self.updates,
                    rows,
                    lr: epoch.lr,
                    loss: record[0] / rows as f64,
                    accuracy: self.of_rows(record[1], rows),
                });
            }
            at += count;
            if observe(&records).is_break() {
                epoch.interrupted = true;
                epoch.complete = at == per_epoch;
                break;
            }
        }
        epoch.loss /= epoch.rows as f64;
        epoch.accuracy = self.of_rows(correct, epoch.rows);
        epoch.seconds = started.elapsed().as_secs_f64();
        Ok(epoch)
    }

    /// Minibatch number `step` of `rows` rows in all.
    pub(super) fn step(
        &self,
        mode: Mode,
        rows: usize,
        step: usize,
        slot: usize,
        lr_factor: f64,
    ) -> (usize, Step) {
        let size = self.size(mode, rows);
        let first = step * size;
        let number = (self.updates + slot + 1) as u32;
        let decayed = |beta: f64| 1.0 - beta.powf(number.into());
        let step = Step {
            first: first as u32,
            slot: slot as u32,
            number,
            lr_factor,
            corrections: [decayed(self.config.betas.0), decayed(self.config.betas.1)],
        };
        (self.engine.plan().program(mode, size.min(rows - first)), step)
    }

    /// Rows of a whole minibatch.
    pub(super) fn size(&self, mode: Mode, rows: usize) -> usize {
        match mode {
            Mode::Train | Mode::Statistics => self.batch,
            Mode::Evaluate | Mode::Predict => evaluation_rows(self.batch, rows),
        }
    }

    /// Makes chunks as long as their time allows. One that was short for want of steps shortens none.
    pub(super) fn adapt(&mut self, count: usize, seconds: f64) {
        let fitting = count as f64 * CHUNK_SECONDS / seconds.max(1e-6);
        self.chunk = (fitting as usize).clamp(1, (4 * count).max(self.chunk).min(CHUNK));
    }

    pub(super) fn of_rows(&self, correct: f64, rows: usize) -> Option<f64> {
        (self.data.task != Task::Regression).then(|| correct / rows as f64)
    }

    /// The statistics of a training step, if they and its loss are finite.
    pub(super) fn check_record(&self, record: &[f64], rows: usize) -> Result<Vec<BatchStatistics>> {
        let diverged = |what: String| Error::Diverged { epoch: self.epoch, step: self.updates, what };
        if record[2] != 0.0 {
            return Err(diverged("an output of the network".into()));
        }
        if !record[0].is_finite() {
            return Err(diverged("the loss".into()));
        }
        let batches = of_record(&self.spec, record, rows);
        for ((layer, _), batch) in self.spec.batch_norms().zip(&batches) {
            if !batch.mean.iter().chain(&batch.variance).all(|value| value.is_finite()) {
                return Err(diverged(format!("a statistic of layer {layer}")));
            }
        }
        Ok(batches)
    }

    /// The parameters as they are.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub async fn parameters(&mut self) -> Result<Vec<Array2<f64>>> {
        self.engine.read_parameters(0).await
    }

    /// Overwrites the parameters; the optimizer's state and the moving averages stay.
    pub fn set_parameters(&mut self, parameters: &[Array2<f64>]) {
        self.engine.write_parameters(parameters);
    }

    /// A model from parameters and statistics of this trainer's network.
    pub fn model_of(
        &self,
        parameters: Vec<Array2<f64>>,
        statistics: Vec<Statistics>,
        source: Source,
    ) -> Model {
        Model {
            spec: self.spec.clone(),
            parameters,
            statistics,
            source,
            updates: self.updates as u64,
            schema: self.data.schema.clone(),
            standardizer: self.data.standardizer.clone(),
            target: self.data.target.clone(),
        }
    }

    /// The model as it is now, with the configuration's source of statistics.
    ///
    /// # Errors
    /// As for [`Trainer::statistics`].
    pub async fn model(&mut self) -> Result<Model> {
        let source = self.config.stats;
        let parameters = self.parameters().await?;
        let statistics = self.statistics(source).await?;
        Ok(self.model_of(parameters, statistics, source))
    }
}
