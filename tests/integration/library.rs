//! What programs rely on that train inside themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use minilote::data::{Dataset, Inputs, Split, Splitting, Standardize, Table, Unknown};
use minilote::model::{Norm, Source, Statistics};
use minilote::sweep::{room, sweep};
use minilote::train::{
    Config, Epoch, Group, Norms, Observer, OptimizerKind, Part, Rows, ScheduleKind, Sizes, Trainer,
    TrainingData, train, train_all,
};
use minilote::{Device, Error, Result, Task};
use ndarray::{Array1, Array2, Axis};
use pollster::block_on;

use crate::{devices, learned};

fn cancer() -> Config {
    Config { target: Some("diagnosis".into()), hidden: Sizes(vec![16, 8]), epochs: 6, ..Config::default() }
}

fn read(config: &Config) -> TrainingData {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/breast_cancer.csv");
    TrainingData::read(&path, config).unwrap()
}

const CLASSES: [&str; 2] = ["benign", "malignant"];

/// The table's numbers, as they stand there.
fn raw() -> Dataset {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/breast_cancer.csv");
    read(&cancer()).schema.encode(&Table::read(&path).unwrap(), true, Unknown::Refuse).unwrap()
}

fn trainer(config: &Config, device: &Device) -> Trainer {
    block_on(Trainer::new(read(config), config.clone(), device)).unwrap()
}

/// After a run, or after epochs by hand.
#[test]
fn a_second_run_is_the_first_one_from_other_weights() {
    for (name, device) in devices() {
        for (optimizer, by_hand) in [
            (OptimizerKind::Sgd, false),
            (OptimizerKind::Momentum, true),
            (OptimizerKind::Adam, false),
            (OptimizerKind::Adam, true),
        ] {
            let schedule = ScheduleKind::Cosine;
            let config = Config { optimizer, schedule, dropout: 0.1, patience: 2, epochs: 8, ..cancer() };
            let mut again = trainer(&config, &device);
            match by_hand {
                true => (0..10).for_each(|_| assert!(block_on(again.epoch()).unwrap().complete)),
                false => assert!(block_on(train(&mut again, &mut ())).unwrap().epochs > 1),
            }
            let mut anew = trainer(&config, &device);
            let start = block_on(again.parameters()).unwrap();
            anew.set_parameters(&start).unwrap();
            let [again, anew] =
                [again, anew].map(|mut trainer| block_on(train(&mut trainer, &mut ())).unwrap());
            assert!(again.epochs > 1 && again.model.parameters != start, "{name}, {optimizer:?}");
            assert_eq!(learned(&again.model), learned(&anew.model), "{name}, {optimizer:?}");
            assert_eq!((again.epochs, again.best_epoch), (anew.epochs, anew.best_epoch), "{name}");
        }
    }
}

/// The rate is lowered, and the trainer goes on from where it diverged.
#[test]
fn a_run_that_diverged_may_be_followed_by_another() {
    for (name, device) in devices() {
        let config = Config { lr: Some(1e12), norm: Norm::None, optimizer: OptimizerKind::Sgd, ..cancer() };
        let mut trainer = trainer(&config, &device);
        assert!(matches!(block_on(train(&mut trainer, &mut ())), Err(Error::Diverged { .. })), "{name}");
        let parameters = block_on(trainer.parameters()).unwrap();
        assert!(parameters[0].iter().any(|weight| *weight != 0.0), "{name}");
        trainer
            .set_parameters(&block_on(self::trainer(&cancer(), &device).parameters()).unwrap())
            .unwrap_err();
        let plain = Config { norm: Norm::None, ..cancer() };
        let fresh = block_on(self::trainer(&plain, &device).parameters()).unwrap();
        trainer.set_parameters(&fresh).unwrap();
        trainer.set_learning_rate(0.1).unwrap();
        let outcome = block_on(train(&mut trainer, &mut ())).unwrap();
        assert!(outcome.valid.unwrap().accuracy > Some(0.9), "{name}");
    }
}

