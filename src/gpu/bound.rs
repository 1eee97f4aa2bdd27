//! Kernels as a session runs them, and which of them a step runs.

use crate::ops::Step;

/// A kernel with everything that it binds.
pub(super) struct Bound {
    pub pipeline: wgpu::ComputePipeline,
    pub group: wgpu::BindGroup,
    /// Where its parameters for the first block of models stand, and how far it is from one block's to the next.
    pub parameters: [u32; 2],
    pub workgroups: [u32; 3],
}

impl Bound {
    /// For the block of that number, of so many models or what is left of them.
    pub fn record(&self, pass: &mut wgpu::ComputePass, block: usize, at_once: usize) {
        pass.set_pipeline(&self.pipeline);
        let [first, next] = self.parameters;
        pass.set_bind_group(1, &self.group, &[first + block as u32 * next]);
        let [x, y, models] = self.workgroups;
        let models = (models as usize).saturating_sub(block.saturating_mul(at_once)).min(at_once);
        pass.dispatch_workgroups(x, y, models as u32);
    }
}

/// Of a program.
pub(super) struct Kernels {
    pub ops: Vec<Bound>,
    /// See [`crate::program::Program::link`].
    pub link: Option<Bound>,
}

/// What the i-th step of a chunk runs: linked with those before and after it that are of the same program.
pub(super) fn kernels_of<'a>(
    programs: &'a [Kernels],
    steps: &[(usize, Step)],
    i: usize,
) -> impl Iterator<Item = &'a Bound> {
    let Kernels { ops, link } = &programs[steps[i].0];
    let of_same =
        |other: Option<usize>| other.and_then(|i| steps.get(i)).is_some_and(|other| other.0 == steps[i].0);
    let before = usize::from(link.is_some() && of_same(i.checked_sub(1)));
    let after = link.as_ref().filter(|_| of_same(Some(i + 1)));
    ops[before..ops.len() - usize::from(after.is_some())].iter().chain(after)
}
