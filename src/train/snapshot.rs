//! A run in the middle of its training, in the host's memory.

use super::epoch::Running;
use super::group::Group;
use super::record::Epoch;
use super::run::{Progress, Run};
use super::statistics::Moving;
use crate::Result;
use crate::ops::Space;

/// What a device holds of a run, by the names of a checkpoint's tensors. The gradients are those of the last step,
/// which the log shows.
pub const SPACES: [(&str, Space); 4] = [
    ("parameters", Space::Params),
    ("gradients", Space::Grads),
    ("moment1", Space::Moment1),
    ("moment2", Space::Moment2),
];

/// All that a run is after a chunk of steps. Order of rows, dropout and schedule follow from settings and place, so
/// going on from it on the same device gives the same bits.
#[derive(Clone)]
pub struct Snapshot {
    /// As in [`SPACES`]; empty where the session has none.
    pub spaces: [Vec<f32>; SPACES.len()],
    /// Of each model: moving averages, and the updates until it was frozen.
    pub members: Vec<(Vec<Moving>, Option<usize>)>,
    pub updates: usize,
    /// From 1.
    pub epoch: usize,
    /// Minibatches of the epoch so far, and what it comes to.
    pub minibatches: usize,
    pub epochs: Vec<Result<Epoch>>,
    pub runs: Vec<Run>,
    pub progress: Progress,
}

impl Snapshot {
    /// Of a group in an epoch.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    pub async fn of(
        group: &mut Group,
        running: &Running,
        runs: &[Run],
        progress: &Progress,
    ) -> Result<Snapshot> {
        let mut spaces: [Vec<f32>; SPACES.len()] = Default::default();
        for (values, (_, space)) in spaces.iter_mut().zip(SPACES) {
            if group.engine.plan().spaces.contains_key(&space) {
                *values = group.engine.read(space).await?.into_iter().map(|value| value as f32).collect();
            }
        }
        let (minibatches, mut epochs) = (running.at, running.epochs.clone());
        let seconds = running.started.elapsed().as_secs_f64();
        epochs.iter_mut().flatten().for_each(|epoch| epoch.seconds += seconds);
        let members = group.members.iter().map(|member| (member.moving.clone(), member.frozen)).collect();
        let (updates, epoch) = (group.updates, group.epoch);
        let (runs, progress) = (runs.to_vec(), *progress);
        Ok(Snapshot { spaces, members, updates, epoch, minibatches, epochs, runs, progress })
    }

    /// Brings a group of the same settings and data to this place, whose session was just made.
    pub fn restore(self, group: &mut Group) -> (Running, Vec<Run>, Progress) {
        for (values, (_, space)) in self.spaces.iter().zip(SPACES).filter(|(values, _)| !values.is_empty()) {
            let values: Vec<f64> = values.iter().map(|&value| value.into()).collect();
            group.engine.write(space, &values);
        }
        for (member, (moving, frozen)) in group.members.iter_mut().zip(self.members) {
            (member.moving, member.frozen) = (moving, frozen);
        }
        group.updates = self.updates;
        group.epoch = self.epoch - 1;
        let mut running = group.begin_epoch();
        (running.at, running.epochs) = (self.minibatches, self.epochs);
        (running, self.runs, self.progress)
    }
}
