//! Trains on a wgpu device that the program made itself, as one that also draws would.
//! `cargo run --release --example own_device`; says so and ends where there is no adapter.

use std::path::Path;

use minilote::gpu::{GpuDevice, wgpu};
use minilote::train::{Config, Rows, Trainer, TrainingData, train};
use minilote::{Device, Error, Result};

fn main() -> Result<()> {
    pollster::block_on(async {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let Ok(adapter) = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await else {
            println!("no adapter on this machine");
            return Ok(());
        };
        let made = adapter.request_device(&wgpu::DeviceDescriptor::default()).await;
        let (device, queue) = made.map_err(|error| Error::Device(error.to_string()))?;
        let gpu = GpuDevice::from_wgpu(device, queue, adapter.get_info());

        let config = Config { target: Some("progression".into()), epochs: 10, ..Config::default() };
        let data = TrainingData::read(Path::new("examples/data/diabetes.csv"), &config)?;
        let mut trainer = Trainer::new(data, config, &Device::Gpu(gpu)).await?;
        let outcome = train(&mut trainer, &mut ()).await?;
        let test = trainer.evaluate(Rows::Test, &outcome.model.statistics).await?;
        println!("test loss {:.3} on {}", test.loss, adapter.get_info().name);
        Ok(())
    })
}
