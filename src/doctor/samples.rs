//! Every operation over many shapes, as cases for the kernels and their twins.

use std::ops::Range;

use rand::RngExt;

use super::arena::{Arena, Case, EXAMPLES, Measure, normal, rows};
use super::products::{matmul, product, product_gradients, product_moments, product_norm, tiles};
use crate::ops::*;

/// How far samples go.
pub struct Extent {
    /// Rows, columns, and lengths of parameters.
    pub sizes: &'static [usize],
    /// Rows, depth and columns of the products that every tile computes.
    pub products: &'static [[usize; 3]],
    /// Whether there is a case of more elements than a dispatch has lanes.
    pub beyond_lanes: bool,
}

impl Extent {
    /// Every number of models, rows and columns.
    fn shapes(&self) -> Vec<[usize; 3]> {
        let pairs = self.sizes.iter().flat_map(|&rows| self.sizes.iter().map(move |&cols| (rows, cols)));
        let shapes = pairs.flat_map(|(rows, cols)| [[1, rows, cols], [3, rows, cols]]);
        shapes.chain(self.beyond_lanes.then_some([1, 1100, 1000])).collect()
    }
}

type Fill = dyn Fn(&mut Arena, &Extent);

/// Cases that run as one program.
pub struct Sample {
    /// What it is about.
    pub name: &'static str,
    /// The shapes of kernels that it is for.
    pub variants: &'static [Variant],
    fill: Box<Fill>,
}

pub(super) const FUNCTIONS: [Function; 3] = [Function::Relu, Function::Tanh, Function::Sigmoid];
const PRODUCTS: [Product; 3] = [Product::AB, Product::ABt, Product::AtB];

impl Sample {
    fn new(
        name: &'static str,
        variants: &'static [Variant],
        fill: impl Fn(&mut Arena, &Extent) + 'static,
    ) -> Sample {
        Sample { name, variants, fill: Box::new(fill) }
    }

    /// Its cases.
    pub fn arena(&self, extent: &Extent) -> Arena {
        let mut arena = Arena::new();
        (self.fill)(&mut arena, extent);
        arena
    }

    /// All operations but those of stages.
    pub fn all() -> Vec<Sample> {
        const BOTH: &[Variant] = &[Variant::Gpu, Variant::Software];
        let mut all = vec![
            Sample::new("batch_norm_of_centered_columns", BOTH, |arena, extent| {
                for [models, rows, cols] in extent.shapes() {
                    let x = arena.input(0, models, rows, cols);
                    batch_norm(arena, x);
                }
            }),
            Sample::new("batch_norm_of_columns_far_from_zero", BOTH, |arena, extent| {
                for [models, rows, cols] in extent.shapes() {
                    let x = arena.derive(0, [models, rows, cols], |random, _| 1e4 + normal(random));
                    batch_norm(arena, x);
                }
            }),
            Sample::new("column_sum", BOTH, column_sum),
            Sample::new("loss", BOTH, loss),
            Sample::new("optimizer", BOTH, optimizer),
            Sample::new("dropout", BOTH, dropout),
        ];
        for kind in PRODUCTS {
            all.push(Sample::new("matmul", BOTH, move |arena, extent| matmul(arena, extent, kind)));
        }
        for kind in PRODUCTS {
            for variants in BOTH.chunks(1) {
                let fill = move |arena: &mut Arena, extent: &Extent| tiles(arena, extent, kind, variants[0]);
                all.push(Sample::new("matmul_with_every_tile", variants, fill));
            }
        }
        all.push(Sample::new("matmul_with_moments", &[Variant::Gpu], product_moments));
        all.push(Sample::new("matmul_with_batch_norm", &[Variant::Software], product_norm));
        all.push(Sample::new("matmul_with_loss", &[Variant::Software], product_loss));
        all.push(Sample::new("matmul_gradients", &[Variant::Software], product_gradients));
        for space in [Space::Inputs, Space::Bytes] {
            all.push(Sample::new("gather", BOTH, move |arena, extent| gather(arena, extent, space)));
        }
        for function in FUNCTIONS {
            let fill = move |arena: &mut Arena, extent: &Extent| activation(arena, extent, function);
            all.push(Sample::new("activation", BOTH, fill));
        }
        all
    }
}

