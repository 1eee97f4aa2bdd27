//! Commands that are killed.

use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::Duration;

use super::command;

/// A command that runs until this is dropped.
pub struct Running(Child);

impl Running {
    pub fn start(directory: &Path, arguments: &str) -> Running {
        Running(command(directory, arguments).spawn().unwrap())
    }

    /// Waits until this is so.
    pub fn until(&mut self, so: impl Fn() -> bool) {
        while !so() {
            assert!(self.0.try_wait().unwrap().is_none(), "it ended by itself");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}
