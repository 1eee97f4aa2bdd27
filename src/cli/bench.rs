use std::fs;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use minilote::gpu::Autotune;
use minilote::peak::Peak;
use minilote::{Device, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::growth::{self, Point};
use super::html::bench::Page;
use super::measure::{NETS, Net, Row, measure, median};
use super::report::significant;
use super::{html, note, print, print_json, report, run};

const EXAMPLES: &str = "\
Examples:
  minilote bench --out before.json
  minilote bench --against before.json
  minilote bench --net small --net wide --device cpu --seconds 5
  minilote bench --growth --report bench.html

Training steps with SGD on synthetic data, with and without batch normalization, are timed in turns.
The limit is what the device does at the most, measured beside them: an operation takes the longer of
its FLOPs at the rate of pure arithmetic and its bytes at the rate of a copy in main memory (what
stays in a cache may be faster than that), and each dispatch adds what an empty one takes.

With --growth a network is timed at sizes of minibatch, width, depth and number of models side by
side: growth / limit's is the growth of its time over the growth of that limit, which is meant to be
1.2 at the most. Where it is more, a larger step reaches less of the limit.";

/// What a saved measurement says it is.
const FORMAT: &str = "minilote bench 1";

/// Time training on networks of several sizes, on the CPU and on the GPU
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Bench {
    /// Where to run, as for train; may be repeated [default: cpu and gpu]
    #[arg(long)]
    device: Vec<String>,

    /// Only this network; may be repeated [default: all, on a software adapter without wide and deep]
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(NETS.map(|net| net.name)))]
    net: Vec<String>,

    /// Seconds that each line of the table is measured, over all its rounds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,

    /// Measure with tiles of products that were measured, too: see train
    #[arg(long, value_enum, default_value = "off")]
    autotune: Autotune,

    /// Also measure how the time of a step grows with minibatch, width, depth and number of models
    #[arg(long)]
    growth: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Save the JSON
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Write the tables and the plot of growth as one HTML file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Compare with what --out saved
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

/// What is read of a saved measurement.
#[derive(Deserialize)]
struct Saved {
    format: String,
    machine: Value,
    rows: Vec<Row>,
}

impl Saved {
    /// The new steps/s over the old, if the same was measured.
    fn ratio(&self, new: &Row) -> Option<f64> {
        let same = |old: &&Row| (&old.net, old.norm, &old.device) == (&new.net, new.norm, &new.device);
        self.rows.iter().find(same).map(|old| new.steps_per_second / old.steps_per_second)
    }
}

/// A network that a software adapter would take minutes for.
#[derive(Serialize)]
struct Skipped {
    net: &'static str,
    device: String,
}

impl Bench {
    pub async fn run(&self) -> Result<u8> {
        if !(self.seconds.is_finite() && self.seconds > 0.0) {
            return Err(Error::Config(format!("--seconds {} must be above 0", self.seconds)));
        }
        let old = self.against.as_deref().map(saved).transpose()?;
        if cfg!(debug_assertions) {
            note("this is a debug build: cargo build --release makes a faster one");
        }
        let devices = self.devices().await?;
        let (mut rows, mut skipped) = (vec![], vec![]);
        for net in NETS.iter().filter(|net| self.net.is_empty() || self.named(net)) {
            let (on, off): (Vec<_>, Vec<_>) =
                devices.iter().partition(|(device, _)| self.named(net) || !net.large || !is_software(device));
            skipped.extend(off.iter().map(|(device, _)| Skipped { net: net.name, device: device.name() }));
            if !on.is_empty() {
                note(&format!("measuring {}", net.describe()));
                rows.extend(measure(net, &on, self.seconds, self.autotune).await?);
            }
        }
        if let Some(old) = &old {
            rows.iter_mut().for_each(|row| row.new_over_old = old.ratio(row));
        }
        let mut points = vec![];
        for on in if self.growth { &devices[..] } else { &[] } {
            note(&format!("measuring growth on {}", on.0.name()));
            points.extend(growth::measure(on, self.seconds, self.autotune).await?);
        }
        let limits: Vec<Value> = devices.iter().map(device_json).collect();
        let json = json!({
            "format": FORMAT, "machine": machine(), "devices": limits, "seconds": self.seconds,
            "autotune": self.autotune, "rows": rows, "norm_costs": norm_costs(&rows), "skipped": skipped,
            "growth": points,
        });
        if self.json {
            print_json(&json)?;
        } else {
            print(&text(&page(&devices, &rows, &skipped, old.as_ref(), &points)))?;
        }
        // Printed already, what was measured is not lost where a file can't be written.
        self.out.as_deref().map_or(Ok(()), |out| run::write_json(out, &json))?;
        if let Some(path) = &self.report {
            let page = page(&devices, &rows, &skipped, old.as_ref(), &points).html();
            html::write_page(path, &page, "--report")?;
        }
        Ok(0)
    }

