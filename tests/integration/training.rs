//! Properties of whole runs, on every backend.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use minilote::data::{Inputs, Order, Standardize, Unknown, epoch_order};
use minilote::model::{Model, Norm, Source};
use minilote::train::{
    Batch, Config, End, Epoch, Norms, Observer, OptimizerKind, Outcome, Part, Predictor, Rows, ScheduleKind,
    Sizes, StepRecord, Trainer, TrainingData, importance, score, train,
};
use minilote::{Device, Error, Task};
use ndarray::{Array1, Array2, s};
use pollster::block_on;

use crate::{Impatient, devices};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(name)
}

fn cancer() -> Config {
    Config { target: Some("diagnosis".into()), hidden: Sizes(vec![16, 8]), epochs: 6, ..Config::default() }
}

fn read(config: &Config) -> TrainingData {
    TrainingData::read(&example("breast_cancer.csv"), config).unwrap()
}

fn trainer(config: &Config, device: &Device) -> Trainer {
    block_on(Trainer::new(read(config), config.clone(), device)).unwrap()
}

fn fit(config: &Config, device: &Device) -> (Trainer, Outcome) {
    let mut trainer = trainer(config, device);
    let outcome = block_on(train(&mut trainer, &mut ())).unwrap();
    (trainer, outcome)
}

/// The bits of everything that was learned.
fn bits(model: &Model) -> Vec<u64> {
    let parameters = model.parameters.iter().flatten();
    let statistics = model.statistics.iter().flat_map(|s| s.mean.iter().chain(&s.variance));
    parameters.chain(statistics).map(|value| value.to_bits()).collect()
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    for (name, device) in devices() {
        for norm in [Norm::None, Norm::Before, Norm::After] {
            let config = Config { norm, dropout: 0.2, seed: 5, ..cancer() };
            let first = bits(&fit(&config, &device).1.model);
            assert_eq!(first, bits(&fit(&config, &device).1.model), "{name}, norm {norm:?}");
            let other = Config { seed: 6, ..config };
            assert_ne!(first, bits(&fit(&other, &device).1.model), "{name}, norm {norm:?}: seeds 5 and 6");
        }
    }
}

/// In full batch each epoch's step moves a weight by lr times its gradient.
#[test]
fn norms_are_those_of_weights_and_their_gradients() {
    #[derive(Default)]
    struct Watch(Vec<Vec<Norms>>);
    impl Observer for Watch {
        fn watches_norms(&self) -> bool {
            true
        }
        fn norms(&mut self, _: &Epoch, norms: &[Norms]) -> minilote::Result<()> {
            self.0.push(norms.to_vec());
            Ok(())
        }
    }
    let config = Config {
        batch: Some(Batch::Full),
        optimizer: OptimizerKind::Sgd,
        valid: Part::Fraction(0.0),
        epochs: 1,
        ..cancer()
    };
    let norm = |values: &Array2<f64>| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    for (name, device) in devices() {
        let mut trainer = trainer(&config, &device);
        let start = block_on(trainer.parameters()).unwrap();
        let mut watch = Watch::default();
        let model = block_on(train(&mut trainer, &mut watch)).unwrap().model;
        let weights = model.spec.parameters().into_iter().zip(model.parameters.iter().zip(&start));
        let weights: Vec<_> = weights.filter(|(parameter, _)| parameter.decayed).collect();
        assert_eq!((watch.0.len(), watch.0[0].len()), (1, weights.len()), "{name}");
        for (norms, (parameter, (after, before))) in watch.0[0].iter().zip(weights) {
            assert_eq!(norms.weight, norm(after), "{name}: {}", parameter.name);
            let gradient = norm(&(after - before)) / config.learning_rate();
            match norms.gradient {
                Some(got) => assert!((got / gradient - 1.0).abs() < 1e-3, "{name}: {got}, not {gradient}"),
                None => assert!(!matches!(device, Device::Cpu), "{name}: no gradient of {}", parameter.name),
            }
        }
    }
}

/// One standardized row at a time gives what all rows at once give: no statistics of the minibatch.
#[test]
fn a_single_example_is_predicted_as_among_others() {
    let (trainer, outcome) = fit(&cancer(), &Device::Cpu);
    let Inputs::Real(values) = &trainer.data().inputs else { panic!("a table") };
    let all = block_on(async {
        let inputs = Inputs::Real(values.clone());
        Predictor::prepared(&outcome.model, &inputs, &Device::Cpu).await?.outputs().await
    });
    let row = Inputs::Real(values.slice(ndarray::s![17..18, ..]).to_owned());
    let one =
        block_on(async { Predictor::prepared(&outcome.model, &row, &Device::Cpu).await?.outputs().await });
    let (all, one) = (all.unwrap(), one.unwrap());
    assert!((all[(17, 0)] - one[(0, 0)]).abs() < 1e-5, "{} and {}", all[(17, 0)], one[(0, 0)]);
}

