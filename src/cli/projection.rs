//! What a training step costs, and the least time that it takes on devices whose limits are published.

use minilote::ops::Cost;
use minilote::peak::{PUBLISHED, Peak};
use minilote::program::{Mode, Plan, bytes};
use serde::Serialize;

use super::report::{self, significant};

/// What the times are, for whoever reads them.
fn note() -> String {
    let [(_, Peak { dispatch, .. }), ..] = PUBLISHED;
    format!(
        "a bound from published limits, not a measurement: an operation takes the longer of\n\
         its arithmetic and its memory traffic at full rate, and each dispatch {} µs (assumed).\n\
         Kernels of a small network fill no large GPU, which takes longer than this.",
        significant(dispatch * 1e6, 2)
    )
}

/// A training step of the plan's whole minibatch.
#[derive(Serialize)]
pub struct Projection {
    rows: usize,
    dispatches: usize,
    flops: u64,
    bytes: u64,
    /// What any such step moves, and the step's bytes over that.
    least_bytes: u64,
    bytes_over_least: f64,
    devices: Vec<OnDevice>,
    note: String,
}

#[derive(Serialize)]
struct OnDevice {
    device: &'static str,
    seconds: f64,
    /// Of the seconds, those that dispatching takes.
    dispatching: f64,
}

impl Projection {
    /// None if the plan does not train.
    pub fn new(plan: &Plan) -> Option<Projection> {
        let trains = plan.programs.iter().filter(|program| program.mode == Mode::Train);
        let program = trains.max_by_key(|program| program.rows)?;
        let Cost { flops, bytes_read, bytes_written } = program.cost();
        let (bytes, least_bytes) = (bytes_read + bytes_written, plan.least_bytes(program.rows));
        let dispatches = program.dispatches();
        let on_device = |&(device, peak): &(_, Peak)| OnDevice {
            device,
            seconds: peak.seconds(program),
            dispatching: peak.dispatch * dispatches as f64,
        };
        Some(Projection {
            rows: program.rows,
            dispatches,
            flops,
            bytes,
            least_bytes,
            bytes_over_least: bytes as f64 / least_bytes as f64,
            devices: PUBLISHED.iter().map(on_device).collect(),
            note: note().replace('\n', " "),
        })
    }

    pub fn text(&self) -> String {
        let mut text = format!(
            "training step of {} rows: {:.2} MFLOP, {} moved, {} dispatches\n\
             bytes over the least that a step has to move ({}): {:.2}\nprojected: {}\n",
            self.rows,
            self.flops as f64 / 1e6,
            bytes(self.bytes),
            self.dispatches,
            bytes(self.least_bytes),
            self.bytes_over_least,
            note(),
        );
        let mut lines = vec![["  device", "µs a step", "of it dispatching", "steps/s"].map(String::from)];
        lines.extend(self.devices.iter().map(|on| {
            let [step, rate] = [on.seconds * 1e6, 1.0 / on.seconds].map(|value| significant(value, 3));
            [format!("  {}", on.device), step, report::percent(on.dispatching / on.seconds), rate]
        }));
        text += &report::table(&lines, 1);
        text
    }
}
