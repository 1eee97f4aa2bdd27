use std::collections::BTreeMap;
use std::fmt;

use super::config::Config;
use super::group::Group;
use super::statistics::Moving;
use crate::data::repeated_order;
use crate::model::{Source, Spec, Statistics};
use crate::{Error, Result};

/// What the host keeps of one of the models of a group.
pub struct Member {
    pub config: Config,
    pub spec: Spec,
    /// The training rows that it is trained on, if not all.
    pub rows: Option<Vec<u32>>,
    pub moving: Vec<Moving>,
    /// Updates until it was frozen.
    pub frozen: Option<usize>,
}

impl Member {
    /// What dropout's masks follow from; 24 bits, which an f32 holds exactly.
    pub fn key(&self) -> f64 {
        let seed = self.config.seed;
        ((seed ^ seed >> 24 ^ seed >> 48) & 0xff_ffff) as f64
    }

    /// The moving averages so far.
    pub fn statistics(&self, source: Source) -> Vec<Statistics> {
        self.moving.iter().map(|moving| moving.statistics(source)).collect()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut parts = f.debug_struct("Group");
        parts.field("engine", &self.engine).field("epoch", &self.epoch).field("updates", &self.updates);
        parts.finish_non_exhaustive()
    }
}

impl Group {
    /// Whether something is given for each model and, as `check` has it, suits its network.
    pub(super) fn check_each<T>(
        &self,
        of_models: &[&[T]],
        check: fn(&Spec, &[T]) -> Result<()>,
    ) -> Result<()> {
        let (given, models) = (of_models.len(), self.models());
        if given != models {
            return Err(Error::Config(format!(
                "parameters or statistics of {given} models; the group has {models}"
            )));
        }
        self.members.iter().zip(of_models).try_for_each(|(member, given)| check(&member.spec, given))
    }

    /// For each model the order of its training rows in an epoch, which its seed gives; as many as there are training
    /// rows in all.
    pub(super) fn orders(&self, epoch: usize) -> Vec<Vec<u32>> {
        let all = &self.data.split.train;
        let mut known: BTreeMap<(u64, usize), Vec<u32>> = BTreeMap::new();
        let of_model = |Member { config, rows, .. }: &Member| {
            let rows = rows.as_ref().unwrap_or(all);
            let order = || repeated_order(rows, config.order, config.seed, epoch, all.len());
            known.entry((config.seed, rows.len())).or_insert_with(order).clone()
        };
        self.members.iter().map(of_model).collect()
    }
}
