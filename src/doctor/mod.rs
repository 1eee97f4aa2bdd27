//! Whether an adapter computes what it should: every kernel in each of its shapes against the f64 twin, over
//! awkward sizes and up to the end of the largest buffer; staged steps; training beside the CPU backend;
//! the same bits twice; and what of its peak kernels reach. `minilote doctor` prints it, and the tests of the
//! kernels run the same samples over more sizes.

mod arena;
mod net;
mod products;
mod samples;
mod speed;

use serde::Serialize;

pub use arena::{Arena, Case, EXAMPLES, Line, Measure, STEP, TOLERANCE, normal, plan, rows};
pub use net::{FEATURES, Net, difference, staged};
pub use products::product;
pub use samples::{Extent, Sample, batch_norm};

use crate::cpu::Cpu;
use crate::gpu::{Gpu, GpuDevice};
use crate::model::Norm;
use crate::ops::*;
use crate::program::{Plan, bytes};
use crate::{Device, Error, Result};

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is as it should be.
    Passed,
    /// The adapter or its driver computes something wrong, or refuses what it allows.
    Failed,
    /// It could not be done here.
    Skipped,
    /// A number that is neither right nor wrong.
    Measured,
}

/// One line of the examination.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The operation, or what else was looked at.
    pub name: String,
    /// What ran, and for a measurement what it gave.
    pub ran: String,
    /// What it came to.
    pub verdict: Verdict,
    /// The largest relative difference.
    pub worst: Option<f64>,
    /// How large it may be.
    pub tolerance: Option<f64>,
    /// What is wrong, or why it was skipped.
    pub found: Vec<String>,
}

/// The sizes of an examination.
const EXTENT: Extent = Extent {
    sizes: &[1, 2, 63, 64, 65, 257],
    products: &[[1, 257, 2], [3, 65, 130], [63, 64, 65], [60, 784, 100]],
    beyond_lanes: false,
};

/// The sizes of a quick one.
const QUICK: Extent = Extent { sizes: &[1, 3, 65], products: &[], beyond_lanes: false };

/// Of staged steps and of training, where differences grow from step to step.
const TRAINED: f64 = 1e-4;

/// Buffers are no larger, whatever the adapter allows: offsets in bytes need 33 bits there.
const LARGEST: u64 = (1 << 32) + (1 << 20);

impl Check {
    fn new(name: &str, ran: impl Into<String>, verdict: Verdict) -> Check {
        let ran = ran.into();
        Check { name: name.into(), ran, verdict, worst: None, tolerance: None, found: vec![] }
    }

    /// A difference held against what it may be; NaN is too much.
    fn compared(name: &str, ran: impl Into<String>, worst: f64, tolerance: f64) -> Check {
        let verdict = if worst <= tolerance { Verdict::Passed } else { Verdict::Failed };
        Check { worst: Some(worst), tolerance: Some(tolerance), ..Check::new(name, ran, verdict) }
    }

    /// What could not be done: too large is no fault of the adapter.
    fn refused(name: &str, error: &Error) -> Check {
        let verdict = if matches!(error, Error::Fit { .. }) { Verdict::Skipped } else { Verdict::Failed };
        Check { found: vec![error.to_string()], ..Check::new(name, "refused", verdict) }
    }

    fn of(line: Line) -> Check {
        let kernel = match line.variant {
            Variant::Gpu => "GPU kernel",
            Variant::Software => "software kernel",
        };
        let subgroups = if line.subgroups { ", subgroups" } else { "" };
        let ran = format!("{kernel}{subgroups}, {} cases", line.cases);
        let mut check = Check::compared(line.op, ran, line.worst, TOLERANCE);
        if !line.failures.is_empty() {
            check.verdict = Verdict::Failed;
        }
        Check { found: line.failures, ..check }
    }
}

/// Examines an adapter. One in software takes a quarter of a minute, and two minutes where its driver has compiled nothing
/// yet; a quick examination, of a third of that, goes over fewer sizes and measures no speed. `progress` is told what is next.
pub async fn examine(gpu: &GpuDevice, quick: bool, progress: &mut dyn FnMut(&str)) -> Vec<Check> {
    let mut checks = kernels(gpu, if quick { &QUICK } else { &EXTENT }, progress).await;
    let mut add = |name, result: Result<Vec<Check>>| match result {
        Ok(found) => checks.extend(found),
        Err(error) => checks.push(Check::refused(name, &error)),
    };
    progress("largest binding");
    add("largest binding", largest_binding(gpu).await);
    progress("staged steps");
    add("staged steps", stages(gpu, quick).await);
    progress("training");
    add("training", training(gpu).await);
    if !quick {
        progress("speed");
        add("speed", speed::measure(gpu).await);
    }
    checks
}

