//! What a program that embeds the crate may pass, and is refused with what to do.

use std::path::Path;

use minilote::data::{Inputs, TargetKind};
use minilote::model::{Layer, Model, Norm, Source, Statistics};
use minilote::train::{Batch, Config, Group, Predictor, Rows, Sizes, Trainer, TrainingData, score};
use minilote::{Device, Error, Result, Task};
use ndarray::{Array1, Array2};
use pollster::block_on;

use crate::devices;

fn trainer(norm: Norm) -> Trainer {
    let target = Some("diagnosis".into());
    let config = Config { target, norm, hidden: Sizes(vec![5]), ..Config::default() };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/breast_cancer.csv");
    let data = TrainingData::read(&path, &config).unwrap();
    block_on(Trainer::new(data, config, &Device::Cpu)).unwrap()
}

/// Whether it is an error of the caller's whose message has these words.
#[track_caller]
fn refused<T>(result: Result<T>, words: &[&str]) {
    let Err(error) = result else { panic!("not refused: {words:?}") };
    assert!(matches!(error, Error::Config(_)), "{error:?}");
    words.iter().for_each(|word| assert!(error.to_string().contains(word), "{word:?}: {error}"));
}

#[test]
fn parameters_of_another_number_or_shape_are_refused() {
    let mut trainer = trainer(Norm::Before);
    let before = block_on(trainer.parameters()).unwrap();
    refused(trainer.set_parameters(&[]), &["0 parameters", "has 5", "0.weight, 1.weight"]);
    let mut turned = before.clone();
    turned[0] = turned[0].t().to_owned();
    refused(trainer.set_parameters(&turned), &["0.weight", "[30, 5]", "[5, 30]"]);
    assert_eq!(before, block_on(trainer.parameters()).unwrap());
    let halves: Vec<Array2<f64>> = before.iter().map(|values| values / 2.0).collect();
    trainer.set_parameters(&halves).unwrap();
    assert_eq!(halves, block_on(trainer.parameters()).unwrap());
}

#[test]
fn statistics_of_another_number_or_shape_are_refused() {
    let mut normalizes = trainer(Norm::Before);
    let short = Statistics { mean: vec![0.0; 4], variance: vec![1.0; 5] };
    let mut evaluate = |statistics: &[Statistics]| block_on(normalizes.evaluate(Rows::Test, statistics));
    refused(evaluate(&[]), &["0 layers", "1 with batch normalization"]);
    refused(evaluate(&[short]), &["layer 1", "4 means and 5 variances", "5 features"]);
    let statistics = normalizes.moving(Source::Ema);
    block_on(normalizes.evaluate(Rows::Test, &statistics)).unwrap();
    let mut plain = trainer(Norm::None);
    block_on(plain.evaluate(Rows::Test, &[])).unwrap();
    refused(block_on(plain.evaluate(Rows::Test, &statistics)), &["1 layers", "0 with batch normalization"]);
}

#[test]
fn a_group_takes_those_of_each_of_its_models() {
    let trainer = trainer(Norm::Before);
    let configs = vec![trainer.config().clone(); 2];
    let mut group = block_on(Group::new(trainer.into_data(), configs, &[5], &Device::Cpu)).unwrap();
    let parameters = block_on(group.parameters()).unwrap();
    refused(group.set_parameters([&parameters[0][..]]), &["1 models", "has 2"]);
    refused(block_on(group.evaluate(Rows::Test, [])), &["0 models", "has 2"]);
    group.set_parameters(parameters.iter().map(Vec::as_slice)).unwrap();
}

