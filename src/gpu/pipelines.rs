use std::collections::{BTreeSet, HashMap};
#[cfg(not(target_arch = "wasm32"))]
use std::sync::atomic::{AtomicUsize, Ordering};

use super::device::GpuDevice;
use super::shaders;
use crate::ops::{Access, Dispatch};
use crate::{Error, Result};

/// Modules, layouts and pipelines, each made once.
pub struct Pipelines {
    modules: HashMap<&'static str, wgpu::ShaderModule>,
    layouts: HashMap<Vec<Access>, wgpu::BindGroupLayout>,
    pipelines: HashMap<Key, wgpu::ComputePipeline>,
    /// Group 0 of every kernel: the step.
    pub step_layout: wgpu::BindGroupLayout,
}

fn entry(binding: u32, kind: wgpu::BufferBindingType, dynamic: bool) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty: kind, has_dynamic_offset: dynamic, min_binding_size: None },
        count: None,
    }
}

impl Pipelines {
    pub fn new(gpu: &GpuDevice) -> Pipelines {
        let step_layout = gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("step"),
            entries: &[entry(0, wgpu::BufferBindingType::Uniform, true)],
        });
        Pipelines { modules: HashMap::new(), layouts: HashMap::new(), pipelines: HashMap::new(), step_layout }
    }

    /// How many pipelines there are.
    pub fn len(&self) -> usize {
        self.pipelines.len()
    }

    /// Group 1 of a kernel: its parameters, then its operands.
    pub fn layout(&mut self, gpu: &GpuDevice, operands: &[Access]) -> wgpu::BindGroupLayout {
        let make = || {
            let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true)];
            for (i, access) in operands.iter().enumerate() {
                let read_only = *access == Access::Read;
                entries.push(entry(i as u32 + 1, wgpu::BufferBindingType::Storage { read_only }, false));
            }
            let label = Some("operands");
            gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries })
        };
        self.layouts.entry(operands.to_vec()).or_insert_with(make).clone()
    }

    /// Makes the pipelines of all these kernels that there are not yet, on as many threads as the machine has.
    ///
    /// # Errors
    /// [`Error::Device`] if the device refuses one.
    pub async fn compile(&mut self, gpu: &GpuDevice, kernels: &[(Dispatch, Vec<Access>)]) -> Result<()> {
        let mut new: HashMap<Key, (&Dispatch, wgpu::BindGroupLayout)> = HashMap::new();
        for (dispatch, operands) in kernels {
            let key = key(dispatch);
            if !self.pipelines.contains_key(&key) && !new.contains_key(&key) {
                let layout = self.layout(gpu, operands);
                new.insert(key, (dispatch, layout));
            }
        }
        let stems: BTreeSet<&'static str> = new.values().map(|(dispatch, _)| dispatch.shader).collect();
        let stems: Vec<_> = stems.into_iter().filter(|stem| !self.modules.contains_key(stem)).collect();
        // An error scope is of the thread that opened it.
        let scope = || gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = in_parallel(&stems, |&stem| {
            let scope = scope();
            (module(gpu, stem), scope.pop())
        });
        for (stem, (module, error)) in stems.into_iter().zip(made) {
            accepted(gpu, stem, error.await)?;
            self.modules.insert(stem, module);
        }
        let new: Vec<_> = new.into_iter().collect();
        let made = in_parallel(&new, |(_, (dispatch, operands))| {
            let scope = scope();
            (self.pipeline_of(gpu, dispatch, operands), scope.pop())
        });
        for ((key, (dispatch, _)), (pipeline, error)) in new.into_iter().zip(made) {
            accepted(gpu, dispatch.shader, error.await)?;
            self.pipelines.insert(key, pipeline);
        }
        Ok(())
    }

    /// The pipeline of a dispatch that was compiled.
    pub fn pipeline(&self, dispatch: &Dispatch) -> wgpu::ComputePipeline {
        self.pipelines[&key(dispatch)].clone()
    }

    fn pipeline_of(
        &self,
        gpu: &GpuDevice,
        dispatch: &Dispatch,
        operands: &wgpu::BindGroupLayout,
    ) -> wgpu::ComputePipeline {
        let layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(dispatch.shader),
            bind_group_layouts: &[Some(&self.step_layout), Some(operands)],
            immediate_size: 0,
        });
        let mut constants = dispatch.constants.clone();
        constants.extend(shaders::merges(dispatch.shader).then_some(("SUBGROUP", f64::from(gpu.subgroup))));
        gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&format!("{}.{}", dispatch.shader, dispatch.entry)),
            layout: Some(&layout),
            module: &self.modules[dispatch.shader],
            entry_point: Some(dispatch.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                // Every kernel writes its shared memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: gpu.compiled.as_ref().map(|compiled| &compiled.cache),
        })
    }
}

/// What tells one pipeline from another.
type Key = (&'static str, &'static str, String);

fn key(dispatch: &Dispatch) -> Key {
    (dispatch.shader, dispatch.entry, format!("{:?}", dispatch.constants))
}

fn accepted(gpu: &GpuDevice, shader: &str, error: Option<wgpu::Error>) -> Result<()> {
    let refuse = |error| format!("{} refuses the kernel {shader}: {error}", gpu.summary.name);
    error.map_or(Ok(()), |error| Err(Error::Device(refuse(error))))
}

/// The results for all items, in their order.
#[cfg(not(target_arch = "wasm32"))]
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, items.len().max(1));
    let next = AtomicUsize::new(0);
    let take = || {
        let index = next.fetch_add(1, Ordering::Relaxed);
        items.get(index).map(|item| (index, work(item)))
    };
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| std::iter::from_fn(take).collect::<Vec<_>>())).collect();
        let done = threads.into_iter().map(|thread| thread.join());
        done.flat_map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// A browser's devices stay on their thread, and compile beside it by themselves.
#[cfg(target_arch = "wasm32")]
fn in_parallel<T, R>(items: &[T], work: impl Fn(&T) -> R) -> Vec<R> {
    items.iter().map(work).collect()
}

/// The module of a kernel's source.
pub fn module(gpu: &GpuDevice, stem: &'static str) -> wgpu::ShaderModule {
    let descriptor = |source: String| wgpu::ShaderModuleDescriptor {
        label: Some(stem),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    };
    if let Some((_, source)) = gpu.replaced.iter().find(|(replaced, _)| *replaced == stem) {
        return gpu.device.create_shader_module(descriptor(source.to_string()));
    }
    let descriptor = descriptor(shaders::source(stem, gpu.subgroup));
    // SAFETY: the kernels' indices stay inside their operands for every shape a program can have
    // (tests/integration/kernels.rs and fusion.rs surround operands with NaNs and look at what was read and
    // written; limits.wgsl asks for the lengths), their loops end, and they divide by sizes that are
    // never zero.
    unsafe { gpu.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}
