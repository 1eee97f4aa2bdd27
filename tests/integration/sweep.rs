//! Models trained side by side: each is what it would be alone, and they take what was announced.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use minilote::gpu::Gpu;
use minilote::model::{EPS, Model, Norm, Statistics, initialize};
use minilote::ops::{Function, Space, Step, Variant};
use minilote::program::{Mode, Plan};
use minilote::sweep::{Grid, Leaderboard, Mean, Sweep, passes, room, sweep};
use minilote::train::{
    Batch, Config, End, Group, Observer, OptimizerKind, Outcome, Sizes, Trainer, TrainingData, train,
    train_all,
};
use minilote::{Device, Engine, Error};
use pollster::block_on;

use crate::{Impatient, devices, gpu};

fn cancer() -> Config {
    Config { target: Some("diagnosis".into()), epochs: 4, batch: Some(Batch::Rows(33)), ..Config::default() }
}

fn data() -> TrainingData {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/breast_cancer.csv");
    TrainingData::read(&path, &cancer()).unwrap()
}

/// Every backend that trains in f32, and an adapter with the kernels of each variant.
fn all_devices() -> Vec<(String, Device)> {
    let of_variant = |variant| {
        let gpu = gpu()?.with_variant(variant);
        Some((format!("{} {variant:?}", gpu.summary().name), Device::Gpu(gpu)))
    };
    let variants = [Variant::Software, Variant::Gpu].into_iter().filter_map(of_variant);
    [("CPU backend".to_string(), Device::Cpu)].into_iter().chain(variants).collect()
}

/// Two layers of sizes that differ, with lambda, rate and seed of their own.
fn different(config: &Config) -> Vec<Config> {
    let model = |hidden: [usize; 2], lambda, lr, seed| {
        let hidden = Sizes(hidden.into());
        Config { hidden, lambda, lr: Some(lr), seed, ..config.clone() }
    };
    vec![model([5, 3], 0.0, 0.003, 1), model([9, 18], 1.0, 0.01, 0), model([17, 4], 0.1, 0.001, 1)]
}

fn all(
    data: &TrainingData,
    configs: &[Config],
    hidden: &[usize],
    device: &Device,
) -> Vec<Result<Outcome, Error>> {
    let mut group = block_on(Group::new(data.clone(), configs.to_vec(), hidden, device)).unwrap();
    block_on(train_all(&mut group, &mut ())).unwrap()
}

fn values(model: &Model) -> Vec<f64> {
    let statistics = model.statistics.iter().flat_map(|s| s.mean.iter().chain(&s.variance));
    model.parameters.iter().flatten().chain(statistics).copied().collect()
}

/// The largest difference of each parameter and statistic from another model's, relative to its largest value.
fn difference(a: &Model, b: &Model) -> f64 {
    let of = |a: &mut dyn Iterator<Item = (&f64, &f64)>| {
        let (off, largest) =
            a.fold((0.0f64, 0.0f64), |(off, largest), (a, b)| (off.max((a - b).abs()), largest.max(b.abs())));
        if off == 0.0 { 0.0 } else { off / largest }
    };
    let parameters = a.parameters.iter().zip(&b.parameters).map(|(a, b)| of(&mut a.iter().zip(b)));
    let statistics = a.statistics.iter().zip(&b.statistics);
    // In units of the deviation, as means of standardized rows may be next to 0.
    let sigma = |variance: &f64| (variance + EPS).sqrt();
    let off = |(a, b): (&Statistics, &Statistics)| {
        let means = a.mean.iter().zip(&b.mean).zip(&b.variance);
        means.map(|((a, b), variance)| (a - b).abs() / sigma(variance)).fold(0.0, f64::max)
    };
    let means = statistics.clone().map(off);
    let variances = statistics.map(|(a, b)| of(&mut a.variance.iter().zip(&b.variance)));
    parameters.chain(means).chain(variances).fold(0.0, f64::max)
}