#[test]
fn a_model_that_ended_early_trains_in_the_next_run() {
    let config = |seed| Config { seed, lr: Some(0.05), patience: 1, epochs: 12, ..cancer() };
    let configs: Vec<Config> = (0..4).map(config).collect();
    let data = read(&configs[0]);
    let mut group = block_on(Group::new(data, configs.clone(), &room(&configs), &Device::Cpu)).unwrap();
    let first = block_on(train_all(&mut group, &mut ())).unwrap();
    let ends: Vec<usize> = first.iter().map(|outcome| outcome.as_ref().unwrap().epochs).collect();
    assert!(ends.iter().any(|end| end < ends.iter().max().unwrap()), "{ends:?}");
    let start = block_on(group.parameters()).unwrap();
    block_on(group.epoch(|_| std::ops::ControlFlow::Continue(()))).unwrap();
    let second = block_on(train_all(&mut group, &mut ())).unwrap();
    for (model, (outcome, start)) in second.into_iter().zip(&start).enumerate() {
        assert_ne!(outcome.unwrap().model.parameters, *start, "model {model}");
    }
}

#[test]
fn a_trainer_is_left_with_the_best_epoch() {
    for (name, device) in devices() {
        for stats in [Source::Ema, Source::Pytorch] {
            let config = Config { stats, lr: Some(0.05), epochs: 20, patience: 0, ..cancer() };
            let mut trainer = trainer(&config, &device);
            let outcome = block_on(train(&mut trainer, &mut ())).unwrap();
            assert!(outcome.best_epoch < outcome.epochs, "{name}");
            assert_eq!(learned(&block_on(trainer.model()).unwrap()), learned(&outcome.model), "{name}");
        }
    }
}

#[test]
fn evaluation_never_changes_a_model() {
    for (name, device) in devices() {
        let mut trainer = trainer(&cancer(), &device);
        let outcome = block_on(train(&mut trainer, &mut ())).unwrap();
        let statistics = outcome.model.statistics.clone();
        let moving = trainer.moving(Source::Ema);
        let first = block_on(trainer.evaluate(Rows::Test, &statistics)).unwrap();
        let second = block_on(trainer.evaluate(Rows::Test, &statistics)).unwrap();
        assert_eq!(first.loss.to_bits(), second.loss.to_bits(), "{name}");
        assert_eq!(moving, trainer.moving(Source::Ema), "{name}");
        assert_eq!(outcome.model.parameters, block_on(trainer.parameters()).unwrap(), "{name}");
        let before = block_on(trainer.statistics(Source::Population)).unwrap();
        let again = block_on(trainer.statistics(Source::Population)).unwrap();
        assert_eq!(before, again, "{name}");
    }
}

#[derive(Default)]
struct Seen(BTreeMap<usize, [usize; 3]>);

impl Observer for Seen {
    fn epoch(&mut self, epoch: &Epoch, _: Option<&minilote::train::Validation>, _: bool) -> Result<()> {
        self.0.entry(epoch.model).or_default()[0] += 1;
        Ok(())
    }

    fn statistics(&mut self, epoch: &Epoch, statistics: &[Statistics]) -> Result<()> {
        self.0.entry(epoch.model).or_default()[1] += usize::from(statistics.len() == 2);
        Ok(())
    }

    fn watches_norms(&self) -> bool {
        true
    }

    fn norms(&mut self, epoch: &Epoch, norms: &[Norms]) -> Result<()> {
        self.0.entry(epoch.model).or_default()[2] += usize::from(norms.len() == 3);
        Ok(())
    }
}

#[test]
fn a_sweep_shows_all_that_a_run_shows() {
    let configs: Vec<Config> = (0..3).map(|seed| Config { seed, epochs: 2, ..cancer() }).collect();
    let mut seen = Seen::default();
    let passes = [vec![0, 2], vec![1]];
    block_on(sweep(&read(&configs[0]), &configs, &passes, &Device::Cpu, &mut seen)).unwrap();
    assert_eq!(seen.0, BTreeMap::from([(0, [2; 3]), (1, [2; 3]), (2, [2; 3])]));
}

