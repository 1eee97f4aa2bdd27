//! minilote trains neural networks with batch normalization on any GPU, through WGSL compute shaders, or on
//! the CPU.
//!
//! ```
//! use minilote::train::{Config, Rows, Trainer, TrainingData, train};
//! use minilote::{Device, Result};
//!
//! # fn main() -> Result<()> {
//! pollster::block_on(async {
//!     let config = Config { target: Some("diagnosis".into()), epochs: 10, ..Config::default() };
//!     let data = TrainingData::read("examples/data/breast_cancer.csv".as_ref(), &config)?;
//!     let mut trainer = Trainer::new(data, config, &Device::Cpu).await?;
//!     let outcome = train(&mut trainer, &mut ()).await?;
//!     let test = trainer.evaluate(Rows::Test, &outcome.model.statistics).await?;
//!     assert!(test.accuracy > Some(0.9));
//!     Ok(())
//! })
//! # }
//! ```
//!
//! Futures wait for the device in place: in a program with an executor, train in a thread for itself. Rows in memory:
//! [`train::TrainingData::of_arrays`].
//!
//! [`train`] is the loop and its configuration, [`sweep`] many models at once, [`diagnosis`] the verdict on
//! them, [`data`] the files, [`model`] what is learned and its file, [`engine`] the choice of a device, [`plot`]
//! figures. Below them, [`program`] compiles a network into
//! operations ([`ops`]), which [`gpu`] and [`cpu`] run; [`doctor`] examines an adapter. ARCHITECTURE.md in the repository is the map.

#![warn(missing_docs)]

pub mod cache;
pub mod caps;
mod checksum;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod cpu;
pub mod data;
pub mod diagnosis;
pub mod doctor;
pub mod engine;
pub mod error;
pub mod files;
pub mod gpu;
pub mod model;
pub mod ops;
pub mod peak;
pub mod plot;
pub mod program;
pub mod sweep;
mod tensors;
pub mod train;

// The command uses the library by its name, as any program does.
#[cfg(feature = "cli")]
extern crate self as minilote;

pub use data::Task;
pub use engine::{Device, Engine};
pub use error::{Error, Result};
/// The ndarray that this crate is built with, for who brings arrays of their own.
pub use ndarray;
