use std::path::{Path, PathBuf};
use std::time::Instant;

use minilote::diagnosis::{Diagnosis, Setup, path_of};
use minilote::files::write_whole;
use minilote::gpu::Tuning;
use minilote::model::Model;
use minilote::sweep::{self, Grid, Leaderboard, Row, Trained, passes, sweep_saving};
use minilote::train::{Config, End, Predictor, Scores, Sizes, TrainingData};
use minilote::{Device, Error, Result, Task};
use serde::Serialize;
use serde_json::Value;

use super::progress::{catch_interrupts, interrupted};
use super::report::{self, number, percent, spread};
use super::shared::Shared;
use super::summary::scores_of;
use super::train::environment;
use super::watch::Watch;
use super::{html, note, print, print_json, run};

const EXAMPLES: &str = "\
Examples:
  minilote sweep flowers.csv --target species
  minilote sweep flowers.csv --target species --hidden 8,16,32x32 --lambda 0,0.1,1 --lr 0.001,0.01 --seeds 5
  minilote predict runs/flowers-1/best.safetensors new.csv

Every combination is trained with each seed, as many models at once as fit the device, and stops by itself. All
models have the split of --split-seed, by default of --seed. A combination is ranked by the mean validation loss of its
seeds, and the command that trains the best model alone is shown. A run directory holds environment.json and, written
anew after every pass, leaderboard.csv, leaderboard.json (each seed, too), best.safetensors (of the best combination,
the seed with the lowest validation loss) and report.html. Ctrl-C ends a sweep with what was trained; a second one
quits at once, with what earlier passes trained.";

/// Rows of the leaderboard that are shown; its files have all.
const SHOWN: usize = 10;

/// Train the models of a grid of settings side by side, and compare them
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_override_self = true, allow_negative_numbers = true)]
pub struct Sweep {
    /// A CSV file with a header (semicolons, with decimal commas, and tabs separate, too), or an IDX file of images; gzip is fine
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
    /// finished, interrupted or lost; running until then.
    end: &'static str,
    /// Of all, those that were trained.
    models: usize,
    trained: usize,
    seconds: f64,
    grid: &'a Grid,
    /// Shared by all; "seed" is that of the first model, and of the split unless that has its own.
    settings: Value,
    /// Of the best combination, the seed whose model was kept.
    best_seed: u64,
    /// Trains that model alone.
    best_command: String,
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
            self.announce(&data, &configs, passes.len());
        }

        // All that can be wrong with the request has been found: from here on there is a directory.
        let (directory, _claim) = run::create(self.out.as_deref(), &self.path, self.force)?;
        run::write_json(
            &directory.join(run::ENVIRONMENT),
            &environment(&device, &device_line, &Tuning::default()),
        )?;
        let mut watch = Watch::new(&configs, self.quiet);
        catch_interrupts()?;
        let named = self.path.display().to_string();
        let (models, started) = (configs.len(), Instant::now());
        let saving = Saving {
            sweep: self,
            named: &named,
            grid: &grid,
            data: &data,
            models,
            directory: &directory,
            started,
        };
        let mut so_far = |trained: &[Trained]| {
            let leaderboard = Leaderboard::new(trained, &data);
            let summary = saving.summary(trained, &leaderboard, "running");
            if let Some(Err(error)) = summary.map(|(model, summary)| saving.save(model, &summary)) {
                note(&format!("{error}: the sweep goes on, and tries again after the next pass"));
            }
        };
        let done = sweep_saving(&data, &configs, &passes, &device, &mut watch, &mut so_far).await;
        watch.finish();
        self.conclude(done?, &saving, &device).await
    }

    /// Notes what will be trained.
    fn announce(&self, data: &TrainingData, configs: &[Config], passes: usize) {
        let idle = configs[0].without_effect();
        let of_all = |line: &&String| configs.iter().all(|config| config.without_effect().contains(line));
        idle.iter().filter(of_all).for_each(|line| note(line));
        data.notes.iter().for_each(|line| note(line));
        note(&report::data(data));
        let (seeds, models) = (self.seeds, configs.len());
        let combinations = models / seeds;
        let times = if passes == 1 { "at once".into() } else { format!("in {passes} passes") };
        note(&format!("sweep: {combinations} combinations × {seeds} seeds = {models} models, {times}"));
    }

    /// Judges, saves and shows what was trained; gives the exit code.
    async fn conclude(&self, done: sweep::Sweep, saving: &Saving<'_>, device: &Device) -> Result<u8> {
        let leaderboard = Leaderboard::new(&done.trained, saving.data);
        // What a device did not live to measure is not judged, and it predicts nothing.
        let lost = matches!(done.broken, Some(End::Lost(_)));
        let judged = leaderboard.rows.first().filter(|_| !lost);
        let diagnosis = judged.map(|row| {
            let (config, seeds) = (&row.config, self.seeds);
            Diagnosis::new(&row.evidence, &Setup { data: saving.named, device: &self.device, config, seeds })
        });
        let end = match done.broken {
            None => "finished",
            Some(End::Lost(_)) => "lost",
            Some(_) => "interrupted",
        };
        let Some((best, mut summary)) = saving.summary(&done.trained, &leaderboard, end) else {
            diagnosis.iter().for_each(|diagnosis| note(report::diagnosis(diagnosis).trim_end()));
            // All diverged: any of them says how.
            return Err(done
                .trained
                .into_iter()
                .find_map(|model| model.outcome.err())
                .unwrap_or_else(|| Error::Config("no model was trained before the sweep was ended".into())));
        };
        summary.diagnosis = diagnosis.as_ref();
        summary.test = if lost { None } else { test(best, saving.data, device).await? };
        saving.save(best, &summary)?;
        let path = saving.directory.join(run::BEST);
        let (run, model) = (saving.directory.display().to_string(), path.display().to_string());
        if self.json {
            print_json(&Printed { run, model, summary: &summary })?;
        } else {
            let text = text(&summary);
            let report = saving.directory.join(run::REPORT);
            print(&format!(
                "{text}run: {run}\nreport: {}\nnext: minilote predict {} {}\n",
                report.display(),
                path_of(&path),
                path_of(&self.path)
            ))?;
        }
        match done.broken {
            None => Ok(0),
            Some(End::Lost(error)) => Err(error),
            Some(_) => Ok(interrupted().unwrap_or(130)),
        }
    }
}