#[test]
fn each_model_has_the_bits_that_it_has_alone() {
    let data = data();
    for (name, device) in all_devices() {
        for (norm, dropout) in [(Norm::Before, 0.0), (Norm::After, 0.2), (Norm::None, 0.0)] {
            let configs = different(&Config { norm, dropout, ..cancer() });
            let room = room(&configs);
            assert_eq!(room, [17, 18]);
            let beside = all(&data, &configs, &room, &device);
            for (config, beside) in configs.into_iter().zip(beside) {
                let beside = beside.unwrap();
                assert_eq!(beside.model.parameters[0].nrows(), config.hidden.0[0]);
                let alone = all(&data, &[config], &room, &device).swap_remove(0).unwrap();
                assert_eq!(values(&beside.model), values(&alone.model), "{name}, norm {norm:?}");
                assert_eq!((beside.valid, beside.best_epoch), (alone.valid, alone.best_epoch), "{name}");
            }
        }
    }
}

/// 104 steps of each, padded, beside 104 steps of `minilote train` with the sizes as they are.
#[test]
fn each_model_is_near_what_train_makes_of_it() {
    let data = data();
    for (name, device) in devices() {
        for activation in [Function::Relu, Function::Tanh] {
            let base =
                Config { activation, epochs: 9, patience: 0, optimizer: OptimizerKind::Sgd, ..cancer() };
            let configs = different(&base);
            let beside = all(&data, &configs, &room(&configs), &device);
            for (config, beside) in configs.into_iter().zip(beside) {
                let beside = beside.unwrap();
                let mut trainer = block_on(Trainer::new(data.clone(), config, &device)).unwrap();
                let alone = block_on(train(&mut trainer, &mut ())).unwrap();
                let off = difference(&beside.model, &alone.model);
                println!("{name}, {activation}: {off:.1e} after {} steps", alone.model.updates);
                assert!(alone.model.updates >= 100 && beside.model.updates == alone.model.updates);
                assert!(off < 1e-5, "{name}, {activation}: {off:e}");
            }
        }
    }
}

#[test]
fn units_that_a_model_lacks_stay_zero() {
    let data = data();
    for (name, device) in all_devices() {
        for (activation, norm, dropout) in [
            (Function::Relu, Norm::Before, 0.0),
            (Function::Tanh, Norm::Before, 0.2),
            (Function::Tanh, Norm::After, 0.0),
            (Function::Relu, Norm::None, 0.0),
        ] {
            let base = Config { activation, norm, dropout, lr: Some(0.01), lambda: 3.0, ..cancer() };
            let config = Config { hidden: Sizes(vec![5, 3]), ..base.clone() };
            let plan = device.rewrite(Group::plan(&data, std::slice::from_ref(&config), &[9, 14]).unwrap());
            let train = plan.program(Mode::Train, 33);
            let layout = plan.layout.clone();
            let own = Trainer::spec(&data, &config).unwrap();
            let mut engine = block_on(Engine::new(&device, plan)).unwrap();
            engine.write_inputs(&data.inputs, None, &data.standardizer.affine());
            engine.write(Space::Targets, data.targets.as_slice().unwrap());
            engine.write(Space::Hyper, &[0.01, 0.02, 0.03, 7.0]);
            engine.write_order([&data.split.train[..]]);
            engine.write_parameters([&initialize(&own, config.init, 4)[..]]);
            let step = |slot| Step {
                first: 33 * (slot % 8),
                slot,
                number: slot + 1,
                lr_factor: 1.0,
                corrections: [0.9f64, 0.999].map(|beta| 1.0 - beta.powi(slot as i32 + 1)),
                ..Step::default()
            };
            let steps: Vec<_> = (0..20).map(|slot| (train, step(slot))).collect();
            block_on(engine.run(&steps)).unwrap();
            for space in [Space::Params, Space::Moment1, Space::Moment2] {
                let values = block_on(engine.read(space)).unwrap();
                let mut inside: BTreeSet<usize> = BTreeSet::new();
                for parameter in own.parameters() {
                    let place = layout.parameter(&parameter.name);
                    let row = |row| place.at(0, row, 0)..place.at(0, row, 0) + parameter.cols;
                    inside.extend((0..parameter.rows).flat_map(row));
                }
                let what = format!("{name}, {activation}, norm {norm:?}: {space:?}");
                let outside = values.iter().enumerate().filter(|(i, _)| !inside.contains(i));
                let not_zero: Vec<_> = outside.filter(|(_, value)| **value != 0.0).collect();
                assert!(not_zero.is_empty(), "{what}: {:?}", &not_zero[..not_zero.len().min(5)]);
                // A relu may be off for all rows, but most of what there is has moved.
                let moved = inside.iter().filter(|&&i| values[i] != 0.0).count();
                assert!(2 * moved > inside.len(), "{what}: {moved} of {}", inside.len());
            }
        }
    }
}

