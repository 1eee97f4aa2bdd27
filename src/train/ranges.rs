//! Whether a configuration's values are in their ranges.

use super::config::Config;
use super::values::{Batch, OptimizerKind};
use crate::data::Splitting;
use crate::{Error, Result};

impl Config {
    /// Whether all values are in their ranges and agree with each other.
    ///
    /// # Errors
    /// [`Error::Config`] that names the flag.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::Config(message));
        let rate = self.learning_rate();
        // In single precision, as devices have them.
        for (flag, value) in [("--lr", rate), ("--adam-eps", self.adam_eps)] {
            if !(value > 0.0 && (value as f32).is_normal()) {
                return refuse(format!("{flag} {value} must be above 0, from 1.2e-38 to 3.4e38"));
            }
        }
        // The last two are the host's.
        let not_negative = [
            ("--lambda", self.lambda, f64::from(f32::MAX)),
            ("--weight-decay", self.decay(), f64::from(f32::MAX)),
            ("--warmup", self.warmup, f64::MAX),
            ("--step-factor", self.step_factor, f64::MAX),
        ];
        for (flag, value, most) in not_negative {
            if !(0.0..=most).contains(&value) {
                return refuse(format!("{flag} {value} must be from 0 to {most:.1e}"));
            }
        }
        let below_one = [
            ("--dropout", self.dropout),
            ("--momentum", self.momentum),
            ("--betas", self.betas.0),
            ("--betas", self.betas.1),
        ];
        for (flag, value) in below_one {
            if !(value >= 0.0 && (value as f32) < 1.0) {
                return refuse(format!(
                    "{flag} {value} must be at least 0 and below 1, in single precision, too"
                ));
            }
        }
        for (flag, epochs) in [("--epochs", self.epochs), ("--step-epochs", self.step_epochs)] {
            // Times the steps of an epoch, which are as few, this fits a usize.
            if epochs == 0 || epochs > u32::MAX as usize {
                return refuse(format!("{flag} {epochs} must be from 1 to {}", u32::MAX));
            }
        }
        if !(self.fraction > 0.0 && self.fraction <= 1.0) {
            return refuse(format!("--fraction {} must be above 0 and at most 1", self.fraction));
        }
        if self.group.is_some() && self.split == Splitting::Ordered {
            return refuse(
                "--group goes with --split random: in order, a group's rows may lie in two parts".into(),
            );
        }
        if self.batch == Some(Batch::Rows(0)) {
            return refuse("--batch 0: a minibatch has 1 row or more, or is \"full\"".into());
        }
        if self.nesterov && self.optimizer != OptimizerKind::Momentum {
            return refuse("--nesterov goes with --optimizer momentum".into());
        }
        let paths = [
            ("--labels", self.labels.as_deref()),
            ("--init-weights", self.init_weights.as_deref()),
            ("--valid", self.valid.file()),
            ("--test", self.test.file()),
        ];
        match paths.into_iter().find(|(_, path)| path.is_some_and(|path| path.to_str().is_none())) {
            Some((flag, _)) => {
                refuse(format!("{flag}: the path is not UTF-8, so that a run's files can't name it"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_single_precision_turns_into_others_are_refused() {
        let config = |flag: &str, value: f64| {
            let mut config = Config::default();
            match flag {
                "--lr" => config.lr = Some(value),
                "--adam-eps" => config.adam_eps = value,
                "--lambda" => config.lambda = value,
                "--dropout" => config.dropout = value,
                _ => config.betas.1 = value,
            }
            config
        };
        let refused = [
            ("--lr", [1e-50, 1e39, f64::INFINITY, f64::NAN, -0.1]),
            ("--adam-eps", [1e-50, 1e39, 0.0, f64::NAN, -1.0]),
            ("--lambda", [1e39, f64::INFINITY, f64::NAN, -1.0, -1e-30]),
            ("--dropout", [1.0, 1.0 - 1e-9, f64::NAN, -1.0, 2.0]),
            ("--betas", [1.0, 1.0 - 1e-9, f64::NAN, -1.0, 2.0]),
        ];
        for (flag, values) in refused {
            for value in values {
                let error = config(flag, value).check().expect_err(&format!("{flag} {value}"));
                assert!(error.to_string().contains(flag), "{error}");
            }
        }
        let taken = [("--lr", 1e-30), ("--adam-eps", 1e-30), ("--lambda", 0.0), ("--dropout", 0.999)];
        taken.into_iter().for_each(|(flag, value)| config(flag, value).check().unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn paths_that_can_not_be_written_down_are_refused() {
        use std::os::unix::ffi::OsStrExt;

        use crate::train::Part;
        let path = || std::path::PathBuf::from(std::ffi::OsStr::from_bytes(b"\xff.csv"));
        let labels = Config { labels: Some(path()), ..Config::default() };
        let valid = Config { valid: Part::File(path()), ..Config::default() };
        for (flag, config) in [("--labels", labels), ("--valid", valid)] {
            assert!(config.check().unwrap_err().to_string().contains(flag));
        }
        Config::default().check().unwrap();
    }
}
