//! Checkpoints of a run: when they are made, and where they lie.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use minilote::diagnosis::path_of;
use minilote::files::is_part;
use minilote::train::Checkpoint;
use minilote::{Error, Result};

use super::{note, run};

/// How many are kept: should the newest be damaged, the one before it is there.
const KEPT: usize = 2;

/// How often a checkpoint is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Every {
    Steps(usize),
    Time(Duration),
}

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Every, String> {
        match text.parse() {
            Ok(steps) => Ok(Every::Steps(steps)),
            Err(_) => time(text).map(Every::Time).map_err(|message| format!("{message}, or 500 for steps")),
        }
    }
}

/// A time such as 90s, 10m or 1.5h.
pub fn time(text: &str) -> Result<Duration, String> {
    let refuse = || "a time is written as 90s, 10m or 1.5h".to_string();
    let number = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[number.len()..] {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(refuse()),
    };
    let number: f64 = number.parse().map_err(|_| refuse())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| refuse())
}

/// The checkpoints of a run's directory.
pub struct Checkpoints {
    directory: PathBuf,
    every: Every,
    /// The last, or the beginning.
    at: (usize, Instant),
}

impl Checkpoints {
    /// From the so many updates on that a run begins with.
    pub fn new(directory: &Path, every: Every, updates: usize) -> Checkpoints {
        Checkpoints { directory: directory.into(), every, at: (updates, Instant::now()) }
    }

    /// Whether one is due after so many updates.
    pub fn due(&self, updates: usize) -> bool {
        match self.every {
            Every::Steps(0) => false,
            Every::Steps(steps) => updates.saturating_sub(self.at.0) >= steps,
            Every::Time(time) => !time.is_zero() && self.at.1.elapsed() >= time,
        }
    }

    /// Saves one, and then removes those before the one before it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.save(&self.directory.join(run::checkpoint(checkpoint.updates())))?;
        self.at = (checkpoint.updates(), Instant::now());
        all(&self.directory)?.iter().skip(KEPT).try_for_each(|path| remove(path))
    }
}

/// Removes all of a run, and what a killed process left of one.
///
/// # Errors
/// [`Error::File`].
pub fn clear(directory: &Path) -> Result<()> {
    let entries = fs::read_dir(directory).map_err(|error| Error::file(directory, error))?;
    let parts = entries.flatten().filter(|entry| is_part(&entry.file_name().to_string_lossy()));
    let parts: Vec<PathBuf> = parts.map(|entry| entry.path()).collect();
    all(directory)?.iter().chain(&parts).try_for_each(|path| remove(path))
}

/// Removes a file, if another process has not.
///
/// # Errors
/// [`Error::File`].
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file(path, error)),
        _ => Ok(()),
    }
}

/// The newest whole checkpoint of a run; a damaged one is named, and the one before it taken.
///
/// # Errors
/// [`Error::File`] if there is none.
pub fn newest(directory: &Path) -> Result<Checkpoint> {
    let mut refused = None;
    let all = all(directory)?;
    for (number, path) in all.iter().enumerate() {
        match Checkpoint::load(path) {
            Ok(checkpoint) => return Ok(checkpoint),
            Err(error) if number + 1 < all.len() => note(&format!("{error}: trying the one before it")),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| {
        let again = directory.join(run::CONFIG);
        Error::file(
            directory,
            format!(
                "there is no checkpoint to go on from, as in runs that have ended: minilote train --config {} \
                 repeats the run",
                path_of(&again)
            ),
        )
    }))
}

/// All of a run, the newest first.
///
/// # Errors
/// [`Error::File`].
pub fn all(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).map_err(|error| Error::file(directory, error))?;
    let of_entry =
        |entry: fs::DirEntry| run::updates_of(&entry.file_name()).map(|updates| (updates, entry.path()));
    let mut found: Vec<(usize, PathBuf)> = entries.flatten().filter_map(of_entry).collect();
    found.sort_by(|a, b| b.cmp(a));
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_after_its_steps_however_many() {
        let due = |every, updates| Checkpoints::new(Path::new(""), Every::Steps(every), 10).due(updates);
        assert_eq!([9, 10, 14, 15].map(|updates| due(5, updates)), [false, false, false, true]);
        assert!(!due(usize::MAX, 1_000_000) && !due(0, 1_000_000));
        remove(Path::new("no such file")).unwrap();
    }

    #[test]
    fn steps_and_times_are_told_apart() {
        assert_eq!("500".parse(), Ok(Every::Steps(500)));
        assert_eq!("90s".parse(), Ok(Every::Time(Duration::from_secs(90))));
        assert_eq!(time("1.5h"), Ok(Duration::from_secs(5400)));
        for bad in ["", "m", "-1s", "1d", "ten m", "1e400h", "NaNs"] {
            assert!(bad.parse::<Every>().is_err(), "{bad}");
        }
    }
}