/// Every operation in every shape of its kernel.
async fn kernels(gpu: &GpuDevice, extent: &Extent, progress: &mut dyn FnMut(&str)) -> Vec<Check> {
    let (mut lines, mut refused) = (Vec::<Line>::new(), vec![]);
    for sample in Sample::all() {
        progress(sample.name);
        match sample.arena(extent).check(gpu, sample.variants).await {
            Ok(found) => {
                found.into_iter().for_each(|line| match lines.iter_mut().find(|l| l.is_like(&line)) {
                    Some(same) => same.add(line),
                    None => lines.push(line),
                })
            }
            Err(error) => refused.push(Check::refused(sample.name, &error)),
        }
    }
    lines.sort_by_key(|line| line.op);
    lines.into_iter().map(Check::of).chain(refused).collect()
}

/// A product that ends where a buffer of the largest size does, and the sum of its columns read from there.
async fn largest_binding(gpu: &GpuDevice) -> Result<Vec<Check>> {
    const ROWS: usize = 65;
    let size = gpu.limits().binding.min(LARGEST) / 16 * 16;
    let a = Tensor::alone(Space::Scratch(0), 1, ROWS, ROWS);
    let out = Tensor::alone(Space::Scratch(1), 1, ROWS, ROWS);
    let sum = Tensor::alone(Space::Log, 1, 1, ROWS);
    let program = |elements: usize| -> Plan {
        let out = Tensor { offset: elements - out.stride, ..out };
        let ops = vec![MatMul::new(Product::AB, a, a, out).into(), ColumnSum { x: out, out: sum }.into()];
        let spaces = [(a.space, a.stride), (out.space, elements), (sum.space, sum.stride)];
        plan(ops, spaces.into())
    };
    let values: Vec<f32> =
        (0..a.stride).map(|i| if i % a.ld() < ROWS { (i % 13) as f32 } else { 0.0 }).collect();
    let step = [(0, Step::default())];
    let mut twin = Cpu::<f64>::new(program(out.stride));
    twin.memory.load(a.space, 0, &values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>());
    twin.run(&step);
    let mut session = Gpu::new(gpu.clone(), program((size / 4) as usize)).await?;
    session.write(a.space, bytemuck::cast_slice(&values));
    session.run(&step).await?;
    let sums: Vec<f64> = session.read(sum.space).await?.into_iter().map(f64::from).collect();
    let worst = difference(&sums, twin.memory.get(sum.space));
    let ran = format!("MatMul, ColumnSum at the end of {}", bytes(size));
    Ok(vec![Check::compared("largest binding", ran, worst, TOLERANCE)])
}

/// Training steps whose layers are one kernel each, with subgroups and without.
async fn stages(gpu: &GpuDevice, quick: bool) -> Result<Vec<Check>> {
    let gpu = gpu.clone().with_variant(Variant::Gpu);
    let mut devices = vec![gpu.clone()];
    devices.extend(gpu.has_subgroups().then(|| gpu.without_subgroups()));
    // Among them layers too wide to be updated behind the gradient through them, and blocks of rows.
    let nets: Vec<Net> = staged().into_iter().step_by(if quick { 11 } else { 5 }).collect();
    let mut worst = vec![(0, 0.0f64); devices.len()];
    // Each device has a part, as every one of their kernels is to be compiled.
    for (i, net) in nets.iter().enumerate() {
        let which = i % devices.len();
        let device = Device::Gpu(devices[which].clone());
        let exact = net.results(net.plan(), &Device::Twin).await?;
        let off = difference(&net.results(net.plan().staged(), &device).await?, &exact);
        worst[which] = (worst[which].0 + 1, worst[which].1.max(off));
    }
    let check = |(gpu, (nets, worst)): (&GpuDevice, (usize, f64))| {
        let subgroups = if gpu.has_subgroups() { ", subgroups" } else { "" };
        let ran = format!("Forward, Backward, Link, by blocks of rows too{subgroups}, {nets} networks");
        Check::compared("staged steps", ran, worst, TRAINED)
    };
    Ok(devices.iter().zip(worst).map(check).collect())
}

/// A short training run beside the CPU backend's, and again.
async fn training(gpu: &GpuDevice) -> Result<Vec<Check>> {
    let rule = Rule::Momentum { momentum: 0.9, nesterov: true };
    let net = Net { rule, rows: 64, steps: 50, ..Net::new(&[32, 16], Function::Tanh, Norm::Before, 0.2) };
    let on = async |device: &Device| net.results(device.rewrite(net.plan()), device).await;
    let device = Device::Gpu(gpu.clone());
    let (first, second, cpu) = (on(&device).await?, on(&device).await?, on(&Device::Cpu).await?);
    let ran = format!("{} steps, beside the CPU backend", net.steps);
    let beside = Check::compared("training", ran, difference(&first, &cpu), TRAINED);
    let differ = first.iter().zip(&second).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    let verdict = if differ == 0 { Verdict::Passed } else { Verdict::Failed };
    let mut again = Check::new("determinism", format!("{} steps, twice", net.steps), verdict);
    if differ > 0 {
        again.found.push(format!("{differ} of {} numbers have other bits the second time", first.len()));
    }
    Ok(vec![beside, again])
}