/// What a sweep saves after each pass and at its end.
struct Saving<'a> {
    sweep: &'a Sweep,
    named: &'a str,
    grid: &'a Grid,
    data: &'a TrainingData,
    models: usize,
    directory: &'a Path,
    started: Instant,
}

impl<'a> Saving<'a> {
    /// The best model and what is said of all, without diagnosis and test; none where all diverged.
    fn summary<'b>(
        &self,
        trained: &'b [Trained],
        leaderboard: &'b Leaderboard,
        end: &'static str,
    ) -> Option<(&'b Model, Summary<'b>)>
    where
        'a: 'b,
    {
        let best = &trained[leaderboard.best?];
        let model = &best.outcome.as_ref().ok()?.model;
        let summary = Summary {
            data: self.named.into(),
            device: &self.sweep.device,
            task: self.data.task,
            end,
            models: self.models,
            trained: trained.len(),
            seconds: self.started.elapsed().as_secs_f64(),
            grid: self.grid,
            settings: self.sweep.shared.settings(),
            best_seed: best.config.seed,
            best_command: self.command(&best.config),
            test: None,
            diagnosis: None,
            leaderboard,
        };
        Some((model, summary))
    }

    /// What trains one of the models alone, on the sweep's split.
    fn command(&self, config: &Config) -> String {
        let base = &self.sweep.shared.0;
        let split_seed = if config.seed == base.seed { base.split_seed } else { Some(base.split_seed()) };
        let setup = Setup { data: self.named, device: &self.sweep.device, config, seeds: 1 };
        setup.train(&Config { split_seed, ..config.clone() })
    }

    /// Writes the files of the run's directory.
    fn save(&self, best: &Model, summary: &Summary) -> Result<()> {
        best.save(&self.directory.join(run::BEST))?;
        let csv = summary.leaderboard.csv();
        write_whole(&self.directory.join(run::LEADERBOARD_CSV), csv.as_bytes())?;
        run::write_json(&self.directory.join(run::LEADERBOARD), summary)?;
        html::write(self.directory)
    }
}

/// The scores of a model on the test rows, if there are any.
async fn test(model: &Model, data: &TrainingData, device: &Device) -> Result<Option<Scores>> {
    let rows = &data.split.test;
    if rows.is_empty() {
        return Ok(None);
    }
    let outputs = Predictor::prepared(model, &data.inputs.select(rows), device).await?.outputs().await?;
    scores_of(model, data, rows, &outputs).map(Some)
}

/// The leaderboard for people.
fn text(summary: &Summary) -> String {
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
    text += &format!("best, alone: {}\n", summary.best_command);
    if let Some(test) = &summary.test {
        text += &format!("best, test: {}", report::scores(test));
    }
    text + &summary.diagnosis.map_or(String::new(), |best| format!("best, {}", report::diagnosis(best)))
}
