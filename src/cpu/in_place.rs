//! Weights that a step of gradient descent moves where their gradients are made, tile by tile, so that these never reach
//! memory. A rule with moments has more to load than that saves.

use super::tiles::DEPTH;
use super::{Memory, Real, Twin};
use crate::ops::{Access, MatMul, Op, Optimizer, Product, Rule, Space, Step, Tensor};
use crate::program::Program;

/// Weights with fewer elements are all updated by one operation: that takes less time than one for each.
const ELEMENTS: usize = 1 << 14;

/// What a step does.
// As of [`Op`], there are few.
#[allow(clippy::large_enum_variant)]
pub enum Task {
    Op(Op),
    Weight(Weight),
}

/// The gradient of a weight, and the weight's update by it.
pub struct Weight {
    gradient: MatMul,
    update: Optimizer,
}

/// A training program with its larger weights moved in place, each behind the last operation that reads it; None of a program
/// that has none.
pub fn tasks(program: &Program) -> Option<Vec<Task>> {
    let (Op::Optimizer(update), ops) = program.ops.split_last()? else { return None };
    if update.rule != Rule::Sgd {
        return None;
    }
    let places: Vec<_> = update.weights.iter().map(|weight| places(ops, *weight)).collect();
    if places.iter().all(Option::is_none) {
        return None;
    }
    let mut tasks = vec![];
    for (at, op) in ops.iter().enumerate() {
        if !places.iter().flatten().any(|&[gradient, _]| gradient == at) {
            tasks.push(Task::Op(op.clone()));
        }
        for &[gradient, _] in places.iter().flatten().filter(|[_, behind]| *behind == at) {
            let Op::MatMul(gradient) = &ops[gradient] else { unreachable!("a product") };
            let update = Optimizer::of_one(update.rule, gradient.out, true);
            tasks.push(Task::Weight(Weight { gradient: gradient.clone(), update }));
        }
    }
    let others = update.weights.iter().zip(&places).filter(|(_, places)| places.is_none());
    for (&weight, _) in others {
        let update = Optimizer { weights: vec![weight], ..Optimizer::of_one(update.rule, weight, true) };
        tasks.push(Task::Op(update.into()));
    }
    tasks.push(Task::Op(update.without_weights().into()));
    Some(tasks)
}

/// The places of the operation that makes a weight's gradient and of the one behind which the weight can be moved.
fn places(ops: &[Op], weight: Tensor) -> Option<[usize; 2]> {
    let is_gradient = |op: &Op| {
        let Op::MatMul(product) = op else { return false };
        let of_weight = Tensor { space: Space::Grads, ..weight } == product.out;
        let suits = weight.rows * weight.cols >= ELEMENTS && product.sizes()[1] <= DEPTH;
        product.product == Product::AtB && of_weight && suits
    };
    let uses = |op: &Op, access, place: Tensor| {
        let same = |tensor: Tensor| (tensor.space, tensor.offset) == (place.space, place.offset);
        let operands = op.describe().operands();
        operands.iter().any(|operand| operand.access == access && same(operand.tensor))
    };
    let gradient = ops.iter().position(is_gradient)?;
    let behind = ops.iter().rposition(|op| uses(op, Access::Read, weight))?.max(gradient);
    let Op::MatMul(MatMul { a, b, .. }) = ops[gradient] else { return None };
    let kept = |op: &Op| ![a, b].into_iter().any(|factor| uses(op, Access::Write, factor));
    ops[gradient..=behind].iter().all(kept).then_some([gradient, behind])
}

impl<T: Real> Twin<T, 1> for Weight {
    fn outputs(&self) -> [Tensor; 1] {
        [self.update.theta]
    }

    #[inline(always)]
    fn write(&self, [weight]: [&mut [T]; 1], memory: &Memory<T>, step: &Step) {
        let out = self.gradient.out;
        for model in 0..out.models {
            let Some(descent) = self.update.descent(memory, model, step) else { continue };
            let to = &mut weight[out.at(model, 0, 0)..];
            self.gradient.multiply_to(to, memory, model, Some(&descent), None);
        }
    }
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeSet;

    use super::super::Cpu;
    use super::*;
    use crate::Task as Problem;
    use crate::model::{Norm, Spec};
    use crate::ops::Function;
    use crate::program::{DataShape, Mode, Plan};

    const INPUTS: usize = 301;

