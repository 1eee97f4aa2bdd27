use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::compiled::Compiled;
use super::lost::Life;
use super::sentinel::Forgery;
use crate::ops::Variant;
use crate::program::{Limits, available_memory};
use crate::{Error, Result, cache};

/// An adapter that wgpu offers, as `minilote devices` lists it.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterSummary {
    /// What `--device INDEX` takes; 0 for a device of the caller's own.
    pub index: usize,
    /// As the driver gives it.
    pub name: String,
    /// Vulkan, Metal, Dx12 or WebGPU.
    pub backend: String,
    /// DiscreteGpu, IntegratedGpu, VirtualGpu, Cpu (a software adapter) or Other.
    pub kind: String,
    /// Name and version.
    pub driver: String,
    /// Bytes of a buffer that a kernel can bind.
    pub max_binding: u64,
}

impl AdapterSummary {
    fn new(index: usize, info: &wgpu::AdapterInfo, limits: &wgpu::Limits) -> AdapterSummary {
        AdapterSummary {
            index,
            name: info.name.clone(),
            backend: format!("{:?}", info.backend),
            kind: format!("{:?}", info.device_type),
            driver: format!("{} {}", info.driver, info.driver_info).trim().into(),
            max_binding: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
        }
    }

    /// Whether the adapter is a program and not a chip.
    pub fn is_software(&self) -> bool {
        self.kind == "Cpu"
    }
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env())
}

async fn found() -> Vec<wgpu::Adapter> {
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    instance().enumerate_adapters(backends).await
}

/// A device that does not answer for this long is given up.
const TIMEOUT: Duration = Duration::from_secs(300);

/// All adapters, real GPUs and software ones, in wgpu's order.
pub async fn adapters() -> Vec<AdapterSummary> {
    let found = found().await;
    found.iter().enumerate().map(|(i, a)| AdapterSummary::new(i, &a.get_info(), &a.limits())).collect()
}

/// A wgpu device with the kernel variant that suits it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GpuDevice {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) summary: Arc<AdapterSummary>,
    pub(super) variant: Variant,
    /// Invocations of a subgroup at least; 1 where kernels do without.
    pub(super) subgroup: u32,
    /// What the driver compiled, if it is kept.
    pub(super) compiled: Option<Arc<Compiled>>,
    /// Stem and source of kernels that are not as in `shaders/`.
    pub(super) replaced: Vec<(&'static str, Arc<str>)>,
    /// Bytes that a session may take, if somebody said.
    pub(super) memory: Option<u64>,
    pub(super) timeout: Duration,
    pub(super) forged: Option<Forgery>,
    /// Whether it is of [`GpuDevice::open`].
    pub(super) opened: bool,
    /// Devices of the adapter that were lost before this one.
    pub(super) losses: usize,
    pub(super) life: Arc<Life>,
}