#[test]
fn folding_changes_outputs_by_rounding_only() {
    for (name, device) in devices() {
        for norm in [Norm::None, Norm::Before, Norm::After] {
            let config = Config { norm, dropout: 0.1, ..cancer() };
            let (trainer, outcome) = fit(&config, &device);
            assert!(outcome.model.fold().spec.batch_norms().next().is_none());
            // The trainer's inputs are standardized; what the model is given is not the question here.
            let (difference, scale) =
                block_on(outcome.model.fold_difference(&trainer.data().inputs, &device)).unwrap();
            println!("{name}, norm {norm:?}: folding changes outputs up to {scale:.2} by {difference:.1e}");
            assert!(difference <= 1e-5 * scale, "{name}, norm {norm:?}: {difference:e} of {scale}");
        }
    }
}

#[test]
fn a_model_file_holds_all_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let (_, plain) = fit(&Config { norm: Norm::None, ..cancer() }, &Device::Cpu);
    let (mut trainer, outcome) = fit(&cancer(), &Device::Cpu);
    for model in [&plain.model, &outcome.model] {
        model.save(&path).unwrap();
        assert_eq!(*model, Model::load(&path).unwrap());
    }

    // It also starts another training where this one ended.
    let config = Config { init_weights: Some(path), ..cancer() };
    let mut second = self::trainer(&config, &Device::Cpu);
    let statistics = &outcome.model.statistics;
    let expected = block_on(trainer.evaluate(Rows::Test, statistics)).unwrap();
    assert_eq!(expected, block_on(second.evaluate(Rows::Test, statistics)).unwrap());
}

#[test]
fn online_minibatch_and_full_batch_are_one_program() {
    for (name, device) in devices() {
        for (batch, norm, steps) in [
            (Batch::Rows(1), Norm::None, 370),
            (Batch::Rows(32), Norm::Before, 12),
            (Batch::Full, Norm::Before, 1),
        ] {
            let config = Config { batch: Some(batch), norm, lr: Some(0.001), ..cancer() };
            let mut trainer = trainer(&config, &device);
            let mut losses = vec![];
            for _ in 0..4 {
                losses.push(block_on(trainer.epoch()).unwrap().loss);
            }
            assert_eq!(trainer.updates(), 4 * steps, "{name}, batch {batch}");
            assert!(losses[3] < losses[0], "{name}, batch {batch}: {losses:?}");
        }
    }
}

#[test]
fn an_interrupted_run_keeps_its_best_model() {
    for (name, device) in devices() {
        let config = Config { epochs: 1000, patience: 0, ..cancer() };
        let mut trainer = trainer(&config, &device);
        let outcome = block_on(train(&mut trainer, &mut Impatient(40))).unwrap();
        assert!(matches!(outcome.end, End::Interrupted), "{name}: {:?}", outcome.end);
        assert!(outcome.epochs < 1000 && outcome.best_epoch >= 1, "{name}");
        assert_eq!(outcome.model.parameters, block_on(trainer.parameters()).unwrap(), "{name}");
    }
}

#[test]
fn patience_stops_and_the_best_epoch_is_kept() {
    let config = Config { epochs: 400, patience: 3, lr: Some(0.02), ..cancer() };
    let (mut trainer, outcome) = fit(&config, &Device::Cpu);
    assert!(matches!(outcome.end, End::Stopped), "{:?}", outcome.end);
    assert_eq!(outcome.epochs, outcome.best_epoch + 3);
    let valid = block_on(trainer.evaluate(Rows::Valid, &outcome.model.statistics)).unwrap();
    assert_eq!(outcome.valid, Some(valid));
    // A run that ends with that epoch has the same weights.
    let (_, short) = fit(&Config { epochs: outcome.best_epoch, patience: 0, ..config }, &Device::Cpu);
    assert_eq!(short.best_epoch, outcome.best_epoch);
    assert_eq!(bits(&short.model), bits(&outcome.model));
}

