//! The GPU backend, and the only place that names wgpu.

mod bound;
mod compiled;
mod device;
mod limits;
mod lost;
mod pipelines;
mod sentinel;
mod session;
pub mod shaders;
mod tune;

pub use device::{AdapterSummary, GpuDevice, adapters};
pub use session::{Counts, Gpu};
pub use tune::{Autotune, Tuning};
/// The wgpu that this crate is built with, for who brings a device of their own.
pub use wgpu;
