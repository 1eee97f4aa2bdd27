//! The README's table of results, each the mean of five seeds with the command's defaults:
//! `cargo run --release --example results`
//! With a folder that holds Fashion-MNIST's four files, its recipe instead:
//! `cargo run --release --example results -- /usr/share/dataset-fashion-mnist [cpu|gpu]`

use std::path::{Path, PathBuf};

use minilote::train::{Batch, Config, Part, Predictor, Sizes, Trainer, TrainingData, score, train};
use minilote::{Device, Result};

const SEEDS: u64 = 5;

/// The test accuracy, or R², of one run.
async fn run(file: &Path, config: Config, device: &Device) -> Result<f64> {
    let data = TrainingData::read(file, &config)?;
    let (test, target) = (data.split.test.clone(), data.target.clone());
    let inputs = data.inputs.select(&test);
    let own_units = |value: f64| target.as_ref().map_or(value, |target| target.invert_value(0, value));
    let targets = test.iter().map(|&row| own_units(data.targets[row as usize])).collect();
    let mut trainer = Trainer::new(data, config, device).await?;
    let outcome = train(&mut trainer, &mut ()).await?;
    let outputs = Predictor::prepared(&outcome.model, &inputs, device).await?.outputs().await?;
    let scores = score(&outcome.model, &outputs, &targets)?;
    Ok(scores.accuracy.or(scores.r2).unwrap_or_default())
}

fn main() -> Result<()> {
    pollster::block_on(async {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        if let Some(folder) = arguments.first() {
            return fashion(folder.into(), arguments.get(1).map_or("auto", String::as_str)).await;
        }
        let mut devices = vec![("CPU backend".to_string(), Device::Cpu)];
        match Device::choose("gpu").await {
            Ok((device, _)) => devices.push((device.name(), device)),
            Err(error) => eprintln!("{error}"),
        }
        println!("| data, test metric | device | mean of {SEEDS} seeds | lowest |");
        println!("|---|---|---|---|");
        for (file, target, metric) in [
            ("breast_cancer", "diagnosis", "accuracy"),
            ("digits", "digit", "accuracy"),
            ("diabetes", "progression", "R²"),
        ] {
            for (name, device) in &devices {
                let mut results = vec![];
                for seed in 0..SEEDS {
                    let config = Config { target: Some(target.into()), seed, ..Config::default() };
                    let path = format!("examples/data/{file}.csv");
                    results.push(run(Path::new(&path), config, device).await?);
                }
                let mean = results.iter().sum::<f64>() / SEEDS as f64;
                let lowest = results.iter().copied().fold(f64::INFINITY, f64::min);
                println!("| {file}, {metric} | {name} | {mean:.4} | {lowest:.4} |");
            }
        }
        Ok(())
    })
}

/// 784-256-128-10 with batch norm, 10 epochs, batch 128, Adam.
async fn fashion(folder: PathBuf, device: &str) -> Result<()> {
    let config = Config {
        hidden: Sizes(vec![256, 128]),
        batch: Some(Batch::Rows(128)),
        epochs: 10,
        lr: Some(1e-3),
        valid: Part::Fraction(0.0),
        test: Part::File(folder.join("t10k-images-idx3-ubyte.gz")),
        ..Config::default()
    };
    let (device, _) = Device::choose(device).await?;
    let started = std::time::Instant::now();
    let accuracy = run(&folder.join("train-images-idx3-ubyte.gz"), config, &device).await?;
    println!("{}: test accuracy {accuracy:.4} in {:.0} s", device.name(), started.elapsed().as_secs_f64());
    Ok(())
}
