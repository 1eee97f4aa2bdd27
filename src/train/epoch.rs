//! An epoch of a group, chunk by chunk.

use std::ops::ControlFlow;
use std::time::Instant;

use super::fault::Met;
use super::group::Group;
use super::record::{Epoch, StepRecord, checked};
use super::schedule;
use crate::ops::Step;
use crate::program::Mode;
use crate::{Result, Task};

/// An epoch that is being trained.
pub struct Running {
    /// Minibatches so far.
    pub at: usize,
    /// Of each model; loss and accuracy are sums over the rows so far.
    pub epochs: Vec<Result<Epoch>>,
    /// The rows of each, in the order in which it meets them.
    orders: Vec<Vec<u32>>,
    pub started: Instant,
}

impl Group {
    /// Trains one epoch: for each model all training rows once, in the order that its seed and the epoch give. A
    /// model of a fraction of the rows takes as many updates, and goes through its rows again and again.
    ///
    /// `observe` sees the records of each chunk of steps, one of each model and step, and may end the epoch. The
    /// result is an epoch for each model, or [`crate::Error::Diverged`] where a loss or a statistic was not finite;
    /// such a model's parameters stay as that step met them. With the last such model the epoch ends.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    pub async fn epoch(
        &mut self,
        observe: impl FnMut(&[StepRecord]) -> ControlFlow<()>,
    ) -> Result<Vec<Result<Epoch>>> {
        let orders = self.orders(self.epoch);
        self.epoch_in_order(orders, observe).await
    }

    /// Begins the next epoch in the order that the seeds give.
    pub(super) fn begin_epoch(&mut self) -> Running {
        let orders = self.orders(self.epoch);
        self.begin(orders)
    }

    /// [`Group::epoch`] in orders of the caller's, each of all training rows.
    pub(super) async fn epoch_in_order(
        &mut self,
        orders: Vec<Vec<u32>>,
        mut observe: impl FnMut(&[StepRecord]) -> ControlFlow<()>,
    ) -> Result<Vec<Result<Epoch>>> {
        let mut running = self.begin(orders);
        let mut interrupted = false;
        while !interrupted && let Some(records) = self.advance(&mut running).await? {
            interrupted = observe(&records).is_break();
        }
        Ok(self.end(running, interrupted))
    }

    /// Begins the next epoch.
    fn begin(&mut self, orders: Vec<Vec<u32>>) -> Running {
        self.epoch += 1;
        self.engine.write_order(orders.iter().map(Vec::as_slice));
        // A model that was held has its rate again.
        self.write_hyper();
        let new = |model| Epoch { model, epoch: self.epoch, complete: true, ..Epoch::default() };
        let epochs = (0..self.models()).map(|model| Ok(new(model))).collect();
        Running { at: 0, epochs, orders, started: Instant::now() }
    }

    /// Trains a chunk of steps and gives its records; none where the epoch is over.
    pub(super) async fn advance(&mut self, running: &mut Running) -> Result<Option<Vec<StepRecord>>> {
        let per_epoch = self.steps_per_epoch();
        let total = per_epoch * self.members[0].config.epochs;
        let at = running.at;
        if at == per_epoch || running.epochs.iter().all(Result::is_err) {
            return Ok(None);
        }
        let count = self.chunk.min(per_epoch - at).min(self.engine.plan().slots);
        let mut steps = vec![];
        for (slot, step) in (at..at + count).enumerate() {
            let factor = schedule::factor(&self.members[0].config, self.updates + slot, per_epoch, total);
            steps.push(self.step(Mode::Train, self.data.split.train.len(), step, slot, factor));
        }
        let started = Instant::now();
        let log = self.engine.run(&steps).await?;
        self.adapt(count, started.elapsed().as_secs_f64());
        running.at += count;
        let (records, broken) = self.take(&steps, &log, &mut running.epochs);
        let parameters = if broken.is_empty() { vec![] } else { self.parameters().await? };
        for (model, slot) in broken {
            let (program, step) = &steps[slot];
            let rows = self.engine.plan().programs[*program].rows;
            let rows = &running.orders[model][step.first as usize..][..rows];
            if let Err(error) = &mut running.epochs[model] {
                self.name(error, Met { model, parameters: &parameters[model], rows, step }).await?;
            }
        }
        // What diverged in all models has no records for anybody to see.
        Ok(if running.epochs.iter().all(Result::is_err) { None } else { Some(records) })
    }

    /// Means of what was trained of an epoch.
    pub(super) fn end(&self, running: Running, interrupted: bool) -> Vec<Result<Epoch>> {
        let Running { at, mut epochs, started, .. } = running;
        for epoch in epochs.iter_mut().flatten() {
            epoch.interrupted = interrupted;
            epoch.complete = at == self.steps_per_epoch();
            epoch.loss /= epoch.rows as f64;
            epoch.accuracy = self.of_rows(epoch.accuracy.unwrap_or(0.0), epoch.rows);
            epoch.seconds += started.elapsed().as_secs_f64();
        }
        epochs
    }

    /// Adds the log of a chunk to the epochs and the moving averages; gives its records, and which models were not
    /// finite any more in which step of the chunk.
    fn take(
        &mut self,
        steps: &[(usize, Step)],
        log: &[f64],
        epochs: &mut [Result<Epoch>],
    ) -> (Vec<StepRecord>, Vec<(usize, usize)>) {
        let plan = self.engine.plan();
        let (mut records, mut broken) = (vec![], vec![]);
        let logged = steps.iter().zip(log.chunks(plan.models * plan.record));
        for (slot, ((program, step), of_step)) in logged.enumerate() {
            self.updates += 1;
            let rows = plan.programs[*program].rows;
            let of_models = self.members.iter_mut().zip(epochs.iter_mut());
            for (model, ((member, result), record)) in of_models.zip(of_step.chunks(plan.record)).enumerate()
            {
                let Ok(epoch) = result else { continue };
                match checked(&member.spec, &plan.spec, record, rows, (self.epoch, self.updates)) {
                    Ok(batches) => {
                        for (moving, batch) in member.moving.iter_mut().zip(&batches) {
                            moving.update(batch);
                        }
                    }
                    Err(error) => {
                        *result = Err(error);
                        // A frozen one was named when it ended.
                        broken.extend(member.frozen.is_none().then_some((model, slot)));
                        continue;
                    }
                }
                epoch.rows += rows;
                epoch.loss += record[0];
                // Counted up here, divided at the end.
                *epoch.accuracy.get_or_insert(0.0) += record[1];
                epoch.lr = member.config.learning_rate() * step.lr_factor;
                let accuracy = (self.data.task != Task::Regression).then(|| record[1] / rows as f64);
                records.push(StepRecord {
                    model,
                    epoch: self.epoch,
                    step: self.updates,
                    rows,
                    lr: epoch.lr,
                    loss: record[0] / rows as f64,
                    accuracy,
                });
            }
        }
        (records, broken)
    }
}
