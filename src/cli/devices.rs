use minilote::Result;
use minilote::engine::automatic;
use minilote::gpu::{AdapterSummary, adapters};
use minilote::program::bytes;
use serde_json::json;

use super::{print, print_json, report};

const EXAMPLES: &str = "\
Examples:
  minilote devices
  minilote train flowers.csv --target species --device 1";

/// List where training can run, and what --device auto takes
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Devices {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub async fn run(&self) -> Result<u8> {
        let found = adapters().await;
        let auto = automatic(&found).map_or("cpu".into(), |adapter| adapter.index.to_string());
        if self.json {
            print_json(&json!({ "adapters": found, "cpu": { "threads": threads() }, "auto": auto }))?;
        } else {
            print(&table(&found, &auto))?;
        }
        Ok(0)
    }
}

/// Threads of the CPU backend.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn table(found: &[AdapterSummary], auto: &str) -> String {
    let head = ["--device", "name", "backend", "kind", "driver", "largest binding"].map(String::from);
    let mut rows = vec![head];
    rows.extend(found.iter().map(|adapter| {
        let AdapterSummary { index, name, backend, kind, driver, max_binding } = adapter.clone();
        let kind = if adapter.is_software() { "software".into() } else { kind };
        [index.to_string(), name, backend, kind, driver, bytes(max_binding)]
    }));
    let dash = || "-".to_string();
    rows.push(["cpu".into(), "CPU backend".into(), dash(), format!("{} threads", threads()), dash(), dash()]);
    report::table(&rows, 6) + &format!("--device auto takes {auto}\n")
}