#[test]
fn divergence_is_found_and_the_last_good_model_kept() {
    for (name, device) in devices() {
        let hopeless = Config { lr: Some(1e30), norm: Norm::None, ..cancer() };
        let mut trainer = trainer(&hopeless, &device);
        let error = block_on(train(&mut trainer, &mut ())).unwrap_err();
        assert!(matches!(error, Error::Diverged { .. }) && error.exit_code() == 5, "{name}: {error}");

        let mut trainer = self::trainer(&cancer(), &device);
        block_on(trainer.epoch()).unwrap();
        let mut parameters = block_on(trainer.parameters()).unwrap();
        for bad in [f64::NAN, f64::INFINITY] {
            let good = parameters[0][(0, 0)];
            parameters[0][(0, 0)] = bad;
            trainer.set_parameters(&parameters).unwrap();
            let error = block_on(trainer.epoch()).unwrap_err();
            assert!(matches!(error, Error::Diverged { .. }), "{name}, {bad}: {error}");
            parameters[0][(0, 0)] = good;
        }
    }
}

/// Without validation rows nothing looks at an epoch's last update but the check of the weights themselves.
#[test]
fn weights_that_are_not_finite_are_never_the_best() {
    for (name, device) in devices() {
        let config = Config {
            batch: Some(Batch::Full),
            valid: Part::Fraction(0.0),
            schedule: ScheduleKind::Step,
            step_epochs: 1,
            step_factor: 1e40,
            ..cancer()
        };
        let (_, outcome) = fit(&config, &device);
        assert!(matches!(outcome.end, End::Diverged(_)), "{name}: {:?}", outcome.end);
        assert_eq!(outcome.best_epoch, 1, "{name}");
        assert!(outcome.model.parameters.iter().flatten().all(|value| value.is_finite()), "{name}");
    }
}

/// The moving average, the pass over minibatches and the pooled statistics describe the same units.
#[test]
fn sources_of_statistics_are_compared() {
    let config = Config { epochs: 20, ..cancer() };
    let (_, outcome) = fit(&config, &Device::Cpu);
    let of = |source| outcome.sources.iter().find(|report| report.source == source).unwrap();
    assert_eq!(of(Source::Population).mean_drift, [0.0, 0.0]);
    for source in [Source::Pooled, Source::Ema] {
        let report = of(source);
        assert!(report.mean_drift.iter().all(|drift| *drift < 0.5), "{report:?}");
        assert!(report.loss < 0.5, "{report:?}");
    }
    // Pooled and population means are the same average of the same rows.
    assert!(of(Source::Pooled).mean_drift.iter().all(|drift| *drift < 1e-9));
}

#[test]
fn a_file_can_be_the_validation_or_the_test_part() {
    let file = example("breast_cancer.csv");
    let config = Config { test: Part::File(file.clone()), valid: Part::Fraction(0.0), ..cancer() };
    let data = read(&config);
    assert_eq!((data.split.train.len(), data.split.valid.len(), data.split.test.len()), (569, 0, 569));
    assert_eq!(data.targets.len(), 1138);
    let (mut trainer, outcome) = fit(&config, &Device::Cpu);
    assert_eq!(outcome.best_epoch, 6);
    let test = block_on(trainer.evaluate(Rows::Test, &outcome.model.statistics)).unwrap();
    let train = block_on(trainer.evaluate(Rows::Train, &outcome.model.statistics)).unwrap();
    assert!((test.loss - train.loss).abs() < 1e-6);
}

#[test]
fn bytes_are_scaled_in_the_gather_as_reals_are_on_the_host() {
    let config = Config { target: Some("digit".into()), epochs: 2, ..Config::default() };
    let real = TrainingData::read(&example("digits.csv"), &config).unwrap();
    for (name, device) in devices() {
        for mode in [Standardize::Standard, Standardize::Variance, Standardize::Range, Standardize::None] {
            let raw = minilote::data::Table::read(&example("digits.csv")).unwrap();
            let Inputs::Real(values) = real.schema.encode(&raw, true, Unknown::Refuse).unwrap().inputs else {
                panic!("a table")
            };
            let targets = real.targets.clone();
            let make = |inputs| {
                let (schema, split) = (real.schema.clone(), real.split.clone());
                TrainingData::new(real.task, schema, inputs, targets.clone(), split, mode, vec![]).unwrap()
            };
            let bytes = Inputs::Bytes(values.mapv(|value| value as u8));
            let losses = [Inputs::Real(values), bytes].map(|inputs| {
                let mut trainer = block_on(Trainer::new(make(inputs), config.clone(), &device)).unwrap();
                let mut first = f64::NAN;
                let stop = |records: &[StepRecord]| {
                    first = records[0].loss;
                    ControlFlow::Break(())
                };
                block_on(trainer.epoch_with(stop)).unwrap();
                first
            });
            assert!((losses[0] - losses[1]).abs() < 1e-5 * losses[0], "{name}, {mode:?}: {losses:?}");
        }
    }
}

