//! What a program costs, and the least that a training step has to move.

use super::{Plan, Program};
use crate::model::Layer;
use crate::ops::Cost;

impl Program {
    /// FLOPs and bytes of one run; of a step among others of its chunk.
    pub fn cost(&self) -> Cost {
        self.step().map(|(op, _)| op.cost()).fold(Cost::default(), |sum, cost| Cost {
            flops: sum.flops.saturating_add(cost.flops),
            bytes_read: sum.bytes_read.saturating_add(cost.bytes_read),
            bytes_written: sum.bytes_written.saturating_add(cost.bytes_written),
        })
    }
}

impl Plan {
    /// Bytes that any training step over `rows` rows moves, if it keeps between its passes no more than the
    /// activations.
    ///
    /// ```text
    /// models · (  rows · (bytes of a row of the data set + 4 of its target)
    ///           + 2 · 4 · parameters · (1 + moments of the optimizer)        read and written
    ///           + 3 · 4 · rows · Σ outputs of each linear layer )            written, read forward and backward
    /// ```
    ///
    /// An activation is what a linear layer with its normalization, function and dropout passes on. Gradients,
    /// statistics, the log and padding are left out: a step could do without moving them.
    pub fn least_bytes(&self, rows: usize) -> u64 {
        let row = self.data.features * if self.data.bytes { 1 } else { 4 } + 4;
        let state = 2 * 4 * self.spec.parameter_count() * (1 + self.rule.moments());
        let outputs = |layer: &Layer| if let Layer::Linear { outputs, .. } = layer { *outputs } else { 0 };
        let activations = 3 * 4 * rows * self.spec.layers.iter().map(outputs).sum::<usize>();
        (self.models * (rows * row + state + activations)) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Task;
    use crate::model::{Norm, Spec};
    use crate::ops::{Function, Op, Rule};
    use crate::peak::Peak;
    use crate::program::{DataShape, Mode};

    const ROWS: usize = 8;
    const ADAM: Rule = Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 };

    /// 8-4-4 with batch normalization and relu; no row has padding.
    fn plan(rule: Rule, models: usize) -> Plan {
        let spec = Spec::mlp(Task::Classification, 8, &[4], 4, Function::Relu, Norm::Before, 0.0);
        let data = DataShape { examples: 32, features: 8, bytes: false, places: 32 };
        Plan::new(&spec, models, data, rule, &BTreeSet::from([(Mode::Train, ROWS)]), 1)
    }

    /// FLOPs, bytes read and written of each operation, counted by hand.
    const COUNTED: [(&str, [u64; 3]); 16] = [
        ("Gather", [0, 8 * 4 + 256, 256]),
        ("MatMul", [2 * 8 * 8 * 4, 256 + 128, 128]),
        ("ColumnStats", [5 * 32 + 6 * 4, 128, 48 + 48]),
        ("BatchNorm", [5 * 32 + 3 * 4, 128 + 2 * 16 + 48, 128]),
        ("Activation", [32, 128, 128]),
        ("MatMul", [2 * 8 * 4 * 4 + 32, 128 + 64 + 16, 128]),
        // Its last 16 bytes are the model's rates.
        ("Loss", [8 * (6 * 4 + 2), 128 + 32 + 32 + 16, 128 + 128 + 16]),
        ("ColumnSum", [32, 128, 16]),
        ("MatMul", [2 * 4 * 8 * 4, 128 + 128, 64]),
        ("ColumnSum", [32, 128, 16]),
        ("MatMul", [2 * 8 * 4 * 4, 128 + 64, 128]),
        ("ActivationBackward", [2 * 32, 128 + 128, 128]),
        ("BatchNormReduce", [6 * 32 + 3 * 4, 128 + 128 + 48, 32]),
        ("BatchNormBackward", [7 * 32 + 6 * 4, 128 + 128 + 48 + 32 + 16, 128]),
        ("MatMul", [2 * 4 * 8 * 8, 128 + 256, 128]),
        // 48 weights, 12 parameters without decay; gradients are read, parameters read and written.
        ("Optimizer", [2 * 60 + 3 * 48, 16 + 240 + 240, 240]),
    ];

    #[test]
    fn a_step_costs_what_its_formulas_say() {
        for models in [1, 3] {
            let plan = plan(Rule::Sgd, models);
            let costs: Vec<_> = plan.programs[0].ops.iter().map(|op| (op.name(), op.cost())).collect();
            let of_one = |(name, [flops, bytes_read, bytes_written]): (_, [u64; 3])| {
                let models = models as u64;
                let [flops, bytes_read, bytes_written] =
                    [flops, bytes_read, bytes_written].map(|of_one| models * of_one);
                (name, Cost { flops, bytes_read, bytes_written })
            };
            assert_eq!(costs, COUNTED.map(of_one));
            assert_eq!(plan.programs[0].cost().flops, models as u64 * 3264);
        }
    }

