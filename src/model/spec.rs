use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::Statistics;
use crate::ops::{Function, LossKind};
use crate::{Error, Result, Task};

/// One layer of a network; its index in [`Spec::layers`] is its index in PyTorch's equivalent
/// `nn.Sequential`, and names its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type", deny_unknown_fields)]
#[allow(missing_docs)] // The fields are sizes and constants of the formulas.
pub enum Layer {
    /// `y = x · weightᵀ + bias`, weight `[outputs, inputs]`.
    Linear { inputs: usize, outputs: usize, bias: bool },
    /// Batch normalization of each feature.
    BatchNorm { features: usize, eps: f64 },
    /// A function of every unit.
    Activation { function: Function },
    /// Dropout with probability `p`, in training only.
    Dropout { p: f64 },
}

/// Where batch normalization stands in a hidden layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Nowhere.
    None,
    /// Before the activation, on the linear layer's output (Ioffe and Szegedy 2015). The linear
    /// layer then has no bias: beta does its work.
    #[default]
    Before,
    /// After the activation, on its output.
    After,
}

/// A network as plain data: what is needed to compile a program and to name parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What the outputs mean, and so the loss.
    pub task: Task,
    /// In the order of the forward pass.
    pub layers: Vec<Layer>,
}

/// A parameter's name, matrix shape and whether L2 and weight decay act on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// PyTorch's name: `0.weight`, `1.bias`.
    pub name: String,
    /// Index in [`Spec::layers`].
    pub layer: usize,
    /// Outputs of a weight, else 1.
    pub rows: usize,
    /// Inputs of a weight, else features.
    pub cols: usize,
    /// A linear layer's weight; biases, gamma and beta are exempt.
    pub decayed: bool,
}

/// PyTorch's default.
pub const EPS: f64 = 1e-5;

/// More layers than this are refused, in a model file too.
const MAX_LAYERS: usize = 1000;
/// Wider layers than this are refused, in a model file too.
const MAX_WIDTH: usize = 1 << 24;

impl Spec {
    /// A multilayer perceptron: for each hidden size a linear layer, batch normalization where
    /// `norm` puts it, the activation, and dropout if `dropout` is not 0; then a linear layer.
    ///
    /// `outputs` is the number of classes for [`Task::Classification`], else 1.
    pub fn mlp(
        task: Task,
        inputs: usize,
        hidden: &[usize],
        outputs: usize,
        function: Function,
        norm: Norm,
        dropout: f64,
    ) -> Spec {
        let mut layers = vec![];
        let mut width = inputs;
        for &units in hidden {
            layers.push(Layer::Linear { inputs: width, outputs: units, bias: norm != Norm::Before });
            let batch_norm = Layer::BatchNorm { features: units, eps: EPS };
            if norm == Norm::Before {
                layers.push(batch_norm);
            }
            layers.push(Layer::Activation { function });
            if norm == Norm::After {
                layers.push(batch_norm);
            }
            if dropout > 0.0 {
                layers.push(Layer::Dropout { p: dropout });
            }
            width = units;
        }
        layers.push(Layer::Linear { inputs: width, outputs, bias: true });
        Spec { task, layers }
    }

    /// The network in whose places this one and another of as many layers find room.
    pub(crate) fn widest(mut self, other: &Spec) -> Spec {
        use Layer::{BatchNorm, Linear};
        for layers in self.layers.iter_mut().zip(&other.layers) {
            match layers {
                (Linear { inputs, outputs, .. }, Linear { inputs: a, outputs: b, .. }) => {
                    (*inputs, *outputs) = (*a.max(inputs), *b.max(outputs));
                }
                (BatchNorm { features, .. }, BatchNorm { features: a, .. }) => *features = *a.max(features),
                _ => {}
            }
        }
        self
    }

    /// Features of an example.
    pub fn inputs(&self) -> usize {
        let width = self.layers.iter().find_map(|layer| match *layer {
            Layer::Linear { inputs, .. } => Some(inputs),
            Layer::BatchNorm { features, .. } => Some(features),
            _ => None,
        });
        width.unwrap_or(0)
    }

    /// Logits, or the one value of a regression.
    pub fn outputs(&self) -> usize {
        let width = self.layers.iter().rev().find_map(|layer| match *layer {
            Layer::Linear { outputs, .. } => Some(outputs),
            Layer::BatchNorm { features, .. } => Some(features),
            _ => None,
        });
        width.unwrap_or(0)
    }

    /// The loss that the task trains.
    pub fn loss(&self) -> LossKind {
        match self.task {
            Task::Binary => LossKind::BinaryCrossEntropy,
            Task::Classification => LossKind::SoftmaxCrossEntropy,
            Task::Regression => LossKind::SquaredError,
        }
    }

    /// Index and features of each batch normalization.
    pub fn batch_norms(&self) -> impl Iterator<Item = (usize, usize)> {
        self.layers.iter().enumerate().filter_map(|(i, layer)| match *layer {
            Layer::BatchNorm { features, .. } => Some((i, features)),
            _ => None,
        })
    }

