//! Passes over the data set that change nothing of the network.

use std::time::Instant;

use super::record::{Rows, Validation};
use super::statistics::Pass;
use super::trainer::Trainer;
use crate::data::epoch_order;
use crate::model::{Source, Statistics};
use crate::program::{METRICS, Mode};
use crate::{Error, Result};

impl Trainer {
    /// Runs all minibatches of some rows by a program that changes nothing.
    async fn pass(&mut self, mode: Mode, rows: &[u32]) -> Result<Vec<(usize, Vec<f64>)>> {
        self.engine.write_order(rows);
        let count = rows.len().div_ceil(self.size(mode, rows.len()));
        let mut records = vec![];
        let mut at = 0;
        while at < count {
            let chunk = self.chunk.min(count - at).min(self.engine.plan().slots);
            let steps: Vec<_> = (at..at + chunk)
                .enumerate()
                .map(|(slot, step)| self.step(mode, rows.len(), step, slot, 0.0))
                .collect();
            let started = Instant::now();
            let log = self.engine.run(&steps).await?;
            self.adapt(chunk, started.elapsed().as_secs_f64());
            let plan = self.engine.plan();
            for ((program, _), record) in steps.iter().zip(log.chunks(plan.record)) {
                records.push((plan.programs[*program].rows, record.to_vec()));
            }
            at += chunk;
        }
        Ok(records)
    }

    /// Loss and accuracy of a part of the data set under given statistics. Changes nothing of the
    /// model.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the loss is not finite; [`Error::Device`].
    pub async fn evaluate(&mut self, rows: Rows, statistics: &[Statistics]) -> Result<Validation> {
        let rows = match rows {
            Rows::Train => self.data.split.train.clone(),
            Rows::Valid => self.data.split.valid.clone(),
            Rows::Test => self.data.split.test.clone(),
        };
        if rows.is_empty() {
            return Err(Error::Config("there are no rows to evaluate: see --valid and --test".into()));
        }
        self.engine.write_statistics(statistics);
        let records = self.pass(Mode::Evaluate, &rows).await?;
        let sum = |i: usize| records.iter().map(|(_, record)| record[i]).sum::<f64>();
        let loss = sum(0) / rows.len() as f64;
        if !loss.is_finite() || sum(2) != 0.0 {
            let what = "the loss of an evaluation".into();
            return Err(Error::Diverged { epoch: self.epoch, step: self.updates, what });
        }
        Ok(Validation { loss, accuracy: self.of_rows(sum(1), rows.len()) })
    }

    /// The moving averages so far: PyTorch's for [`Source::Pytorch`], else the debiased ones.
    pub fn moving(&self, source: Source) -> Vec<Statistics> {
        self.moving.iter().map(|moving| moving.statistics(source)).collect()
    }

    /// One pass over the training minibatches with the parameters as they are.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a statistic is not finite; [`Error::Device`].
    pub async fn statistics_pass(&mut self) -> Result<Vec<Pass>> {
        let mut passes: Vec<Pass> =
            self.spec.batch_norms().map(|(_, features)| Pass::new(features)).collect();
        if passes.is_empty() {
            return Ok(passes);
        }
        let rows = self.data.split.train.clone();
        let order = epoch_order(&rows, self.config.order, self.config.seed, usize::MAX - 2);
        for (rows, mut record) in self.pass(Mode::Statistics, &order).await? {
            // These programs have no loss: what stands in its place is another step's.
            record[..METRICS].fill(0.0);
            for (pass, batch) in passes.iter_mut().zip(self.check_record(&record, rows)?) {
                pass.update(&batch);
            }
        }
        Ok(passes)
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
}
