//! Who watches a run: the log, the progress on standard error, and Ctrl-C.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use minilote::model::Statistics;
use minilote::train::{Checkpoint, Epoch, Norms, Observer, Progress, StepRecord, Validation};
use minilote::{Error, Result};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::checkpoints::{Checkpoints, Every};
use super::log::{Event, Spread};
use super::report::{loss, number, significant};
use super::tensorboard::Events;
use super::{note, run};

/// The signal that asked for an end; 0 for none.
static SIGNAL: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

const BAR: &str = "{prefix} {bar:20} {eta} left, step {pos}/{len}, {msg}";

/// From now on Ctrl-C (SIGINT) or a request to terminate (SIGTERM) ends the run with its best model, and a second one
/// ends the process.
///
/// # Errors
/// [`Error::Device`] if the system does not allow it.
pub fn catch_interrupts() -> Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    let register = |signal: i32| {
        // In this order: at the first signal nothing was asked yet.
        flag::register_conditional_shutdown(signal, exit_code(signal as usize).into(), asked.clone())?;
        flag::register(signal, asked.clone())?;
        flag::register_usize(signal, SIGNAL.clone(), signal as usize)
    };
    for signal in [SIGINT, SIGTERM] {
        register(signal).map_err(|error| Error::Device(format!("no handler of signal {signal}: {error}")))?;
    }
    Ok(())
}

/// The exit code of what a signal ended.
fn exit_code(signal: usize) -> u8 {
    128 + signal as u8
}

