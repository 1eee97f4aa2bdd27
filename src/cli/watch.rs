//! Progress of models that train side by side.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use minilote::sweep::label;
use minilote::train::{Config, Epoch, Observer, Progress, StepRecord, Validation};
use minilote::{Error, Result};

use super::progress::{bar, interrupted};
use super::{note, report};

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
