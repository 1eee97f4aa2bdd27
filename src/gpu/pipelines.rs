use std::collections::HashMap;

use super::device::GpuDevice;
use super::shaders;
use crate::ops::{Access, Dispatch};
use crate::{Error, Result};

/// Modules, layouts and pipelines, each made once.
pub struct Pipelines {
    modules: HashMap<&'static str, wgpu::ShaderModule>,
    layouts: HashMap<Vec<Access>, wgpu::BindGroupLayout>,
    pipelines: HashMap<(&'static str, &'static str, String), wgpu::ComputePipeline>,
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
            let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, false)];
            for (i, access) in operands.iter().enumerate() {
                let read_only = *access == Access::Read;
                entries.push(entry(i as u32 + 1, wgpu::BufferBindingType::Storage { read_only }, false));
            }
            let label = Some("operands");
            gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries })
        };
        self.layouts.entry(operands.to_vec()).or_insert_with(make).clone()
    }

    /// The pipeline of a dispatch, made if it is the first of its kind.
    pub async fn pipeline(
        &mut self,
        gpu: &GpuDevice,
        dispatch: &Dispatch,
        operands: &[Access],
    ) -> Result<wgpu::ComputePipeline> {
        let key = (dispatch.shader, dispatch.entry, format!("{:?}", dispatch.constants));
        if let Some(pipeline) = self.pipelines.get(&key) {
            return Ok(pipeline.clone());
        }
        let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module =
            self.modules.entry(dispatch.shader).or_insert_with(|| module(gpu, dispatch.shader)).clone();
        let operands = self.layout(gpu, operands);
        let layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(dispatch.shader),
            bind_group_layouts: &[Some(&self.step_layout), Some(&operands)],
            immediate_size: 0,
        });
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&format!("{}.{}", dispatch.shader, dispatch.entry)),
            layout: Some(&layout),
            module: &module,
            entry_point: Some(dispatch.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &dispatch.constants,
                // Every kernel writes its shared memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        if let Some(error) = scope.pop().await {
            let name = &gpu.summary.name;
            return Err(Error::Device(format!("{name} refuses the kernel {}: {error}", dispatch.shader)));
        }
        self.pipelines.insert(key, pipeline.clone());
        Ok(pipeline)
    }
}

/// The module of a kernel's source.
pub fn module(gpu: &GpuDevice, stem: &'static str) -> wgpu::ShaderModule {
    let source = wgpu::ShaderSource::Wgsl(shaders::source(stem).into());
    let descriptor = wgpu::ShaderModuleDescriptor { label: Some(stem), source };
    // SAFETY: the kernels' indices stay inside their operands for every shape a program can have
    // (tests/integration/kernels.rs surrounds each operand with NaNs and looks at what was read and
    // written; limits.wgsl asks for the lengths), their loops end, and they divide by sizes that are
    // never zero.
    unsafe { gpu.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}