#[test]
fn sigmoid_is_not_padded() {
    let configs = different(&Config { activation: Function::Sigmoid, ..cancer() });
    let data = data();
    let message = Group::plan(&data, &configs, &room(&configs)).unwrap_err().to_string();
    assert!(message.contains("sigmoid"), "{message}");
    for (_, device) in devices() {
        assert_eq!(passes(&data, &configs, &device).unwrap().len(), 3);
    }
}

/// A model that stopped is frozen with its best epoch kept, whatever the others do after it.
#[test]
fn each_model_stops_by_itself() {
    let data = data();
    for (name, device) in devices() {
        let configs = different(&Config { epochs: 40, patience: 2, batch: Some(Batch::Full), ..cancer() });
        let configs: Vec<Config> = [0.3, 0.003, 0.1]
            .into_iter()
            .zip(configs)
            .map(|(lr, config)| Config { lr: Some(lr), ..config })
            .collect();
        let room = room(&configs);
        let beside: Vec<_> = all(&data, &configs, &room, &device).into_iter().map(Result::unwrap).collect();
        let epochs: BTreeSet<usize> = beside.iter().map(|outcome| outcome.epochs).collect();
        assert!(epochs.len() > 1, "{name}: all stopped after {epochs:?}");
        for (config, beside) in configs.into_iter().zip(beside) {
            let alone = all(&data, &[config], &room, &device).swap_remove(0).unwrap();
            assert_eq!((beside.epochs, beside.best_epoch), (alone.epochs, alone.best_epoch), "{name}");
            assert_eq!(
                (values(&beside.model), beside.model.updates),
                (values(&alone.model), alone.model.updates)
            );
        }
    }
}

#[test]
fn a_frozen_model_keeps_its_parameters() {
    let data = data();
    for (name, device) in devices() {
        for optimizer in [OptimizerKind::Adamw, OptimizerKind::Momentum, OptimizerKind::Sgd] {
            let configs = different(&Config { optimizer, ..cancer() });
            let mut group =
                block_on(Group::new(data.clone(), configs.clone(), &room(&configs), &device)).unwrap();
            let epoch = |group: &mut Group| {
                block_on(group.epoch(|_| ControlFlow::Continue(()))).unwrap();
                block_on(group.parameters()).unwrap()
            };
            let before = epoch(&mut group);
            group.freeze(1);
            let after = epoch(&mut group);
            assert_eq!(before[1], after[1], "{name}, {optimizer:?}");
            assert!(before[0] != after[0] && before[2] != after[2], "{name}, {optimizer:?}");
        }
    }
}