/// Numbers and a category, whose levels are the features 30 to 32.
fn mixed() -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mixed.csv");
    let names: String = (0..40).map(|i| format!("{}x{i},", if i == 30 { "color," } else { "" })).collect();
    let row = |row: usize| {
        let value = |i: usize| (row * (2 * i + 3) % 101) as f64 / 10.0;
        let cells = (0..40).map(|i| match i {
            30 => format!("{},{},", ["red", "green", "blue"][row * 5 % 3], value(i)),
            _ => format!("{},", value(i)),
        });
        format!("{}{}\n", cells.collect::<String>(), value(0) + 5.0 * (row * 5 % 3) as f64)
    };
    fs::write(&file, format!("{names}y\n{}", (0..300).map(row).collect::<String>())).unwrap();
    file
}

/// By hand: a column is shuffled in a copy of the table, which the model predicts.
#[test]
fn importance_is_what_shuffling_a_column_costs() {
    let y = |hidden, norm| Config {
        target: Some("y".into()),
        task: Some(Task::Regression),
        hidden: Sizes(hidden),
        norm,
        ..cancer()
    };
    let (mixed, some) = (mixed(), [(0, 0..1), (30, 30..33), (40, 42..43)]);
    let cases = [
        (example("breast_cancer.csv"), cancer(), [(0, 0..1), (7, 7..8), (29, 29..30)]),
        (mixed.clone(), y(vec![], Norm::None), some.clone()),
        (mixed.clone(), y(vec![16], Norm::None), some.clone()),
        (mixed, y(vec![50, 8], Norm::After), some),
    ];
    for ((name, device), (file, config, some)) in
        devices().iter().flat_map(|device| cases.iter().map(move |case| (device, case)))
    {
        let data = TrainingData::read(file, config).unwrap();
        let mut trainer = block_on(Trainer::new(data, config.clone(), device)).unwrap();
        let model = &block_on(train(&mut trainer, &mut ())).unwrap().model;
        let rows = &trainer.data().split.test;
        let inputs = trainer.data().inputs.select(rows);
        let own = |value| model.target.as_ref().map_or(value, |target| target.invert_value(0, value));
        let targets: Array1<f64> =
            rows.iter().map(|&row| own(trainer.data().targets[row as usize])).collect();
        let mut go_on = |_, _| ControlFlow::Continue(());
        let all = block_on(importance(model, &inputs, &targets, 2, 5, device, &mut go_on)).unwrap().unwrap();
        let mut stop = |done, _| if done > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let none = block_on(importance(model, &inputs, &targets, 2, 5, device, &mut stop)).unwrap();
        assert_eq!(none, None);
        assert_eq!(all.len(), model.schema.features.len());
        assert!(all.is_sorted_by(|a, b| a.loss.mean >= b.loss.mean) && all[0].loss.mean > 0.02, "{all:?}");
        let scores = |inputs: &Inputs| {
            let outputs =
                block_on(async { Predictor::prepared(model, inputs, device).await?.outputs().await });
            score(model, &outputs.unwrap(), &targets).unwrap()
        };
        let base = scores(&inputs);
        let Inputs::Real(values) = &inputs else { panic!("a table") };
        let narrow = Inputs::Real(values.slice(s![.., 1..]).to_owned());
        let refused = block_on(importance(model, &narrow, &targets, 2, 5, device, &mut go_on));
        assert!(matches!(refused, Err(Error::Config(_))), "{refused:?}");
        let numbers: Vec<u32> = (0..values.nrows() as u32).collect();
        for (column, places) in some {
            let increases = [0, 1].map(|shuffle| {
                let mut shuffled = values.clone();
                let order = epoch_order(&numbers, Order::Shuffled, 5, shuffle);
                for (row, from) in order.into_iter().enumerate() {
                    let places = s![places.clone()];
                    shuffled.row_mut(row).slice_mut(places).assign(&values.row(from as usize).slice(places));
                }
                let scores = scores(&Inputs::Real(shuffled));
                let right = [base.accuracy, scores.accuracy].map(|right| right.unwrap_or(0.0));
                (scores.loss - base.loss, right[0] - right[1])
            });
            let measured = all.iter().find(|all| all.column == model.schema.features[*column].name).unwrap();
            let mean = (increases[0].0 + increases[1].0) / 2.0;
            assert!(
                (measured.loss.mean - mean).abs() < 1e-5,
                "{name}, {column}: {measured:?}, {increases:?}"
            );
            assert_eq!(measured.error.is_some(), base.accuracy.is_some());
            let off =
                measured.error.map_or(0.0, |error| error.mean) - (increases[0].1 + increases[1].1) / 2.0;
            assert!(off.abs() < 1e-9, "{name}, {column}: {measured:?}");
        }
    }
}
