use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use minilote::diagnosis::{Diagnosis, Setup};
use minilote::files::write_whole;
use minilote::gpu::Tuning;
use minilote::model::Model;
use minilote::sweep::{Grid, Leaderboard, Row, label, passes, sweep};
use minilote::train::{
    Config, End, Epoch, Observer, Predictor, Progress, Scores, Sizes, StepRecord, TrainingData, Validation,
};
use minilote::{Device, Error, Result, Task};
use serde::Serialize;
use serde_json::Value;

use super::progress::{bar, catch_interrupts, interrupted};
use super::report::{self, number, percent, spread};
use super::shared::Shared;
use super::summary::scores_of;
use super::train::environment;
use super::{html, note, print, print_json, run};

const EXAMPLES: &str = "\
Examples:
  minilote sweep flowers.csv --target species
  minilote sweep flowers.csv --target species --hidden 8,16,32x32 --lambda 0,0.1,1 --lr 0.001,0.01 --seeds 5
  minilote predict runs/flowers-1/best.safetensors new.csv

Every combination is trained with each seed, as many models at once as fit the device, and stops by itself. All
models have the split of --seed. A combination is ranked by the mean validation loss of its seeds. A run directory
holds leaderboard.csv, leaderboard.json (each seed, too), best.safetensors (of the best combination, the seed
with the lowest validation loss), environment.json and report.html. Ctrl-C ends a sweep with what was trained; a second one
quits at once.";

/// Rows of the leaderboard that are shown; its files have all.
const SHOWN: usize = 10;

/// Train the models of a grid of settings side by side, and compare them
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_override_self = true, allow_negative_numbers = true)]
pub struct Sweep {
    /// A CSV file with a header, or an IDX file of images; gzip is fine
    #[arg(value_name = "DATA")]
    path: PathBuf,

    /// Hidden layers to try: 8,16 are two networks of one layer, 32x32,64x32 two of two; "none" is a
    /// linear model
    #[arg(
        long, value_name = "SIZES,…", value_delimiter = ',', value_parser = sizes, default_value = "16,32,64",
        help_heading = "Grid"
    )]
    hidden: Vec<Sizes>,

    /// L2 regularization to try: as for train, lambda/(2m) · Σ weight² is added to the loss
    #[arg(
        long,
        value_name = "LAMBDA,…",
        value_delimiter = ',',
        default_value = "0,0.1,1,10",
        help_heading = "Grid"
    )]
    lambda: Vec<f64>,

    /// Learning rates to try [default: the optimizer's, as for train]
    #[arg(long, value_name = "LR,…", value_delimiter = ',', help_heading = "Grid")]
    lr: Vec<f64>,

    /// Models of each combination: those of --seed and the numbers that follow it, which decide initial
    /// weights, the order of rows and dropout
    #[arg(long, value_name = "COUNT", default_value_t = 3, help_heading = "Grid")]
    seeds: usize,

    /// Where to run: auto, cpu, gpu, or an adapter's number or name: see minilote devices
    #[arg(long, default_value = "auto")]
    device: String,

    /// The run directory [default: the first free of runs/NAME-1, runs/NAME-2, …, NAME from DATA]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Overwrite the run that --out holds
    #[arg(long)]
    force: bool,

    /// Print the leaderboard as JSON
    #[arg(long)]
    json: bool,

    /// Show no progress and no notes
    #[arg(long)]
    quiet: bool,

    #[command(flatten)]
    shared: Shared,

    /// Of train alone.
    #[arg(long, hide = true, num_args = 0..=1)]
    config: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    log: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    init_weights: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    autotune: Option<Option<String>>,
}

/// One of --hidden.
fn sizes(text: &str) -> Result<Sizes, String> {
    text.replace('x', ",").parse().map_err(|message: String| message.replace("64,64", "64x64"))
}

/// What `leaderboard.json` holds.
#[derive(Serialize)]
struct Summary<'a> {
    data: String,
    device: &'a str,
    task: Task,
    /// finished, interrupted or lost.
    end: &'static str,
    /// Of all, those that were trained.
    models: usize,
    trained: usize,
    seconds: f64,
    grid: &'a Grid,
    /// Shared by all; "seed" is that of the split and the first model.
    settings: Value,
    /// Of the best combination, the seed whose model was kept.
    best_seed: u64,
    /// Of the best model, on the test rows.
    test: Option<Scores>,
    /// Of the best combination.
    diagnosis: Option<&'a Diagnosis>,
    #[serde(flatten)]
    leaderboard: &'a Leaderboard,
}

