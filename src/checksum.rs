//! A checksum that tells damaged or changed data from what was written.

/// FNV-1a of 64 bits, taken part by part. It finds accidents, not forgeries.
#[derive(Clone, Copy, Debug)]
pub struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Checksum {
        Checksum(0xcbf29ce484222325)
    }
}

impl Checksum {
    /// Takes more bytes in.
    pub fn add(self, bytes: &[u8]) -> Checksum {
        Checksum(bytes.iter().fold(self.0, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x100000001b3)))
    }

    /// Of all that was taken in.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// Of these bytes alone.
pub fn checksum(bytes: &[u8]) -> u64 {
    Checksum::default().add(bytes).value()
}
