use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytemuck::Pod;
use futures_intrusive::channel::shared::oneshot_channel;

use super::bound::{Bound, Kernels, kernels_of};
use super::device::GpuDevice;
use super::pipelines::Pipelines;
use super::sentinel::{SIGN, sign};
use crate::ops::{Access, Op, Space, Step};
use crate::program::{PARAMETERS, Plan, Program, UNIFORM};
use crate::{Error, Result};

/// Steps that take longer are submitted one dispatch at a time, since drivers of desktops reset a device that
/// works for two seconds on one submission.
const SUBMISSION_SECONDS: f64 = 0.25;

/// What a session has made and done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Buffers made.
    pub buffers: usize,
    /// Their bytes.
    pub buffer_bytes: u64,
    /// Pipelines compiled.
    pub pipelines: usize,
    /// Bind groups made.
    pub bind_groups: usize,
    /// Times that the host waited for the device and read from it.
    pub read_backs: usize,
    /// Kernels run.
    pub dispatches: usize,
    /// Time that the host took to record and submit chunks.
    pub host: Duration,
    /// Submissions of chunks and read-backs.
    pub submissions: usize,
    /// Of the host's time, what they took: a driver may wait there for the one before.
    pub submitting: Duration,
}

/// A session on a GPU: a plan's buffers, pipelines and bind groups, all made before the first step.
pub struct Gpu {
    gpu: GpuDevice,
    plan: Plan,
    spaces: BTreeMap<Space, wgpu::Buffer>,
    programs: Vec<Kernels>,
    /// The steps of a chunk for each block of models, one every [`UNIFORM`] bytes, then the sign of the read-back; and
    /// where the host writes them.
    steps: wgpu::Buffer,
    upload: wgpu::Buffer,
    step_group: wgpu::BindGroup,
    /// Where the host reads from.
    download: wgpu::Buffer,
    counts: Counts,
    /// Of the last chunk.
    seconds_per_step: Option<f64>,
    note: Option<String>,
}

fn buffer(
    gpu: &GpuDevice,
    counts: &mut Counts,
    label: &str,
    size: u64,
    usage: wgpu::BufferUsages,
) -> wgpu::Buffer {
    counts.buffers += 1;
    counts.buffer_bytes += size;
    let mapped_at_creation = usage.contains(wgpu::BufferUsages::MAP_WRITE);
    gpu.device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation })
}

/// Submits, and counts the time.
fn hand_over(gpu: &GpuDevice, counts: &mut Counts, commands: wgpu::CommandBuffer) -> wgpu::SubmissionIndex {
    let started = Instant::now();
    let submission = gpu.queue.submit([commands]);
    counts.submissions += 1;
    counts.submitting += started.elapsed();
    submission
}

