use std::path::{Path, PathBuf};
use std::time::Duration;

use minilote::diagnosis::{Setup, path_of};
use minilote::files::write_whole;
use minilote::gpu::Tuning;
use minilote::program::Mode;
use minilote::sweep::Trained;
use minilote::train::{Config, End, Outcome, Trainer, TrainingData, resume, train};
use minilote::{Device, Error, Result};
use serde::Serialize;
use serde_json::json;

use super::checkpoints::{self, Every};
use super::curve::{LearningCurve, Planned};
use super::progress::{Settings, Watch, catch_interrupts, interrupted};
use super::run::Claim;
use super::summary::{Judged, Summary, summary, text};
use super::{config, importance, note, print, print_json, report, run};

const EXAMPLES: &str = "\
Examples:
  minilote train flowers.csv --target species
  minilote train houses.csv --target price --task regression --hidden 128,64 --optimizer adamw
  minilote train train-images-idx3-ubyte.gz --test 0 --batch 256
  minilote train houses.csv --target price --learning-curve --importance
  minilote train --config runs/flowers-1/config.toml --lr 0.001
  minilote train --resume runs/flowers-1

A run directory holds config.toml (repeats the run), environment.json, log.jsonl, model.safetensors
(the best epoch), summary.json, predictions.csv (of the rows that it is scored on), report.html and, where
they were asked for, learning_curve.csv and importance.csv. Ctrl-C ends a run with its best model and a checkpoint,
from which --resume goes on; a second one quits at once.";

/// Train a network on a CSV table or IDX images
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_override_self = true, allow_negative_numbers = true)]
pub struct Train {
    /// A CSV file with a header (semicolons, with decimal commas, and tabs separate, too), or an IDX file of images; gzip is fine
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

    /// Go on with a run that was interrupted or killed, from its newest checkpoint, with its own data, settings,
    /// device and logs: it ends with the same bits as without the stop. Flags that are not of training, as
    /// --importance or --checkpoint-every, are to be given again
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config_file", "out", "force"])]
    resume: Option<PathBuf>,

    /// How often to save a checkpoint that --resume goes on from: steps, or a time as 90s, 10m or 1h; 0 for none
    /// but at an interruption
    #[arg(long, value_name = "STEPS|TIME", default_value = "10m")]
    checkpoint_every: Every,

    /// End training after this time, as after Ctrl-C but with success: 90s, 10m or 1.5h
    #[arg(long, value_name = "TIME", value_parser = checkpoints::time)]
    max_time: Option<Duration>,

    /// Write what log.jsonl has for TensorBoard, too: events.out.tfevents.minilote
    #[arg(long)]
    tensorboard: bool,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,

    /// Show no progress and no notes
    #[arg(long)]
    quiet: bool,

    #[command(flatten)]
    curve: LearningCurve,

    /// Measure by how much loss and error rise as the values of a column are shuffled among the test rows (of a
    /// table; the validation rows where there are no test rows), for each column
    #[arg(long, help_heading = "Diagnosis")]
    importance: bool,

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

/// What --json prints.
#[derive(Serialize)]
struct Printed<'a> {
    run: String,
    model: String,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// The summary of a run that has no model.
#[derive(Serialize)]
struct WithoutModel<'a> {
    run: String,
    end: &'static str,
    error: String,
    #[serde(flatten)]
    judged: &'a Judged,
}

impl Train {
    fn path(&self) -> Result<&PathBuf> {
        self.path.as_ref().or(self.data.as_ref()).ok_or_else(|| {
            Error::Config("DATA is missing: minilote train DATA --target COLUMN; see --help".into())
        })
    }