    fn named(&self, net: &Net) -> bool {
        self.net.iter().any(|name| name == net.name)
    }

    /// The devices, each once, with their limits.
    async fn devices(&self) -> Result<Vec<(Device, Peak)>> {
        let mut chosen: Vec<Device> = vec![];
        let default = ["cpu", "gpu"].map(String::from);
        for name in if self.device.is_empty() { &default[..] } else { &self.device } {
            match Device::choose(name).await {
                Ok((device, line)) if chosen.iter().all(|other| index(other) != index(&device)) => {
                    note(&line);
                    chosen.push(device);
                }
                Ok(_) => {}
                Err(error) if self.device.is_empty() => note(&error.to_string()),
                Err(error) => return Err(error),
            }
        }
        note("measuring the limits");
        let with_peak = |device| Peak::of(&device).map(|peak| (device, peak));
        chosen.into_iter().map(with_peak).collect()
    }
}

/// An adapter's number; none for the CPU backend.
fn index(device: &Device) -> Option<usize> {
    if let Device::Gpu(gpu) = device { Some(gpu.summary().index) } else { None }
}

fn is_software(device: &Device) -> bool {
    matches!(device, Device::Gpu(gpu) if gpu.summary().is_software())
}

fn saved(path: &Path) -> Result<Saved> {
    let refuse = |what: &str| Error::file(path, format!("no measurement that minilote bench saved: {what}"));
    let text = fs::read(path).map_err(|error| Error::file(path, error))?;
    let saved: Saved = serde_json::from_slice(&text).map_err(|error| refuse(&error.to_string()))?;
    if saved.format == FORMAT { Ok(saved) } else { Err(refuse(&format!("its format is {:?}", saved.format))) }
}

/// The program and what it runs on.
pub fn machine() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_string())
    });
    json!({
        "minilote": env!("CARGO_PKG_VERSION"), "debug_build": cfg!(debug_assertions),
        "os": std::env::consts::OS, "arch": std::env::consts::ARCH, "cpu": cpu, "threads": super::devices::threads(),
    })
}

fn device_json((device, peak): &(Device, Peak)) -> Value {
    let adapter = if let Device::Gpu(gpu) = device { Some(gpu.summary()) } else { None };
    json!({ "device": device.name(), "adapter": adapter, "limits": peak })
}

/// What batch normalization costs a network on a device.
#[derive(Serialize)]
struct NormCost<'a> {
    net: &'a str,
    device: &'a str,
    /// The time of a step with it over that of one without, the median over rounds.
    ratio: f64,
}

/// [`measure`] gives the rows with and without it one after the other.
fn norm_costs(rows: &[Row]) -> Vec<NormCost<'_>> {
    fn cost([with, without]: &[Row; 2]) -> NormCost<'_> {
        let ratios: Vec<f64> = with.rounds.iter().zip(&without.rounds).map(|(on, off)| off / on).collect();
        NormCost { net: &with.net, device: &with.device, ratio: median(&ratios) }
    }
    rows.as_chunks().0.iter().map(cost).collect()
}

