//! The directory of a run.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use minilote::files::{is_part, write_whole};
use minilote::{Error, Result};
use serde::Serialize;

use super::checkpoints;

pub const CONFIG: &str = "config.toml";
pub const ENVIRONMENT: &str = "environment.json";
pub const LOG: &str = "log.jsonl";
pub const MODEL: &str = "model.safetensors";
pub const SUMMARY: &str = "summary.json";
pub const BEST: &str = "best.safetensors";
pub const LEADERBOARD: &str = "leaderboard.json";
pub const LEADERBOARD_CSV: &str = "leaderboard.csv";
pub const PREDICTIONS: &str = "predictions.csv";
pub const LEARNING_CURVE: &str = "learning_curve.csv";
pub const IMPORTANCE: &str = "importance.csv";
pub const REPORT: &str = "report.html";
/// TensorBoard knows them by "tfevents".
pub const EVENTS: &str = "events.out.tfevents.minilote";
const FILES: [&str; 13] = [
    CONFIG,
    ENVIRONMENT,
    LOG,
    MODEL,
    SUMMARY,
    BEST,
    LEADERBOARD,
    LEADERBOARD_CSV,
    PREDICTIONS,
    LEARNING_CURVE,
    IMPORTANCE,
    REPORT,
    EVENTS,
];

/// The file of a checkpoint.
pub fn checkpoint(updates: usize) -> String {
    format!("checkpoint-{updates:09}.safetensors")
}

/// The updates of a checkpoint's file, if it is one.
pub fn updates_of(name: &OsStr) -> Option<usize> {
    name.to_str()?.strip_prefix("checkpoint-")?.strip_suffix(".safetensors")?.parse().ok()
}

/// Whether a run writes files of this name, or was killed while it wrote one.
fn is_of_run(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let whole = if is_part(&name) { name.rsplitn(3, '.').last().unwrap_or_default() } else { &*name };
    FILES.contains(&whole) || updates_of(OsStr::new(whole)).is_some()
}

/// Whether a run may use this directory: a new or empty one, or with `force` one that holds a run.
///
/// # Errors
/// [`Error::File`] that says what is in the way.
pub fn check(out: &Path, force: bool) -> Result<()> {
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::file(out, error)),
    };
    let names: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
    // Other programs have files of the other names, too, but not these alone, as where a run was killed at its start.
    let ours = out.join(ENVIRONMENT).exists() || names.iter().all(|name| is_of_run(name));
    match (!names.is_empty(), ours, force) {
        (false, ..) | (_, true, true) => Ok(()),
        (_, true, false) => Err(Error::file(
            out,
            "the directory holds a run already: --force overwrites it, or use another --out",
        )),
        (_, false, _) => {
            Err(Error::file(out, "the directory is not empty and holds no run: use another --out"))
        }
    }
}

/// Says that a process writes a run's files, for as long as it lives.
pub struct Claim {
    /// None where directories or this file system know no locks.
    _lock: Option<File>,
}

/// Claims a run's directory, if it is there, for this process.
///
/// # Errors
/// [`Error::File`] if another process has.
pub fn claim(directory: &Path) -> Result<Claim> {
    // Windows opens no directory as a file.
    let lock = File::open(directory).ok();
    if let Some(Err(TryLockError::WouldBlock)) = lock.as_ref().map(File::try_lock) {
        let message = "another process is writing this run: wait until it ends, or end it";
        return Err(Error::file(directory, message));
    }
    Ok(Claim { _lock: lock })
}

/// Makes and claims the directory of a run, without the files of a run before it: `out`, or the first of
/// `runs/NAME-1`, `runs/NAME-2`, … that is free, by the name of the data file.
///
/// # Errors
/// [`Error::File`].
pub fn create(out: Option<&Path>, data: &Path, force: bool) -> Result<(PathBuf, Claim)> {
    let Some(out) = out else {
        let name = data.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.split('.').find(|part| !part.is_empty()).unwrap_or("run");
        let runs = Path::new("runs");
        fs::create_dir_all(runs).map_err(|error| Error::file(runs, error))?;
        for number in 1.. {
            let path = runs.join(format!("{stem}-{number}"));
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::file(&path, error)),
                Ok(()) => return claim(&path).map(|claim| (path, claim)),
            }
        }
        return Err(Error::file(runs, "no number is free"));
    };
    check(out, force)?;
    fs::create_dir_all(out).map_err(|error| Error::file(out, error))?;
    let claim = claim(out)?;
    for file in FILES.map(|file| out.join(file)) {
        checkpoints::remove(&file)?;
    }
    checkpoints::clear(out)?;
    Ok((out.into(), claim))
}

/// Writes a file of JSON for people and programs.
///
/// # Errors
/// [`Error::File`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| Error::file(path, error))?;
    text.push('\n');
    write_whole(path, text.as_bytes())
}