#[test]
fn a_table_is_split_by_groups_or_in_order() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("visits.csv");
    let line = |row: usize| format!("{},p{},{}\n", row * 7 % 13, row % 20, ["well", "ill"][row * 3 % 7 % 2]);
    fs::write(&path, format!("x,patient,state\n{}", (0..100).map(line).collect::<String>())).unwrap();
    let config = Config { target: Some("state".into()), ..Config::default() };
    let read = |config: &Config| TrainingData::read(&path, config);
    let data = read(&Config { group: Some("patient".into()), ..config.clone() }).unwrap();
    let Split { train, valid, test } = &data.split;
    let patients = |rows: &[u32]| rows.iter().map(|row| row % 20).collect::<BTreeSet<u32>>();
    assert_eq!((train.len(), valid.len(), test.len()), (65, 15, 20));
    assert!(patients(train).is_disjoint(&patients(valid)) && patients(train).is_disjoint(&patients(test)));
    assert!(patients(valid).is_disjoint(&patients(test)));
    assert_eq!(data.schema.feature_names(), ["x"]);

    let ordered = Config { split: Splitting::Ordered, ..config.clone() };
    let Split { train, valid, test } = read(&ordered).unwrap().split;
    assert_eq!((train.last(), valid[0], valid.last(), test[0]), (Some(&64), 65, Some(&79), 80));
    let said = |config: &Config| config.check().err().or(read(config).err()).unwrap().to_string();
    assert!(said(&Config { group: Some("patient".into()), ..ordered.clone() }).contains("--split random"));
    assert!(
        said(&Config { group: Some("pateint".into()), ..config.clone() })
            .contains("did you mean \"patient\"")
    );
    assert!(
        said(&Config { group: Some("state".into()), ..config.clone() }).contains("target can't be ignored")
    );
    let sorted: String = (0..100).map(|row| format!("{row},p,{}\n", ["well", "ill"][row / 70])).collect();
    fs::write(&path, format!("x,patient,state\n{sorted}")).unwrap();
    assert!(said(&ordered).contains("class \"ill\" has no row to train on"));
    assert!(
        said(&Config { group: Some("patient".into()), ..config }).contains("or their groups, are too few")
    );
}

#[test]
fn rows_in_memory_are_split_and_scaled_as_a_table_is() {
    for standardize in [Standardize::Standard, Standardize::Range] {
        let config = Config { standardize, split_seed: Some(3), ..cancer() };
        let (read, raw) = (read(&config), raw());
        let (inputs, targets) = (raw.inputs, raw.targets.unwrap());
        let made = TrainingData::of_arrays(inputs, targets, &CLASSES, &config).unwrap();
        assert_eq!((made.task, &made.split, &made.inputs), (read.task, &read.split, &read.inputs));
        assert_eq!((made.targets, made.standardizer), (read.targets, read.standardizer));
    }
    // A column of an array is an array with gaps.
    let table = Array2::from_shape_fn((60, 3), |(row, column)| ((row * [7, 5, 1][column]) % 13) as f64);
    let gaps = table.clone().index_axis_move(Axis(1), 2);
    assert!(gaps.as_slice().is_none());
    let losses = [gaps.clone(), gaps.iter().copied().collect()].map(|targets| {
        let config = Config { epochs: 2, ..Config::default() };
        let data = TrainingData::of_arrays(table.clone().into(), targets, &[], &config).unwrap();
        block_on(block_on(Trainer::new(data, config, &Device::Cpu)).unwrap().epoch()).unwrap().loss
    });
    assert_eq!(losses[0], losses[1]);
    let bytes = Array2::from_shape_fn((40, 9), |(row, column)| (row * 7 + column * 31) as u8);
    let values: Array1<f64> = (0..40).map(|row| f64::from(row * row)).collect();
    let config = Config { epochs: 2, ..Config::default() };
    let data = TrainingData::of_arrays(Inputs::Bytes(bytes), values, &[], &config).unwrap();
    assert_eq!((data.task, data.schema.width(), data.split.test.len()), (Task::Regression, 9, 8));
    let mut trainer = block_on(Trainer::new(data, config, &Device::Cpu)).unwrap();
    block_on(train(&mut trainer, &mut ())).unwrap();
}

