use super::Plan;
use crate::ops::Variant;
use crate::{Error, Result};

/// What a device allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of a buffer that a kernel can bind.
    pub binding: u64,
    /// Workgroups of a dispatch in each direction.
    pub workgroups: u32,
    /// Bytes that may be allocated in all, where the device says so.
    pub memory: Option<u64>,
}

impl Limits {
    /// What the CPU backend allows itself: the memory that Linux says is available, so that a slip of the
    /// keyboard is refused and not killed by the system; elsewhere 64 GiB.
    pub fn of_host() -> Limits {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        let memory = Some(kibibytes.map_or(1 << 36, |kibibytes| kibibytes << 10));
        Limits { binding: 1 << 40, workgroups: u32::MAX, memory }
    }
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
        let host = 4 * 8 * self.layout.end() as u64;
        let needed = self.memory().saturating_add(host);
        if let Some(limit) = limits.memory
            && needed > limit
        {
            return refuse("the program".into(), bytes(needed), bytes(limit), "memory");
        }
        let lines = self.programs.iter().flat_map(|program| program.ops.iter().zip(&program.labels));
        for (op, label) in lines {
            let largest = op.describe().dispatch(variant).workgroups.into_iter().max().unwrap_or(0);
            if largest > limits.workgroups {
                let tensor = format!("{label} {}", op.name());
                let (needed, limit) = (format!("{largest} workgroups"), limits.workgroups.to_string());
                return refuse(tensor, needed, limit, "workgroups of a dispatch");
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
