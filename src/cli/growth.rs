//! How the time of a step grows with the minibatch, the width, the depth and the number of models, beside how
//! the limit grows that the cost model gives: a device whose steps keep their share of the limit grows as it does.

use std::collections::BTreeSet;
use std::time::Instant;

use minilote::data::Inputs;
use minilote::gpu::Autotune;
use minilote::model::{Init, Norm, Spec, initialize};
use minilote::ops::{Function, Rule, Space, Step};
use minilote::peak::Peak;
use minilote::program::{DataShape, Mode, Plan};
use minilote::{Device, Engine, Error, Result, Task};
use ndarray::Array2;
use serde::Serialize;

use super::measure::{ROUNDS, median};
use super::report::significant;

/// Growth over the cost model's own is meant to be no more than this.
pub const TARGET: f64 = 1.2;

const FEATURES: usize = 256;
const OUTPUTS: usize = 10;
const EXAMPLES: usize = 4096;

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    Batch,
    Width,
    Depth,
    Models,
}

pub const AXES: [(Axis, &[usize]); 4] =
    [(Axis::Batch, &[2, 4]), (Axis::Width, &[2, 4]), (Axis::Depth, &[2, 4]), (Axis::Models, &[4, 16, 64])];

/// A network, and how many of it train side by side.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Size {
    batch: usize,
    width: usize,
    depth: usize,
    models: usize,
}

/// Large enough that a step is arithmetic more than anything else.
const BASE: Size = Size { batch: 128, width: 256, depth: 2, models: 1 };

impl Size {
    fn grown(axis: Axis, factor: usize) -> Size {
        let mut size = BASE;
        match axis {
            Axis::Batch => size.batch *= factor,
            Axis::Width => size.width *= factor,
            Axis::Depth => size.depth *= factor,
            Axis::Models => size.models *= factor,
        }
        size
    }

    pub fn describe(&self) -> String {
        let hidden = if self.depth == 1 { String::new() } else { format!("{}×", self.depth) };
        format!("{FEATURES}-{hidden}{}-{OUTPUTS}, batch {}, models {}", self.width, self.batch, self.models)
    }
}

/// A size on a device, measured.
#[derive(Serialize)]
pub struct Point {
    pub device: String,
    /// None for the base, which all others are held against.
    pub axis: Option<Axis>,
    pub factor: usize,
    #[serde(flatten)]
    pub size: Size,
    /// The median over rounds.
    pub seconds: f64,
    pub percent_of_limit: f64,
    /// The time over the base's of the same round, the median over rounds.
    pub growth: f64,
    /// The limit over the base's.
    pub limit_growth: f64,
    /// Growth over the limit's.
    pub ratio: f64,
}

impl Point {
    /// Whether its cost grows by no more than it should; by less it may, as where models run one to a thread.
    fn keeps_up(&self) -> bool {
        self.ratio <= TARGET
    }
}

/// A session in training.
struct Run {
    size: Size,
    engine: Engine,
    program: usize,
    limit: f64,
    /// Steps of a chunk.
    chunk: usize,
    updates: usize,
    rounds: Vec<f64>,
}

impl Run {
    /// A session whose chunks take about so many seconds.
    async fn start(
        size: Size,
        (device, peak): &(Device, Peak),
        seconds: f64,
        autotune: Autotune,
    ) -> Result<Run> {
        let hidden = vec![size.width; size.depth];
        let (norm, relu) = (Norm::Before, Function::Relu);
        let spec = Spec::mlp(Task::Classification, FEATURES, &hidden, OUTPUTS, relu, norm, 0.0);
        let data = DataShape { examples: EXAMPLES, features: FEATURES, bytes: false, places: EXAMPLES };
        let requests = BTreeSet::from([(Mode::Train, size.batch)]);
        let plan = Plan::new(&spec, size.models, data, Rule::Sgd, &requests, 500);
        let (plan, _) = device.tune(plan, autotune).await?;
        device.check(&plan, "leave --growth out on this device")?;
        let limit = peak.seconds(&plan.programs[0]);
        let program = plan.program(Mode::Train, size.batch);
        let mut engine = Engine::new(device, plan).await?;
        let mut state = 1u32;
        let noise = Array2::from_shape_simple_fn((EXAMPLES, FEATURES), || {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            f64::from(state >> 8) / f64::from(1 << 23) - 1.0
        });
        engine.write_inputs(&Inputs::Real(noise), None, &(vec![], vec![]));
        let class = |row: usize| (row * 7 % OUTPUTS) as f64;
        engine.write(Space::Targets, &(0..EXAMPLES).map(class).collect::<Vec<_>>());
        let scattered = |place: usize| (place * 1009 % EXAMPLES) as u32;
        let order: Vec<u32> = (0..EXAMPLES).map(scattered).collect();
        engine.write_order([&order[..]].repeat(size.models));
        engine.write(Space::Hyper, &[0.01, 0.0, 0.0, 0.0].repeat(size.models));
        engine.write_parameters([&initialize(&spec, Init::He, 1)[..]].repeat(size.models));
        let mut run = Run { size, engine, program, limit, chunk: 1, updates: 0, rounds: vec![] };
        // What the first steps load and compile is theirs alone.
        run.step_seconds().await?;
        loop {
            let took = run.step_seconds().await? * run.chunk as f64;
            let fitting = (run.chunk as f64 * seconds / took.max(1e-6)) as usize;
            let next = fitting.clamp(1, (4 * run.chunk).min(run.engine.plan().slots));
            if next <= run.chunk {
                run.chunk = next;
                return Ok(run);
            }
            run.chunk = next;
        }
    }

