//! Where scratch lies, when a tensor's place is taken by a later one as soon as nothing reads it any more.

use std::collections::{BTreeMap, BTreeSet};

use super::Program;
use crate::ops::{Op, Space};

impl Program {
    /// See [`Plan::reusing`].
    pub(super) fn reusing(mut self) -> Program {
        let scratch = |op: &Op| -> BTreeSet<Space> {
            let spaces = op.describe().bindings().into_iter().map(|(space, _)| space);
            spaces.filter(|space| matches!(space, Space::Scratch(_))).collect()
        };
        let of_ops: Vec<_> = self.ops.iter().map(scratch).collect();
        let (mut places, mut free) = (BTreeMap::new(), vec![]);
        for (at, spaces) in of_ops.iter().enumerate() {
            for &space in spaces {
                let fresh = Space::Scratch(places.len() as u16);
                places.entry(space).or_insert_with(|| free.pop().unwrap_or(fresh));
            }
            let ends = |space: &&Space| of_ops[at + 1..].iter().all(|later| !later.contains(space));
            free.extend(spaces.iter().filter(ends).map(|space| places[space]));
        }
        self.places = places;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Task;
    use crate::model::{Norm, Spec};
    use crate::ops::{Access, Function, Rule, Tile};
    use crate::program::{DataShape, Mode, Plan};

    /// Runs through a program's operations: what each reads of scratch is what was last written to that place. Returns how
    /// many places there are.
    fn check(program: &Program) -> usize {
        let mut holds: BTreeMap<Space, Space> = BTreeMap::new();
        for (op, label) in program.labeled() {
            let operands = op.describe().operands();
            let scratch = operands.iter().filter(|operand| matches!(operand.tensor.space, Space::Scratch(_)));
            for operand in scratch.clone().filter(|operand| operand.access == Access::Read) {
                let space = operand.tensor.space;
                let held = holds.get(&program.place(space));
                // An operand that is not there names another, unread.
                assert!(operand.tensor.rows == 0 || held == Some(&space), "{label} {}: {held:?}", op.name());
            }
            for operand in scratch.filter(|operand| operand.access != Access::Read) {
                holds.insert(program.place(operand.tensor.space), operand.tensor.space);
            }
            let bound: BTreeSet<_> = op.describe().bindings().into_iter().map(|(space, _)| space).collect();
            let places: BTreeSet<_> = bound.iter().map(|&space| program.place(space)).collect();
            assert_eq!(bound.len(), places.len(), "{label} {}", op.name());
        }
        holds.len()
    }

    #[test]
    fn nothing_is_written_over_before_it_is_read_for_the_last_time() {
        let data = DataShape { examples: 40, features: 9, bytes: false, places: 40 };
        let all = [Mode::Train, Mode::Statistics, Mode::Evaluate, Mode::Predict];
        for (norm, dropout) in [(Norm::Before, 0.3), (Norm::After, 0.0), (Norm::None, 0.0)] {
            let spec = Spec::mlp(Task::Classification, 9, &[7, 30, 12], 3, Function::Tanh, norm, dropout);
            let plan = Plan::new(&spec, 2, data, Rule::Sgd, &all.map(|mode| (mode, 10)).into(), 1);
            let mut by_lanes = plan.clone().fused();
            by_lanes.products_mut().for_each(|product| product.tile = Some(Tile::Lanes { double: false }));
            // What is joined leaves less to reuse.
            let by_lanes = by_lanes.in_columns().ahead(8);
            for (plan, of) in
                [(plan.clone(), 4), (plan.clone().fused(), 4), (by_lanes, 7), (plan.staged(), 4)]
            {
                let reusing = plan.clone().reusing();
                let pairs = plan.programs.iter().zip(&reusing.programs);
                for (own, reusing) in pairs.filter(|(program, _)| !program.joint()) {
                    let [own, places] = [own, reusing].map(check);
                    let fewer = if reusing.mode == Mode::Train { (of - 1) * own / of } else { own };
                    assert!(places <= fewer, "{places} of {own}");
                }
                assert!(reusing.memory() <= plan.memory());
            }
        }
    }
}
