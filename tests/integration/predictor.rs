//! A predictor that is given other rows than it was made with.

use std::path::Path;

use minilote::data::Inputs;
use minilote::model::Model;
use minilote::train::{Config, Predictor, Sizes, Trainer, TrainingData};
use minilote::{Device, Error};
use ndarray::Array2;
use pollster::block_on;

use crate::devices;

/// Features of the table.
const WIDTH: usize = 30;

/// A model after one epoch, with hidden layers of these sizes.
fn model(hidden: &[usize]) -> Model {
    let config =
        Config { target: Some("diagnosis".into()), hidden: Sizes(hidden.into()), ..Config::default() };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/breast_cancer.csv");
    let data = TrainingData::read(&path, &config).unwrap();
    block_on(async {
        let mut trainer = Trainer::new(data, config, &Device::Cpu).await?;
        trainer.epoch().await?;
        trainer.model().await
    })
    .unwrap()
}

/// Rows in the table's range, as bytes and as reals; each salt gives others.
fn rows(count: usize, salt: usize) -> [Inputs; 2] {
    let bytes = Array2::from_shape_fn((count, WIDTH), |(i, j)| ((31 * i + 17 * j + salt) % 97) as u8);
    [Inputs::Real(bytes.mapv(|byte| f64::from(byte) / 3.0)), Inputs::Bytes(bytes)]
}

/// Whether they differ by rounding alone.
fn is_near(a: &Array2<f64>, b: &Array2<f64>) -> bool {
    let largest = |values: &Array2<f64>| values.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
    largest(&(a - b)) <= 1e-5 * largest(b)
}

fn made(model: &Model, inputs: &Inputs, device: &Device) -> Predictor {
    block_on(Predictor::new(model, inputs, device)).unwrap()
}

/// As many rows, fewer, as many again: the bits of a predictor of their own where sums go over fewer than 256 inputs.
#[test]
fn other_rows_are_predicted_as_by_a_predictor_of_their_own() {
    let [narrow, wide] = [&[16, 8][..], &[300, 8]].map(model);
    for (name, device) in devices() {
        for most in [1, 255, 256, 257, 600] {
            for kind in [0, 1] {
                let mut of_narrow = made(&narrow, &rows(most, 0)[kind], &device);
                let mut of_wide = made(&wide, &rows(most, 0)[kind], &device);
                let counts = [most, 1, 44, 255, 256, 257, 356, 512, most - 1, most];
                for (salt, &count) in
                    counts.iter().enumerate().filter(|&(_, &count)| (1..=most).contains(&count))
                {
                    let inputs = &rows(count, salt + 1)[kind];
                    let place = format!("{name}: {count} of {most} rows of kind {kind}");
                    let outputs = |predictor: &mut Predictor| {
                        predictor.set_inputs(inputs).unwrap();
                        block_on(predictor.outputs()).unwrap()
                    };
                    let own = |model| block_on(made(model, inputs, &device).outputs()).unwrap();
                    assert_eq!(outputs(&mut of_narrow), own(&narrow), "{place}");
                    let (got, own) = (outputs(&mut of_wide), own(&wide));
                    assert_eq!(got.dim(), own.dim(), "{place}");
                    assert!(is_near(&got, &own), "{place}: {got}, not {own}");
                }
            }
        }
    }
}

#[test]
fn rows_that_do_not_suit_are_refused_and_the_others_stay() {
    let model = model(&[4]);
    let [reals, bytes] = rows(3, 0);
    let mut predictor = made(&model, &reals, &Device::Cpu);
    let before = block_on(predictor.outputs()).unwrap();
    let zeros = |rows, width| Inputs::Real(Array2::zeros((rows, width)));
    for (inputs, words) in [
        (zeros(4, WIDTH), ["4 rows", "made with 3"]),
        (zeros(2, WIDTH + 1), ["2 rows of 31 features", "takes 30"]),
        (zeros(0, WIDTH), ["there are", "no rows"]),
    ] {
        let error = predictor.set_inputs(&inputs).unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{error:?}");
        words.into_iter().for_each(|word| assert!(error.to_string().contains(word), "{error}"));
        assert_eq!(before, block_on(predictor.outputs()).unwrap());
    }
    // Bytes are numbers, too, but where bytes lie reals find no room.
    predictor.set_inputs(&bytes).unwrap();
    let of_bytes = block_on(made(&model, &bytes, &Device::Cpu).outputs()).unwrap();
    let outputs = block_on(predictor.outputs()).unwrap();
    assert!(is_near(&outputs, &of_bytes), "{outputs}, not {of_bytes}");
    let error = made(&model, &bytes, &Device::Cpu).set_inputs(&reals).unwrap_err();
    assert!(error.to_string().contains("made with bytes"), "{error}");
}