/// An adapter's name without what its driver adds in brackets.
pub fn short(device: &str) -> &str {
    device.split(" (").next().unwrap_or(device)
}

/// All that a person sees.
fn page<'a>(
    devices: &[(Device, Peak)],
    rows: &[Row],
    skipped: &[Skipped],
    old: Option<&Saved>,
    growth: &'a [Point],
) -> Page<'a> {
    let limits = |(device, peak): &(Device, Peak)| {
        let [flops, bandwidth] = [peak.flops, peak.bandwidth].map(|rate| significant(rate / 1e9, 3));
        let line = format!("limits of {}: {flops} GFLOP/s, {bandwidth} GB/s", device.name());
        let each = significant(peak.dispatch * 1e6, 3);
        if peak.dispatch > 0.0 { format!("{line}, {each} µs a dispatch") } else { line }
    };
    let mut head = vec![
        "net",
        "norm",
        "device",
        "steps/s",
        "lowest – highest",
        "examples/s",
        "GFLOP/s",
        "% of limit",
        "dispatches",
        "host µs each",
        "µs to submit",
        "first step ms",
    ];
    head.extend(old.map(|_| "new/old"));
    let mut steps: Vec<Vec<String>> = vec![head.into_iter().map(String::from).collect()];
    steps.extend(rows.iter().map(|row| cells(row, old.is_some())));
    let cost = |NormCost { net, device, ratio }| {
        format!("step time with / without batch norm: {ratio:.2}, {net} on {}", short(device))
    };
    let mut notes: Vec<String> = norm_costs(rows).into_iter().map(cost).collect();
    notes.extend(skipped.iter().map(|Skipped { net, device }| {
        format!("skipped: {net} on {}, a software adapter: see --net", short(device))
    }));
    if let Some(old) = old.filter(|old| old.machine != machine()) {
        notes.push(format!("the old measurement is of another machine or version: {}", old.machine));
    }
    let limits = devices.iter().map(limits).collect();
    Page { machine: machine_line(), limits, steps, texts: 3, notes, growth }
}

/// The machine in words.
pub fn machine_line() -> String {
    let machine = machine();
    let text = |key: &str| machine[key].as_str().unwrap_or("unknown").to_string();
    let build = if cfg!(debug_assertions) { ", a debug build" } else { "" };
    format!(
        "minilote {}{build} on {} {}, CPU {} with {} threads",
        text("minilote"),
        text("os"),
        text("arch"),
        text("cpu"),
        machine["threads"]
    )
}

fn text(page: &Page) -> String {
    let mut text = page.limits.join("\n") + "\n";
    if page.steps.len() > 1 {
        text += &format!("\n{}\n{}\n", report::table(&page.steps, page.texts), page.notes.join("\n"));
    }
    if !page.growth.is_empty() {
        let table = report::table(&growth::cells(page.growth), growth::TEXTS);
        text += &format!("\n{table}\n{}\n", growth::summary(page.growth));
    }
    text
}

fn cells(row: &Row, compared: bool) -> Vec<String> {
    let dash = || "-".to_string();
    let number = |value: f64| significant(value, 4);
    let least = row.rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = row.rounds.iter().copied().fold(0.0, f64::max);
    let mut cells = vec![
        row.net.clone(),
        format!("{:?}", row.norm).to_lowercase(),
        short(&row.device).into(),
        number(row.steps_per_second),
        format!("{} – {}", number(least), number(most)),
        format!("{:.0}", row.examples_per_second),
        significant(row.gflops, 3),
        format!("{:.0}", row.percent_of_limit),
        row.dispatches.to_string(),
        row.host_us_per_dispatch.map_or_else(dash, |host| format!("{host:.2}")),
        row.host_us_per_submission.map_or_else(dash, |host| format!("{host:.0}")),
        format!("{:.1}", row.first_step_ms),
    ];
    if compared {
        cells.push(row.new_over_old.map_or_else(dash, |ratio| format!("{ratio:.2}")));
    }
    cells
}
