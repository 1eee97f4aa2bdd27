use std::path::{Path, PathBuf};

use minilote::data::Inputs;
use minilote::gpu::Tuning;
use minilote::model::{Model, Source, write_whole};
use minilote::program::Mode;
use minilote::train::{
    Config, End, Outcome, Scores, SourceReport, Trainer, TrainingData, Validation, score, train,
};
use minilote::{Device, Error, Result};
use ndarray::{Array1, Array2};
use serde::Serialize;
use serde_json::json;

use super::progress::{Watch, catch_interrupts};
use super::report::{self, Fold};
use super::{config, html, note, predictions, print, print_json, run};

const EXAMPLES: &str = "\
Examples:
  minilote train flowers.csv --target species
  minilote train houses.csv --target price --task regression --hidden 128,64 --optimizer adamw
  minilote train train-images-idx3-ubyte.gz --test 0 --batch 256
  minilote train --config runs/flowers-1/config.toml --lr 0.001

A run directory holds config.toml (repeats the run), environment.json, log.jsonl, model.safetensors
(the best epoch), summary.json, predictions.csv (of the rows that it is scored on) and report.html. Ctrl-C ends a run with its best model; a second one quits at once.";

/// Train a network on a CSV table or IDX images
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_override_self = true, allow_negative_numbers = true)]
pub struct Train {
    /// A CSV file with a header, or an IDX file of images; gzip is fine
    #[arg(value_name = "DATA")]
    path: Option<PathBuf>,

    /// The configuration file's way to say DATA
    #[arg(long, value_name = "DATA", hide = true)]
    pub data: Option<PathBuf>,

    /// Take flags from a TOML file, as in: hidden = [64, 64]. Its keys are the long flags, and "data" for
    /// DATA; its paths are relative to the working directory; flags given here come first
    #[arg(long = "config", value_name = "FILE")]
    pub config_file: Option<PathBuf>,

    /// Where to run: auto, cpu, gpu, or an adapter's number or name: see minilote devices
    #[arg(long, default_value = "auto")]
    pub device: String,

    /// The run directory [default: the first free of runs/NAME-1, runs/NAME-2, …, NAME from DATA]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Overwrite the run that --out holds
    #[arg(long)]
    force: bool,

    /// What log.jsonl has a line for
    #[arg(long, value_enum, default_value = "epoch")]
    log: Log,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,

    /// Show no progress and no notes
    #[arg(long)]
    quiet: bool,

    #[command(flatten)]
    pub config: Config,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Log {
    /// Each update, and each epoch
    Step,
    /// Each epoch
    Epoch,
}

/// What `summary.json` holds.
#[derive(Serialize)]
struct Summary {
    /// finished, stopped (early), interrupted or diverged.
    end: &'static str,
    epochs: usize,
    best_epoch: usize,
    updates: u64,
    valid: Option<Validation>,
    test: Option<Scores>,
    statistics: Source,
    sources: Vec<SourceReport>,
    fold: Option<Fold>,
    /// Rows of each part.
    rows: Parts,
    /// Rows of a whole minibatch.
    batch: usize,
    /// The part that predictions.csv is of: test, or valid, or train.
    scored: &'static str,
    seconds: f64,
    examples_per_second: f64,
}

#[derive(Serialize)]
struct Parts {
    train: usize,
    valid: usize,
    test: usize,
}

/// What --json prints.
#[derive(Serialize)]
struct Printed<'a> {
    run: String,
    model: String,
    #[serde(flatten)]
    summary: &'a Summary,
}

impl Train {
    pub async fn run(&self) -> Result<u8> {
        let path = self.path.as_ref().or(self.data.as_ref()).ok_or_else(|| {
            Error::Config("DATA is missing: minilote train DATA --target COLUMN; see --help".into())
        })?;
        self.config.check()?;
        if let Some(out) = &self.out {
            run::check(out, self.force)?;
        }
        let (device, device_line) = Device::choose(&self.device).await?;
        let data = TrainingData::read(path, &self.config)?;
        if !self.quiet {
            note(&device_line);
            data.notes.iter().for_each(|line| note(line));
            note(&report::data(&data));
        }
        let mut trainer = Trainer::new(data, self.config.clone(), &device).await?;
        if !self.quiet {
            trainer.tuning().notes.iter().for_each(|line| note(line));
            trainer.engine().note().iter().for_each(|line| note(line));
            report::tuning(trainer.tuning()).iter().for_each(|line| note(line));
        }

        // All that can be wrong with the request has been found: from here on there is a directory.
        let config = config::resolved(&self.config, path, &self.device)?;
        let directory = run::create(self.out.as_deref(), path, self.force)?;
        write_whole(&directory.join(run::CONFIG), config.as_bytes())?;
        run::write_json(
            &directory.join(run::ENVIRONMENT),
            &environment(&device, &device_line, trainer.tuning()),
        )?;
        let steps = trainer.steps_per_epoch() * self.config.epochs;
        let log = directory.join(run::LOG);
        let mut watch = Watch::new(log, self.log == Log::Step, self.quiet, steps, self.config.epochs)?;
        catch_interrupts()?;
        let outcome = train(&mut trainer, &mut watch).await;
        watch.finish();
        let outcome = outcome?;
        outcome.model.save(&directory.join(run::MODEL))?;
        if let End::Lost(error) = outcome.end {
            note(&format!("the best model so far is saved: {}", directory.join(run::MODEL).display()));
            return Err(error);
        }
        let batch = batch(&trainer);
        let summary = summary(&outcome, trainer.into_data(), batch, &device, &watch, &directory).await?;
        run::write_json(&directory.join(run::SUMMARY), &summary)?;
        html::write(&directory)?;
        self.report(&outcome.model, &summary, &directory, path)?;
        match outcome.end {
            End::Finished | End::Stopped => Ok(0),
            End::Interrupted => Ok(130),
            End::Diverged(error) | End::Lost(error) => Err(error),
        }
    }