/// What --json prints.
#[derive(Serialize)]
struct Printed<'a> {
    run: String,
    model: String,
    #[serde(flatten)]
    summary: &'a Summary<'a>,
}

impl Sweep {
    fn grid(&self) -> Result<Grid> {
        for (flag, given, way_out) in [
            ("config", &self.config, "give a sweep's settings as flags"),
            ("log", &self.log, "leaderboard.json has each seed's epochs and losses"),
            ("init-weights", &self.init_weights, "a sweep's models start from the weights of their seeds"),
            ("autotune", &self.autotune, "a sweep shares products out by the rule"),
        ] {
            if given.is_some() {
                return Err(Error::Config(format!("--{flag} is of train alone: {way_out}")));
            }
        }
        let (hidden, lambda, lr) = (self.hidden.clone(), self.lambda.clone(), self.lr.clone());
        Ok(Grid { hidden, lambda, lr, seeds: self.seeds })
    }

    pub async fn run(&self) -> Result<u8> {
        let grid = self.grid()?;
        let configs = grid.configs(&self.shared.0)?;
        if let Some(out) = &self.out {
            run::check(out, self.force)?;
        }
        let (device, device_line) = Device::choose(&self.device).await?;
        let data = TrainingData::read(&self.path, &self.shared.0)?;
        let passes = passes(&data, &configs, &device)?;
        if !self.quiet {
            note(&device_line);
            data.notes.iter().for_each(|line| note(line));
            note(&report::data(&data));
            let (models, combinations) = (configs.len(), configs.len() / self.seeds);
            let times =
                if passes.len() == 1 { "at once".into() } else { format!("in {} passes", passes.len()) };
            let seeds = self.seeds;
            note(&format!("sweep: {combinations} combinations × {seeds} seeds = {models} models, {times}"));
        }

        // All that can be wrong with the request has been found: from here on there is a directory.
        let directory = run::create(self.out.as_deref(), &self.path, self.force)?;
        run::write_json(
            &directory.join(run::ENVIRONMENT),
            &environment(&device, &device_line, &Tuning::default()),
        )?;
        let mut watch = Watch::new(&configs, self.quiet);
        catch_interrupts()?;
        let started = Instant::now();
        let done = sweep(&data, &configs, &passes, &device, &mut watch).await;
        watch.finish();
        let done = done?;
        let leaderboard = Leaderboard::new(&done.trained, &data);
        let named = self.path.display().to_string();
        // What a device did not live to measure is not judged.
        let judged = leaderboard.rows.first().filter(|_| !matches!(done.broken, Some(End::Lost(_))));
        let diagnosis = judged.map(|row| {
            let (config, seeds) = (&row.config, self.seeds);
            Diagnosis::new(&row.evidence, &Setup { data: &named, device: &self.device, config, seeds })
        });
        let best = leaderboard.best.map(|best| &done.trained[best]);
        let Some((best, Ok(outcome))) = best.map(|best| (best, &best.outcome)) else {
            diagnosis.iter().for_each(|diagnosis| note(report::diagnosis(diagnosis).trim_end()));
            // All diverged: any of them says how.
            return Err(done
                .trained
                .into_iter()
                .find_map(|model| model.outcome.err())
                .unwrap_or_else(|| Error::Config("no model was trained before the sweep was ended".into())));
        };

        let path = directory.join(run::BEST);
        outcome.model.save(&path)?;
        write_whole(&directory.join(run::LEADERBOARD_CSV), leaderboard.csv().as_bytes())?;
        let summary = Summary {
            data: named.clone(),
            device: &self.device,
            task: data.task,
            end: match done.broken {
                None => "finished",
                Some(End::Lost(_)) => "lost",
                Some(_) => "interrupted",
            },
            models: configs.len(),
            trained: done.trained.len(),
            seconds: started.elapsed().as_secs_f64(),
            grid: &grid,
            settings: self.shared.settings(),
            best_seed: best.config.seed,
            // A device that was lost predicts nothing.
            test: if let Some(End::Lost(_)) = done.broken {
                None
            } else {
                test(&outcome.model, &data, &device).await?
            },
            diagnosis: diagnosis.as_ref(),
            leaderboard: &leaderboard,
        };
        run::write_json(&directory.join(run::LEADERBOARD), &summary)?;
        html::write(&directory)?;
        let (run, model) = (directory.display().to_string(), path.display().to_string());
        if self.json {
            print_json(&Printed { run, model, summary: &summary })?;
        } else {
            let text = text(&outcome.model, &summary);
            let report = directory.join(run::REPORT);
            print(&format!(
                "{text}run: {run}\nreport: {}\nnext: minilote predict {model} {named}\n",
                report.display()
            ))?;
        }
        match done.broken {
            None => Ok(0),
            Some(End::Lost(error)) => Err(error),
            Some(_) => Ok(interrupted().unwrap_or(130)),
        }
    }
}

