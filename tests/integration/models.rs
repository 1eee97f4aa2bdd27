//! Several models of a plan, each with its own parameters, rows, learning rate and dropout, against sessions of
//! one model.

use std::collections::BTreeSet;

use minilote::data::Inputs;
use minilote::model::{Init, Norm, Spec, Statistics, initialize};
use minilote::ops::{Function, Rule, Space, Step};
use minilote::program::{DataShape, Mode, Plan};
use minilote::{Device, Engine, Task};
use ndarray::Array2;
use pollster::block_on;

use crate::devices;

const MODELS: usize = 5;
const EXAMPLES: usize = 60;
const FEATURES: usize = 7;
const ROWS: usize = 20;
/// Wide enough that a model alone shares its products out over threads.
const HIDDEN: [usize; 2] = [190, 150];
const ADAM: Rule = Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 };

/// Of some of the models: the log of six training steps and an evaluation; parameters, gradients and moments.
struct Results {
    record: usize,
    log: Vec<f64>,
    spaces: Vec<Vec<f64>>,
}

fn results(
    device: &Device,
    (bytes, dropout): (bool, f64),
    models: &[usize],
    rewrite: fn(Plan) -> Plan,
) -> Results {
    let spec = Spec::mlp(Task::Classification, FEATURES, &HIDDEN, 3, Function::Tanh, Norm::Before, dropout);
    let data = DataShape { examples: EXAMPLES, features: FEATURES, bytes, places: EXAMPLES };
    let requests = BTreeSet::from([(Mode::Train, ROWS), (Mode::Evaluate, ROWS)]);
    let plan = rewrite(Plan::new(&spec, models.len(), data, ADAM, &requests, 3));
    let [train, evaluate] = [Mode::Train, Mode::Evaluate].map(|mode| plan.program(mode, ROWS));
    let record = plan.record;
    let mut engine = block_on(Engine::new(device, plan)).unwrap();
    let byte = |(row, column): (usize, usize)| ((row * 31 + column * 17) % 23) as u8;
    let inputs = Array2::from_shape_fn((EXAMPLES, FEATURES), byte);
    let inputs =
        if bytes { Inputs::Bytes(inputs) } else { Inputs::Real(inputs.mapv(|b| f64::from(b) / 7.0 - 1.5)) };
    engine.write_inputs(&inputs, None, &(vec![11.0; FEATURES], vec![0.2; FEATURES]));
    engine.write(Space::Targets, &(0..EXAMPLES).map(|row| (row % 3) as f64).collect::<Vec<_>>());
    let of_model = |&model: &usize| [0.01 + model as f64 / 100.0, 0.01, 0.0, 100.0 + model as f64];
    engine.write(Space::Hyper, &models.iter().flat_map(of_model).collect::<Vec<_>>());
    let order: Vec<u32> = (0..EXAMPLES as u32).map(|row| row * 7 % EXAMPLES as u32).collect();
    engine.write_order([&order[..]].repeat(models.len()));
    let parameters: Vec<_> = models.iter().map(|&model| initialize(&spec, Init::He, model as u64)).collect();
    engine.write_parameters(parameters.iter().map(Vec::as_slice));
    let start = |(_, n): (usize, usize)| Statistics { mean: vec![0.1; n], variance: vec![0.7; n] };
    let running: Vec<_> = spec.batch_norms().map(start).collect();
    engine.write_statistics([&running[..]].repeat(models.len()));
    let step = |slot: u32| Step {
        slot: slot % 3,
        first: slot % 3 * ROWS as u32,
        number: slot + 1,
        lr_factor: 1.0,
        corrections: [0.9, 0.999].map(|beta: f64| 1.0 - beta.powi(slot as i32 + 1)),
        ..Step::default()
    };
    let mut log = vec![];
    for steps in [0..3, 3..6] {
        log.extend(block_on(engine.run(&steps.map(|slot| (train, step(slot))).collect::<Vec<_>>())).unwrap());
    }
    log.extend(block_on(engine.run(&[(evaluate, step(0))])).unwrap());
    let spaces = [Space::Params, Space::Grads, Space::Moment1, Space::Moment2, Space::Running];
    let spaces = spaces.map(|space| match device {
        Device::Gpu(_) if space != Space::Params => vec![],
        _ => block_on(engine.read(space)).unwrap(),
    });
    Results { record, log, spaces: spaces.into() }
}

#[test]
fn five_models_are_five_sessions_of_one() {
    let mut devices = devices();
    devices.push(("f64 twin".into(), Device::Twin));
    let mut compared = 0;
    for (name, device) in devices {
        type Rewrite = fn(Plan) -> Plan;
        let forms: [(bool, f64, Rewrite); 3] =
            [(true, 0.2, |plan| plan), (false, 0.2, Plan::fused), (true, 0.0, |plan| plan.staged())];
        // On an adapter models are workgroups of one dispatch; one form shows it.
        let forms = if let Device::Gpu(_) = device { &forms[1..2] } else { &forms[..] };
        for &(bytes, dropout, rewrite) in forms {
            let results = |models: &[usize]| results(&device, (bytes, dropout), models, rewrite);
            let all = results(&[0, 1, 2, 3, 4]);
            for model in 0..MODELS {
                let alone = results(&[model]);
                let of_model = all.log.chunks(all.record).skip(model).step_by(MODELS);
                assert!(of_model.eq(alone.log.chunks(alone.record)), "{name}: log of model {model}");
                for (all, alone) in all.spaces.iter().zip(&alone.spaces) {
                    assert_eq!(all.len(), MODELS * alone.len(), "{name}");
                    let all = &all[model * alone.len()..][..alone.len()];
                    assert!(all == alone, "{name}: a space of model {model}");
                    compared += alone.len();
                }
            }
        }
    }
    assert!(compared > 1_000_000, "{compared} values compared");
}
