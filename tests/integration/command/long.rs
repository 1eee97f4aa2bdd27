//! Runs of minutes: tests/long.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::{command, directory};
use crate::devices;

/// Kilobytes of the host's memory that a process holds.
fn resident(child: &Child) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// 100,000 steps on each backend: after the first tenth the process grows by less than 1 %, as the median of tenths has it, and
/// by no more than that in all but for what is made once, whenever that is: a helper of the CPU backend has 200 kB for a panel
/// from the first time on that it takes part. A software adapter's device memory is part of it; a session on any adapter makes no
/// buffer after its start, see session.rs.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "takes minutes: tests/long"]
fn memory_does_not_grow_over_100_000_steps() {
    let at = directory("long");
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/digits.csv");
    // 315 minibatches of 4 rows are an epoch. A run keeps both losses of each epoch, 16 bytes, and so do its checkpoints
    // while they are made: of thousands of epochs that would show beside a process as small as this.
    let epochs = 318;
    let names: &[&str] = if devices().len() > 1 { &["cpu", "gpu"] } else { &["cpu"] };
    for device in names {
        let out = format!("on_{device}");
        let flags = format!(
            "train {data} --target digit --device {device} --out {out} --hidden 16 --epochs {epochs} \
             --patience 0 --batch 4 --checkpoint-every 5000 --quiet"
        );
        let mut child = command(&at, &flags).stdout(Stdio::null()).spawn().unwrap();
        let (mut tenths, mut most) = (vec![], 0.0_f64);
        while child.try_wait().unwrap().is_none() {
            let log = fs::read(at.join(&out).join("log.jsonl")).unwrap_or_default();
            let done = log.windows(15).filter(|bytes| bytes == b"\"event\":\"epoch\"").count();
            // What follows the last epoch is more than a step.
            if let Some(now) = resident(&child).filter(|_| done < epochs - 10) {
                tenths.resize(10 * done / epochs, now);
                most = most.max(if tenths.is_empty() { 0.0 } else { now });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(child.wait().unwrap().success(), "{device}");
        println!("{device}: {tenths:?} kB by tenths of the steps, at the most {most}");
        let mut growth: Vec<f64> = tenths.windows(2).map(|pair: &[f64]| pair[1] - pair[0]).collect();
        growth.sort_by(f64::total_cmp);
        assert!(growth.len() == 8 && 9.0 * growth[4] < 0.01 * tenths[0], "{device}: {tenths:?} kB");
        let helpers = std::thread::available_parallelism().map_or(1, usize::from).min(8) - 1;
        assert!(most < 1.01 * tenths[0] + 256.0 * helpers as f64, "{device}: {tenths:?}, then {most} kB");
    }
}