fn gather(arena: &mut Arena, extent: &Extent, space: Space) {
    for [models, rows, cols] in extent.shapes() {
        let inputs = arena.place(space, 1, EXAMPLES + 1, cols);
        let inputs = Tensor { rows: EXAMPLES, stride: 0, ..inputs };
        for row in 0..EXAMPLES {
            let start = inputs.at(0, row, 0);
            match space {
                Space::Bytes => {
                    arena.bytes[start..][..inputs.ld()].fill(0);
                    arena.random.fill(&mut arena.bytes[start..][..cols]);
                }
                _ => {
                    let reals = arena.reals.get_mut(&space).unwrap();
                    reals[start..][..inputs.ld()].fill(0.0);
                    reals[start..][..cols].fill_with(|| arena.random.random());
                }
            }
        }
        let (order, out) = (arena.order(models, rows), arena.output(0, models, rows, cols));
        arena.case(Gather { inputs, order, out }, &[out]);
    }
}

fn activation(arena: &mut Arena, extent: &Extent, function: Function) {
    for [models, rows, cols] in extent.shapes() {
        let (x, dy) = (arena.input(0, models, rows, cols), arena.input(1, models, rows, cols));
        let (out, dx) = (arena.output(0, models, rows, cols), arena.output(1, models, rows, cols));
        arena.case(Activation { function, x, out }, &[out]);
        arena.case(ActivationBackward { function, y: x, dy, dx }, &[dx]);
    }
}

/// The statistics of blocks of so many rows of x, in the form in which a kernel reads them.
pub(super) fn stats(arena: &mut Arena, x: Tensor, block: usize) -> Tensor {
    let column = |arena: &Arena, m, c, rows: &Range<usize>, f: &dyn Fn(f64) -> f64| {
        rows.clone().map(|r| f(arena.get(x, m, r, c))).sum::<f64>() / rows.len() as f64
    };
    let mut values = vec![];
    for model in 0..x.models {
        let mut of_model = vec![];
        for rows in (0..x.rows).step_by(block).map(|first| first..x.rows.min(first + block)) {
            let means: Vec<f64> = (0..x.cols).map(|c| column(arena, model, c, &rows, &|x| x)).collect();
            let of = |(c, &mean): (usize, &f64)| column(arena, model, c, &rows, &|x| (x - mean) * (x - mean));
            let variances = means.iter().enumerate().map(of).collect();
            let low = means.iter().map(|&mean| mean - mean as f32 as f64).collect();
            of_model.extend([means, low, variances]);
        }
        values.push(of_model);
    }
    arena.derive(2, [x.models, values[0].len(), x.cols], |_, [m, r, c]| values[m][r][c])
}

/// A place in the log, with as much room behind it as a second record takes.
pub(super) fn record(arena: &mut Arena, models: usize, rows: usize, cols: usize) -> Tensor {
    let place = arena.place(Space::Log, 2 * models, rows, cols);
    Tensor { models, slot: models * place.stride, ..place }
}

