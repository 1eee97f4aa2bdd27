//! All integration tests, in one binary: linking wgpu takes longer than most of them.

mod allocations;
mod arguments;
mod checkpoints;
mod command;
mod diagnosis;
mod doctor;
mod faults;
mod fit;
mod fusion;
mod fuzz;
mod gradients;
mod held;
mod kernels;
mod library;
mod models;
mod nonfinite;
mod parity;
mod predictor;
mod session;
mod shaders;
mod sweep;
mod training;
mod tune;

use std::ops::ControlFlow;
use std::sync::Mutex;

use minilote::Device;
use minilote::gpu::GpuDevice;
use minilote::model::Model;
use minilote::train::{Observer, Progress, StepRecord};

/// Devices that no test has at the moment. None is closed: wgpu needs values of the thread for that, and they are gone where
/// a lease ends with its thread.
static FREE: Mutex<Vec<GpuDevice>> = Mutex::new(vec![]);

/// A test's device, which no other has: a driver may do one thing after the other, as it compiles for minutes.
struct Lease(Option<GpuDevice>);

impl Lease {
    fn take() -> Lease {
        if std::env::var_os("MINILOTE_SKIP_GPU").is_some_and(|value| value == "1") {
            println!("skipped on a GPU: MINILOTE_SKIP_GPU=1");
            return Lease(None);
        }
        if let Some(free) = FREE.lock().unwrap().pop() {
            return Lease(Some(free));
        }
        match pollster::block_on(Device::choose("gpu")) {
            Ok((Device::Gpu(gpu), _)) => Lease(Some(gpu)),
            other => panic!(
                "no adapter: apt-get install mesa-vulkan-drivers, or set MINILOTE_SKIP_GPU=1 ({other:?})"
            ),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        FREE.lock().unwrap().extend(self.0.take());
    }
}

thread_local! {
    static GPU: Lease = Lease::take();
}

/// The adapter that tests run on; `None` only where `MINILOTE_SKIP_GPU=1` says so.
pub fn gpu() -> Option<GpuDevice> {
    GPU.with(|lease| lease.0.clone())
}

/// Every backend that trains in f32.
pub fn devices() -> Vec<(String, Device)> {
    let mut devices = vec![("CPU backend".to_string(), Device::Cpu)];
    devices.extend(gpu().map(|gpu| (gpu.summary().name.clone(), Device::Gpu(gpu))));
    devices
}

/// Everything that was learned; an f64 is equal to itself alone.
pub fn learned(model: &Model) -> (Vec<f64>, u64) {
    let statistics = model.statistics.iter().flat_map(|s| s.mean.iter().chain(&s.variance));
    (model.parameters.iter().flatten().chain(statistics).copied().collect(), model.updates)
}

/// Breaks training off after so many chunks.
pub struct Impatient(pub usize);

impl Observer for Impatient {
    fn steps(&mut self, _: &[StepRecord], _: &Progress) -> minilote::Result<ControlFlow<()>> {
        self.0 = self.0.saturating_sub(1);
        Ok(if self.0 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}
