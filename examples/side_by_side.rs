//! How much faster nets 30-32-32-2 train side by side than one after another, with batch norm and minibatches of 32
//! rows, in rounds that take turns: `cargo run --release --example side_by_side -- [cpu|gpu] [MODELS]`

use std::ops::ControlFlow;
use std::time::Instant;

use minilote::data::{Feature, FeatureKind, Inputs, Missing, Schema, Split, Standardize, Target, TargetKind};
use minilote::train::{Batch, Config, Group, OptimizerKind, Sizes, TrainingData};
use minilote::{Device, Result, Task};
use ndarray::{Array1, Array2};

const ROUNDS: usize = 7;
const SECONDS: f64 = 1.0;

/// Noise, on which no net ever ends its training.
fn data() -> Result<TrainingData> {
    let (rows, features) = (64 * 32, 30);
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        f64::from(state >> 24)
    };
    let inputs = Inputs::Real(Array2::from_shape_simple_fn((rows, features), &mut random));
    let targets = Array1::from_shape_simple_fn(rows, || (random() / 128.0).floor());
    let numeric = |i: usize| Feature { name: i.to_string(), kind: FeatureKind::Numeric { fill: None } };
    let kind = TargetKind::Classes(vec!["0".into(), "1".into()]);
    let schema = Schema {
        features: (0..features).map(numeric).collect(),
        target: Target { name: "class".into(), kind },
        missing: Missing::Refuse,
    };
    let split = Split { train: (0..rows as u32).collect(), ..Split::default() };
    TrainingData::new(Task::Classification, schema, inputs, targets, split, Standardize::Standard, vec![])
}

/// Trains for a while; returns the updates of all models a second.
async fn rate(group: &mut Group) -> Result<f64> {
    let started = Instant::now();
    let mut updates = 0;
    while started.elapsed().as_secs_f64() < SECONDS {
        let observe = |records: &[_]| {
            updates += records.len();
            ControlFlow::Continue(())
        };
        group.epoch(observe).await?;
    }
    Ok(updates as f64 / started.elapsed().as_secs_f64())
}

fn main() -> Result<()> {
    pollster::block_on(async {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let (device, _) = Device::choose(arguments.first().map_or("cpu", String::as_str)).await?;
        let models: u64 = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(64);
        let hidden = [32, 32];
        let config = Config {
            hidden: Sizes(hidden.into()),
            batch: Some(Batch::Rows(32)),
            optimizer: OptimizerKind::Sgd,
            lr: Some(0.01),
            ..Config::default()
        };
        let mut groups = vec![];
        for count in [1, models] {
            let configs = (0..count).map(|seed| Config { seed, ..config.clone() }).collect();
            let mut group = Group::new(data()?, configs, &hidden, &device).await?;
            rate(&mut group).await?;
            groups.push(group);
        }
        let mut ratios = vec![];
        for _ in 0..ROUNDS {
            let (alone, beside) = (rate(&mut groups[0]).await?, rate(&mut groups[1]).await?);
            println!("{}: alone {alone:.0}, {models} side by side {beside:.0} updates/s", device.name());
            ratios.push(beside / alone);
        }
        ratios.sort_by(f64::total_cmp);
        println!("median ratio {:.2}", ratios[ROUNDS / 2]);
        Ok(())
    })
}