/// Batch normalization of x, forward and backward.
pub fn batch_norm(arena: &mut Arena, x: Tensor) {
    let Tensor { models, rows, cols, .. } = x;
    let eps = 1e-5;
    let statistics = |arena: &mut Arena| {
        let (stats, log) = (arena.output(0, models, 3, cols), record(arena, models, 3, cols));
        (ColumnStats { x, stats, log }, [stats, log].map(|tensor| (tensor, Measure::Statistics)))
    };
    let (op, outputs) = statistics(arena);
    arena.cases.push(Case { op: op.into(), outputs: outputs.to_vec() });

    let stats = self::stats(arena, x, rows);
    let (gamma, beta) = (arena.input(3, models, 1, cols), arena.input(3, models, 1, cols));
    let out = arena.output(1, models, rows, cols);
    let function = [None, Some(Function::Relu), Some(Function::Tanh), Some(Function::Sigmoid)][cols % 4];
    let norm = BatchNorm { x, stats, gamma, beta, function, out, eps };
    arena.case(norm.clone(), &[out]);

    // Statistics and the output from them in one: of the minibatch, and of blocks of rows.
    for block in [None, Some([16, 32, 5][rows % 3])] {
        let (stats, outputs) = statistics(arena);
        let out = arena.output(1, models, rows, cols);
        let norm = BatchNorm { stats: stats.stats, out, ..norm.clone() };
        let op = match block {
            None => BatchNormTrain { stats, norm }.into(),
            Some(block) => {
                BatchNormMerged { moments: self::stats(arena, x, block), block, stats, norm }.into()
            }
        };
        let outputs = outputs.into_iter().chain([(out, Measure::Values)]).collect();
        arena.cases.push(Case { op, outputs });
    }

    let dy = arena.input(1, models, rows, cols);
    let (dgamma, dbeta) = (arena.output(2, models, 1, cols), arena.output(2, models, 1, cols));
    let slope = function.map(|function| (function, arena.input(1, models, rows, cols)));
    let reduce = BatchNormReduce { x, dy, stats, slope: None, dgamma, dbeta, eps };
    arena.case(reduce.clone(), &[dgamma, dbeta]);

    let (dx, mut largest) = (arena.output(3, models, rows, cols), 0.0f64);
    let mut sums = vec![[0.0; 2]; models * cols];
    for (m, r) in self::rows(x) {
        for c in 0..cols {
            let at = |tensor, row| arena.get(tensor, m, row, c);
            let deviation = (at(stats, 2) + eps).sqrt();
            largest = largest.max((at(gamma, 0) / deviation * at(dy, r)).abs());
            sums[m * cols + c][0] += at(dy, r) * (at(x, r) - at(stats, 0) - at(stats, 1)) / deviation;
            sums[m * cols + c][1] += at(dy, r);
        }
    }
    let [dgamma, dbeta] =
        [0, 1].map(|i| arena.derive(4, [models, 1, cols], |_, [m, _, c]| sums[m * cols + c][i]));
    let given = BatchNormReduce { dgamma, dbeta, ..reduce.clone() };
    let op = BatchNormBackward { reduce: given, gamma, dx }.into();
    // Of two rows, what is left of dy after its mean and slope is almost nothing.
    arena.cases.push(Case { op, outputs: vec![(dx, Measure::Terms(largest))] });

    // Both in one, through an activation.
    let [dgamma, dbeta] = [(); 2].map(|()| arena.output(2, models, 1, cols));
    let dx = arena.output(3, models, rows, cols);
    let op = BatchNormGradient(BatchNormBackward {
        reduce: BatchNormReduce { dgamma, dbeta, slope, ..reduce },
        gamma,
        dx,
    });
    let mut outputs = [dgamma, dbeta].map(|tensor| (tensor, Measure::Values)).to_vec();
    outputs.push((dx, Measure::Terms(largest)));
    arena.cases.push(Case { op: op.into(), outputs });
}

fn column_sum(arena: &mut Arena, extent: &Extent) {
    for [models, rows, cols] in extent.shapes() {
        let x = arena.input(0, models, rows, cols);
        let out = record(arena, models, 1, cols);
        arena.case(ColumnSum { x, out }, &[out]);
    }
}

/// Those of so many logits to a row.
fn kinds(cols: usize) -> &'static [LossKind] {
    match cols {
        1 => &[LossKind::BinaryCrossEntropy, LossKind::SquaredError],
        _ => &[LossKind::SoftmaxCrossEntropy],
    }
}

/// The loss of logits, whose metrics lie in what is put out as role 3.
fn loss_of(arena: &mut Arena, kind: LossKind, logits: Tensor) -> Loss {
    let Tensor { models, rows, cols, .. } = logits;
    let targets = Tensor { stride: 0, ..arena.place(Space::Targets, 1, 1, EXAMPLES) };
    let classes = cols.max(2) as u32;
    arena.fill(targets, |random, _| random.random_range(0..classes) as f64);
    let start = targets.at(0, 0, 0);
    arena.reals.get_mut(&Space::Targets).unwrap()[start + EXAMPLES..][..2].fill(f32::NAN);
    let (order, metrics) = (arena.order(models, rows), arena.output(3, models, rows, 4));
    let hyper = arena.place(Space::Hyper, models, 1, 4);
    arena.fill(hyper, |random, _| normal(random));
    Loss { kind, logits, order, targets, metrics, hyper: Some(hyper) }
}