/// It is neither used nor saved: a file of it could not be read.
#[test]
fn a_model_that_lacks_what_its_network_has_is_refused() {
    let mut trainer = trainer(Norm::Before);
    let whole = block_on(trainer.model()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for (model, word) in [
        (trainer.model_of(vec![], whole.statistics.clone(), Source::Ema), "0 parameters"),
        (Model { statistics: vec![], ..whole.clone() }, "0 layers"),
    ] {
        refused(model.check(), &[word]);
        let inputs = trainer.data().inputs.select(&[0, 1]);
        refused(block_on(Predictor::new(&model, &inputs, &Device::Cpu)).map(drop), &[word]);
        let outputs = Array2::zeros((2, 1));
        refused(block_on(model.fold_difference_from(&outputs, &inputs, &Device::Cpu)), &[word]);
        let error = model.save(&path).unwrap_err();
        assert!(matches!(error, Error::File { .. }) && error.to_string().contains(word), "{error}");
        assert!(!path.exists());
    }
    whole.check().unwrap();
    whole.fold().check().unwrap();
    whole.save(&path).unwrap();
    assert_eq!(whole, Model::load(&path).unwrap());
}

#[test]
fn a_learning_rate_out_of_range_is_refused() {
    let mut trainer = trainer(Norm::Before);
    for lr in [-1.0, 0.0, f64::NAN, 1e-50] {
        refused(trainer.set_learning_rate(lr), &["--lr"]);
    }
    assert_eq!(trainer.config().lr, None);
    trainer.set_learning_rate(0.5).unwrap();
    assert_eq!(trainer.config().lr, Some(0.5));
}

#[test]
fn outputs_and_targets_that_do_not_suit_are_not_scored() {
    let binary = block_on(trainer(Norm::Before).model()).unwrap();
    let score_of = |model: &Model, shape, targets: &[f64]| {
        score(model, &Array2::zeros(shape), &Array1::from_vec(targets.to_vec()))
    };
    for (targets, words) in [
        (&[1.0, -1.0, 0.0], ["row 2", "class -1"]),
        (&[1.0, 0.0, 2.0], ["row 3", "there are 2"]),
        (&[0.5, 0.0, 1.0], ["row 1", "class 0.5"]),
        (&[0.0, 0.0, f64::NAN], ["row 3", "class NaN"]),
    ] {
        refused(score_of(&binary, (3, 1), targets), &words);
    }
    refused(score_of(&binary, (2, 1), &[0.0, 1.0, 0.0]), &["[2, 1]", "3 targets", "[3, 1]"]);
    refused(score_of(&binary, (3, 2), &[0.0, 1.0, 0.0]), &["[3, 2]", "[3, 1]"]);
    refused(score_of(&binary, (0, 1), &[]), &["no rows"]);
    // Of equal classes the first is predicted.
    assert_eq!(score_of(&binary, (4, 1), &[0.0, 1.0, 0.0, 0.0]).unwrap().accuracy, Some(0.75));
    let mut several = binary.clone();
    several.spec.task = Task::Classification;
    *several.spec.layers.last_mut().unwrap() = Layer::Linear { inputs: 5, outputs: 3, bias: true };
    refused(score_of(&several, (1, 3), &[3.0]), &["row 1", "class 3", "there are 3"]);
    assert_eq!(score_of(&several, (2, 3), &[2.0, 0.0]).unwrap().accuracy, Some(0.5));
}

#[test]
#[should_panic(expected = "the network's outputs")]
fn outputs_of_another_network_mean_nothing() {
    block_on(trainer(Norm::Before).model()).unwrap().interpret(&Array2::zeros((1, 2)));
}

/// Short, whatever they hold: what a failed test or an `unwrap_err` prints.
#[test]
fn sessions_show_their_sizes() {
    let mut trainer = trainer(Norm::Before);
    let model = block_on(trainer.model()).unwrap();
    let inputs = Inputs::from(Array2::zeros((3, 30)));
    for (name, device) in devices() {
        let predictor = block_on(Predictor::new(&model, &inputs, &device)).unwrap();
        let shown = format!("{predictor:?}");
        for part in ["Predictor", &name, "parameters: 166", "rows: 3", "outputs: 1"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
    let shown = format!("{trainer:?}");
    for part in ["Trainer", "Group", "models: 1", "examples: 569", "updates: 0"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.len() < 400, "{shown}");
}

#[test]
fn no_minibatch_has_no_rows() {
    let data = trainer(Norm::None).into_data();
    let (hidden, batch) = (vec![5].into(), Some(Batch::Rows(0)));
    let config = Config { hidden, norm: Norm::None, batch, ..Config::default() };
    let error = block_on(Trainer::new(data, config, &Device::Cpu)).unwrap_err();
    refused::<()>(Err(error), &["--batch 0", "1 row or more", "full"]);
}

#[test]
fn a_model_names_its_classes() {
    let mut model = block_on(trainer(Norm::None).model()).unwrap();
    assert_eq!(model.classes(), ["benign", "malignant"]);
    model.schema.target.kind = TargetKind::Value;
    assert!(model.classes().is_empty());
}