#[test]
fn a_model_that_diverges_leaves_the_others_alone() {
    let data = data();
    for (name, device) in devices() {
        let mut configs = different(&Config { norm: Norm::None, ..cancer() });
        configs[1].lr = Some(1e30);
        let room = room(&configs);
        let beside = all(&data, &configs, &room, &device);
        assert!(matches!(beside[1], Err(Error::Diverged { .. })), "{name}: {:?}", beside[1]);
        for model in [0, 2] {
            let alone = all(&data, &configs[model..=model], &room, &device).swap_remove(0).unwrap();
            assert_eq!(values(&beside[model].as_ref().unwrap().model), values(&alone.model), "{name}");
        }
    }
}

fn tiny_nets(models: u64, hidden: &[usize]) -> Vec<Config> {
    (0..models).map(|seed| Config { seed, hidden: Sizes(hidden.into()), ..cancer() }).collect()
}

#[test]
fn many_models_are_as_many_dispatches_as_one_but_for_blocks_of_a_cache() {
    let Some(gpu) = gpu() else { return };
    let data = data();
    for variant in [Variant::Software, Variant::Gpu] {
        let device = Device::Gpu(gpu.clone().with_variant(variant));
        let [(alone, _), (all, blocks)] = [1, 64].map(|models: u64| {
            let configs = tiny_nets(models, &[32, 32]);
            let plan = device.rewrite(Group::plan(&data, &configs, &[32, 32]).unwrap());
            let train = plan.programs.iter().position(|program| program.mode == Mode::Train).unwrap();
            let blocks = plan.models.div_ceil(plan.at_once);
            let mut engine = block_on(Engine::new(&device, plan)).unwrap();
            let step = |slot| (train, Step { slot, number: slot + 1, ..Step::default() });
            block_on(engine.run(&[0, 1, 2].map(step))).unwrap();
            (engine.counts().dispatches, blocks)
        });
        assert!(alone > 0 && blocks <= if variant == Variant::Gpu { 1 } else { 4 }, "{blocks} blocks");
        assert_eq!(all, blocks * alone, "{variant:?}");
    }
}

#[test]
fn a_thousand_models_take_the_memory_that_was_announced() {
    let Some(gpu) = gpu() else { return };
    let data = data();
    let configs = tiny_nets(1000, &[16]);
    let device = Device::Gpu(gpu.clone());
    assert_eq!(passes(&data, &configs, &device).unwrap().len(), 1);
    let announced = device.rewrite(Group::plan(&data, &configs, &[16]).unwrap()).memory();
    let mut group = block_on(Group::new(data, configs, &[16], &device)).unwrap();
    let epochs = block_on(group.epoch(|_| ControlFlow::Continue(()))).unwrap();
    assert!(
        epochs.len() == 1000
            && epochs.iter().all(|epoch| epoch.as_ref().is_ok_and(|epoch| epoch.rows == 370))
    );
    assert_eq!(group.engine().counts().buffer_bytes, announced);
}

#[test]
fn a_grid_too_large_for_a_device_is_cut() {
    let Some(gpu) = gpu() else { return };
    let data = data();
    let device = Device::Gpu(gpu.clone());
    // The parameters of so many as a binding holds, and half as many again.
    let hidden = [500, 600];
    let plan = |models| -> Plan {
        device.rewrite(Group::plan(&data, &tiny_nets(models, &hidden), &hidden).unwrap())
    };
    let of_one = plan(1).bytes(Space::Params);
    let models = gpu.limits().binding / of_one * 3 / 2;
    let configs = tiny_nets(models, &hidden);
    let cut = passes(&data, &configs, &device).unwrap();
    assert_eq!(cut.len(), 2, "{models} models");
    assert!(device.check(&plan(models), "").is_err());
    assert!(cut.iter().all(|pass| device.check(&plan(pass.len() as u64), "").is_ok()));
    let mut all = cut.concat();
    all.sort_unstable();
    assert_eq!(all, (0..configs.len()).collect::<Vec<_>>());
    let error = block_on(Group::new(data.clone(), configs, &hidden, &device)).err().unwrap().to_string();
    assert!(error.contains("fewer models"), "{error}");
}

