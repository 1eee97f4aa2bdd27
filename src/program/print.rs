use std::fmt;

use super::{Mode, Plan, Program, bytes};

impl fmt::Display for Program {
    /// One line for each operation: what it belongs to, its shapes, FLOPs and bytes of a run.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mode = match self.mode {
            Mode::Train => "training step",
            Mode::Statistics => "statistics pass",
            Mode::Evaluate => "evaluation",
            Mode::Predict => "prediction",
        };
        let cost = self.cost();
        writeln!(
            f,
            "{mode}, {} rows: {} dispatches, {:.2} MFLOP, {} read, {} written",
            self.rows,
            self.dispatches(),
            cost.flops as f64 / 1e6,
            bytes(cost.bytes_read),
            bytes(cost.bytes_written)
        )?;
        let width = |texts: &mut dyn Iterator<Item = String>| {
            texts.map(|text| text.chars().count()).max().unwrap_or(0)
        };
        let of_label = width(&mut self.labels.iter().cloned());
        let of_shapes = width(&mut self.step().map(|(op, _)| op.describe().shapes()));
        for (op, label) in self.step() {
            let cost = op.cost();
            writeln!(
                f,
                "  {label:<of_label$} {:<18} {:<of_shapes$} {:>12} FLOP {:>11} read {:>11} written",
                op.name(),
                op.describe().shapes(),
                cost.flops,
                bytes(cost.bytes_read),
                bytes(cost.bytes_written)
            )?;
        }
        if self.link.is_some() {
            writeln!(
                f,
                "  the last dispatch begins the next step: a chunk of steps begins with that part alone and ends without"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for program in &self.programs {
            writeln!(f, "{program}")?;
        }
        writeln!(f, "memory of a session: {}", bytes(self.memory()))?;
        for &space in self.spaces.keys() {
            let name = format!("{space:?}").to_lowercase();
            writeln!(f, "  {name:<12} {:>11}   {}", bytes(self.bytes(space)), self.user_of(space))?;
        }
        Ok(())
    }
}
