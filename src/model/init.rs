use ndarray::Array2;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::{Layer, Spec};

/// How weights start, uniform in ±bound; biases and beta start at 0, gamma at 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// bound = sqrt(6 / inputs) (He et al. 2015; PyTorch's `kaiming_uniform_` for relu).
    #[default]
    He,
    /// bound = sqrt(6 / (inputs + outputs)) (Glorot and Bengio 2010; PyTorch's `xavier_uniform_`).
    Xavier,
}

/// The parameters that training starts from: a pure function of the network and the seed.
pub fn initialize(spec: &Spec, init: Init, seed: u64) -> Vec<Array2<f64>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let of = |parameter: &super::Parameter| {
        let shape = (parameter.rows, parameter.cols);
        if !parameter.decayed {
            let is_gamma = matches!(spec.layers[parameter.layer], Layer::BatchNorm { .. })
                && parameter.name.ends_with("weight");
            return Array2::from_elem(shape, if is_gamma { 1.0 } else { 0.0 });
        }
        let (outputs, inputs) = (shape.0 as f64, shape.1 as f64);
        let bound = match init {
            Init::He => (6.0 / inputs).sqrt(),
            Init::Xavier => (6.0 / (inputs + outputs)).sqrt(),
        };
        // Through f32, so that both precisions start from the same numbers.
        Array2::from_shape_simple_fn(shape, || (bound * (2.0 * random.random::<f64>() - 1.0)) as f32 as f64)
    };
    spec.parameters().iter().map(of).collect()
}
