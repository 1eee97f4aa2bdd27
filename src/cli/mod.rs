//! The `minilote` command: arguments in, an exit code out. Results go to standard output, all else to
//! standard error.

mod bench;
mod checkpoints;
mod columns;
mod config;
mod curve;
mod devices;
mod doctor;
mod evaluate;
mod growth;
mod html;
mod importance;
mod inspect;
mod log;
mod measure;
mod predict;
mod predictions;
mod progress;
mod projection;
mod report;
mod run;
mod shared;
mod summary;
mod sweep;
mod tensorboard;
mod train;
mod watch;

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use minilote::{Error, Result};
use pollster::block_on;

pub use config::arguments_of;

const EXAMPLES: &str = "\
Examples:
  minilote train flowers.csv --target species
  minilote sweep flowers.csv --target species --hidden 8,16,32 --lambda 0,0.1,1
  minilote predict runs/flowers-1/model.safetensors new.csv --out predictions.csv
  minilote report runs/flowers-1 runs/flowers-2

Exit codes: 0 success, 2 usage, 3 data, 4 device, 5 training diverged, 6 files, 7 too large for the
device, 130 interrupted, 143 terminated.";

/// Trains neural networks with batch normalization on any GPU, or on the CPU
#[derive(Parser)]
#[command(name = "minilote", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(Box<train::Train>),
    Sweep(Box<sweep::Sweep>),
    Evaluate(evaluate::Evaluate),
    Predict(predict::Predict),
    Report(html::Report),
    Devices(devices::Devices),
    Doctor(doctor::Doctor),
    Inspect(Box<inspect::Inspect>),
    Bench(bench::Bench),
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    match run(std::env::args_os().collect()) {
        Ok(code) => code.into(),
        Err(error) => {
            note(&format!("error: {error}"));
            error.exit_code().into()
        }
    }
}

fn run(arguments: Vec<OsString>) -> Result<u8> {
    let parse = |arguments| Cli::try_parse_from(arguments).unwrap_or_else(|error| error.exit());
    let mut command = parse(arguments.clone()).command;
    if let Command::Train(train) = &command
        && let Some(file) = train.settings_file()
    {
        // Behind `minilote train` and before the person's own flags, of which the last one wins.
        let mut all = arguments;
        all.splice(2..2, config::arguments(&file)?);
        command = parse(all).command;
    }
    match command {
        Command::Train(train) => block_on(train.run()),
        Command::Sweep(sweep) => block_on(sweep.run()),
        Command::Evaluate(evaluate) => block_on(evaluate.run()),
        Command::Predict(predict) => block_on(predict.run()),
        Command::Report(report) => report.run(),
        Command::Devices(devices) => block_on(devices.run()),
        Command::Doctor(doctor) => block_on(doctor.run()),
        Command::Inspect(inspect) => inspect.run(),
        Command::Bench(bench) => block_on(bench.run()),
    }
}

/// Writes results to standard output. Who reads it may stop early, as `head` does: that is no failure.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::file(Path::new("standard output"), error))
        }
        _ => Ok(()),
    }
}

/// [`print`] of JSON on one line.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|error| Error::Config(error.to_string()))?;
    print(&(text + "\n"))
}

/// What a person sees of a loss that training survived.
fn recovered(error: &Error, updates: usize) {
    note(&format!("{error}\ntraining goes on from step {updates}, on the same adapter opened anew"));
}

/// A line to standard error; there is nobody to tell if that fails. What a terminal would obey, as names in a file may
/// hold, is shown instead.
fn note(line: &str) {
    let show = |letter: char| match letter {
        '\n' | '\t' => letter.to_string(),
        _ if letter.is_control() => letter.escape_default().to_string(),
        _ => letter.to_string(),
    };
    let _ = writeln!(std::io::stderr(), "{}", line.chars().map(show).collect::<String>());
}
