//! A model whose step is not finite is held as that step met it.

use std::collections::BTreeSet;

use minilote::data::Inputs;
use minilote::doctor::Net;
use minilote::model::{Init, Norm, initialize};
use minilote::ops::{Function, Rule, Space, Step};
use minilote::program::{DataShape, Mode, Plan};
use minilote::{Device, Engine};
use ndarray::Array2;
use pollster::block_on;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::devices;

/// That are finite; one more is not.
const ROWS: usize = 24;
const BATCH: usize = 4;
const STEPS: usize = ROWS / BATCH;

/// Two models of a network.
struct Pair<'a> {
    device: &'a Device,
    form: fn(Plan) -> Plan,
    net: Net,
    /// In the row that is not finite.
    value: f64,
}

/// The bits of parameters and moments of both models.
type State = Vec<[Vec<u64>; 2]>;

impl Pair<'_> {
    /// The states after so many steps each, run as one chunk, where the first model meets its rows in this order.
    fn states(&self, chunks: &[usize], order: &[u32]) -> Vec<State> {
        let features = self.net.spec.inputs();
        let data = DataShape { examples: ROWS + 1, features, bytes: false, places: ROWS };
        let requests = BTreeSet::from([(Mode::Train, BATCH)]);
        let plan = (self.form)(Plan::new(&self.net.spec, 2, data, self.net.rule, &requests, STEPS));
        let mut engine = block_on(Engine::new(self.device, plan)).unwrap();
        let cell = |(row, column): (usize, usize)| match (row, column) {
            (ROWS, 3) => self.value,
            _ => ((row * 31 + column * 17 + row * column) % 23) as f64 / 7.0 - 1.5,
        };
        let inputs = Inputs::Real(Array2::from_shape_fn((ROWS + 1, features), cell));
        engine.write_inputs(&inputs, None, &(vec![], vec![]));
        engine.write(Space::Targets, &(0..=ROWS).map(|row| (row % 3) as f64).collect::<Vec<_>>());
        engine.write(Space::Hyper, &[0.1, 0.01, 0.02, 5.0].repeat(2));
        engine.write_order([order, &Vec::from_iter(0..ROWS as u32)]);
        engine.write_parameters([&initialize(&self.net.spec, Init::He, 3)[..]; 2]);
        let mut steps = (0..STEPS).map(|step| {
            let number = step as u32 + 1;
            let corrections = [0.9f64, 0.999].map(|beta| 1.0 - beta.powi(number as i32));
            Step {
                first: (step * BATCH) as u32,
                slot: 0,
                number,
                lr_factor: 1.0,
                corrections,
                ..Step::default()
            }
        });
        let mut states = vec![];
        for &count in chunks {
            let chunk = steps.by_ref().take(count).zip(0..).map(|(step, slot)| (0, Step { slot, ..step }));
            let chunk: Vec<_> = chunk.collect();
            if !chunk.is_empty() {
                block_on(engine.run(&chunk)).unwrap();
            }
            states.push(self.state(&mut engine));
        }
        states
    }

    fn state(&self, engine: &mut Engine) -> State {
        let spaces = [Space::Params, Space::Moment1, Space::Moment2];
        let halves = |&space: &Space| {
            let bits: Vec<u64> =
                block_on(engine.read(space)).unwrap().into_iter().map(f64::to_bits).collect();
            let (first, second) = bits.split_at(bits.len() / 2);
            [first.to_vec(), second.to_vec()]
        };
        spaces[..1 + self.net.rule.moments()].iter().map(halves).collect()
    }
}

/// The other model is trained as if alone. In every form of the programs every optimizer and every normalization, and
/// each of these with each.
#[test]
fn a_model_is_held_from_the_step_on() {
    let rules = [
        Rule::Sgd,
        Rule::Momentum { momentum: 0.9, nesterov: true },
        Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 },
    ];
    let forms: [fn(Plan) -> Plan; 3] = [|plan| plan, Plan::fused, |plan| plan.staged()];
    let norms = [Norm::None, Norm::Before, Norm::After];
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for (name, device) in &devices() {
        for (i, j) in (0..9).map(|case| (case / 3, case % 3)) {
            let (rule, norm, form) = (rules[i], norms[j], forms[(i + j) % 3]);
            let net = Net { rule, ..Net::new(&[9, 6], Function::Tanh, norm, 0.0) };
            let bad = random.random_range(0..ROWS);
            let value = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][random.random_range(0..3)];
            let pair = Pair { device, form, net, value };
            let good = Vec::from_iter(0..ROWS as u32);
            let mut spoiled = good.clone();
            spoiled[bad] = ROWS as u32;
            let before = bad / BATCH;
            let expected = pair.states(&[before, STEPS - before], &good);
            let held = pair.states(&[STEPS], &spoiled);
            for ((held, before), after) in held[0].iter().zip(&expected[0]).zip(&expected[1]) {
                let case = format!("{name}, {rule:?}, norm {norm:?}, {value} in place {bad}");
                assert!(held[0] == before[0], "{case}: it moved");
                assert!(held[1] == after[1], "{case}: so did the other");
                assert!(before[0] != after[0], "{case}: nothing was to see");
            }
        }
    }
}
