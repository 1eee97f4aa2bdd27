//! minilote trains neural networks with batch normalization on any GPU, through WGSL compute shaders,
//! or on the CPU.

#![warn(missing_docs)]

pub mod cpu;
pub mod data;
pub mod engine;
pub mod error;
pub mod gpu;
pub mod model;
pub mod ops;
pub mod program;
pub mod train;

pub use data::Task;
pub use engine::{Device, Engine};
pub use error::{Error, Result};