    pub async fn run(&self) -> Result<u8> {
        let path = self.path()?;
        self.config.check()?;
        if let Some(out) = &self.out {
            run::check(out, self.force)?;
        }
        let claim = self.resume.as_ref().map(|run| run::claim(run)).transpose()?;
        let checkpoint = self.resume.as_ref().map(|run| checkpoints::newest(run)).transpose()?;
        let (device, device_line) = Device::choose(&self.device).await?;
        let data = TrainingData::read(path, &self.config)?;
        self.tell([&device_line]);
        self.tell(self.config.without_effect());
        self.tell(&data.notes);
        self.tell([report::data(&data)]);
        if self.importance {
            importance::check(&data.inputs)?;
        }
        let curve = self.curve.plan(&data, &self.config, &device)?;
        let mut trainer = Trainer::new(data, self.config.clone(), &device).await?;
        self.tell(&trainer.tuning().notes);
        self.tell(trainer.engine().note());
        self.tell(report::tuning(trainer.tuning()));

        // All that can be wrong with the request has been found: from here on there is a directory.
        let (directory, _claim) = match self.resume.clone().zip(claim) {
            Some(resumed) => resumed,
            None => self.begin(path, environment(&device, &device_line, trainer.tuning()))?,
        };
        let length = (trainer.steps_per_epoch() * self.config.epochs, self.config.epochs);
        let mut watch = Watch::new(&directory, &self.settings(), length, &device_line, checkpoint.as_ref())?;
        catch_interrupts()?;
        let outcome = match checkpoint {
            Some(checkpoint) => resume(&mut trainer, checkpoint, &mut watch).await,
            None => train(&mut trainer, &mut watch).await,
        };
        watch.finish();
        self.conclude(outcome, trainer, watch, curve, &device, &directory).await
    }

    /// Saves, measures and judges what training came to; gives the exit code.
    async fn conclude(
        &self,
        outcome: Result<Outcome>,
        trainer: Trainer,
        mut watch: Watch,
        curve: Option<Planned>,
        device: &Device,
        directory: &Path,
    ) -> Result<u8> {
        match &outcome {
            Ok(outcome) => self.save(outcome, watch.failed.take(), directory)?,
            Err(_) => watch.failed.iter().for_each(|error| note(&error.to_string())),
        }
        let (path, batch) = (self.path()?, batch(&trainer));
        let data = trainer.into_data();
        let trained = [(self.config.clone(), outcome)];
        let trained = Trained::measure(&data, trained, device).await?.swap_remove(0);
        let named = path.display().to_string();
        let judged = Judged::new(&trained, &data, &self.setup(&named));
        let outcome = match trained.outcome {
            Ok(outcome) => outcome,
            Err(error) => return Err(self.without_model(error, &judged, directory)),
        };
        let mut summary = summary(&outcome, judged, &data, batch, device, &watch, directory).await?;
        summary.save(directory)?;
        let mut broken = None;
        if curve.is_some() || self.importance {
            let judged = &mut summary.judged;
            broken = self.look_closer(&outcome, curve, &data, device, directory, judged).await?;
            summary.save(directory)?;
        }
        self.report(&summary, directory, path)?;
        match outcome.end {
            End::Finished | End::Stopped => checkpoints::clear(directory)?,
            End::Interrupted => {
                self.tell([format!("to go on: minilote train --resume {}", path_of(directory))]);
            }
            End::Diverged(_) | End::Lost(_) => {}
        }
        let time_was_up = watch.time_is_up && broken.is_none();
        match broken.unwrap_or(outcome.end) {
            End::Finished | End::Stopped => Ok(0),
            End::Interrupted if time_was_up => Ok(0),
            End::Interrupted => Ok(interrupted().unwrap_or(130)),
            End::Diverged(error) | End::Lost(error) => Err(error),
        }
    }

    /// Notes lines, if they are wanted.
    fn tell(&self, lines: impl IntoIterator<Item = impl AsRef<str>>) {
        lines.into_iter().filter(|_| !self.quiet).for_each(|line| note(line.as_ref()));
    }

    /// Leaves a summary where a run diverged before it had a model, and gives the error that ends it.
    fn without_model(&self, error: Error, judged: &Judged, directory: &Path) -> Error {
        if !matches!(error, Error::Diverged { .. }) {
            return error;
        }
        note(report::diagnosis(&judged.diagnosis).trim_end());
        let (run, ended) = (directory.display().to_string(), error.to_string());
        let failed = WithoutModel { run, end: "diverged", error: ended, judged };
        // Of a run that was interrupted before, the model has its summary.
        let saved = match directory.join(run::MODEL).exists() {
            true => Ok(()),
            false => run::write_json(&directory.join(run::SUMMARY), &failed),
        };
        let printed = if self.json { print_json(&failed) } else { Ok(()) };
        [saved, printed].into_iter().flat_map(Result::err).for_each(|error| note(&error.to_string()));
        error
    }

