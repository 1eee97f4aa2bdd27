use super::{DataShape, Layout, METRICS, Mode, Program, log};
use crate::model::{Layer, Spec};
use crate::ops::*;

/// Elements that a step of this mode and size writes to the log, for one model.
pub fn record(spec: &Spec, mode: Mode, rows: usize) -> usize {
    match mode {
        Mode::Train | Mode::Statistics => {
            METRICS + spec.batch_norms().map(|(_, features)| 3 * features.next_multiple_of(4)).sum::<usize>()
        }
        Mode::Evaluate => METRICS,
        Mode::Predict => rows * spec.outputs().next_multiple_of(4),
    }
}

/// The list of operations as it grows, with the scratch tensors that they pass on.
struct Builder {
    mode: Mode,
    models: usize,
    rows: usize,
    scratch: u16,
    label: String,
    ops: Vec<Op>,
    labels: Vec<String>,
}

impl Builder {
    fn push(&mut self, op: impl Into<Op>) {
        self.ops.push(op.into());
        self.labels.push(self.label.clone());
    }

    /// A new tensor. In training it lives as long as the minibatch; elsewhere nothing is read again once the
    /// three next were made, and its place is taken by the fourth.
    fn tensor(&mut self, rows: usize, cols: usize) -> Tensor {
        let number = if self.mode == Mode::Train { self.scratch } else { self.scratch % 4 };
        self.scratch += 1;
        Tensor::alone(Space::Scratch(number), self.models, rows, cols)
    }

    /// A new tensor with a row for each row of the minibatch.
    fn activation(&mut self, cols: usize) -> Tensor {
        self.tensor(self.rows, cols)
    }
}

/// What the backward pass needs of a layer: its input, its output, the statistics it used.
struct Passed {
    x: Tensor,
    y: Tensor,
    stats: Option<Tensor>,
}

/// The whole step, in order: gather, forward, loss, backward, update.
pub fn compile(
    spec: &Spec,
    layout: &Layout,
    data: DataShape,
    record: usize,
    rule: Rule,
    mode: Mode,
    rows: usize,
) -> Program {
    let models = layout.models;
    let label = "data".to_string();
    let mut build = Builder { mode, models, rows, scratch: 0, label, ops: vec![], labels: vec![] };
    let order = Tensor::alone(Space::Order, models, 1, data.places);
    let inputs = if data.bytes { Space::Bytes } else { Space::Inputs };
    let inputs = Tensor::shared(inputs, data.examples, data.features);
    let x = build.activation(data.features);
    build.push(Gather { inputs, order, out: x });

    // Forward.
    let trains = matches!(mode, Mode::Train | Mode::Statistics);
    let last_norm = spec.batch_norms().map(|(layer, _)| layer).last();
    let last = spec.layers.len() - 1;
    let mut log_offset = METRICS;
    let mut passed: Vec<Passed> = vec![];
    for (i, layer) in spec.layers.iter().enumerate() {
        build.label = format!("layer {i}");
        let x = passed.last().map_or(x, |layer| layer.y);
        let (y, stats) = match *layer {
            Layer::Linear { outputs, bias, .. } => {
                let out = match mode {
                    Mode::Predict if i == last => log(models, record, 0, rows, outputs),
                    _ => build.activation(outputs),
                };
                let b = layout.parameter(&format!("{i}.weight"));
                let bias = bias.then(|| layout.parameter(&format!("{i}.bias")));
                build.push(MatMul { bias, ..MatMul::new(Product::ABt, x, b, out) });
                (out, None)
            }
            Layer::BatchNorm { features, eps } => {
                let stats = if trains { build.tensor(3, features) } else { layout.statistics(i) };
                if trains {
                    let log = log(models, record, log_offset, 3, features);
                    log_offset += log.rows * log.ld();
                    build.push(ColumnStats { x, stats, log });
                }
                if mode == Mode::Statistics && Some(i) == last_norm {
                    break;
                }
                let out = build.activation(features);
                let gamma = layout.parameter(&format!("{i}.weight"));
                let beta = layout.parameter(&format!("{i}.bias"));
                build.push(BatchNorm { x, stats, gamma, beta, function: None, out, eps });
                (out, Some(stats))
            }
            Layer::Activation { function } => {
                let out = build.activation(x.cols);
                build.push(Activation { function, x, out });
                (out, None)
            }
            Layer::Dropout { p } if mode == Mode::Train => {
                let out = build.activation(x.cols);
                build.push(Dropout { x, out, p, layer: i as u32 });
                (out, None)
            }
            Layer::Dropout { .. } => (x, None),
        };
        passed.push(Passed { x, y, stats });
    }

    let logits = passed.last().map_or(x, |layer| layer.y);
    let mut dy = logits;
    if matches!(mode, Mode::Train | Mode::Evaluate) {
        build.label = "loss".into();
        let targets = Tensor::shared(Space::Targets, 1, data.examples);
        let metrics = build.activation(METRICS);
        let hyper = (mode == Mode::Train).then(|| Tensor::alone(Space::Hyper, models, 1, 4));
        build.push(Loss { kind: spec.loss(), logits, order, targets, metrics, hyper });
        build.push(ColumnSum { x: metrics, out: log(models, record, 0, 1, METRICS) });
    }

    if mode == Mode::Train {
        // Backward; nothing asks for the gradient of the data.
        for (i, (layer, Passed { x, y, stats })) in spec.layers.iter().zip(passed).enumerate().rev() {
            build.label = format!("layer {i}");
            let dx = build.activation(x.cols);
            match *layer {
                Layer::Linear { bias, .. } => {
                    let out = layout.gradient(&format!("{i}.weight"));
                    build.push(MatMul::new(Product::AtB, dy, x, out));
                    if bias {
                        build.push(ColumnSum { x: dy, out: layout.gradient(&format!("{i}.bias")) });
                    }
                    if i > 0 {
                        let b = layout.parameter(&format!("{i}.weight"));
                        build.push(MatMul::new(Product::AB, dy, b, dx));
                    }
                }
                Layer::BatchNorm { eps, .. } => {
                    let (gamma, beta) = (format!("{i}.weight"), format!("{i}.bias"));
                    let (dgamma, dbeta) = (layout.gradient(&gamma), layout.gradient(&beta));
                    let stats = stats.expect("a trained batch normalization has statistics");
                    let reduce = BatchNormReduce { x, dy, stats, slope: None, dgamma, dbeta, eps };
                    build.push(reduce.clone());
                    if i > 0 {
                        build.push(BatchNormBackward { reduce, gamma: layout.parameter(&gamma), dx });
                    }
                }
                Layer::Activation { function } => build.push(ActivationBackward { function, y, dy, dx }),
                Layer::Dropout { p } => build.push(Dropout { x: dy, out: dx, p, layer: i as u32 }),
            }
            dy = dx;
        }
        build.label = "update".into();
        build.push(Optimizer {
            rule,
            theta: layout.all(),
            decayed: layout.decayed,
            weights: layout.weights(),
        });
    }
    Program::new(mode, rows, build.ops, build.labels)
}
