//! Who watches a run: the log, the progress on standard error, and Ctrl-C.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use minilote::model::Statistics;
use minilote::train::{Epoch, Norms, Observer, Progress, StepRecord, Validation};
use minilote::{Error, Result};
use serde::Serialize;

use super::note;
use super::report::{loss, number, significant};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

const BAR: &str = "{prefix} {bar:20} {eta} left, step {pos}/{len}, {msg}";

/// From now on Ctrl-C (or a request to terminate) ends the run with its best model, and a second one
/// ends the process.
///
/// # Errors
/// [`Error::Device`] if the system does not allow it.
pub fn catch_interrupts() -> Result<()> {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|error| Error::Device(format!("no handler of Ctrl-C: {error}")))
}

/// Whether Ctrl-C was pressed since.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// A line of the log.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Step(&'a StepRecord),
    Epoch {
        #[serde(flatten)]
        epoch: &'a Epoch,
        #[serde(skip_serializing_if = "Option::is_none")]
        valid_loss: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        valid_accuracy: Option<f64>,
        best: bool,
    },
    Statistics {
        epoch: usize,
        layers: Vec<Spread>,
    },
    Norms {
        epoch: usize,
        layers: &'a [Norms],
    },
}

/// How the moving averages of a batch normalization's units lie: at the 15th, 50th and 85th percentile of units.
#[derive(Serialize)]
struct Spread {
    mean: [f64; 3],
    deviation: [f64; 3],
}

impl Spread {
    fn of(statistics: &Statistics) -> Spread {
        let at = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            [0.15, 0.5, 0.85].map(|share| values[(share * (values.len() - 1) as f64).round() as usize])
        };
        let mut deviations = statistics.variance.iter().map(|variance| variance.sqrt()).collect();
        Spread { mean: at(&mut statistics.mean.clone()), deviation: at(&mut deviations) }
    }
}

/// How progress is shown.
enum Display {
    /// On a terminal.
    Bar(ProgressBar),
    /// Elsewhere: lines, at least `epochs` and five seconds apart.
    Lines {
        epochs: usize,
        last: Option<(usize, Instant)>,
        unsaid: Option<String>,
    },
    Nothing,
}

/// The observer of a run.
pub struct Watch {
    path: PathBuf,
    log: BufWriter<File>,
    log_steps: bool,
    display: Display,
    started: Instant,
    ended: Option<Instant>,
    best: Option<(usize, Validation)>,
    /// Rows trained so far, and the time that their epochs took.
    pub rows: usize,
    pub seconds: f64,
}

impl Watch {
    /// Starts the log. `steps` and `epochs` are those of the whole run.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn new(path: PathBuf, log_steps: bool, quiet: bool, steps: usize, epochs: usize) -> Result<Watch> {
        let log = BufWriter::new(File::create(&path).map_err(|error| Error::file(&path, error))?);
        let display = if quiet {
            Display::Nothing
        } else if std::io::stderr().is_terminal() {
            Display::Bar(bar(steps))
        } else {
            Display::Lines { epochs: epochs.div_ceil(10), last: None, unsaid: None }
        };
        let started = Instant::now();
        Ok(Watch { path, log, log_steps, display, started, ended: None, best: None, rows: 0, seconds: 0.0 })
    }

    fn write(&mut self, event: &Event) -> Result<()> {
        let written = serde_json::to_writer(&mut self.log, event).map_err(Into::into);
        let written = written.and_then(|()| self.log.write_all(b"\n"));
        written.map_err(|error| Error::file(&self.path, error))
    }

    fn flush(&mut self) -> Result<()> {
        self.log.flush().map_err(|error| Error::file(&self.path, error))
    }

    /// Seconds from the start of the log to the end of the run, or so far.
    pub fn elapsed(&self) -> f64 {
        (self.ended.unwrap_or_else(Instant::now) - self.started).as_secs_f64()
    }

    /// The run ends: takes the bar away, or says the last line.
    pub fn finish(&mut self) {
        self.ended = Some(Instant::now());
        match &mut self.display {
            Display::Bar(bar) => bar.finish_and_clear(),
            Display::Lines { unsaid, .. } => unsaid.take().iter().for_each(|line| note(line)),
            Display::Nothing => {}
        }
    }

    fn status(&self, train: String, valid: Option<&Validation>, lr: f64) -> String {
        let mut text = format!("loss {train}");
        if let Some(valid) = valid {
            text += &format!(", valid {}", loss(valid.loss, valid.accuracy));
        }
        if let Some((epoch, best)) = &self.best {
            text += &format!(", best {} in epoch {epoch}", loss(best.loss, best.accuracy));
        }
        text + &format!(", lr {}", significant(lr, 3))
    }
}

/// A bar of so many steps on standard error.
pub fn bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps as u64).with_style(style.progress_chars("━╸─"))
}

impl Observer for Watch {
    fn steps(&mut self, records: &[StepRecord], progress: &Progress) -> Result<ControlFlow<()>> {
        self.rows += records.iter().map(|record| record.rows).sum::<usize>();
        if self.log_steps {
            records.iter().try_for_each(|record| self.write(&Event::Step(record)))?;
        }
        if let Display::Bar(bar) = &self.display {
            let rate = self.rows as f64 / self.elapsed();
            bar.set_prefix(format!("epoch {}/{}", progress.epoch, progress.epochs));
            let status = self.status(number(progress.loss), progress.valid.as_ref(), progress.lr);
            bar.set_message(format!("{rate:.0} examples/s\n{status}"));
            bar.set_position(progress.step as u64);
        }
        if interrupted() {
            self.finish();
            note("interrupted: saving the best model so far; Ctrl-C again quits at once");
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn epoch(&mut self, epoch: &Epoch, valid: Option<&Validation>, best: bool) -> Result<()> {
        self.seconds += epoch.seconds;
        if let (true, Some(valid)) = (best, valid) {
            self.best = Some((epoch.epoch, *valid));
        }
        let (valid_loss, valid_accuracy) = (valid.map(|v| v.loss), valid.and_then(|v| v.accuracy));
        self.write(&Event::Epoch { epoch, valid_loss, valid_accuracy, best })?;
        self.flush()?;
        let status = self.status(loss(epoch.loss, epoch.accuracy), valid, epoch.lr);
        if let Display::Lines { epochs, last, unsaid } = &mut self.display {
            let line = format!("epoch {}: {status}", epoch.epoch);
            let wait = Duration::from_secs(5);
            if last.is_none_or(|(number, at)| epoch.epoch >= number + *epochs && at.elapsed() >= wait) {
                *last = Some((epoch.epoch, Instant::now()));
                *unsaid = None;
                note(&line);
            } else {
                *unsaid = Some(line);
            }
        }
        Ok(())
    }

    fn watches_norms(&self) -> bool {
        true
    }

    fn norms(&mut self, epoch: &Epoch, norms: &[Norms]) -> Result<()> {
        self.write(&Event::Norms { epoch: epoch.epoch, layers: norms })?;
        self.flush()
    }

    fn statistics(&mut self, epoch: &Epoch, statistics: &[Statistics]) -> Result<()> {
        let layers = statistics.iter().map(Spread::of).collect();
        self.write(&Event::Statistics { epoch: epoch.epoch, layers })?;
        self.flush()
    }
}