impl GpuDevice {
    /// Opens the adapter with this number among [`adapters`]. What its driver compiles for sessions is kept in
    /// the folder of [`cache::folder`], where the driver allows it.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no such adapter or it gives no device.
    pub async fn open(index: usize) -> Result<GpuDevice> {
        let mut adapters = found().await;
        if index >= adapters.len() {
            return Err(Error::Device(format!("no adapter {index}: see minilote devices")));
        }
        let adapter = adapters.swap_remove(index);
        let info = adapter.get_info();
        let offered = adapter.limits();
        // WebGPU's defaults, but buffers as large, and as many to a kernel, as the adapter allows.
        let required_limits = wgpu::Limits {
            max_storage_buffers_per_shader_stage: offered.max_storage_buffers_per_shader_stage,
            max_buffer_size: offered.max_buffer_size,
            max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
            ..wgpu::Limits::default().or_worse_values_from(&offered)
        };
        let required_features =
            adapter.features() & (wgpu::Features::PIPELINE_CACHE | wgpu::Features::SUBGROUP);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("minilote"),
            required_features,
            required_limits,
            ..Default::default()
        };
        let opened = adapter.request_device(&descriptor).await;
        let (device, queue) =
            opened.map_err(|error| Error::Device(format!("{} gives no device: {error}", info.name)))?;
        let compiled = Compiled::open(&device, &info, cache::folder());
        let mut gpu = GpuDevice::from_wgpu(device, queue, info);
        gpu.compiled = compiled.map(Arc::new);
        Arc::make_mut(&mut gpu.summary).index = index;
        gpu.opened = true;
        Ok(gpu)
    }

    /// A device that the caller made. Its errors outside of error scopes are caught from now on and
    /// reported by the session that meets them; a handler that was set before is replaced.
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue, info: wgpu::AdapterInfo) -> GpuDevice {
        let life = Arc::<Life>::default();
        let note = |life: &Life, message: String| {
            if let Ok(mut fault) = life.fault.lock() {
                fault.get_or_insert(message);
            }
        };
        let uncaptured = life.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| note(&uncaptured, error.to_string())));
        let lost = life.clone();
        device.set_device_lost_callback(move |reason, message| {
            lost.lost.store(true, Ordering::Relaxed);
            note(&lost, format!("the device was lost ({reason:?}): {message}"));
        });
        let summary = AdapterSummary::new(0, &info, &device.limits());
        let variant = if summary.is_software() { Variant::Software } else { Variant::Gpu };
        // Direct3D does not say which invocations of a workgroup make a subgroup.
        let orders = matches!(info.backend, wgpu::Backend::Vulkan | wgpu::Backend::Metal);
        let shuffles = orders && device.features().contains(wgpu::Features::SUBGROUP);
        let subgroup = if shuffles { info.subgroup_min_size.max(1) } else { 1 };
        GpuDevice {
            device,
            queue,
            summary: Arc::new(summary),
            variant,
            subgroup,
            compiled: None,
            replaced: vec![],
            memory: None,
            timeout: TIMEOUT,
            forged: None,
            opened: false,
            losses: 0,
            life,
        }
    }

    /// The same device with another shape of kernels: both give the same results to rounding.
    pub fn with_variant(self, variant: Variant) -> GpuDevice {
        GpuDevice { variant, ..self }
    }

    /// The same device, of whose memory a session may take so many bytes, together with what the host holds of the
    /// parameters. wgpu does not say how much there is.
    pub fn with_memory(self, bytes: u64) -> GpuDevice {
        GpuDevice { memory: Some(bytes), ..self }
    }

    /// The same device with kernels that merge sums through shared memory alone.
    pub fn without_subgroups(self) -> GpuDevice {
        GpuDevice { subgroup: 1, ..self }
    }

    /// The same device with this source, checked as it runs, in place of a kernel's: tests break one to see it found.
    #[doc(hidden)]
    pub fn with_source(mut self, stem: &'static str, source: &str) -> GpuDevice {
        self.replaced.push((stem, source.into()));
        self
    }

    /// The same device, given up after another time without an answer than five minutes.
    pub fn with_timeout(self, timeout: Duration) -> GpuDevice {
        GpuDevice { timeout, ..self }
    }

    /// Waits until the device has done what was submitted.
    ///
    /// # Errors
    /// [`Error::Device`] if it was lost, failed or does not answer.
    pub(super) fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let timeout = Some(self.timeout);
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout };
        match self.device.poll(wait) {
            Ok(_) => Ok(()),
            Err(wgpu::PollError::Timeout) => {
                // Whoever drops the last handle of a queue waits for it, which may be for ever.
                std::mem::forget((self.device.clone(), self.queue.clone()));
                let (name, seconds) = (&self.summary.name, self.timeout.as_secs_f64());
                Err(Error::Device(format!(
                    "{name}: the device does not answer, for {seconds} s now: it hangs, or a kernel takes longer than \
                     that; use a smaller --batch or --device cpu"
                )))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// What a failed call means: the device's own words, if it said any.
    pub(super) fn failed(&self, error: impl std::fmt::Display) -> Error {
        let said = self.check().err();
        said.unwrap_or_else(|| Error::Device(format!("{}: {error}", self.summary.name)))
    }

    /// Whether kernels merge sums within subgroups first.
    pub fn has_subgroups(&self) -> bool {
        self.subgroup > 1
    }

    /// The adapter that the device is of.
    pub fn summary(&self) -> &AdapterSummary {
        &self.summary
    }

    /// The shape of kernels that it runs.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// What a plan must stay within. An adapter without memory of its own takes the host's.
    pub fn limits(&self) -> Limits {
        let limits = self.device.limits();
        let of_host = matches!(self.summary.kind.as_str(), "Cpu" | "IntegratedGpu");
        Limits {
            binding: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            workgroups: limits.max_compute_workgroups_per_dimension,
            workgroup: [
                limits.max_compute_workgroup_size_x,
                limits.max_compute_workgroup_size_y,
                limits.max_compute_workgroup_size_z,
            ],
            invocations: limits.max_compute_invocations_per_workgroup,
            shared: limits.max_compute_workgroup_storage_size,
            buffers: limits.max_storage_buffers_per_shader_stage,
            memory: self.memory.or_else(|| of_host.then(available_memory).flatten()),
        }
    }
}
