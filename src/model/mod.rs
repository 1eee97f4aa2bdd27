//! What a network is and what was learned: plain data on the host, without a device.

mod file;
mod fold;
mod init;
mod spec;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::data::{Schema, Standardizer, TargetKind};

pub use file::read_weights;
pub use init::{Init, initialize};
pub use spec::{EPS, Layer, Norm, Parameter, Spec};

/// Where the statistics that batch normalization uses in inference come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Exponential moving average of the minibatches' statistics over training:
    /// `running ← 0.9·running + 0.1·batch`, divided by `1 − 0.9ᵗ` so that its start at 0 has no weight.
    Ema,
    /// Parameters frozen, one pass over the training minibatches (Ioffe and Szegedy 2015, algorithm
    /// 2): `E[x] = E[mean]`, `Var[x] = m/(m−1)·E[variance]`, weighted by rows.
    #[default]
    Population,
    /// The exact mean and biased variance over all rows of that pass, by Chan's merge.
    Pooled,
    /// PyTorch's: a moving average that starts at mean 0 and variance 1, of unbiased variances, not
    /// debiased.
    Pytorch,
}

/// The statistics of one batch normalization in inference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Of each feature.
    pub mean: Vec<f64>,
    /// Of each feature.
    pub variance: Vec<f64>,
}

impl Statistics {
    /// Whether they are of so many features, finite, and no variance is negative.
    pub(crate) fn suits(&self, features: usize) -> bool {
        let finite =
            |values: &[f64]| values.len() == features && values.iter().all(|value| value.is_finite());
        finite(&self.mean) && finite(&self.variance) && self.variance.iter().all(|&variance| variance >= 0.0)
    }
}

/// A trained network with all that is needed to use it: one safetensors file.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The network.
    pub spec: Spec,
    /// In the order of [`Spec::parameters`]; weights are `[outputs, inputs]`, the rest `[1, features]`.
    pub parameters: Vec<Array2<f64>>,
    /// One for each batch normalization, in the order of the layers.
    pub statistics: Vec<Statistics>,
    /// Where the statistics come from.
    pub source: Source,
    /// Updates so far.
    pub updates: u64,
    /// The columns, categories and classes of the table it was trained on.
    pub schema: Schema,
    /// Standardizes the features.
    pub standardizer: Standardizer,
    /// Standardizes the target of a regression.
    pub target: Option<Standardizer>,
}

impl Model {
    /// Whether parameters and statistics are as many as the network's, and of their shapes.
    ///
    /// # Errors
    /// [`crate::Error::Config`] that names the parameter or the layer, and both shapes.
    pub fn check(&self) -> Result<()> {
        self.spec.check_parameters(&self.parameters)?;
        self.spec.check_statistics(&self.statistics)
    }

    /// The names of the classes; none for a regression.
    pub fn classes(&self) -> &[String] {
        match &self.schema.target.kind {
            TargetKind::Classes(classes) => classes,
            TargetKind::Value => &[],
        }
    }
}