    fn report(&self, model: &Model, summary: &Summary, directory: &Path, data: &Path) -> Result<()> {
        let run = directory.display().to_string();
        let path = directory.join(run::MODEL).display().to_string();
        if self.json {
            return print_json(&Printed { run, model: path, summary });
        }
        let text = text(model, summary, self.config.epochs);
        let report = directory.join(run::REPORT);
        print(&format!(
            "{text}run: {run}\nreport: {}\nnext: minilote predict {path} {}\n",
            report.display(),
            data.display()
        ))
    }
}

/// What a run's speed and its last digits may depend on.
pub fn environment(device: &Device, line: &str, tuning: &Tuning) -> serde_json::Value {
    let adapter = if let Device::Gpu(gpu) = device { Some(gpu.summary()) } else { None };
    json!({
        "minilote": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "device": line.trim_start_matches("device: "),
        "adapter": adapter,
        "cpu_threads": super::devices::threads(),
        "tuning": tuning.choices,
    })
}

/// Rows of a whole minibatch.
fn batch(trainer: &Trainer) -> usize {
    let programs = trainer.engine().plan().programs.iter();
    programs.filter(|program| program.mode == Mode::Train).map(|program| program.rows).max().unwrap_or(0)
}

/// Measures the trained model on the test rows, or where there are none on others, and writes its predictions.
async fn summary(
    outcome: &Outcome,
    data: TrainingData,
    batch: usize,
    device: &Device,
    watch: &Watch,
    directory: &Path,
) -> Result<Summary> {
    let model = &outcome.model;
    let split = &data.split;
    let parts = [("test", &split.test), ("valid", &split.valid), ("train", &split.train)];
    let (scored, rows) = parts.into_iter().find(|(_, rows)| !rows.is_empty()).unwrap_or(parts[2]);
    let inputs: Inputs = data.inputs.select(rows);
    let (outputs, fold) = report::outputs(model, &inputs, device).await?;
    let targets = targets_of(model, &data, rows);
    predictions::write(&directory.join(run::PREDICTIONS), model, &outputs, &targets)?;
    let test = (scored == "test").then(|| score(model, &outputs, &targets));
    Ok(Summary {
        end: match outcome.end {
            End::Finished => "finished",
            End::Stopped => "stopped",
            End::Interrupted => "interrupted",
            End::Diverged(_) => "diverged",
            End::Lost(_) => "lost",
        },
        epochs: outcome.epochs,
        best_epoch: outcome.best_epoch,
        updates: model.updates,
        valid: outcome.valid,
        test,
        statistics: model.source,
        sources: outcome.sources.clone(),
        fold,
        rows: Parts { train: split.train.len(), valid: split.valid.len(), test: split.test.len() },
        batch,
        scored,
        seconds: watch.elapsed(),
        examples_per_second: watch.rows as f64 / watch.seconds.max(1e-9),
    })
}

/// The scores of a model with these outputs for some rows of the data that it was trained with.
pub fn scores_of(model: &Model, data: &TrainingData, rows: &[u32], outputs: &Array2<f64>) -> Scores {
    score(model, outputs, &targets_of(model, data, rows))
}

/// Targets in the table's own units.
fn targets_of(model: &Model, data: &TrainingData, rows: &[u32]) -> Array1<f64> {
    let own = |&row: &u32| match &model.target {
        Some(target) => target.invert_value(0, data.targets[row as usize]),
        None => data.targets[row as usize],
    };
    rows.iter().map(own).collect()
}

/// The summary for people.
fn text(model: &Model, summary: &Summary, epochs: usize) -> String {
    let (epoch, best) = (summary.epochs, summary.best_epoch);
    let mut text = match summary.end {
        "finished" => format!("finished {epoch} epochs"),
        "stopped" => format!("stopped early after epoch {epoch} of {epochs}, as validation got no better"),
        end => format!("{end} in epoch {epoch} of {epochs}"),
    };
    text += &format!(
        " ({:.1} s, {:.0} examples/s); the model is that of epoch {best}\n",
        summary.seconds, summary.examples_per_second
    );
    if let Some(valid) = &summary.valid {
        text += &format!("valid: loss {}\n", report::loss(valid.loss, valid.accuracy));
    }
    if let Some(test) = &summary.test {
        text += &format!("test: {}", report::scores(model, test));
    }
    if !summary.sources.is_empty() {
        let of = |report: &SourceReport| {
            let name = format!("{:?}", report.source).to_lowercase();
            let used = if report.source == summary.statistics { " (used)" } else { "" };
            format!("{name} {}{used}", report::number(report.loss))
        };
        let all: Vec<String> = summary.sources.iter().map(of).collect();
        let rows = if summary.valid.is_some() { "validation" } else { "training" };
        text += &format!("{rows} loss by statistics: {}\n", all.join(", "));
    }
    text + &summary.fold.as_ref().map_or(String::new(), report::fold)
}
