//! What an adapter can do at the most, measured with the kernels of `shaders/limits.wgsl`.

use std::time::Instant;

use super::device::GpuDevice;
use super::pipelines::module;
use crate::Result;
use crate::peak::Peak;

/// A pass repeats its kernel until it takes this long, beside which starting it is nothing.
const PASS_SECONDS: f64 = 0.01;
/// But not more often.
const DISPATCHES: usize = 1 << 14;
/// The fastest of so many passes counts, as anything else that runs makes one slower.
const PASSES: usize = 10;
/// Bytes that a copy moves from one buffer to another, if so many can be bound.
const COPIED: u64 = 64 << 20;

/// Workgroups of the kernels that use the whole device, of 64 invocations each.
const WORKGROUPS: u32 = 4096;
/// FLOPs of an invocation of `multiply_add`.
const FLOPS: f64 = 64.0 * 16.0 * 4.0 * 2.0;

struct Kernel {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    workgroups: u32,
}

impl GpuDevice {
    /// Measures arithmetic, copying and dispatching, in about a second.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device refuses a kernel or does not answer.
    pub fn peak(&self) -> Result<Peak> {
        let size = COPIED.min(self.limits().binding) / 16 * 16;
        let buffer = |label| {
            let usage = wgpu::BufferUsages::STORAGE;
            let label = Some(label);
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label,
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let (source, out) = (buffer("source"), buffer("out"));
        let kernel = |entry, workgroups| self.limit_kernel(entry, [&source, &out], workgroups);
        let invocations = f64::from(WORKGROUPS * 64);
        Ok(Peak {
            flops: invocations * FLOPS / self.seconds(&kernel("multiply_add", WORKGROUPS))?,
            bandwidth: 2.0 * size as f64 / self.seconds(&kernel("copy", WORKGROUPS))?,
            dispatch: self.seconds(&kernel("wait_for_the_last", 1))?,
        })
    }

    fn limit_kernel(&self, entry: &str, buffers: [&wgpu::Buffer; 2], workgroups: u32) -> Kernel {
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry),
            layout: None,
            module: &module(self, "limits"),
            entry_point: Some(entry),
            compilation_options: Default::default(),
            cache: None,
        });
        let [source, out] = buffers.map(|buffer| buffer.as_entire_binding());
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(1),
            entries: &[
                wgpu::BindGroupEntry { binding: 1, resource: source },
                wgpu::BindGroupEntry { binding: 2, resource: out },
            ],
        });
        Kernel { pipeline, group, workgroups }
    }

    /// The least time of a dispatch, one after the other.
    fn seconds(&self, kernel: &Kernel) -> Result<f64> {
        let mut dispatches = 1;
        loop {
            let passes: Result<Vec<f64>> = (0..PASSES).map(|_| self.pass(kernel, dispatches)).collect();
            let fastest = passes?.into_iter().fold(f64::INFINITY, f64::min);
            if fastest >= PASS_SECONDS || dispatches >= DISPATCHES {
                return Ok(fastest / dispatches as f64);
            }
            dispatches *= 2;
        }
    }

    /// The time of so many dispatches, from when the device has them to when it is done.
    fn pass(&self, kernel: &Kernel, dispatches: usize) -> Result<f64> {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&kernel.pipeline);
            pass.set_bind_group(1, &kernel.group, &[]);
            for _ in 0..dispatches {
                pass.dispatch_workgroups(kernel.workgroups, 1, 1);
            }
        }
        let commands = encoder.finish();
        let started = Instant::now();
        self.wait(self.queue.submit([commands]))?;
        let seconds = started.elapsed().as_secs_f64();
        self.check()?;
        Ok(seconds)
    }
}
