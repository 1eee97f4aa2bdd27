/// What differs from one step of a program to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// Place in [`super::Space::Order`] of the minibatch's first row.
    pub first: u32,
    /// That of the step after it in a chunk: the session sets it.
    pub next: u32,
    /// The first of the models that run, and those after it: the session sets it.
    pub model: u32,
    /// The record of the log that the step writes.
    pub slot: u32,
    /// Number of this update, from 1.
    pub number: u32,
    /// What the schedule multiplies every learning rate by.
    pub lr_factor: f64,
    /// `1 − beta1^number` and `1 − beta2^number`, Adam's bias corrections.
    pub corrections: [f64; 2],
}

impl Step {
    /// As `shaders/common.wgsl` declares it.
    pub(crate) fn words(&self) -> [u32; 8] {
        let [correction1, correction2] = self.corrections.map(|correction| (correction as f32).to_bits());
        let lr_factor = (self.lr_factor as f32).to_bits();
        [self.first, self.slot, self.number, lr_factor, correction1, correction2, self.next, self.model]
    }

    /// The number as the loss writes it into the record, for a sign that the step ran: its last 24 bits, which an f32
    /// holds exactly.
    pub fn counted(&self) -> f64 {
        f64::from(self.number & 0xff_ffff)
    }
}
