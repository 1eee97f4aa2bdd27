//! Kernels as a session runs them, and which of them a step runs.

use crate::ops::Step;

/// A kernel with everything that it binds.
pub(super) struct Bound {
    pub pipeline: wgpu::ComputePipeline,
    pub group: wgpu::BindGroup,
    pub workgroups: [u32; 3],
}

impl Bound {
    /// For so many models at the most, from the first on.
    pub fn record(&self, pass: &mut wgpu::ComputePass, first: usize, at_once: usize) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(1, &self.group, &[]);
        let [x, y, models] = self.workgroups;
        let models = (models as usize).saturating_sub(first).min(at_once);
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
