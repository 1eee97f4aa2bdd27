//! Training that goes on after its device was lost.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::checkpoint::Checkpoint;
use super::epoch::Running;
use super::group::Group;
use super::record::{Epoch, Norms, StepRecord, Validation};
use super::run::{Observer, Progress, Run};
use super::snapshot::Snapshot;
use crate::model::Statistics;
use crate::{Error, Result};

/// So much of training is done again after a loss, at the most.
const BETWEEN_SNAPSHOTS: Duration = Duration::from_secs(60);

/// Stands between a run and its observer: keeps what the run goes on from should the device be lost, and keeps from
/// the observer what it has seen before.
pub struct Recovery<'a> {
    observer: &'a mut dyn Observer,
    snapshot: Option<Snapshot>,
    taken: Instant,
    /// Updates that were shown, and whole epochs.
    shown: (usize, usize),
    /// Whether steps are done again, to an end that nobody asked for.
    again: bool,
}

impl<'a> Recovery<'a> {
    pub fn new(observer: &'a mut dyn Observer) -> Recovery<'a> {
        Recovery { observer, snapshot: None, taken: Instant::now(), shown: (0, 0), again: false }
    }

    /// Between chunks: makes the checkpoint that the observer wants, and a snapshot where it is time for one.
    ///
    /// # Errors
    /// [`Error::Device`]; the observer's.
    pub async fn keep(
        &mut self,
        group: &mut Group,
        running: &Running,
        runs: &[Run],
        progress: &Progress,
    ) -> Result<()> {
        let wanted = running.at > 0 && runs.len() == 1 && !self.again && self.observer.wants_checkpoint();
        let due = self.snapshot.is_none() || self.taken.elapsed() >= BETWEEN_SNAPSHOTS;
        let renewable = group.engine.is_renewable();
        if wanted || (due && renewable) {
            let snapshot = Snapshot::of(group, running, runs, progress).await?;
            if wanted {
                self.observer.checkpoint(Checkpoint::of(group, &snapshot)?)?;
            }
            self.taken = Instant::now();
            self.snapshot = renewable.then_some(snapshot);
        }
        Ok(())
    }

    /// An epoch was shown in full.
    pub fn end_epoch(&mut self, epoch: usize) {
        self.shown.1 = self.shown.1.max(epoch);
    }

    /// Brings the group back to where it can go on, on another device.
    ///
    /// # Errors
    /// `error`, if it is not of a lost device or there is nothing to go on from; [`Error::Device`] if there is no
    /// other device.
    pub async fn recover(
        &mut self,
        group: &mut Group,
        error: Error,
    ) -> Result<(Running, Vec<Run>, Progress)> {
        let Some(snapshot) = self.snapshot.clone() else { return Err(error) };
        self.renew(group, error, snapshot.updates).await?;
        Ok(snapshot.restore(group))
    }

    /// Makes the group's session anew on another device.
    ///
    /// # Errors
    /// As for [`Recovery::recover`].
    pub async fn renew(&mut self, group: &mut Group, error: Error, updates: usize) -> Result<()> {
        if !group.engine.was_lost() || !group.engine.is_renewable() {
            return Err(error);
        }
        group.renew().await?;
        self.observer.recovered(&error, updates)
    }
}

impl Observer for Recovery<'_> {
    fn steps(&mut self, records: &[StepRecord], progress: &Progress) -> Result<ControlFlow<()>> {
        let new = &records[records.partition_point(|record| record.step <= self.shown.0)..];
        self.again = progress.step < self.shown.0;
        self.shown.0 = progress.step.max(self.shown.0);
        let flow = self.observer.steps(new, progress)?;
        self.again &= flow.is_continue();
        Ok(flow)
    }

    fn epoch(&mut self, epoch: &Epoch, valid: Option<&Validation>, best: bool) -> Result<()> {
        if epoch.epoch > self.shown.1 { self.observer.epoch(epoch, valid, best) } else { Ok(()) }
    }

    fn statistics(&mut self, epoch: &Epoch, statistics: &[Statistics]) -> Result<()> {
        if epoch.epoch > self.shown.1 { self.observer.statistics(epoch, statistics) } else { Ok(()) }
    }

    fn watches_norms(&self) -> bool {
        self.observer.watches_norms()
    }

    fn norms(&mut self, epoch: &Epoch, norms: &[Norms]) -> Result<()> {
        if epoch.epoch > self.shown.1 { self.observer.norms(epoch, norms) } else { Ok(()) }
    }
}
