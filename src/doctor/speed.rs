//! What of an adapter's peak its kernels reach.

use std::time::Instant;

use super::arena::plan;
use super::{Check, Verdict};
use crate::Result;
use crate::gpu::{Gpu, GpuDevice};
use crate::ops::*;
use crate::program::{METRICS, bytes};

/// A run of an operation is repeated until it takes this long.
const SECONDS: f64 = 0.05;
/// But not more often.
const STEPS: usize = 256;

/// Peaks, and beside them a product and a pass over memory.
///
/// # Errors
/// [`crate::Error::Device`]; [`crate::Error::Fit`] if there is too little memory.
pub async fn measure(gpu: &GpuDevice) -> Result<Vec<Check>> {
    let peak = gpu.peak()?;
    let size = if gpu.summary().is_software() { 256 } else { 1024 };
    let square = |number| Tensor::alone(Space::Scratch(number), 1, size, size);
    let product: Op = MatMul::new(Product::AB, square(0), square(1), square(2)).into();
    let flops = product.cost().flops as f64 / seconds(gpu, product).await?;

    let rows = (gpu.limits().binding / 4).min(1 << 24) as usize / 1024;
    let long = |number| Tensor::alone(Space::Scratch(number), 1, rows, 1024);
    let relu: Op = Activation { function: Function::Relu, x: long(0), out: long(1) }.into();
    let (read, moved) = (relu.cost().bytes_read, relu.cost().bytes_read + relu.cost().bytes_written);
    let bandwidth = moved as f64 / seconds(gpu, relu).await?;

    let rate = |rate: f64, unit| format!("{:.1} {unit}", rate / 1e9);
    let share = |rate: f64, peak: f64| format!("{:.0} % of the peak", 100.0 * rate / peak);
    let measured = |name, ran: String| Check::new(name, ran, Verdict::Measured);
    Ok(vec![
        measured("peak of arithmetic", rate(peak.flops, "GFLOP/s")),
        measured("peak of a copy", rate(peak.bandwidth, "GB/s")),
        measured("a dispatch", format!("{:.1} µs after the one before", peak.dispatch * 1e6)),
        measured("MatMul", format!("{size}³: {}, {}", rate(flops, "GFLOP/s"), share(flops, peak.flops))),
        measured(
            "Activation",
            format!("{}: {}, {}", bytes(read), rate(bandwidth, "GB/s"), share(bandwidth, peak.bandwidth)),
        ),
    ])
}

/// Seconds of one run of an operation, of the fastest of five times that it was repeated.
async fn seconds(gpu: &GpuDevice, op: Op) -> Result<f64> {
    let operands = op.describe().operands();
    let space = |operand: &Operand| (operand.tensor.space, operand.tensor.end(1));
    let mut spaces: std::collections::BTreeMap<Space, usize> = operands.iter().map(space).collect();
    spaces.insert(Space::Log, STEPS * METRICS);
    let mut plan = plan(vec![op], spaces);
    plan.slots = STEPS;
    let mut session = Gpu::new(gpu.clone(), plan).await?;
    let mut steps = vec![(0, Step::default())];
    // The first step of a session is submitted by itself.
    session.run(&steps).await?;
    loop {
        let mut fastest = f64::INFINITY;
        for _ in 0..5 {
            let started = Instant::now();
            session.run(&steps).await?;
            fastest = fastest.min(started.elapsed().as_secs_f64());
        }
        if fastest >= SECONDS || steps.len() == STEPS {
            return Ok(fastest / steps.len() as f64);
        }
        steps.extend_from_within(..);
    }
}
