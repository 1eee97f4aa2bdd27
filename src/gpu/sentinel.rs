//! A sign at the end of everything that is read back, since a driver may fail in silence: what it never wrote reads as
//! zeros, or as what an earlier read-back left.

use std::fmt;
use std::sync::Arc;

use super::device::GpuDevice;
use crate::{Error, Result};

/// Bytes of a sign.
pub const SIGN: u64 = 16;

/// The sign of a read-back, which goes through the device's memory to the host.
pub fn sign(read_back: usize) -> [u32; 4] {
    let number = read_back as u32;
    [0x6d69_6e69, number, !number, 0x6c6f_7465]
}

/// What a test makes of a read-back, given its number: the words, and the sign.
type Forge = dyn Fn(usize, &mut [f32], &mut [u32]) + Send + Sync;

/// A faulty driver, for tests.
#[derive(Clone)]
pub struct Forgery(pub Arc<Forge>);

impl fmt::Debug for Forgery {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Forgery")
    }
}

impl GpuDevice {
    /// The same device with read-backs that are changed on the way: tests make a driver faulty to see it found.
    #[doc(hidden)]
    pub fn with_forged(
        self,
        forge: impl Fn(usize, &mut [f32], &mut [u32]) + Send + Sync + 'static,
    ) -> GpuDevice {
        GpuDevice { forged: Some(Forgery(Arc::new(forge))), ..self }
    }

    /// Whether what was read back bears its sign.
    pub(super) fn verify(&self, read_back: usize, values: &mut [f32], found: &mut [u32]) -> Result<()> {
        if let Some(Forgery(forge)) = &self.forged {
            forge(read_back, values, found);
        }
        if *found == sign(read_back) { Ok(()) } else { Err(self.faulty("other memory than was asked for")) }
    }

    /// An answer that cannot be.
    pub(crate) fn faulty(&self, answer: &str) -> Error {
        Error::Device(format!(
            "{}: the device answered with {answer}, so that nothing it computed can be trusted: \
             update its driver, or use --device cpu; minilote doctor examines it",
            self.summary().name
        ))
    }
}
