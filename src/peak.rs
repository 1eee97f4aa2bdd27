//! What a device can do at the most, and the least time of a program that follows: the limit that
//! `minilote bench` holds a step against, and what `minilote inspect` projects.

use std::time::Instant;

use crate::cpu::product;
use crate::ops::Op;
use crate::program::Program;
use crate::{Device, Result};

/// Limits of a device, measured or published.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Peak {
    /// FLOPs a second in `f32`: of fused multiply-adds on a GPU, of a product of 512³ on the CPU.
    pub flops: f64,
    /// Bytes a second from and to main memory: a copy of 64 MiB, read and written.
    pub bandwidth: f64,
    /// Seconds from one dispatch to the next that waits for it; 0 on the CPU.
    pub dispatch: f64,
}

/// What [`PUBLISHED`] assumes that a dispatch adds: no vendor publishes it. It stands for the wait until the
/// dispatch before has ended and its writes are seen.
const ASSUMED_DISPATCH: f64 = 5e-6;

/// Limits of some devices by their vendors' specifications: `f32` outside of matrix units at the highest clock,
/// and the width of the memory times its rate. The time of a dispatch is an assumption: 5 µs.
///
/// | device | source |
/// |---|---|
/// | Intel Iris Xe | ark.intel.com, Core i7-1165G7: 96 execution units of 8 lanes, 1.3 GHz, LPDDR4x-4267 of 128 bits |
/// | Apple M2 | apple.com, newsroom, June 6, 2022: 10 cores with 3.6 TFLOP/s, 100 GB/s |
/// | AMD RX 7600 | amd.com, Radeon RX 7600: 21.75 TFLOP/s (issuing two operations at once), 288 GB/s |
/// | NVIDIA RTX 4070 | nvidia.com, GeForce RTX 4070: 5888 lanes at 2.475 GHz, 504 GB/s |
/// | NVIDIA H100 | nvidia.com, H100 SXM data sheet: 67 TFLOP/s, 3.35 TB/s |
pub const PUBLISHED: [(&str, Peak); 5] = [
    ("Intel Iris Xe", published(2.0e12, 68.3e9)),
    ("Apple M2", published(3.6e12, 100e9)),
    ("AMD RX 7600", published(21.75e12, 288e9)),
    ("NVIDIA RTX 4070", published(29.15e12, 504e9)),
    ("NVIDIA H100", published(67e12, 3.35e12)),
];

const fn published(flops: f64, bandwidth: f64) -> Peak {
    Peak { flops, bandwidth, dispatch: ASSUMED_DISPATCH }
}

/// What is timed on the CPU is repeated for this long, and the fastest counts.
const CPU_SECONDS: f64 = 0.2;
/// A device is measured so often, as a minute's other work, or where a thread happens to run, makes it slower by a half.
const TIMES: usize = 5;

impl Peak {
    /// The most that a device did in some seconds.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    pub fn of(device: &Device) -> Result<Peak> {
        let measure = || match device {
            Device::Gpu(gpu) => gpu.peak(),
            Device::Cpu | Device::Twin => Ok(cpu()),
        };
        (1..TIMES).try_fold(measure()?, |best, _| {
            let Peak { flops, bandwidth, dispatch } = measure()?;
            Ok(Peak {
                flops: best.flops.max(flops),
                bandwidth: best.bandwidth.max(bandwidth),
                dispatch: best.dispatch.min(dispatch),
            })
        })
    }

    /// The least seconds of a program whose operations run one after the other, each limited by its
    /// arithmetic or by its memory traffic.
    ///
    /// ```text
    /// Σ over operations  max(FLOPs / flops, bytes / bandwidth) + dispatch
    /// ```
    ///
    /// A bound and no measurement: a kernel that is too small to fill the device takes longer, and what stays
    /// in a cache may be moved faster.
    pub fn seconds(&self, program: &Program) -> f64 {
        let of_op = |(op, _): (&Op, &str)| {
            let cost = op.cost();
            let bytes = cost.bytes_read + cost.bytes_written;
            (cost.flops as f64 / self.flops).max(bytes as f64 / self.bandwidth) + self.dispatch
        };
        program.step().map(of_op).sum()
    }
}

fn cpu() -> Peak {
    const SIZE: usize = 512;
    let (a, b) = (vec![0.5f32; SIZE * SIZE], vec![0.25f32; SIZE * SIZE]);
    let mut out = vec![0.0; SIZE * SIZE];
    let multiply = || product([SIZE; 3], (&a, (SIZE, 1)), (&b, (SIZE, 1)), (&mut out, SIZE), false);
    let flops = 2.0 * (SIZE * SIZE * SIZE) as f64 / fastest(multiply);

    const BYTES: usize = 64 << 20;
    let (from, mut to) = (vec![1u8; BYTES], vec![0u8; BYTES]);
    let share = BYTES / std::thread::available_parallelism().map_or(1, usize::from);
    let copy = || {
        std::thread::scope(|scope| {
            for (to, from) in to.chunks_mut(share).zip(from.chunks(share)) {
                scope.spawn(|| to.copy_from_slice(from));
            }
        });
    };
    Peak { flops, bandwidth: 2.0 * BYTES as f64 / fastest(copy), dispatch: 0.0 }
}

fn fastest(mut what: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut best = f64::INFINITY;
    while began.elapsed().as_secs_f64() < CPU_SECONDS || best.is_infinite() {
        let started = Instant::now();
        what();
        best = best.min(started.elapsed().as_secs_f64());
    }
    best
}