    /// Saves the model. What ended the run without more to do, a file that could not be written or a lost device, is then
    /// returned; where there are several errors, the others are noted.
    fn save(&self, outcome: &Outcome, failed: Option<Error>, directory: &Path) -> Result<()> {
        let path = directory.join(run::MODEL);
        let saved = outcome.model.save(&path);
        // Of the weights before, where the run went on without it being asked for again.
        let importance = directory.join(run::IMPORTANCE);
        if saved.is_ok() && self.resume.is_some() && importance.exists() {
            checkpoints::remove(&importance)?;
            if !self.quiet && !self.importance {
                note(
                    "importance.csv was of the weights before: with --resume --importance it is measured anew",
                );
            }
        }
        let error = match (failed, &outcome.end) {
            (Some(failed), End::Lost(error) | End::Diverged(error)) => {
                note(&error.to_string());
                failed
            }
            (Some(failed), _) => failed,
            (None, End::Lost(error)) => error.clone(),
            (None, _) => return saved,
        };
        match saved {
            Ok(()) => note(&format!("the best model so far is saved: {}", path.display())),
            Err(error) => note(&format!("the model can't be saved: {error}")),
        }
        Err(error)
    }

    /// The configuration file that stands before the flags.
    pub fn settings_file(&self) -> Option<PathBuf> {
        self.resume.as_ref().map(|run| run.join(run::CONFIG)).or(self.config_file.clone())
    }

    fn settings(&self) -> Settings {
        let (every, max_time) = (self.checkpoint_every, self.max_time);
        let (log_steps, tensorboard) = (self.log == Log::Step, self.tensorboard);
        Settings { log_steps, tensorboard, quiet: self.quiet, every, max_time }
    }

    /// Makes the directory of a new run.
    fn begin(&self, path: &Path, environment: serde_json::Value) -> Result<(PathBuf, Claim)> {
        let config = config::resolved(&self.config, path, &self.device)?;
        let (directory, claim) = run::create(self.out.as_deref(), path, self.force)?;
        write_whole(&directory.join(run::CONFIG), config.as_bytes())?;
        run::write_json(&directory.join(run::ENVIRONMENT), &environment)?;
        Ok((directory, claim))
    }

    /// Adds the learning curve and the columns' importance where they were asked for, which may take long; what ended
    /// either before it was whole.
    async fn look_closer(
        &self,
        outcome: &Outcome,
        curve: Option<Planned>,
        data: &TrainingData,
        device: &Device,
        directory: &Path,
        judged: &mut Judged,
    ) -> Result<Option<End>> {
        let mut broken = None;
        let whole = matches!(outcome.end, End::Finished | End::Stopped);
        if curve.is_some() && !whole {
            let again =
                if matches!(outcome.end, End::Interrupted) { ": ask for it again with --resume" } else { "" };
            note(&format!("the learning curve is left out, as training did not end{again}"));
        }
        if let Some(planned) = curve.filter(|_| whole) {
            match planned.run(data, device, self.quiet, directory).await? {
                Ok(curve) => judged.learn(curve, &self.setup(&self.path()?.display().to_string())),
                Err(end) => broken = Some(end),
            }
        }
        if self.importance && !matches!(broken, Some(End::Lost(_))) {
            let (model, seed) = (&outcome.model, self.config.seed);
            judged.importance(model, data, seed, device, directory, self.quiet).await?;
            broken = broken.or(interrupted().map(|_| End::Interrupted));
        }
        Ok(broken)
    }

    /// What the model was made by, of the data file of this name.
    fn setup<'a>(&'a self, data: &'a str) -> Setup<'a> {
        Setup { data, device: &self.device, config: &self.config, seeds: 1 }
    }

    fn report(&self, summary: &Summary, directory: &Path, data: &Path) -> Result<()> {
        let run = directory.display().to_string();
        let path = directory.join(run::MODEL).display().to_string();
        if self.json {
            return print_json(&Printed { run, model: path, summary });
        }
        let text = text(summary, self.config.epochs);
        let report = directory.join(run::REPORT);
        print(&format!(
            "{text}run: {run}\nreport: {}\nnext: minilote predict {} {}\n",
            report.display(),
            path_of(&directory.join(run::MODEL)),
            path_of(data)
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
