//! A device that was lost, and the one that takes its place.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::device::{GpuDevice, adapters};
use crate::{Error, Result};

/// An adapter that has lost so many devices in one session of the program is given up.
const LOSSES: usize = 3;

/// The news of a loss is waited for so long at the most: longer than what is submitted at once takes.
const NEWS: Duration = Duration::from_secs(10);

/// What has happened to a device.
#[derive(Debug, Default)]
pub struct Life {
    /// The first thing that went wrong outside of a call that could say so.
    pub fault: Mutex<Option<String>>,
    pub lost: AtomicBool,
    /// The one that took its place.
    pub successor: Mutex<Option<GpuDevice>>,
}

impl GpuDevice {
    /// The first thing that went wrong since this was last asked.
    pub(super) fn check(&self) -> Result<()> {
        let fault = self.life.fault.lock().ok().and_then(|mut fault| fault.take());
        fault.map_or(Ok(()), |message| Err(Error::Device(format!("{}: {message}", self.summary().name))))
    }

    /// Whether the device was lost: the driver was reset or updated, the adapter taken away, or it was destroyed.
    pub fn was_lost(&self) -> bool {
        // The news of it comes by polling, when what was submitted is done.
        let timeout = Some(self.timeout.min(NEWS));
        let _ = self.device.poll(wgpu::PollType::Wait { submission_index: None, timeout });
        self.life.lost.load(Ordering::Relaxed)
    }

    /// Whether another takes its place if it is lost.
    pub fn is_renewable(&self) -> bool {
        self.opened
    }

    /// This device, or if it was lost one of the same adapter in its place: all clones share it. A device of the
    /// caller's own is not replaced.
    ///
    /// # Errors
    /// [`Error::Device`] if the adapter is gone, or has lost three devices.
    pub(super) async fn living(&self) -> Result<GpuDevice> {
        let last = self.last();
        if !last.opened || !last.was_lost() {
            return Ok(last);
        }
        let (name, losses) = (&last.summary().name, last.losses + 1);
        if losses >= LOSSES {
            return Err(Error::Device(format!("{name}: the device was lost {losses} times")));
        }
        let found = adapters().await;
        let place = |index: usize| found.get(index).filter(|adapter| adapter.name == *name).map(|_| index);
        let index = place(last.summary().index).or_else(|| found.iter().position(|a| a.name == *name));
        let index = index.ok_or_else(|| Error::Device(format!("{name}: the adapter was lost")))?;
        let GpuDevice { device, queue, compiled, summary, life, .. } = GpuDevice::open(index).await?;
        let next = GpuDevice { device, queue, compiled, summary, life, losses, ..last.clone() };
        if let Ok(mut successor) = last.life.successor.lock() {
            *successor = Some(next.clone());
        }
        Ok(next)
    }

    /// The newest of those that took each other's place.
    fn last(&self) -> GpuDevice {
        let mut last = self.clone();
        loop {
            let successor = last.life.successor.lock().ok().and_then(|successor| successor.clone());
            let Some(successor) = successor else { return last };
            last = successor;
        }
    }

    /// Loses the device on purpose, or the one that took its place: tests do.
    #[doc(hidden)]
    pub fn destroy(&self) {
        self.last().device.destroy();
    }
}