/// The scores of a model on the test rows, if there are any.
async fn test(model: &Model, data: &TrainingData, device: &Device) -> Result<Option<Scores>> {
    let rows = &data.split.test;
    if rows.is_empty() {
        return Ok(None);
    }
    let outputs = Predictor::prepared(model, &data.inputs.select(rows), device).await?.outputs().await?;
    Ok(Some(scores_of(model, data, rows, &outputs)))
}

/// The leaderboard for people.
fn text(best: &Model, summary: &Summary) -> String {
    let Summary { end, trained, models, seconds, .. } = summary;
    let mut text = format!("{end}: {trained} of {models} models in {seconds:.1} s\n");
    let header = [
        "rank",
        "hidden",
        "lambda",
        "lr",
        "valid loss",
        "valid",
        "train loss",
        "train",
        "parameters",
        "epochs",
        "verdict",
    ];
    let mut rows = vec![header.map(String::from)];
    for row in summary.leaderboard.rows.iter().take(SHOWN) {
        let Row { rank, hidden, lambda, lr, .. } = row;
        rows.push([
            rank.to_string(),
            hidden.clone(),
            lambda.to_string(),
            lr.to_string(),
            spread(row.valid_loss, &number),
            spread(row.valid_accuracy, &percent),
            spread(row.train_loss, &number),
            spread(row.train_accuracy, &percent),
            row.parameters.map_or("diverged".into(), |count| count.to_string()),
            spread(row.epochs, &|epochs| format!("{epochs:.0}")),
            row.verdict.to_string(),
        ]);
    }
    text += &report::table(&rows, 0);
    match summary.leaderboard.rows.len().saturating_sub(SHOWN) {
        0 => {}
        more => text += &format!("… and {more} more: see {}\n", run::LEADERBOARD_CSV),
    }
    if let Some(test) = &summary.test {
        text += &format!("best, test: {}", report::scores(best, test));
    }
    text + &summary.diagnosis.map_or(String::new(), |best| format!("best, {}", report::diagnosis(best)))
}

/// The observer of models side by side.
pub struct Watch<'a> {
    configs: &'a [Config],
    best: Option<(usize, Validation)>,
    bar: Option<ProgressBar>,
    quiet: bool,
    /// When a line was written, where there is no bar.
    last: Instant,
}

impl Watch<'_> {
    pub fn new(configs: &[Config], quiet: bool) -> Watch<'_> {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| bar(0));
        Watch { configs, best: None, bar, quiet, last: Instant::now() }
    }

    pub fn finish(&self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }

    fn status(&self, progress: &Progress) -> String {
        let mut text = format!("{} of {} models training", progress.models, self.configs.len());
        if let Some((model, valid)) = &self.best {
            let config = &self.configs[*model];
            let loss = report::loss(valid.loss, valid.accuracy);
            text += &format!(", best valid {loss}: {}, seed {}", label(config), config.seed);
        }
        text
    }
}

impl Observer for Watch<'_> {
    fn steps(&mut self, _: &[StepRecord], progress: &Progress) -> Result<ControlFlow<()>> {
        let every = Duration::from_secs(5);
        if let Some(bar) = &self.bar {
            bar.set_length(progress.steps as u64);
            bar.set_position(progress.step as u64);
            bar.set_message(self.status(progress));
        } else if !self.quiet && self.last.elapsed() >= every {
            self.last = Instant::now();
            note(&format!("step {}/{}: {}", progress.step, progress.steps, self.status(progress)));
        }
        if interrupted().is_some() {
            self.finish();
            note("interrupted: saving what was trained; Ctrl-C again quits at once");
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn recovered(&mut self, error: &Error, updates: usize) -> Result<()> {
        super::recovered(error, updates);
        Ok(())
    }

    fn epoch(&mut self, epoch: &Epoch, valid: Option<&Validation>, _: bool) -> Result<()> {
        if let Some(valid) = valid
            && self.best.is_none_or(|(_, best)| valid.loss < best.loss)
        {
            self.best = Some((epoch.model, *valid));
        }
        Ok(())
    }
}
