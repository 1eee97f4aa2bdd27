//! The networks that `minilote bench` times, and how it times them.

use std::ops::ControlFlow;
use std::time::Instant;

use minilote::data::{Feature, FeatureKind, Inputs, Missing, Schema, Split, Standardize, Target, TargetKind};
use minilote::gpu::{Autotune, Counts};
use minilote::model::Norm;
use minilote::ops::Function;
use minilote::peak::Peak;
use minilote::program::Mode;
use minilote::train::{Batch, Config, OptimizerKind, Sizes, Trainer, TrainingData};
use minilote::{Device, Result, Task};
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

/// Each network is timed this often on each device with and without batch normalization, in turns, so
/// that what else the machine does meets all of them.
pub const ROUNDS: usize = 7;
/// Minibatches of an epoch.
const STEPS: usize = 128;

pub struct Net {
    pub name: &'static str,
    inputs: usize,
    hidden: &'static [usize],
    outputs: usize,
    batch: usize,
    activation: Function,
    /// A software adapter takes half a second or more for a step.
    pub large: bool,
}

const fn images(name: &'static str, hidden: &'static [usize], batch: usize) -> Net {
    Net { name, inputs: 784, hidden, outputs: 10, batch, activation: Function::Relu, large: batch > 128 }
}

pub const NETS: [Net; 6] = [
    Net { inputs: 30, outputs: 2, ..images("tiny", &[32, 32], 32) },
    images("small", &[100, 100], 60),
    Net { activation: Function::Sigmoid, ..images("paper", &[100, 100, 100], 60) },
    images("medium", &[512, 512], 128),
    images("wide", &[1024, 1024], 512),
    images("deep", &[1024, 1024, 1024], 512),
];

/// A network with or without batch normalization on a device, measured.
#[derive(Serialize, Deserialize)]
pub struct Row {
    pub net: String,
    pub norm: Norm,
    pub device: String,
    pub batch: usize,
    /// The median over rounds, and all of them in their order.
    pub steps_per_second: f64,
    pub rounds: Vec<f64>,
    pub examples_per_second: f64,
    pub gflops: f64,
    pub percent_of_limit: f64,
    pub dispatches: usize,
    /// What the host takes to record; none on the CPU.
    pub host_us_per_dispatch: Option<f64>,
    /// What it takes to submit, once a chunk of steps, or once a dispatch if they are long.
    #[serde(default)]
    pub host_us_per_submission: Option<f64>,
    /// From a device with nothing on it to the first loss: buffers, pipelines, the data set, a step.
    pub first_step_ms: f64,
    /// Over the steps/s of an earlier measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_over_old: Option<f64>,
}

impl Net {
    pub fn describe(&self) -> String {
        let hidden: Vec<String> = self.hidden.iter().map(usize::to_string).collect();
        let function = format!("{:?}", self.activation).to_lowercase();
        format!(
            "{} {}-{}-{}, batch {}, {function}",
            self.name,
            self.inputs,
            hidden.join("-"),
            self.outputs,
            self.batch
        )
    }

    fn config(&self, norm: Norm, autotune: Autotune) -> Config {
        Config {
            hidden: Sizes(self.hidden.into()),
            activation: self.activation,
            norm,
            batch: Some(Batch::Rows(self.batch)),
            optimizer: OptimizerKind::Sgd,
            lr: Some(0.01),
            epochs: u32::MAX as usize,
            autotune,
            ..Config::default()
        }
    }

    /// Noise from a fixed seed: reals for a table, bytes for images.
    fn data(&self) -> Result<TrainingData> {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            (state >> 24) as u8
        };
        let rows = STEPS * self.batch;
        let bytes = Array2::from_shape_simple_fn((rows, self.inputs), &mut random);
        let targets = Array1::from_shape_simple_fn(rows, || (usize::from(random()) % self.outputs) as f64);
        let feature = |name: String, kind| Feature { name, kind };
        let (inputs, features) = if self.inputs == 784 {
            (Inputs::Bytes(bytes), vec![feature("pixels".into(), FeatureKind::Pixels { count: 784 })])
        } else {
            let numeric = |i: usize| feature(i.to_string(), FeatureKind::Numeric { fill: None });
            (Inputs::Real(bytes.mapv(f64::from)), (0..self.inputs).map(numeric).collect())
        };
        let classes = (0..self.outputs).map(|class| class.to_string()).collect();
        let target = Target { name: "class".into(), kind: TargetKind::Classes(classes) };
        let schema = Schema { features, target, missing: Missing::Refuse };
        let split = Split { train: (0..rows as u32).collect(), ..Split::default() };
        TrainingData::new(Task::Classification, schema, inputs, targets, split, Standardize::Standard, vec![])
    }
}

