use super::{Plan, Program};
use crate::ops::{Op, Variant};
use crate::{Error, Result};

/// What a device allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of a buffer that a kernel can bind.
    pub binding: u64,
    /// Workgroups of a dispatch in each direction.
    pub workgroups: u32,
    /// Invocations of a workgroup in each direction.
    pub workgroup: [u32; 3],
    /// Invocations of a workgroup in all.
    pub invocations: u32,
    /// Bytes that the invocations of a workgroup share.
    pub shared: u32,
    /// Buffers that a kernel binds to read or write.
    pub buffers: u32,
    /// Bytes that may be allocated in all, where the device says so.
    pub memory: Option<u64>,
}

impl Limits {
    /// What the CPU backend allows itself: the memory that Linux says is available, so that a slip of the
    /// keyboard is refused and not killed by the system; elsewhere 64 GiB.
    pub fn of_host() -> Limits {
        let memory = available_memory().or(Some(1 << 36));
        let any = u32::MAX;
        let workgroup = [any; 3];
        Limits {
            binding: 1 << 40,
            workgroups: any,
            workgroup,
            invocations: any,
            shared: any,
            buffers: any,
            memory,
        }
    }

    /// The first limit that an operation's kernel is above, if any: what it needs, what is allowed, and of what.
    fn exceeded(&self, op: &Op, variant: Variant) -> Option<(String, String, &'static str)> {
        let dispatch = op.describe().dispatch(variant);
        let workgroup = dispatch.workgroup();
        let bound = op.describe().bindings().len() as u32;
        let of_dispatch = dispatch
            .workgroups
            .map(|needed| (needed, self.workgroups, "workgroups", "workgroups of a dispatch"));
        let directions = [0, 1, 2].map(|i| {
            (workgroup[i], self.workgroup[i], "invocations", "invocations of a workgroup in a direction")
        });
        let rest = [
            (workgroup.iter().product(), self.invocations, "invocations", "invocations of a workgroup"),
            (dispatch.shared(), self.shared, "bytes", "memory shared in a workgroup"),
            (bound, self.buffers, "buffers", "buffers of a kernel"),
        ];
        let mut all = of_dispatch.into_iter().chain(directions).chain(rest);
        let (needed, limit, unit, rule) = all.find(|(needed, limit, ..)| needed > limit)?;
        Some((format!("{needed} {unit}"), limit.to_string(), rule))
    }
}

/// The host's memory that Linux says is available; elsewhere nobody says.
pub(crate) fn available_memory() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

impl Plan {
    /// Whether all buffers and dispatches are within a device's limits.
    ///
    /// # Errors
    /// [`Error::Fit`] that names the tensor and the limit; `way_out` is what to do about it.
    pub fn check(&self, limits: &Limits, variant: Variant, way_out: &str) -> Result<()> {
        let refuse = |tensor: String, needed: String, limit: String, rule: &str| {
            Err(Error::Fit { tensor, needed, limit, rule: rule.into(), way_out: way_out.into() })
        };
        for &space in self.spaces.keys() {
            let needed = self.bytes(space);
            if needed > limits.binding {
                let rule = "largest binding";
                return refuse(self.user_of(space), bytes(needed), bytes(limits.binding), rule);
            }
        }
        // The host keeps the initial, the best and the last parameters in f64, and lays them out as it writes.
        let host = (self.layout.end() as u64).saturating_mul(4 * 8);
        let needed = self.memory().saturating_add(host);
        if let Some(limit) = limits.memory
            && needed > limit
        {
            let largest = self.spaces.keys().rev().max_by_key(|space| self.bytes(**space));
            let of = largest.map_or(String::new(), |space| format!(", most of it {}", self.user_of(*space)));
            return refuse(format!("the program{of},"), bytes(needed), bytes(limit), "memory");
        }
        for (op, label) in self.programs.iter().flat_map(Program::labeled) {
            if let Some((needed, limit, rule)) = limits.exceeded(op, variant) {
                return refuse(format!("{label} {}", op.name()), needed, limit, rule);
            }
        }
        Ok(())
    }
}

/// A number of bytes for a person: 1.5 MiB.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit < units.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", units[unit]) }
}
