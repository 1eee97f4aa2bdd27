use std::collections::BTreeMap;

use crate::model::Spec;
use crate::ops::{Space, Tensor};

/// Where each parameter and each running statistic lies.
///
/// ```text
/// Params:  for each model  [ weights … | biases, gamma, beta … ]
///                            0 ≤ i < decayed     exempt from L2 and weight decay
/// Running: for each model, for each batch normalization [3, features]: mean (high, low part), variance
/// ```
#[derive(Clone, Debug)]
pub struct Layout {
    /// Networks side by side.
    pub models: usize,
    /// Elements of a model that L2 and weight decay act on.
    pub decayed: usize,
    /// Elements of a model, padding included.
    pub size: usize,
    places: BTreeMap<String, Tensor>,
    running: BTreeMap<usize, Tensor>,
}

impl Layout {
    /// Places for so many networks.
    pub fn new(spec: &Spec, models: usize) -> Layout {
        let mut parameters = spec.parameters();
        parameters.sort_by_key(|parameter| !parameter.decayed);
        let (mut size, mut decayed) = (0, 0);
        let mut places = BTreeMap::new();
        for parameter in parameters {
            let alone = Tensor::alone(Space::Params, models, parameter.rows, parameter.cols);
            places.insert(parameter.name, Tensor { offset: size, ..alone });
            size = alone.stride.saturating_add(size);
            if parameter.decayed {
                decayed = size;
            }
        }
        places.values_mut().for_each(|place| place.stride = size);

        let mut running = BTreeMap::new();
        let mut end = 0;
        for (layer, features) in spec.batch_norms() {
            let alone = Tensor::alone(Space::Running, models, 3, features);
            running.insert(layer, Tensor { offset: end, ..alone });
            end += alone.stride;
        }
        running.values_mut().for_each(|place| place.stride = end);
        Layout { models, decayed, size, places, running }
    }

    /// A parameter by its name.
    ///
    /// Panics if the network has no such parameter.
    pub fn parameter(&self, name: &str) -> Tensor {
        self.places[name]
    }

    /// The same place among the gradients.
    pub fn gradient(&self, name: &str) -> Tensor {
        Tensor { space: Space::Grads, ..self.parameter(name) }
    }

    /// All parameters as one row a model.
    pub fn all(&self) -> Tensor {
        Tensor { cols: self.size, ..Tensor::alone(Space::Params, self.models, 1, self.size) }
    }

    /// The parameters that L2 and weight decay act on, in the order of their places.
    pub fn weights(&self) -> Vec<Tensor> {
        let decayed = self.places.values().filter(|place| place.offset < self.decayed);
        let mut weights: Vec<Tensor> = decayed.copied().collect();
        weights.sort_by_key(|place| place.offset);
        weights
    }

    /// Elements of the parameters of all models.
    pub fn end(&self) -> usize {
        self.models.saturating_mul(self.size)
    }

    /// The running statistics of the batch normalization that is layer `layer`.
    pub fn statistics(&self, layer: usize) -> Tensor {
        self.running[&layer]
    }

    /// All running statistics, in the order of the layers.
    pub fn running(&self) -> impl Iterator<Item = Tensor> {
        self.running.values().copied()
    }
}
