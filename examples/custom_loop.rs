//! A training loop of one's own: the learning rate halves whenever validation stops improving.
//! `cargo run --release --example custom_loop`

use std::path::Path;

use minilote::model::Source;
use minilote::train::{Config, Rows, Trainer, TrainingData};
use minilote::{Device, Result};

fn main() -> Result<()> {
    pollster::block_on(async {
        let mut lr = 0.02;
        let config = Config { target: Some("digit".into()), lr: Some(lr), ..Config::default() };
        let data = TrainingData::read(Path::new("examples/data/digits.csv"), &config)?;
        let mut trainer = Trainer::new(data, config, &Device::Cpu).await?;
        let mut best = f64::INFINITY;
        while lr > 0.001 {
            let epoch = trainer.epoch().await?;
            let statistics = trainer.moving(Source::Ema);
            let valid = trainer.evaluate(Rows::Valid, &statistics).await?;
            println!(
                "epoch {:2}  loss {:.4}  validation {:.4}  lr {lr}",
                epoch.epoch, epoch.loss, valid.loss
            );
            if valid.loss < best {
                best = valid.loss;
            } else {
                lr /= 2.0;
                trainer.set_learning_rate(lr)?;
            }
        }
        let statistics = trainer.statistics(Source::Population).await?;
        let test = trainer.evaluate(Rows::Test, &statistics).await?;
        println!("test accuracy {:.3}", test.accuracy.unwrap_or_default());
        Ok(())
    })
}