    /// As `inspect` may be asked for, which no device has to run.
    #[test]
    fn flops_beyond_64_bits_are_the_most_that_there_are() {
        let spec = Spec::mlp(Task::Classification, 8, &[1 << 24; 2], 4, Function::Relu, Norm::Before, 0.0);
        let data = DataShape { examples: 1 << 17, features: 8, bytes: false, places: 1 << 17 };
        let plan = Plan::new(&spec, 1, data, Rule::Sgd, &BTreeSet::from([(Mode::Train, 1 << 17)]), 1);
        for plan in [plan.clone(), plan.clone().fused(), plan.staged()] {
            assert_eq!(plan.programs[0].cost().flops, u64::MAX);
        }
    }

    #[test]
    fn a_step_is_projected_by_the_formula() {
        let peak = Peak { flops: 2e3, bandwidth: 4e3, dispatch: 0.25 };
        let of_op = |(_, [flops, read, written]): (_, [u64; 3])| {
            (flops as f64 / 2e3).max((read + written) as f64 / 4e3) + 0.25
        };
        let by_hand: f64 = COUNTED.map(of_op).iter().sum();
        assert!((peak.seconds(&plan(Rule::Sgd, 1).programs[0]) - by_hand).abs() < 1e-12);
    }

    #[test]
    fn rewritten_steps_compute_the_same_and_move_less() {
        let plan = plan(Rule::Sgd, 1);
        let costs = [plan.clone(), plan.clone().fused(), plan.staged()].map(|plan| plan.programs[0].cost());
        let flops = costs.map(|cost| cost.flops);
        let bytes = costs.map(|cost| cost.bytes_read + cost.bytes_written);
        // Fused batch normalization takes relu's slope twice.
        assert_eq!(flops, [3264, 3264 + 64, 3264 + 64]);
        assert!(bytes.is_sorted_by(|more, fewer| more > fewer), "{bytes:?}");
    }

    /// Bytes over the least in stages, of the net of Ioffe and Szegedy 2015, section 4.1, and of a wide one.
    #[test]
    fn known_nets_move_this_much() {
        for (hidden, rows, rule, expected) in [
            (&[100; 3][..], 60, Rule::Sgd, 1.29),
            (&[100; 3], 60, ADAM, 1.12),
            (&[512; 2], 128, Rule::Sgd, 1.33),
            (&[512; 2], 128, ADAM, 1.13),
            (&[512; 2], 256, Rule::Sgd, 1.40),
            (&[512; 2], 256, ADAM, 1.18),
            (&[1024; 2], 128, Rule::Sgd, 1.36),
            (&[1024; 2], 128, ADAM, 1.14),
        ] {
            let spec = Spec::mlp(Task::Classification, 784, hidden, 10, Function::Relu, Norm::Before, 0.0);
            let data = DataShape { examples: rows, features: 784, bytes: true, places: rows };
            let plan = Plan::new(&spec, 1, data, rule, &BTreeSet::from([(Mode::Train, rows)]), 1);
            let Cost { bytes_read, bytes_written, .. } = plan.clone().staged().programs[0].cost();
            let over_least = (bytes_read + bytes_written) as f64 / plan.least_bytes(rows) as f64;
            assert!((over_least - expected).abs() < 0.005, "{hidden:?}, {rule:?}: {over_least}");
        }
    }

    #[test]
    fn the_optimizers_state_is_read_and_written() {
        let momentum = |nesterov| Rule::Momentum { momentum: 0.9, nesterov };
        for (rule, flops, states) in
            [(Rule::Sgd, 2, 1), (momentum(false), 4, 2), (momentum(true), 6, 2), (ADAM, 13, 3)]
        {
            let plan = plan(rule, 1);
            let cost = plan.programs[0].ops.last().map(Op::cost);
            let bytes_read = 16 + 240 + states * 240;
            let expected = Cost { flops: flops * 60 + 3 * 48, bytes_read, bytes_written: states * 240 };
            assert_eq!(cost, Some(expected), "{rule:?}");
            // 8 rows with targets, parameters and moments twice, two activations of 8×4 three times.
            assert_eq!(plan.least_bytes(ROWS), 8 * (32 + 4) + 2 * states * 240 + 3 * 2 * 128, "{rule:?}");
        }
    }
}
