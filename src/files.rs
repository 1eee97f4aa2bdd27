//! Files that are replaced whole or not at all.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The calls that a replacement makes, each of which may fail.
trait Calls {
    /// A new file of these bytes, on the disk.
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// A directory.
    fn sync(&mut self, path: &Path) -> io::Result<()>;
}

/// Those of the system.
struct System;

impl Calls for System {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        // By this handle: Windows syncs none that was opened to read.
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync(&mut self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Writes a file so that a reader finds the old one or the new one, never a part, after a power cut too: a temporary
/// file beside it is written, synced and renamed, and the directory synced. What is no ordinary file, as a pipe or
/// `/dev/null`, is written to and stays what it is.
///
/// # Errors
/// [`Error::File`]; the old file is then as it was, unless it was the last sync that failed.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return fs::write(path, bytes).map_err(|error| Error::file(path, error));
    }
    replace(&mut System, path, bytes)
}

fn replace(calls: &mut dyn Calls, path: &Path, bytes: &[u8]) -> Result<()> {
    let part = part_of(path);
    let mut write = || {
        calls.write(&part, bytes)?;
        calls.rename(&part, path)?;
        // The name, too, is on the disk only when the directory is; not all systems open one.
        match path.parent() {
            Some(parent) if cfg!(unix) => {
                calls.sync(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
            }
            _ => Ok(()),
        }
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&part);
        Error::file(path, error)
    })
}

/// A temporary file, of another name each time: threads, and processes of several machines, may write the same file.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Hashed by keys that differ for each state.
    let number = RandomState::new().hash_one(std::process::id());
    name.push(format!(".{number}.part"));
    path.with_file_name(name)
}

/// Whether a file of this name is one that was not written to its end.
pub fn is_part(name: &str) -> bool {
    let number = name.strip_suffix(".part").and_then(|name| name.rsplit('.').next());
    number.is_some_and(|number| number.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails the call of that number, and from then on all if it is for ever. A write that fails leaves a part.
    struct Failing {
        at: usize,
        for_ever: bool,
        error: io::ErrorKind,
        made: usize,
    }

    impl Failing {
        fn fails(&mut self) -> bool {
            self.made += 1;
            self.made == self.at || self.for_ever && self.made > self.at
        }
    }

    impl Calls for Failing {
        fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            if self.fails() {
                System.write(path, &bytes[..bytes.len() / 2])?;
                return Err(self.error.into());
            }
            System.write(path, bytes)
        }

        fn sync(&mut self, path: &Path) -> io::Result<()> {
            if self.fails() { Err(self.error.into()) } else { System.sync(path) }
        }

        fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            if self.fails() { Err(self.error.into()) } else { System.rename(from, to) }
        }
    }

    #[test]
    fn whichever_call_fails_the_file_is_the_old_one_or_the_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model");
        for error in [io::ErrorKind::StorageFull, io::ErrorKind::PermissionDenied, io::ErrorKind::WriteZero] {
            // Only Unix syncs the directory.
            let calls = if cfg!(unix) { 3 } else { 2 };
            for (at, for_ever) in (1..=calls).flat_map(|at| [(at, false), (at, true)]) {
                write_whole(&path, b"the old content").unwrap();
                let mut calls = Failing { at, for_ever, error, made: 0 };
                let failed = replace(&mut calls, &path, b"and the new one").unwrap_err();
                assert!(failed.to_string().starts_with(path.to_str().unwrap()), "{failed}");
                assert_eq!(failed.exit_code(), 6);
                // The last call syncs the directory, when the new file has its name.
                let expected: &[u8] = if at < 3 { b"the old content" } else { b"and the new one" };
                assert_eq!(fs::read(&path).unwrap(), expected, "call {at}, {error}");
                let names: Vec<_> =
                    fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
                assert_eq!(names, std::slice::from_ref(&path), "nothing is left over");
            }
        }
    }

    #[test]
    fn writers_of_one_file_at_once_leave_one_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        let content = |writer: u8| vec![writer; 1 << 16];
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| write_whole(path, &content(writer)).unwrap()));
            }
        });
        let found = fs::read(&path).unwrap();
        assert!((0..4).any(|writer| found == content(writer)));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn what_was_not_written_to_its_end_is_known_by_its_name() {
        let part = part_of(Path::new("runs/a/checkpoint-000000001.safetensors"));
        assert!(is_part(part.to_str().unwrap()));
        for other in ["a.part", "part", "a.12", "a.x1.part", ""] {
            assert!(!is_part(other), "{other}");
        }
    }
}