    /// Runs a chunk; returns the seconds of a step.
    async fn step_seconds(&mut self) -> Result<f64> {
        let step = |slot: usize| {
            let number = self.updates + slot;
            let first = number * self.size.batch % EXAMPLES;
            let (first, slot, number) = (first as u32, slot as u32, number as u32 + 1);
            (
                self.program,
                Step { first, slot, number, lr_factor: 1.0, corrections: [1.0; 2], ..Step::default() },
            )
        };
        let steps: Vec<_> = (0..self.chunk).map(step).collect();
        let started = Instant::now();
        let log = self.engine.run(&steps).await?;
        let seconds = started.elapsed().as_secs_f64();
        self.updates += self.chunk;
        if !log.iter().all(|value| value.is_finite()) {
            let what = format!("a network of the bench, {},", self.size.describe());
            let way_out = "see minilote doctor";
            return Err(Error::Diverged { epoch: 1, step: self.updates, what, way_out });
        }
        Ok(seconds / self.chunk as f64)
    }
}

/// Times all sizes on a device in turns, each for so many seconds in all.
pub async fn measure(on: &(Device, Peak), seconds: f64, autotune: Autotune) -> Result<Vec<Point>> {
    let grown = |(axis, factors): &(Axis, &[usize])| {
        let axis = *axis;
        factors.iter().map(move |&factor| (Some(axis), factor, Size::grown(axis, factor))).collect::<Vec<_>>()
    };
    let mut sizes = vec![(None, 1, BASE)];
    sizes.extend(AXES.iter().flat_map(grown));
    let of_round = seconds / ROUNDS as f64;
    let mut runs = vec![];
    for (_, _, size) in &sizes {
        runs.push(Run::start(*size, on, of_round, autotune).await?);
    }
    for _ in 0..ROUNDS {
        for run in &mut runs {
            let seconds = run.step_seconds().await?;
            run.rounds.push(seconds);
        }
    }
    let base = &runs[0];
    let point = |((axis, factor, size), run): (&(Option<Axis>, usize, Size), &Run)| {
        let ratios: Vec<f64> =
            run.rounds.iter().zip(&base.rounds).map(|(grown, base)| grown / base).collect();
        let (seconds, growth, limit_growth) = (median(&run.rounds), median(&ratios), run.limit / base.limit);
        Point {
            device: on.0.name(),
            axis: *axis,
            factor: *factor,
            size: *size,
            seconds,
            percent_of_limit: 100.0 * run.limit / seconds,
            growth,
            limit_growth,
            ratio: growth / limit_growth,
        }
    };
    Ok(sizes.iter().zip(&runs).map(point).collect())
}

/// A table of the points: so many columns of text, then numbers.
pub const TEXTS: usize = 3;

pub fn cells(points: &[Point]) -> Vec<Vec<String>> {
    let head =
        ["grown", "device", "net", "ms a step", "% of limit", "growth", "limit's growth", "growth / limit's"];
    let mut lines = vec![head.map(String::from).to_vec()];
    lines.extend(points.iter().map(|point| {
        let grown = point.axis.map_or("base".into(), |axis| format!("{axis:?} ×{}", point.factor));
        let mark = if point.keeps_up() { "" } else { " !" };
        vec![
            grown.to_lowercase(),
            super::bench::short(&point.device).into(),
            point.size.describe(),
            significant(point.seconds * 1e3, 3),
            format!("{:.0}", point.percent_of_limit),
            format!("{:.2}", point.growth),
            format!("{:.2}", point.limit_growth),
            format!("{:.2}{mark}", point.ratio),
        ]
    }));
    lines
}

/// How many points grow by no more than they should.
pub fn summary(points: &[Point]) -> String {
    let grown = || points.iter().filter(|point| point.axis.is_some());
    let keep_up = grown().filter(|point| point.keeps_up()).count();
    format!(
        "{keep_up} of {} grow by at most {TARGET} times as much as the limit; ! marks the others",
        grown().count()
    )
}