impl Gpu {
    /// Allocates and compiles all that the plan will run; on a device in its place if this one was lost.
    ///
    /// # Errors
    /// [`Error::Fit`] if the device has not enough memory (its limits are the caller's to check, with
    /// [`Plan::check`]); [`Error::Device`] if it refuses a kernel.
    pub async fn new(gpu: GpuDevice, plan: Plan) -> Result<Gpu> {
        use wgpu::BufferUsages as Usage;
        let gpu = gpu.living().await?;
        let mut counts = Counts::default();
        let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let storage = Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST;
        let spaces: BTreeMap<Space, wgpu::Buffer> = plan
            .spaces
            .keys()
            .map(|&space| {
                let size = plan.bytes(space).max(16).next_multiple_of(16);
                (space, buffer(&gpu, &mut counts, &format!("{space:?}"), size, storage))
            })
            .collect();
        let uniform = Usage::UNIFORM | Usage::COPY_DST;
        let signed = uniform | Usage::COPY_SRC;
        let table = (plan.table() as u64 + 1) * UNIFORM;
        let steps = buffer(&gpu, &mut counts, "steps", table, signed);
        let upload = buffer(&gpu, &mut counts, "upload", table, Usage::MAP_WRITE | Usage::COPY_SRC);
        let of_block = plan.kernels_parameters();
        let of_all = of_block * plan.blocks().len() as u64;
        let params = buffer(&gpu, &mut counts, "parameters of kernels", of_all, uniform);
        let download = buffer(
            &gpu,
            &mut counts,
            "download",
            plan.download_bytes() + SIGN,
            Usage::MAP_READ | Usage::COPY_DST,
        );
        if let Some(error) = scope.pop().await {
            return Err(Error::Fit {
                tensor: "the program".into(),
                needed: crate::program::bytes(counts.buffer_bytes),
                limit: "less than that".into(),
                rule: format!("free memory: {error}"),
                way_out: "use a smaller --batch or smaller layers, or --device cpu".into(),
            });
        }

        let mut pipelines = Pipelines::new(&gpu);
        let kernel = |op: &Op| {
            let op = op.describe();
            (op.dispatch(gpu.variant), op.bindings().iter().map(|(_, access)| *access).collect())
        };
        let ops = plan.programs.iter().flat_map(Program::kernels);
        pipelines.compile(&gpu, &ops.map(kernel).collect::<Vec<_>>()).await?;
        let note = gpu.compiled.as_ref().and_then(|compiled| compiled.save().err());
        let note = note.map(|error| format!("compiled kernels are not kept: {error}"));
        let mut programs = vec![];
        let mut place = 0;
        for program in &plan.programs {
            let mut bound = vec![];
            for op in program.kernels() {
                let bindings = op.describe().bindings();
                let access: Vec<Access> = bindings.iter().map(|(_, access)| *access).collect();
                let dispatch = op.describe().dispatch(gpu.variant);
                let pipeline = pipelines.pipeline(&dispatch);
                let mut size = 0;
                for (block, model) in plan.blocks().enumerate() {
                    let words = dispatch.params.words(model);
                    let offset = place * PARAMETERS + block as u64 * of_block;
                    gpu.queue.write_buffer(&params, offset, bytemuck::cast_slice(&words));
                    size = 4 * words.len().next_multiple_of(4) as u64;
                }
                assert!(size <= PARAMETERS, "{} has too many parameters", op.name());
                let size = wgpu::BufferSize::new(size);
                let uniform = wgpu::BufferBinding { buffer: &params, offset: 0, size };
                let mut entries = vec![wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::Buffer(uniform),
                }];
                for (i, (space, _)) in bindings.iter().enumerate() {
                    let resource = spaces[&program.place(*space)].as_entire_binding();
                    entries.push(wgpu::BindGroupEntry { binding: i as u32 + 1, resource });
                }
                let layout = pipelines.layout(&gpu, &access);
                let label = Some(op.name());
                let descriptor = wgpu::BindGroupDescriptor { label, layout: &layout, entries: &entries };
                let group = gpu.device.create_bind_group(&descriptor);
                counts.bind_groups += 1;
                let parameters = [place * PARAMETERS, of_block].map(|bytes| bytes as u32);
                bound.push(Bound { pipeline, group, parameters, workgroups: dispatch.workgroups });
                place += 1;
            }
            let link = bound.split_off(program.ops.len()).pop();
            programs.push(Kernels { ops: bound, link });
        }
        let size = wgpu::BufferSize::new(size_of_val(&Step::default().words()) as u64);
        let step = wgpu::BufferBinding { buffer: &steps, offset: 0, size };
        let step_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("step"),
            layout: &pipelines.step_layout,
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(step) }],
        });
        counts.bind_groups += 1;
        counts.pipelines = pipelines.len();
        gpu.check()?;
        Ok(Gpu {
            gpu,
            plan,
            spaces,
            programs,
            steps,
            upload,
            step_group,
            download,
            counts,
            seconds_per_step: None,
            note,
        })
    }

    /// What was made and done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What a person should know of how it was made.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// What the session is on.
    pub fn device(&self) -> &GpuDevice {
        &self.gpu
    }

    /// What the session was made for.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Overwrites a space from its beginning. Outside of the loop over steps.
    pub fn write(&mut self, space: Space, bytes: &[u8]) {
        self.write_at(space, 0, bytes);
    }

    /// Overwrites a space from a byte on, whose number is a multiple of four.
    pub(crate) fn write_at(&mut self, space: Space, start: usize, bytes: &[u8]) {
        if let Some(buffer) = self.spaces.get(&space) {
            let whole = bytes.len() / 4 * 4;
            self.gpu.queue.write_buffer(buffer, start as u64, &bytes[..whole]);
            if whole < bytes.len() {
                let mut last = [0; 4];
                last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
                self.gpu.queue.write_buffer(buffer, (start + whole) as u64, &last);
            }
            // What waits to be written is held a second time until it is submitted.
            self.gpu.queue.submit([]);
        }
    }

    /// Runs a chunk of steps, each by the program of that number, and returns their records of the log: one
    /// submission, unless a step takes long or it is not known yet, and one read-back.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is lost, refuses the work or does not answer.
    pub async fn run(&mut self, steps: &[(usize, Step)]) -> Result<Vec<f32>> {
        self.gpu.check()?;
        let started = Instant::now();
        // All steps for one block of models after the other, as models don't meet.
        let (blocks, at_once) = (self.plan.blocks().len(), self.plan.at_once);
        let table = (blocks * steps.len()) as u64 * UNIFORM;
        let turns: Vec<_> = (0..blocks).flat_map(|block| (0..steps.len()).map(move |i| (block, i))).collect();
        {
            let range = self.upload.get_mapped_range_mut(..table);
            let mut upload = range.map_err(|error| self.gpu.failed(error))?;
            for (turn, &(block, i)) in turns.iter().enumerate() {
                let start = turn * UNIFORM as usize;
                let next = steps.get(i + 1).map_or(0, |(_, next)| next.first);
                let words = Step { next, model: (block * at_once) as u32, ..steps[i].1 }.words();
                let bytes = bytemuck::bytes_of(&words);
                upload.slice(start..start + bytes.len()).copy_from_slice(bytes);
            }
        }

        let label = Some("chunk");
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
        self.hand_sign(&mut encoder)?;
        encoder.copy_buffer_to_buffer(&self.upload, 0, &self.steps, 0, table);
        if self.seconds_per_step.is_some_and(|seconds| seconds <= SUBMISSION_SECONDS) {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for (turn, &(block, i)) in turns.iter().enumerate() {
                self.begin_step(&mut pass, turn);
                let kernels = kernels_of(&self.programs, steps, i);
                kernels.for_each(|bound| bound.record(&mut pass, block, at_once));
            }
        } else {
            for (turn, &(block, i)) in turns.iter().enumerate() {
                for bound in kernels_of(&self.programs, steps, i) {
                    let mut pass = encoder.begin_compute_pass(&Default::default());
                    self.begin_step(&mut pass, turn);
                    bound.record(&mut pass, block, at_once);
                    drop(pass);
                    let next = self.gpu.device.create_command_encoder(&Default::default());
                    let commands = std::mem::replace(&mut encoder, next).finish();
                    hand_over(&self.gpu, &mut self.counts, commands);
                }
            }
        }
        self.counts.dispatches +=
            turns.iter().map(|&(_, i)| kernels_of(&self.programs, steps, i).count()).sum::<usize>();
        let records = (steps.len() * self.plan.models * self.plan.record * 4) as u64;
        let log = self.submit(encoder, Space::Log, records, started).await?;
        self.seconds_per_step = Some(started.elapsed().as_secs_f64() / steps.len() as f64);
        Ok(log)
    }

    /// Binds the step with this number in the table.
    fn begin_step(&self, pass: &mut wgpu::ComputePass, number: usize) {
        pass.set_bind_group(0, &self.step_group, &[number as u32 * UNIFORM as u32]);
    }

    /// Reads a whole space, no larger than the log or the parameters.
    ///
    /// # Errors
    /// [`Error::Device`] as for [`Gpu::run`].
    pub async fn read(&mut self, space: Space) -> Result<Vec<f32>> {
        let size = self.plan.bytes(space);
        if size == 0 || size > self.plan.download_bytes() {
            return Err(Error::Config(format!(
                "{space:?} can't be read back: the log and the parameters can"
            )));
        }
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        self.hand_sign(&mut encoder)?;
        self.submit(encoder, space, size, Instant::now()).await
    }

    /// Where the sign of a read-back stands, after the steps.
    fn place_of_sign(&self) -> u64 {
        self.plan.table() as u64 * UNIFORM
    }

    /// Sends the sign of the next read-back to the device, and with it what else the host has written there.
    fn hand_sign(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        self.counts.read_backs += 1;
        let place = self.place_of_sign();
        let range = self.upload.get_mapped_range_mut(place..place + SIGN);
        let mut upload = range.map_err(|error| self.gpu.failed(error))?;
        upload.copy_from_slice(bytemuck::cast_slice(&sign(self.counts.read_backs)));
        drop(upload);
        self.upload.unmap();
        encoder.copy_buffer_to_buffer(&self.upload, place, &self.steps, place, SIGN);
        Ok(())
    }

    /// Submits, waits, and copies the beginning of a space out.
    async fn submit(
        &mut self,
        mut encoder: wgpu::CommandEncoder,
        space: Space,
        size: u64,
        started: Instant,
    ) -> Result<Vec<f32>> {
        encoder.copy_buffer_to_buffer(&self.spaces[&space], 0, &self.download, 0, size);
        encoder.copy_buffer_to_buffer(&self.steps, self.place_of_sign(), &self.download, size, SIGN);
        let submission = hand_over(&self.gpu, &mut self.counts, encoder.finish());
        self.counts.host += started.elapsed();
        let (sender, receiver) = oneshot_channel();
        self.download.map_async(wgpu::MapMode::Read, ..size + SIGN, move |result| {
            let _ = sender.send(result);
        });
        let (upload_sender, upload_receiver) = oneshot_channel();
        self.upload.map_async(wgpu::MapMode::Write, .., move |result| {
            let _ = upload_sender.send(result);
        });
        // Native drivers call back only while they are polled; a browser does by itself.
        self.gpu.wait(submission)?;
        for receiver in [receiver, upload_receiver] {
            match receiver.receive().await {
                Some(Ok(())) => {}
                Some(Err(error)) => return Err(self.gpu.failed(error)),
                None => return Err(self.gpu.failed("no answer")),
            }
        }
        let mut values = self.downloaded(..size)?;
        let mut found = self.downloaded(size..size + SIGN)?;
        self.download.unmap();
        self.gpu.check()?;
        self.gpu.verify(self.counts.read_backs, &mut values, &mut found)?;
        Ok(values)
    }

    /// What lies where the host reads from.
    fn downloaded<T: Pod>(&self, range: impl std::ops::RangeBounds<u64>) -> Result<Vec<T>> {
        let view = self.download.get_mapped_range(range).map_err(|error| self.gpu.failed(error))?;
        Ok(bytemuck::pod_collect_to_vec(&view))
    }
}
