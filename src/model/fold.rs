use ndarray::{Array1, Array2};

use super::{Layer, Model, Spec};

/// What batch normalization does in inference: `y = a·x + b`.
struct Affine {
    a: Array1<f64>,
    b: Array1<f64>,
}

impl Model {
    /// The same function without batch normalization and dropout, for inference: each
    /// `y = a·x + b` with `a = gamma / sqrt(Var + eps)`, `b = beta − a·E[x]` goes into the linear layer
    /// before it, or, where an activation stands between, into the one after it.
    ///
    /// A batch normalization without any linear layer beside it becomes a diagonal one.
    ///
    /// # Panics
    /// If [`Model::check`] refuses the model.
    pub fn fold(&self) -> Model {
        let mut layers: Vec<Layer> = vec![];
        let mut parameters: Vec<Array2<f64>> = vec![];
        // What the next linear layer still has to take in.
        let mut pending: Option<Affine> = None;
        let mut from = self.parameters.iter();
        let mut statistics = self.statistics.iter();
        let mut next = || from.next().cloned().unwrap_or_default();
        for layer in &self.spec.layers {
            match *layer {
                Layer::Linear { inputs, outputs, bias } => {
                    let mut weight = next();
                    let mut offset = if bias { next() } else { Array2::zeros((1, outputs)) };
                    if let Some(Affine { a, b }) = pending.take() {
                        offset += &weight.dot(&b);
                        weight *= &a;
                    }
                    layers.push(Layer::Linear { inputs, outputs, bias: true });
                    parameters.extend([weight, offset]);
                }
                Layer::BatchNorm { features, eps } => {
                    let (gamma, beta) = (next().row(0).to_owned(), next().row(0).to_owned());
                    let Some(statistics) = statistics.next() else { continue };
                    let deviation = Array1::from_iter(statistics.variance.iter().map(|v| (v + eps).sqrt()));
                    let a = gamma / deviation;
                    let b = beta - &a * &Array1::from_vec(statistics.mean.clone());
                    if let (Some(Layer::Linear { .. }), [.., weight, offset]) =
                        (layers.last(), parameters.as_mut_slice())
                    {
                        *weight *= &a.view().insert_axis(ndarray::Axis(1));
                        *offset = &*offset * &a + &b;
                    } else if pending.is_none() {
                        pending = Some(Affine { a, b });
                    } else {
                        // Two in a row with nothing between: the first becomes a layer of its own.
                        let first = pending.replace(Affine { a, b });
                        push_diagonal(&mut layers, &mut parameters, first, features);
                    }
                }
                Layer::Activation { .. } => {
                    if let Some(affine) = pending.take() {
                        let features = affine.a.len();
                        push_diagonal(&mut layers, &mut parameters, Some(affine), features);
                    }
                    layers.push(*layer);
                }
                Layer::Dropout { .. } => {}
            }
        }
        if let Some(affine) = pending.take() {
            let features = affine.a.len();
            push_diagonal(&mut layers, &mut parameters, Some(affine), features);
        }
        let spec = Spec { task: self.spec.task, layers };
        Model { spec, parameters, statistics: vec![], ..self.clone() }
    }
}

fn push_diagonal(
    layers: &mut Vec<Layer>,
    parameters: &mut Vec<Array2<f64>>,
    affine: Option<Affine>,
    features: usize,
) {
    if let Some(Affine { a, b }) = affine {
        layers.push(Layer::Linear { inputs: features, outputs: features, bias: true });
        parameters.extend([Array2::from_diag(&a), b.insert_axis(ndarray::Axis(0))]);
    }
}