/// Each is refused with words that say what is wrong.
#[test]
fn rows_in_memory_are_checked() {
    let with = |spoil: &dyn Fn(&mut Array2<f64>, &mut Array1<f64>), classes: &[&str], config: &Config| {
        let Dataset { inputs: Inputs::Real(mut inputs), targets: Some(mut targets), .. } = raw() else {
            panic!("a table")
        };
        spoil(&mut inputs, &mut targets);
        TrainingData::of_arrays(Inputs::Real(inputs), targets, classes, config).unwrap_err().to_string()
    };
    let plain = Config::default();
    let as_is = |_: &mut Array2<f64>, _: &mut Array1<f64>| {};
    let said = [
        (with(&|x, _| x[(4, 1)] = f64::NAN, &CLASSES, &plain), "\"x1\" of row 5 is not finite"),
        (with(&|_, y| y[6] = f64::NAN, &[], &plain), "the target of row 7 is not finite"),
        (with(&|_, y| y[6] = 2.0, &CLASSES, &plain), "row 7 is of class 2; there are 2"),
        (with(&|_, y| y[6] = -1.0, &CLASSES, &plain), "row 7 is of class -1"),
        (with(&|_, y| y[6] = 0.5, &CLASSES, &plain), "row 7 is of class 0.5"),
        (with(&|_, y| *y = Array1::zeros(3), &CLASSES, &plain), "a target for each of 569 rows"),
        (with(&|x, y| (*x, *y) = (Array2::zeros((2, 3)), Array1::zeros(2)), &CLASSES, &plain), "too few"),
        (with(&as_is, &["one"], &plain), "the classes: 1 of them; 2 are needed"),
        (with(&as_is, &CLASSES, &Config { task: Some(Task::Regression), ..plain.clone() }), "suit the task"),
        (with(&as_is, &CLASSES, &Config { test: Part::File("t.csv".into()), ..plain.clone() }), "fractions"),
    ];
    for (message, words) in said {
        assert!(message.contains(words), "{words:?} is not in {message:?}");
    }
}

/// The loss of a model is that of its own rows, and goes on falling.
#[test]
fn a_model_is_trained_further_on_rows_as_it_sees_them() {
    let mut trainer = trainer(&Config { standardize: Standardize::Range, ..cancer() }, &Device::Cpu);
    let model = block_on(train(&mut trainer, &mut ())).unwrap().model;
    let before = block_on(trainer.evaluate(Rows::Train, &model.statistics)).unwrap();
    let (split, raw) = (trainer.data().split.clone(), raw());
    let make = |inputs: &Inputs| {
        TrainingData::for_model(&model, inputs, raw.targets.clone().unwrap(), split.clone())
    };
    let data = make(&raw.inputs).unwrap();
    let mut further = block_on(Trainer::new(data, cancer(), &Device::Cpu)).unwrap();
    further.set_parameters(&model.parameters).unwrap();
    assert_eq!(block_on(further.evaluate(Rows::Train, &model.statistics)).unwrap(), before);
    let after = block_on(train(&mut further, &mut ())).unwrap().model;
    assert!(block_on(further.evaluate(Rows::Train, &after.statistics)).unwrap().loss < before.loss);
    let mut bad = raw.inputs.clone();
    let Inputs::Real(values) = &mut bad else { panic!("a table") };
    values[(3, 2)] = f64::INFINITY;
    assert!(make(&bad).unwrap_err().to_string().contains("of row 4 is not finite"));
    let narrow = make(&Inputs::Real(Array2::zeros((569, 3)))).unwrap_err().to_string();
    assert!(narrow.contains("rows of 3 features; the model takes 30"), "{narrow}");
}

/// This compiles.
#[test]
fn training_may_move_to_another_thread() {
    fn sendable<T: Send>(_: &T) {}
    let config = Config { epochs: 1, ..cancer() };
    let data = read(&config);
    let mut trainer = block_on(Trainer::new(data.clone(), config.clone(), &Device::Cpu)).unwrap();
    sendable(&train(&mut trainer, &mut ()));
    sendable(&sweep(&data, &[config], &[vec![0]], &Device::Cpu, &mut Seen::default()));
    let run = async move { train(&mut trainer, &mut ()).await.map(|outcome| outcome.epochs) };
    sendable(&run);
    assert_eq!(std::thread::spawn(|| block_on(run)).join().unwrap().unwrap(), 1);
}
