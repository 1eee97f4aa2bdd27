use minilote::doctor::{Check, Verdict, examine};
use minilote::gpu::GpuDevice;
use minilote::ops::Variant;
use minilote::program::bytes;
use minilote::{Device, Error, Result};
use serde_json::json;

use super::bench::{machine, machine_line};
use super::{note, print, print_json, report};

const EXAMPLES: &str = "\
Examples:
  minilote doctor
  minilote doctor --device 1 --json

Every kernel runs in each of its shapes over awkward sizes and is compared with the same formula in
64-bit floating point on the CPU: worst is the largest difference, relative to the largest value. Then
come a product at the end of the largest buffer, training steps, the same steps again, and what of the
adapter's peak kernels reach. The output is made to be pasted into a bug report. The exit code is 4 if
a check failed.";

/// The release of wgpu that this version is built with.
const WGPU: &str = "30";

/// Of a check, what is wrong is shown up to so many lines.
const SHOWN: usize = 5;

/// Check that an adapter and its driver compute what they should
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Doctor {
    /// Which adapter: gpu, or a number or name of minilote devices
    #[arg(long, default_value = "gpu")]
    device: String,

    /// Go over fewer sizes and measure no speed
    #[arg(long)]
    quick: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub async fn run(&self) -> Result<u8> {
        let (device, line) = Device::choose(&self.device).await?;
        let Device::Gpu(gpu) = device else {
            let device = &self.device;
            return Err(Error::Config(format!(
                "--device {device}: doctor examines adapters; name one of minilote devices, or gpu"
            )));
        };
        note(&line);
        let mut last = String::new();
        let mut progress = |next: &str| {
            if last != next {
                note(&format!("checking {}", next.replace('_', " ")));
                last = next.into();
            }
        };
        let checks = examine(&gpu, self.quick, &mut progress).await;
        if self.json {
            print_json(&json!({
                "machine": machine(), "wgpu": WGPU, "adapter": gpu.summary(), "subgroups": gpu.has_subgroups(),
                "kernels": kernels(&gpu), "workgroups": gpu.limits().workgroups, "checks": checks,
            }))?;
        } else {
            print(&text(&gpu, &checks))?;
        }
        verdict(&checks)
    }
}

/// Which shape of kernels training takes.
fn kernels(gpu: &GpuDevice) -> &'static str {
    match gpu.variant() {
        Variant::Gpu => "gpu",
        Variant::Software => "software",
    }
}

/// Exit code 0, or the checks that failed.
fn verdict(checks: &[Check]) -> Result<u8> {
    let failed = checks.iter().filter(|check| check.verdict == Verdict::Failed);
    let names: Vec<String> = failed.map(|check| format!("{} ({})", check.name, check.ran)).collect();
    match names.len() {
        0 => Ok(0),
        count => Err(Error::Device(format!(
            "{count} of {} checks failed: {}. Try a newer driver, or --device cpu; to report it, paste all of this",
            checks.len(),
            names.join("; ")
        ))),
    }
}

fn text(gpu: &GpuDevice, checks: &[Check]) -> String {
    let adapter = gpu.summary();
    let mut text = format!("{}, wgpu {WGPU}\n", machine_line());
    let (index, kind) = (adapter.index, &adapter.kind);
    text += &format!("adapter {index}: {} ({kind}), {}, {}\n", adapter.name, adapter.backend, adapter.driver);
    text += &format!(
        "limits: largest binding {}, {} workgroups a dispatch; subgroups: {}; kernels: {}\n\n",
        bytes(adapter.max_binding),
        gpu.limits().workgroups,
        if gpu.has_subgroups() { "yes" } else { "no" },
        kernels(gpu)
    );
    let mut rows = vec![["check", "what ran", "verdict", "worst", "tolerance"].map(String::from)];
    let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1e}"));
    rows.extend(checks.iter().map(|check| {
        let verdict = format!("{:?}", check.verdict).to_lowercase();
        [check.name.clone(), check.ran.clone(), verdict, number(check.worst), number(check.tolerance)]
    }));
    text += &report::table(&rows, 3);
    for check in checks.iter().filter(|check| !check.found.is_empty()) {
        text += &format!("\n{}, {}:\n", check.name, check.ran);
        check.found.iter().take(SHOWN).for_each(|line| text += &format!("  {line}\n"));
        if check.found.len() > SHOWN {
            text += &format!("  and {} more\n", check.found.len() - SHOWN);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_is_named_and_sets_the_exit_code() {
        let check = |name: &str, verdict| Check {
            name: name.into(),
            ran: "GPU kernel, 3 cases".into(),
            verdict,
            worst: None,
            tolerance: None,
            found: vec![],
        };
        let mut checks = vec![check("MatMul", Verdict::Passed), check("Loss", Verdict::Skipped)];
        assert_eq!(verdict(&checks).unwrap(), 0);
        checks.push(check("Dropout", Verdict::Failed));
        let error = verdict(&checks).unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(
            error.to_string().starts_with("1 of 3 checks failed: Dropout (GPU kernel, 3 cases)"),
            "{error}"
        );
    }

    #[test]
    fn the_release_of_wgpu_is_that_of_the_lock_file() {
        let lock = include_str!("../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"wgpu\"\nversion = \"{WGPU}.")));
    }
}
