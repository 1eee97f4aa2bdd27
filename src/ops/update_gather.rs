use super::{Access, Describe, Dispatch, Gather, Op, Operand, Optimizer, Params, Space, Step, Variant};
use crate::cpu::{Memory, Real};

/// The end of a step and the beginning of the next in a chunk, side by side: the update, which needs nothing of the
/// minibatch, and the gathering of the next one. A chunk ends with the former alone, by the same kernel.
#[derive(Clone, Debug)]
pub struct UpdateGather {
    pub update: Optimizer,
    pub gather: Gather,
    /// Whether it gathers.
    pub gathers: bool,
}

impl UpdateGather {
    /// The operations that it does, in order: their twins are its own.
    pub(super) fn parts(&self) -> Vec<Op> {
        let gather = self.gathers.then(|| self.gather.clone().into());
        [self.update.clone().into()].into_iter().chain(gather).collect()
    }

    pub(super) fn run<T: Real>(&self, memory: &mut Memory<T>, step: &Step) {
        memory.run(&self.update, step);
        if self.gathers {
            self.gather.run(memory, &Step { first: step.next, ..*step });
        }
    }
}

impl Describe for UpdateGather {
    fn operands(&self) -> Vec<Operand> {
        self.parts().iter().flat_map(|part| part.describe().operands()).collect()
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        let mut bindings = self.update.bindings();
        bindings.extend(self.gather.bindings());
        bindings
    }

    fn flops(&self) -> u64 {
        super::flops_of(&self.parts())
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        let Gather { inputs, order, out } = self.gather;
        let (update, gather) = (self.update.dispatch(variant), self.gather.dispatch(variant));
        let [updating, mut gathering] = [&update, &gather].map(|dispatch| dispatch.workgroups[0]);
        gathering *= u32::from(self.gathers);
        let decayed = self.update.decayed as u32 / 4;
        let numbers = [decayed, out.rows as u32, out.cols as u32, updating, gathering];
        Dispatch {
            shader: "update_gather",
            entry: gather.entry,
            constants: update.constants,
            params: Params::new(&[self.update.theta, inputs, order, out], &numbers),
            workgroups: [updating + gathering, 1, out.models as u32],
        }
    }

    fn shapes(&self) -> String {
        let update = self.update.shapes();
        if self.gathers { format!("{update}; next {}", self.gather.shapes()) } else { update }
    }
}