/// `metrics`: of each row or their sum.
fn loss_case(arena: &mut Arena, op: Op, loss: &Loss, metrics: Tensor) {
    // A gradient is the difference of two shares, divided by the rows.
    let gradient = (loss.logits, Measure::Terms(1.0 / loss.logits.rows as f64));
    let held = loss.hyper.map(|hyper| (hyper, Measure::Values));
    let outputs = [gradient, (metrics, Measure::Values)].into_iter().chain(held).collect();
    arena.cases.push(Case { op, outputs });
}

fn loss(arena: &mut Arena, extent: &Extent) {
    for [models, rows, cols] in extent.shapes() {
        for &kind in kinds(cols) {
            for total in [false, true] {
                let logits = arena.derive(0, [models, rows, cols], |random, _| 10.0 * normal(random));
                let loss = loss_of(arena, kind, logits);
                if total {
                    let out = record(arena, models, 1, 4);
                    let sum = ColumnSum { x: loss.metrics, out };
                    loss_case(arena, LossTotal { loss: loss.clone(), sum }.into(), &loss, out);
                } else {
                    loss_case(arena, loss.clone().into(), &loss, loss.metrics);
                }
            }
        }
    }
}

/// The loss with the product before it, of one to four `vec4`s of columns and of each length.
fn product_loss(arena: &mut Arena, extent: &Extent) {
    let sizes = extent.sizes;
    let shapes = sizes.iter().flat_map(|&rows| [1, 2, 7, 10, MatMulLoss::COLUMNS].map(|cols| (rows, cols)));
    for (i, (rows, cols)) in shapes.enumerate() {
        let [models, depth] = [1 + 2 * (i % 2), sizes[i % sizes.len()]];
        for &kind in kinds(cols) {
            let product = product(arena, Product::ABt, models, [rows, depth, cols], 0);
            let (loss, out) = (loss_of(arena, kind, product.out), record(arena, models, 1, 4));
            let sum = ColumnSum { x: loss.metrics, out };
            let total = LossTotal { loss: loss.clone(), sum };
            loss_case(arena, MatMulLoss { product, loss: total }.into(), &loss, out);
        }
    }
}

fn optimizer(arena: &mut Arena, extent: &Extent) {
    let rules = [
        Rule::Sgd,
        Rule::Momentum { momentum: 0.9, nesterov: false },
        Rule::Momentum { momentum: 0.9, nesterov: true },
        Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 },
    ];
    for rule in rules {
        for (models, size) in [1, 3]
            .into_iter()
            .flat_map(|m| extent.sizes.iter().map(move |&size| (m, size)))
            .chain(extent.beyond_lanes.then_some((1, 1100000)))
        {
            let spaces = [Space::Params, Space::Grads, Space::Moment1, Space::Moment2];
            let [theta, grads, u, v] = spaces.map(|space| {
                let tensor = arena.place(space, models, 1, size);
                let squared = space == Space::Moment2;
                let value = |normal: f64| if squared { normal * normal } else { normal };
                arena.fill(tensor, |random, _| value(normal(random)));
                tensor
            });
            let _ = grads;
            let outputs: &[Tensor] = match rule {
                Rule::Sgd => &[theta],
                Rule::Momentum { .. } => &[theta, u],
                Rule::Adam { .. } => &[theta, u, v],
            };
            arena.case(Optimizer { rule, theta, decayed: size / 2 / 4 * 4, weights: vec![] }, outputs);
        }
    }
}

fn dropout(arena: &mut Arena, extent: &Extent) {
    for [models, rows, cols] in extent.shapes() {
        let (x, out) = (arena.input(0, models, rows, cols), arena.output(0, models, rows, cols));
        let layer = (rows % 5) as u32;
        arena.case(Dropout { x, out, p: 0.3, layer }, &[out]);
    }
}
