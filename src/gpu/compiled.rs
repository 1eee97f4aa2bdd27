//! What a driver compiled, kept in a file for the next start.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::checksum::checksum;
use crate::{Result, cache};

/// A driver's cache of pipelines, and the file that keeps it: a checksum, then the driver's data.
#[derive(Debug)]
pub struct Compiled {
    pub cache: wgpu::PipelineCache,
    file: PathBuf,
    /// The checksum of what the file has.
    saved: Mutex<Option<u64>>,
}

/// The driver's data, if the file's content is as it was written: wgpu looks at the header alone, and not all drivers
/// look at the rest.
fn intact(content: &[u8]) -> Option<&[u8]> {
    let (sum, data) = content.split_first_chunk()?;
    (u64::from_le_bytes(*sum) == checksum(data)).then_some(data)
}

impl Compiled {
    /// Takes up what a file has for this adapter; a file that is missing, damaged or of another driver is as
    /// none. None where the adapter offers no such cache.
    pub fn open(
        device: &wgpu::Device,
        info: &wgpu::AdapterInfo,
        folder: Option<PathBuf>,
    ) -> Option<Compiled> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let file = folder?.join(wgpu::util::pipeline_cache_key(info)?);
        let content = fs::read(&file).unwrap_or_default();
        let data = intact(&content);
        let descriptor = wgpu::PipelineCacheDescriptor { label: Some("pipelines"), data, fallback: true };
        // SAFETY: the data is what `get_data` gave, by its checksum; wgpu checks that it is of this driver.
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Compiled { cache, file, saved: Mutex::new(data.map(checksum)) })
    }

    /// Writes the file, if the driver has something new.
    ///
    /// # Errors
    /// [`crate::Error::File`].
    pub fn save(&self) -> Result<()> {
        let Some(data) = self.cache.get_data() else { return Ok(()) };
        let sum = checksum(&data);
        let mut saved = self.saved.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if *saved == Some(sum) {
            return Ok(());
        }
        // Written or not: it isn't tried again.
        *saved = Some(sum);
        cache::write(&self.file, &[&sum.to_le_bytes(), data.as_slice()].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollster::block_on;

    /// On any adapter that keeps pipelines; where there is none, the checksum is what is left to test.
    #[test]
    fn what_is_kept_is_taken_up_and_damage_is_harmless() {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::all()));
        let keeps = |adapter: &wgpu::Adapter| adapter.features().contains(wgpu::Features::PIPELINE_CACHE);
        let Some(adapter) = adapters.into_iter().find(keeps) else { return };
        let required_features = wgpu::Features::PIPELINE_CACHE;
        let descriptor = wgpu::DeviceDescriptor { required_features, ..Default::default() };
        let (device, _queue) = block_on(adapter.request_device(&descriptor)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let open = || Compiled::open(&device, &adapter.get_info(), Some(folder.path().join("new"))).unwrap();

        let first = open();
        assert_eq!(*first.saved.lock().unwrap(), None);
        first.save().unwrap();
        let content = fs::read(&first.file).unwrap();
        assert_eq!(*open().saved.lock().unwrap(), Some(checksum(intact(&content).unwrap())));

        // Damaged by its checksum, and with a right checksum but not the driver's.
        let foreign = [&checksum(b"foreign").to_le_bytes(), b"foreign".as_slice()].concat();
        for damaged in [&content[..content.len() - 3], &foreign, b""] {
            fs::write(&first.file, damaged).unwrap();
            open().save().unwrap();
            assert!(intact(&fs::read(&first.file).unwrap()).is_some_and(|data| data.len() > 7));
        }
        assert!(
            Compiled::open(&device, &adapter.get_info(), Some(first.file.join("below a file")))
                .unwrap()
                .save()
                .is_err()
        );
    }

    #[test]
    fn damaged_data_is_not_taken() {
        let data = b"compiled";
        let content = [&checksum(data).to_le_bytes(), data.as_slice()].concat();
        assert_eq!(intact(&content), Some(data.as_slice()));
        assert_eq!(intact(&content[..content.len() - 1]), None);
        assert_eq!(intact(&content[..5]), None);
        for i in 0..content.len() {
            let mut damaged = content.clone();
            damaged[i] ^= 1;
            assert_eq!(intact(&damaged), None, "byte {i}");
        }
    }
}
