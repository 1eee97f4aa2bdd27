//! Passes over the data set that change nothing of the networks.

use std::time::Instant;

use super::fault::{DIVERGED, of_parameters};
use super::group::Group;
use super::member::Member;
use super::record::{Rows, Validation, checked};
use super::statistics::Pass;
use crate::model::{Source, Spec, Statistics};
use crate::program::{METRICS, Mode};
use crate::{Error, Result};

impl Group {
    /// Runs all minibatches of some rows, each model's in an order of its own, by a program that changes nothing.
    /// `take` is given the model, the rows of the minibatch and the record of each.
    async fn pass(
        &mut self,
        mode: Mode,
        orders: &[&[u32]],
        mut take: impl FnMut(usize, usize, &[f64]),
    ) -> Result<()> {
        self.engine.write_order(orders.iter().copied());
        let rows = orders[0].len();
        let count = rows.div_ceil(self.size(mode, rows));
        let mut at = 0;
        while at < count {
            let chunk = self.chunk.min(count - at).min(self.engine.plan().slots);
            let steps: Vec<_> = (at..at + chunk)
                .enumerate()
                .map(|(slot, step)| self.step(mode, rows, step, slot, 0.0))
                .collect();
            let started = Instant::now();
            let log = self.engine.run(&steps).await?;
            self.adapt(chunk, started.elapsed().as_secs_f64());
            let plan = self.engine.plan();
            for ((program, _), of_step) in steps.iter().zip(log.chunks(plan.models * plan.record)) {
                for (model, record) in of_step.chunks(plan.record).enumerate() {
                    take(model, plan.programs[*program].rows, record);
                }
            }
            at += chunk;
        }
        Ok(())
    }

    /// Loss and accuracy of each model on a part of the data set under given statistics of each, or
    /// [`Error::Diverged`] where the loss is not finite. Changes nothing of the models.
    ///
    /// # Errors
    /// [`Error::Config`] if there are no such rows, or the statistics are of other layers or shapes;
    /// [`Error::Device`].
    pub async fn evaluate<'a>(
        &mut self,
        rows: Rows,
        statistics: impl IntoIterator<Item = &'a [Statistics]>,
    ) -> Result<Vec<Result<Validation>>> {
        let rows = self.data.rows(rows).to_vec();
        if rows.is_empty() {
            return Err(Error::Config("there are no rows to evaluate: see --valid and --test".into()));
        }
        let statistics: Vec<_> = statistics.into_iter().collect();
        self.check_each(&statistics, Spec::check_statistics)?;
        self.engine.write_statistics(statistics);
        let mut sums = vec![[0.0; METRICS]; self.models()];
        let orders = vec![&rows[..]; self.models()];
        let add = |model: usize, _, record: &[f64]| {
            sums[model].iter_mut().zip(record).for_each(|(sum, value)| *sum += value);
        };
        self.pass(Mode::Evaluate, &orders, add).await?;
        let finite = |[loss, _, bad, _]: &[f64; METRICS]| loss.is_finite() && *bad == 0.0;
        // A frozen one was named when it ended.
        let broken = |(sums, member): (&[f64; METRICS], &Member)| !finite(sums) && member.frozen.is_none();
        let named = sums.iter().zip(&self.members).any(broken);
        let parameters = if named { self.parameters().await? } else { vec![] };
        let validation = |(model, sums): (usize, [f64; METRICS])| {
            if !finite(&sums) {
                let of_model = parameters.get(model);
                let fault = of_model.and_then(|of_model| of_parameters(&self.members[model].spec, of_model));
                let (what, way_out) = fault.unwrap_or_else(|| ("the loss of an evaluation".into(), DIVERGED));
                return Err(Error::Diverged { epoch: self.epoch, step: self.updates, what, way_out });
            }
            let [loss, correct, ..] = sums;
            let accuracy = self.of_rows(correct, rows.len());
            Ok(Validation { loss: loss / rows.len() as f64, accuracy })
        };
        Ok(sums.into_iter().enumerate().map(validation).collect())
    }

    /// The moving averages of each model so far: PyTorch's for [`Source::Pytorch`], else the debiased ones.
    pub fn moving(&self, source: Source) -> Vec<Vec<Statistics>> {
        self.members.iter().map(|member| member.statistics(source)).collect()
    }

    /// One pass over the training minibatches with the parameters as they are: the statistics of each model, or
    /// [`Error::Diverged`] where one is not finite.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub async fn statistics_pass(&mut self) -> Result<Vec<Result<Vec<Pass>>>> {
        let specs: Vec<Spec> = self.members.iter().map(|member| member.spec.clone()).collect();
        let new = |spec: &Spec| Ok(spec.batch_norms().map(|(_, features)| Pass::new(features)).collect());
        let mut passes: Vec<Result<Vec<Pass>>> = specs.iter().map(new).collect();
        let laid_out = self.engine.plan().spec.clone();
        if laid_out.batch_norms().next().is_none() {
            return Ok(passes);
        }
        let orders = self.orders(usize::MAX - 2);
        let orders: Vec<&[u32]> = orders.iter().map(Vec::as_slice).collect();
        let at = (self.epoch, self.updates);
        let add = |model: usize, rows, record: &[f64]| {
            let Ok(of_model) = &mut passes[model] else { return };
            // These programs have no loss: what stands in its place is another step's.
            let record = [&[0.0; METRICS], &record[METRICS..]].concat();
            match checked(&specs[model], &laid_out, &record, rows, at) {
                Ok(batches) => of_model.iter_mut().zip(&batches).for_each(|(pass, batch)| pass.update(batch)),
                Err(error) => passes[model] = Err(error),
            }
        };
        self.pass(Mode::Statistics, &orders, add).await?;
        Ok(passes)
    }
}