fn sweep_all(configs: &[Config], observer: &mut dyn Observer) -> Sweep {
    let passes = passes(&data(), configs, &Device::Cpu).unwrap();
    block_on(sweep(&data(), configs, &passes, &Device::Cpu, observer)).unwrap()
}

#[test]
fn an_interrupted_sweep_keeps_what_was_trained() {
    let grid = Grid { hidden: vec![Sizes(vec![]), Sizes(vec![8])], lambda: vec![0.0], lr: vec![], seeds: 2 };
    let configs = grid.configs(&Config { epochs: 1000, patience: 0, ..cancer() }).unwrap();
    let done = sweep_all(&configs, &mut Impatient(20));
    assert!(matches!(done.broken, Some(End::Interrupted)), "{:?}", done.broken);
    assert_eq!(done.trained.len(), 2);
    let leaderboard = Leaderboard::new(&done.trained, &data());
    assert_eq!((leaderboard.rows.len(), leaderboard.rows[0].hidden.as_str()), (1, "none"));
}

#[test]
fn a_combination_is_ranked_by_the_mean_of_its_seeds() {
    assert_eq!(Mean::of([]), None);
    assert_eq!(Mean::of([3.0]), Some(Mean { mean: 3.0, deviation: None }));
    assert_eq!(Mean::of([1.0, 3.0, 5.0]), Some(Mean { mean: 3.0, deviation: Some(2.0) }));

    let hidden = vec![Sizes(vec![5]), Sizes(vec![6]), Sizes(vec![6, 6])];
    let grid = Grid { hidden, lambda: vec![0.0, 50.0], lr: vec![0.01, 1e30], seeds: 3 };
    let configs = grid.configs(&Config { norm: Norm::None, ..cancer() }).unwrap();
    let done = sweep_all(&configs, &mut ());
    assert!(done.broken.is_none() && done.trained.iter().map(|model| &model.config).eq(&configs));
    let leaderboard = Leaderboard::new(&done.trained, &data());
    let (good, bad) = leaderboard.rows.split_at(6);
    assert!(bad.len() == 6 && bad.iter().all(|row| (row.diverged, row.lr) == (3, 1e30)));
    assert!(good.iter().all(|row| row.diverged == 0 && row.seeds.len() == 3));
    let losses: Vec<f64> = good.iter().map(|row| row.valid_loss.unwrap().mean).collect();
    assert!(losses.is_sorted(), "{losses:?}");
    let best = &done.trained[leaderboard.best.unwrap()];
    let of_seeds: Vec<f64> = good[0].seeds.iter().map(|seed| seed.valid.unwrap().loss).collect();
    assert!((of_seeds.iter().sum::<f64>() / 3.0 - losses[0]).abs() < 1e-12);
    let lowest = of_seeds.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(best.outcome.as_ref().unwrap().valid.unwrap().loss, lowest);
    assert_eq!(leaderboard.csv().lines().count(), 13);
}

#[test]
fn a_session_of_many_models_is_checked_as_one_of_one() {
    let data = data();
    let configs = different(&cancer());
    for (spoil, words) in [
        (Config { epochs: 5, ..configs[0].clone() }, "--lambda"),
        (Config { hidden: Sizes(vec![4]), ..configs[0].clone() }, "as many layers"),
        (Config { hidden: Sizes(vec![40, 4]), ..configs[0].clone() }, "wider"),
        (Config { lambda: -1.0, ..configs[0].clone() }, "--lambda -1 must be"),
    ] {
        let configs = [configs[1].clone(), spoil];
        let error = Group::plan(&data, &configs, &[17, 18]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(matches!(Group::plan(&data, &[], &[]), Err(Error::Config(_))));
    let Some(gpu) = gpu() else { return };
    let plan = Group::plan(&data, &configs, &room(&configs)).unwrap();
    let announced = plan.memory();
    assert_eq!(block_on(Gpu::new(gpu, plan)).unwrap().counts().buffer_bytes, announced);
}