/// Trains for so many seconds, at least one step; returns the seconds of a step.
async fn step_seconds(trainer: &mut Trainer, at_least: f64) -> Result<f64> {
    let started = Instant::now();
    let elapsed = || started.elapsed().as_secs_f64();
    let mut steps = 0;
    loop {
        let observe = |records: &[_]| {
            steps += records.len();
            if elapsed() < at_least { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        trainer.epoch_with(observe).await?;
        let seconds = elapsed();
        if seconds >= at_least {
            return Ok(seconds / steps as f64);
        }
    }
}

/// A network in training, and what was measured of it.
struct Run<'a> {
    device: &'a Device,
    peak: &'a Peak,
    norm: Norm,
    trainer: Trainer,
    first_step: f64,
    /// When its rounds began.
    before: Counts,
    rounds: Vec<f64>,
}

impl Run<'_> {
    /// A session with its first step done and with chunks of steps grown to their length.
    async fn start<'a>(net: &Net, on: &'a (Device, Peak), config: Config, warm_up: f64) -> Result<Run<'a>> {
        let (device, peak) = on;
        let (data, norm) = (net.data()?, config.norm);
        let started = Instant::now();
        let mut trainer = Trainer::new(data, config, device).await?;
        step_seconds(&mut trainer, 0.0).await?;
        trainer.tuning().notes.iter().for_each(|line| super::note(line));
        let first_step = started.elapsed().as_secs_f64();
        step_seconds(&mut trainer, warm_up).await?;
        let before = trainer.engine().counts();
        Ok(Run { device, peak, norm, trainer, first_step, before, rounds: vec![] })
    }

    fn row(self, net: &Net) -> Row {
        let engine = self.trainer.engine();
        let program = &engine.plan().programs[engine.plan().program(Mode::Train, net.batch)];
        let (before, after) = (self.before, engine.counts());
        let recording = |counts: Counts| (counts.host - counts.submitting).as_secs_f64();
        let each = |seconds: f64, count: usize| (count > 0).then(|| seconds * 1e6 / count as f64);
        let submitting = (after.submitting - before.submitting).as_secs_f64();
        let rate = median(&self.rounds);
        Row {
            net: net.name.into(),
            norm: self.norm,
            device: self.device.name(),
            batch: net.batch,
            steps_per_second: rate,
            examples_per_second: rate * net.batch as f64,
            gflops: rate * program.cost().flops as f64 / 1e9,
            percent_of_limit: 100.0 * rate * self.peak.seconds(program),
            dispatches: program.dispatches(),
            host_us_per_dispatch: each(
                recording(after) - recording(before),
                after.dispatches - before.dispatches,
            ),
            host_us_per_submission: each(submitting, after.submissions - before.submissions),
            first_step_ms: self.first_step * 1e3,
            rounds: self.rounds,
            new_over_old: None,
        }
    }
}

/// Times a network on all devices with and without batch normalization, each for so many seconds in all.
pub async fn measure(
    net: &Net,
    devices: &[&(Device, Peak)],
    seconds: f64,
    autotune: Autotune,
) -> Result<Vec<Row>> {
    let of_round = seconds / ROUNDS as f64;
    let mut runs = vec![];
    for on in devices {
        for norm in [Norm::Before, Norm::None] {
            runs.push(Run::start(net, on, net.config(norm, autotune), of_round).await?);
        }
    }
    for _ in 0..ROUNDS {
        for run in &mut runs {
            run.rounds.push(1.0 / step_seconds(&mut run.trainer, of_round).await?);
        }
    }
    Ok(runs.into_iter().map(|run| run.row(net)).collect())
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