/// The exit code where a signal has asked for an end.
pub fn interrupted() -> Option<u8> {
    Some(SIGNAL.load(Ordering::SeqCst)).filter(|signal| *signal > 0).map(exit_code)
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

/// What the flags ask of it.
#[derive(Clone)]
pub struct Settings {
    pub log_steps: bool,
    pub tensorboard: bool,
    pub quiet: bool,
    pub every: Every,
    pub max_time: Option<Duration>,
}

/// What a checkpoint notes beside the run: bytes of the log and of TensorBoard's file, seconds, rows, seconds of epochs, the device.
#[derive(Serialize, Deserialize)]
struct Note {
    log: u64,
    /// Whether it has each step.
    #[serde(default)]
    log_steps: bool,
    events: Option<u64>,
    seconds: f64,
    rows: usize,
    epoch_seconds: f64,
    device: String,
}

/// The observer of a run.
pub struct Watch {
    path: PathBuf,
    log: BufWriter<File>,
    settings: Settings,
    checkpoints: Checkpoints,
    device: String,
    /// The same for TensorBoard.
    events: Option<Events>,
    display: Display,
    /// Of this process; and seconds of those before it.
    started: Instant,
    before: f64,
    updates: usize,
    /// Whether the run is to end here.
    ending: bool,
    /// Whether --max-time is why.
    pub time_is_up: bool,
    /// Why a checkpoint or the log could not be written, which ends the run, too: its model may still fit the disk.
    pub failed: Option<Error>,
    ended: Option<Instant>,
    best: Option<(usize, Validation)>,
    /// Rows trained so far, and the time that their epochs took.
    pub rows: usize,
    pub seconds: f64,
}

impl Watch {
    /// Starts the log, or goes on with it from a checkpoint. `steps` and `epochs` are those of the whole run.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn new(
        directory: &Path,
        settings: &Settings,
        (steps, epochs): (usize, usize),
        device: &str,
        from: Option<&Checkpoint>,
    ) -> Result<Watch> {
        let path = directory.join(run::LOG);
        let noted = from.map(|from| Note::deserialize(from.note())).transpose();
        let noted =
            noted.map_err(|error| Error::file(directory, format!("the checkpoint's note: {error}")))?;
        let log = open_at(&path, noted.as_ref().map(|noted| noted.log))?;
        // What the run wrote before it goes on to write.
        let path_of_events = directory.join(run::EVENTS);
        let at = noted.as_ref().and_then(|noted| noted.events).filter(|_| path_of_events.exists());
        let wanted = settings.tensorboard || at.is_some();
        let events = wanted.then(|| Events::open(path_of_events, at)).transpose()?;
        let mut settings = settings.clone();
        settings.log_steps |= noted.as_ref().is_some_and(|noted| noted.log_steps);
        let display = if settings.quiet {
            Display::Nothing
        } else if std::io::stderr().is_terminal() {
            Display::Bar(bar(steps))
        } else {
            Display::Lines { epochs: epochs.div_ceil(10), last: None, unsaid: None }
        };
        if let (Some(from), Some(noted), false) = (from, &noted, settings.quiet) {
            note(&format!("going on from update {} of {steps}, in epoch {}", from.updates(), from.epoch()));
            if noted.device != device {
                note(&format!("the run began on another device ({}): last digits may differ", noted.device));
            }
        }
        let updates = from.map_or(0, Checkpoint::updates);
        let (before, rows, seconds) =
            noted.map_or((0.0, 0, 0.0), |noted| (noted.seconds, noted.rows, noted.epoch_seconds));
        Ok(Watch {
            path,
            log: BufWriter::new(log),
            checkpoints: Checkpoints::new(directory, settings.every, updates),
            settings,
            device: device.into(),
            events,
            display,
            started: Instant::now(),
            before,
            updates,
            ending: false,
            time_is_up: false,
            failed: None,
            ended: None,
            best: from.and_then(Checkpoint::best).and_then(|(epoch, valid)| Some((epoch, valid?))),
            rows,
            seconds,
        })
    }

    fn write(&mut self, event: &Event) -> Result<()> {
        let written = serde_json::to_writer(&mut self.log, event).map_err(Into::into);
        let written = written.and_then(|()| self.log.write_all(b"\n"));
        written.map_err(|error| Error::file(&self.path, error))?;
        let Some(events) = &mut self.events else { return Ok(()) };
        let step = if let Event::Step(record) = event { record.step } else { self.updates };
        events.scalars(step, &event.scalars())
    }

    /// Writes an event and flushes it, so that who looks at the log meanwhile finds whole epochs.
    fn tell(&mut self, event: &Event) {
        let written = self.write(event).and_then(|()| self.flush());
        self.went(written);
    }

    /// Ends the run after the next steps if a file could not be written.
    fn went(&mut self, written: Result<()>) {
        if let Err(error) = written {
            self.failed.get_or_insert(error);
            self.ending = true;
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.log.flush().map_err(|error| Error::file(&self.path, error))?;
        self.events.as_mut().map_or(Ok(()), Events::flush)
    }

    fn save(&mut self, mut checkpoint: Checkpoint) -> Result<()> {
        let log = on_disk(&mut self.log).map_err(|error| Error::file(&self.path, error))?;
        let (seconds, rows, epoch_seconds) = (self.elapsed(), self.rows, self.seconds);
        let events = self.events.as_mut().map(Events::position).transpose()?;
        let (log_steps, device) = (self.settings.log_steps, self.device.clone());
        let noted = Note { log, log_steps, events, seconds, rows, epoch_seconds, device };
        checkpoint.set_note(serde_json::to_value(noted).map_err(|error| Error::file(&self.path, error))?);
        self.checkpoints.save(&checkpoint)
    }

    /// Seconds from the start of the log to the end of the run, or so far.
    pub fn elapsed(&self) -> f64 {
        self.before + (self.ended.unwrap_or_else(Instant::now) - self.started).as_secs_f64()
    }

    /// The run ends: takes the bar away, or says the last line.
    pub fn finish(&mut self) {
        self.ended = Some(Instant::now());
        let flushed = self.flush();
        self.went(flushed);
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

/// A file that a run adds to: a new one, or one that goes on from so many bytes of it.
pub fn open_at(path: &Path, bytes: Option<u64>) -> Result<File> {
    let open = || {
        let Some(bytes) = bytes else { return File::create(path) };
        let mut log = File::options().write(true).open(path)?;
        if log.metadata()?.len() < bytes {
            return Err(std::io::Error::other("it is shorter than when the checkpoint was made"));
        }
        log.set_len(bytes)?;
        log.seek(SeekFrom::End(0))?;
        Ok(log)
    };
    open().map_err(|error| Error::file(path, error))
}

/// Bytes so far of a file that a run adds to, which are then on the disk: a checkpoint that notes more than a power cut
/// leaves can't be gone on from.
pub fn on_disk(file: &mut BufWriter<File>) -> std::io::Result<u64> {
    file.flush()?;
    file.get_ref().sync_data()?;
    file.stream_position()
}

/// A bar of so many steps on standard error.
pub fn bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps as u64).with_style(style.progress_chars("━╸─"))
}

impl Observer for Watch {
    fn steps(&mut self, records: &[StepRecord], progress: &Progress) -> Result<ControlFlow<()>> {
        self.rows += records.iter().map(|record| record.rows).sum::<usize>();
        self.updates = progress.step;
        if self.settings.log_steps {
            let written = records.iter().try_for_each(|record| self.write(&Event::Step(record)));
            self.went(written);
        }
        if let Display::Bar(bar) = &self.display {
            let rate = self.rows as f64 / self.elapsed();
            bar.set_prefix(format!("epoch {}/{}", progress.epoch, progress.epochs));
            let status = self.status(number(progress.loss), progress.valid.as_ref(), progress.lr);
            bar.set_message(format!("{rate:.0} examples/s\n{status}"));
            bar.set_position(progress.step as u64);
        }
        if interrupted().is_some() {
            self.finish();
            note("interrupted: saving the best model so far; Ctrl-C again quits at once");
            self.ending = true;
        } else if self.settings.max_time.is_some_and(|time| self.started.elapsed() >= time) {
            (self.ending, self.time_is_up) = (true, true);
        }
        Ok(if self.ending { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn wants_checkpoint(&mut self) -> bool {
        self.failed.is_none() && (self.ending || self.checkpoints.due(self.updates))
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<()> {
        let saved = self.save(checkpoint);
        self.went(saved);
        Ok(())
    }

    fn recovered(&mut self, error: &Error, updates: usize) -> Result<()> {
        super::recovered(error, updates);
        Ok(())
    }

    fn epoch(&mut self, epoch: &Epoch, valid: Option<&Validation>, best: bool) -> Result<()> {
        self.seconds += epoch.seconds;
        if let (true, Some(valid)) = (best, valid) {
            self.best = Some((epoch.epoch, *valid));
        }
        let (valid_loss, valid_accuracy) = (valid.map(|v| v.loss), valid.and_then(|v| v.accuracy));
        self.tell(&Event::Epoch { epoch, valid_loss, valid_accuracy, best });
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
        self.tell(&Event::Norms { epoch: epoch.epoch, layers: norms });
        Ok(())
    }

    fn statistics(&mut self, epoch: &Epoch, statistics: &[Statistics]) -> Result<()> {
        let layers = statistics.iter().map(Spread::of).collect();
        self.tell(&Event::Statistics { epoch: epoch.epoch, layers });
        Ok(())
    }
}
