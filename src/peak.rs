//! What a device can do at the most: the limit that `minilote bench` holds a step against.

use std::time::Instant;

use crate::cpu::product;
use crate::program::Program;
use crate::{Device, Result};

/// Measured limits of a device.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Peak {
    /// FLOPs a second in `f32`: of fused multiply-adds on a GPU, of a product of 512³ on the CPU.
    pub flops: f64,
    /// Bytes a second from and to main memory: a copy of 64 MiB, read and written.
    pub bandwidth: f64,
    /// Seconds from one dispatch to the next that waits for it; 0 on the CPU.
    pub dispatch: f64,
}

/// What is timed on the CPU is repeated for this long, and the fastest counts.
const CPU_SECONDS: f64 = 0.2;

impl Peak {
    /// Measures a device, in about a second.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    pub fn of(device: &Device) -> Result<Peak> {
        match device {
            Device::Gpu(gpu) => gpu.peak(),
            Device::Cpu | Device::Twin => Ok(cpu()),
        }
    }

    /// The least time of a program whose operations run one after the other, each limited by its
    /// arithmetic or by its memory traffic.
    pub fn seconds(&self, program: &Program) -> f64 {
        let of_op = |op: &crate::ops::Op| {
            let cost = op.cost();
            let bytes = cost.bytes_read + cost.bytes_written;
            (cost.flops as f64 / self.flops).max(bytes as f64 / self.bandwidth) + self.dispatch
        };
        program.ops.iter().map(of_op).sum()
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