    /// Of a net whose first two weights are large, with rows and columns that tiles do not divide.
    fn session<T: Real>(rows: usize, norm: Norm, rule: Rule, fused: bool, lr: f64) -> Cpu<T> {
        let spec = Spec::mlp(Problem::Classification, INPUTS, &[61, 277], 3, Function::Tanh, norm, 0.1);
        let data = DataShape { examples: 2 * rows, features: INPUTS, bytes: false, places: 2 * rows };
        let requests = BTreeSet::from([(Mode::Train, rows), (Mode::Evaluate, rows)]);
        let plan = Plan::new(&spec, 1, data, rule, &requests, 8);
        loaded(if fused { plan.fused() } else { plan }, rows, lr)
    }

    /// A session over twice so many rows in three classes, in reverse order, with parameters and a learning rate.
    pub fn loaded<T: Real>(plan: Plan, rows: usize, lr: f64) -> Cpu<T> {
        let mut session = Cpu::new(plan);
        let values = |count: usize| -> Vec<f64> {
            (0..count).map(|i| (i * 7919 % 1009) as f64 / 500.0 - 1.0).collect()
        };
        let features = session.plan.data.features.next_multiple_of(4);
        session.memory.load(Space::Inputs, 0, &values(2 * rows * features));
        session.memory.load(Space::Targets, 0, &(0..2 * rows).map(|i| (i % 3) as f64).collect::<Vec<_>>());
        let mut params = values(session.plan.layout.size);
        for weight in session.plan.layout.weights() {
            let padding = |row| weight.at(0, row, 0) + weight.cols..weight.at(0, row + 1, 0);
            (0..weight.rows).for_each(|row| params[padding(row)].fill(0.0));
        }
        session.memory.load(Space::Params, 0, &params);
        session.memory.load(Space::Hyper, 0, &[lr, 0.1, 0.05, 7.0]);
        session.memory.load_order(&(0..2 * rows as u32).rev().collect::<Vec<_>>());
        session
    }

    /// Steps in one run, all but the last of them in place, come to the bits of runs of one step each.
    fn check<T: Real>(rows: usize, norm: Norm, rule: Rule, fused: bool, lr: f64, in_place: usize) {
        let [mut alone, mut together] = [(); 2].map(|_| session::<T>(rows, norm, rule, fused, lr));
        let [train, evaluate] = [Mode::Train, Mode::Evaluate].map(|mode| alone.plan.program(mode, rows));
        let step = |i: u32| {
            let first = i % 2 * rows as u32;
            Step { first, slot: i, number: i + 1, lr_factor: 1.0, corrections: [0.9, 0.8], ..Step::default() }
        };
        let steps: Vec<_> = (0..5).map(|i| (if i < 4 { train } else { evaluate }, step(i))).collect();
        let weights = |tasks: &Vec<Task>| tasks.iter().filter(|task| matches!(task, Task::Weight(_))).count();
        let name = format!("{rows} rows, {norm:?}, {rule:?}, fused: {fused}, lr {lr}");
        assert_eq!(together.in_place[train].as_ref().map_or(0, weights), in_place, "{name}");
        let before = together.memory.get(Space::Params).to_vec();
        together.run(&steps);
        steps.iter().for_each(|step| drop(alone.run(&[*step])));
        for space in [Space::Params, Space::Grads, Space::Moment1, Space::Log] {
            let values = together.memory.get(space).iter().zip(alone.memory.get(space));
            assert_eq!(values.clone().position(|(a, b)| a != b), None, "{name}, {space:?}");
        }
        assert_eq!(before == together.memory.get(Space::Params), lr == 0.0, "{name}");
    }

    #[test]
    fn weights_are_moved_in_place_to_the_bits_of_their_update() {
        for (rows, norm, fused) in [
            (1, Norm::None, true),
            (37, Norm::Before, true),
            (130, Norm::After, false),
            (1024, Norm::None, true),
        ] {
            check::<f32>(rows, norm, Rule::Sgd, fused, 0.01, 2);
            check::<f64>(rows, norm, Rule::Sgd, fused, 0.01, 2);
        }
        check::<f32>(37, Norm::Before, Rule::Sgd, true, 0.0, 2);
        // Sums that are made in two parts, and a rule with a moment.
        check::<f32>(1025, Norm::None, Rule::Sgd, true, 0.01, 0);
        check::<f32>(37, Norm::Before, Rule::Momentum { momentum: 0.9, nesterov: false }, true, 0.01, 0);
    }
}