    /// All parameters, layer by layer.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = vec![];
        for (layer, kind) in self.layers.iter().enumerate() {
            let mut push = |name, rows, cols, decayed| {
                let name = format!("{layer}.{name}");
                parameters.push(Parameter { name, layer, rows, cols, decayed });
            };
            match *kind {
                Layer::Linear { inputs, outputs, bias } => {
                    push("weight", outputs, inputs, true);
                    if bias {
                        push("bias", 1, outputs, false);
                    }
                }
                Layer::BatchNorm { features, .. } => {
                    push("weight", 1, features, false);
                    push("bias", 1, features, false);
                }
                Layer::Activation { .. } | Layer::Dropout { .. } => {}
            }
        }
        parameters
    }

    /// How many numbers are learned.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|parameter| parameter.rows * parameter.cols).sum()
    }

    /// Whether parameters are as many as this network's, and of their shapes.
    pub(crate) fn check_parameters(&self, given: &[Array2<f64>]) -> Result<()> {
        let refuse = |message: String| Err(Error::Config(message));
        let wanted = self.parameters();
        if given.len() != wanted.len() {
            let names = wanted.iter().map(|parameter| parameter.name.as_str()).collect::<Vec<_>>().join(", ");
            return refuse(format!("{} parameters; the network has {}: {names}", given.len(), wanted.len()));
        }
        for (Parameter { name, rows, cols, .. }, given) in wanted.iter().zip(given) {
            if given.shape() != [*rows, *cols] {
                return refuse(format!(
                    "parameter {name} has shape {:?} and should have [{rows}, {cols}]",
                    given.shape()
                ));
            }
        }
        Ok(())
    }

    /// Whether statistics are of each batch normalization, and of as many features.
    pub(crate) fn check_statistics(&self, given: &[Statistics]) -> Result<()> {
        let refuse = |message: String| Err(Error::Config(message));
        let wanted = self.batch_norms().count();
        if given.len() != wanted {
            return refuse(format!(
                "statistics of {} layers; the network has {wanted} with batch normalization, and needs those of each, as \
                 Trainer::statistics gives them",
                given.len()
            ));
        }
        for ((layer, features), Statistics { mean, variance }) in self.batch_norms().zip(given) {
            if [mean.len(), variance.len()] != [features; 2] {
                let [means, variances] = [mean.len(), variance.len()];
                return refuse(format!(
                    "layer {layer}: {means} means and {variances} variances; it has {features} features"
                ));
            }
        }
        Ok(())
    }

    /// Whether the layers fit together and the task.
    ///
    /// # Errors
    /// [`Error::Config`] that names the layer.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::Config(message));
        if self.layers.len() > MAX_LAYERS {
            return refuse(format!("{} layers; at most {MAX_LAYERS} are possible", self.layers.len()));
        }
        let mut width = None;
        for (i, layer) in self.layers.iter().enumerate() {
            let (needs, gives) = match *layer {
                Layer::Linear { inputs, outputs, .. } => (Some(inputs), Some(outputs)),
                Layer::BatchNorm { features, eps } => {
                    if !(eps.is_finite() && eps > 0.0) {
                        return refuse(format!("layer {i}: eps {eps} must be a positive number"));
                    }
                    (Some(features), Some(features))
                }
                Layer::Dropout { p } => {
                    if !(0.0..1.0).contains(&p) {
                        return refuse(format!("dropout {p} must be at least 0 and below 1"));
                    }
                    (None, None)
                }
                Layer::Activation { .. } => (None, None),
            };
            for size in needs.into_iter().chain(gives) {
                if size == 0 || size > MAX_WIDTH {
                    return refuse(format!("layer {i}: {size} units; a layer has 1 to {MAX_WIDTH}"));
                }
            }
            if let (Some(width), Some(needs)) = (width, needs)
                && width != needs
            {
                return refuse(format!("layer {i} takes {needs} features and gets {width}"));
            }
            width = gives.or(width);
        }
        match (self.task, self.outputs()) {
            (_, 0) => refuse("a network needs at least one linear layer".into()),
            (Task::Classification, 1) => refuse("a classification needs at least two outputs".into()),
            (Task::Binary | Task::Regression, outputs) if outputs > 1 => {
                refuse(format!("a {} task has one output, not {outputs}", self.task))
            }
            _ if !matches!(self.layers.last(), Some(Layer::Linear { .. })) => {
                refuse("the last layer must be linear: its outputs are what is predicted".into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_last_must_be_linear() {
        let mut spec = Spec::mlp(Task::Regression, 3, &[2], 1, Function::Relu, Norm::Before, 0.0);
        spec.check().unwrap();
        spec.layers.push(Layer::BatchNorm { features: 1, eps: EPS });
        assert!(spec.check().unwrap_err().to_string().contains("the last layer must be linear"));
    }
}
