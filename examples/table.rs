//! Trains a classifier on a table and saves it: `cargo run --release --example table`.

use std::path::Path;

use minilote::train::{Config, Rows, Trainer, TrainingData, train};
use minilote::{Device, Result};

fn main() -> Result<()> {
    pollster::block_on(async {
        let config = Config { target: Some("diagnosis".into()), epochs: 40, ..Config::default() };
        let data = TrainingData::read(Path::new("examples/data/breast_cancer.csv"), &config)?;
        let (device, _) = Device::choose("auto").await?;
        let mut trainer = Trainer::new(data, config, &device).await?;

        let outcome = train(&mut trainer, &mut ()).await?;
        let test = trainer.evaluate(Rows::Test, &outcome.model.statistics).await?;
        println!("test accuracy {:.3}", test.accuracy.unwrap_or_default());
        outcome.model.save(&std::env::temp_dir().join("breast_cancer.safetensors"))
    })
}
