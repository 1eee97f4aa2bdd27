//! Every kernel, in both variants, against its f64 twin on the same f32 inputs: see [`Arena`].

use minilote::ops::*;
use rand::RngExt;

use crate::arena::{Arena, Case, EXAMPLES, Measure, STEP, normal, rows};

/// Around the widths of vectors, workgroups and blocks.
const SIZES: [usize; 7] = [1, 2, 63, 64, 65, 257, 1000];

/// Every number of models, rows and columns, and one shape that takes more than a dispatch's lanes.
fn shapes() -> Vec<[usize; 3]> {
    let pairs = SIZES.iter().flat_map(|&rows| SIZES.iter().map(move |&cols| (rows, cols)));
    pairs.flat_map(|(rows, cols)| [[1, rows, cols], [3, rows, cols]]).chain([[1, 1100, 1000]]).collect()
}

/// A product of random factors; `number` picks what follows it.
fn product(arena: &mut Arena, product: Product, models: usize, sizes: [usize; 3], number: usize) -> MatMul {
    let [rows, depth, cols] = sizes;
    let transposed = |on: bool, [rows, cols]: [usize; 2]| if on { [cols, rows] } else { [rows, cols] };
    let a = transposed(product == Product::AtB, [rows, depth]);
    let b = transposed(product == Product::ABt, [depth, cols]);
    let (a, b) = (arena.input(0, models, a[0], a[1]), arena.input(1, models, b[0], b[1]));
    let mut op = MatMul::new(product, a, b, arena.output(0, models, rows, cols));
    let function = [Function::Relu, Function::Tanh, Function::Sigmoid][number % 3];
    match number % 5 {
        0 => op.bias = Some(arena.input(1, models, 1, cols)),
        1 => op.function = Some(function),
        2 => {
            op.bias = Some(arena.input(1, models, 1, cols));
            op.function = Some(function);
        }
        3 => op.slope = Some((function, arena.input(1, models, rows, cols))),
        _ => {}
    }
    op
}

const PRODUCTS: [Product; 3] = [Product::AB, Product::ABt, Product::AtB];

#[test]
fn matmul() {
    for kind in PRODUCTS {
        let mut arena = Arena::new();
        // Every pair of sizes in every two of the three places, then more at random.
        let mut sizes: Vec<[usize; 3]> = vec![];
        for i in 0..7 {
            sizes.extend((0..7).map(|j| [SIZES[i], SIZES[j], SIZES[(i + j) % 7]]));
        }
        sizes.extend((0..20).map(|_| [0; 3].map(|_: usize| SIZES[arena.random.random_range(0..7)])));
        for (i, sizes) in sizes.into_iter().enumerate() {
            for models in [1, 3] {
                let op = product(&mut arena, kind, models, sizes, i);
                let out = op.out;
                arena.case(op, &[out]);
            }
        }
        arena.check();
    }
}

/// Around the blocks of out and the depths that are staged at once.
#[test]
fn matmul_with_every_tile() {
    let sizes = [
        [1, 1, 1],
        [1, 1000, 2],
        [3, 65, 130],
        [17, 127, 16],
        [63, 257, 65],
        [64, 64, 64],
        [130, 129, 33],
        [257, 3, 63],
        [60, 784, 100],
    ];
    for kind in PRODUCTS {
        for variant in [Variant::Gpu, Variant::Software] {
            let mut arena = Arena::new();
            for (t, &tile) in Tile::candidates(variant).iter().enumerate() {
                for (i, sizes) in sizes.into_iter().enumerate() {
                    let models = 1 + 2 * (i % 2);
                    let op = MatMul { tile: Some(tile), ..product(&mut arena, kind, models, sizes, t + i) };
                    let out = op.out;
                    arena.case(op, &[out]);
                }
            }
            arena.check_in(&[variant]);
        }
    }
}

/// Slices meet in shared memory, but always in their order.
#[test]
fn sliced_products_have_the_same_bits_every_time() {
    let Some(gpu) = crate::gpu() else { return };
    let mut arena = Arena::new();
    let sliced = |tile: &&Tile| matches!(tile, Tile::Staged { slices, .. } if *slices > 1);
    for &tile in Tile::candidates(Variant::Gpu).iter().filter(sliced) {
        let op = product(&mut arena, Product::ABt, 1, [60, 784, 100], 0);
        let out = op.out;
        arena.case(MatMul { tile: Some(tile), ..op }, &[out]);
    }
    let mut runs = (0..3).map(|_| arena.run(&gpu, Variant::Gpu)).map(|results| {
        let bits = |space: &Space| results[space].iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        arena.cases.iter().map(|case| bits(&case.outputs[0].0.space)).collect::<Vec<_>>()
    });
    let first = runs.next();
    assert!(runs.all(|run| Some(run) == first));
}

#[test]
fn gather() {
    for space in [Space::Inputs, Space::Bytes] {
        let mut arena = Arena::new();
        for [models, rows, cols] in shapes() {
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
        arena.check();
    }
}

#[test]
fn activation() {
    for function in [Function::Relu, Function::Tanh, Function::Sigmoid] {
        let mut arena = Arena::new();
        for [models, rows, cols] in shapes() {
            let (x, dy) = (arena.input(0, models, rows, cols), arena.input(1, models, rows, cols));
            let (out, dx) = (arena.output(0, models, rows, cols), arena.output(1, models, rows, cols));
            arena.case(Activation { function, x, out }, &[out]);
            arena.case(ActivationBackward { function, y: x, dy, dx }, &[dx]);
        }
        arena.check();
    }
}

/// The statistics of x, in the form in which a kernel reads them.
fn stats(arena: &mut Arena, x: Tensor) -> Tensor {
    let n = x.rows as f64;
    let column = |arena: &Arena, m, c, f: &dyn Fn(f64) -> f64| {
        (0..x.rows).map(|r| f(arena.get(x, m, r, c))).sum::<f64>() / n
    };
    let mut values = vec![];
    for model in 0..x.models {
        let means: Vec<f64> = (0..x.cols).map(|c| column(arena, model, c, &|x| x)).collect();
        let of = |(c, &mean): (usize, &f64)| column(arena, model, c, &|x| (x - mean) * (x - mean));
        let variances = means.iter().enumerate().map(of).collect();
        let low = means.iter().map(|&mean| mean - mean as f32 as f64).collect();
        values.push([means, low, variances]);
    }
    arena.derive(2, [x.models, 3, x.cols], |_, [m, r, c]| values[m][r][c])
}

/// Batch normalization of x, forward and backward.
fn batch_norm(arena: &mut Arena, x: Tensor) {
    let Tensor { models, rows, cols, .. } = x;
    let eps = 1e-5;
    let (stats_out, log) = (arena.output(0, models, 3, cols), arena.place(Space::Log, 2 * models, 3, cols));
    let log = Tensor { models, slot: models * log.stride, ..log };
    let mut measured = [stats_out, log].map(|tensor| (tensor, Measure::Statistics)).to_vec();
    let statistics = ColumnStats { x, stats: stats_out, log };
    arena.cases.push(Case { op: statistics.clone().into(), outputs: measured.clone() });

    let stats = stats(arena, x);
    let (gamma, beta) = (arena.input(3, models, 1, cols), arena.input(3, models, 1, cols));
    let out = arena.output(1, models, rows, cols);
    let function = [None, Some(Function::Relu), Some(Function::Tanh), Some(Function::Sigmoid)][cols % 4];
    let norm = BatchNorm { x, stats, gamma, beta, function, out, eps };
    arena.case(norm.clone(), &[out]);

    // The same in one: its own statistics, and the output from them.
    let (stats_out, log) = (arena.output(0, models, 3, cols), arena.place(Space::Log, 2 * models, 3, cols));
    let log = Tensor { models, slot: models * log.stride, ..log };
    let out = arena.output(1, models, rows, cols);
    let norm = BatchNorm { stats: stats_out, out, ..norm };
    for (tensor, (measured, _)) in [stats_out, log].into_iter().zip(&mut measured) {
        *measured = tensor;
    }
    let op = BatchNormTrain { stats: ColumnStats { stats: stats_out, log, ..statistics }, norm }.into();
    measured.push((out, Measure::Values));
    arena.cases.push(Case { op, outputs: measured });

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

#[test]
fn batch_norm_of_centered_columns() {
    let mut arena = Arena::new();
    for [models, rows, cols] in shapes() {
        let x = arena.input(0, models, rows, cols);
        batch_norm(&mut arena, x);
    }
    arena.check();
}

#[test]
fn batch_norm_of_columns_far_from_zero() {
    let mut arena = Arena::new();
    for [models, rows, cols] in shapes() {
        let x = arena.derive(0, [models, rows, cols], |random, _| 1e4 + normal(random));
        batch_norm(&mut arena, x);
    }
    arena.check();
}

#[test]
fn column_sum() {
    let mut arena = Arena::new();
    for [models, rows, cols] in shapes() {
        let x = arena.input(0, models, rows, cols);
        let out = arena.place(Space::Log, 2 * models, 1, cols);
        let out = Tensor { models, slot: models * out.stride, ..out };
        arena.case(ColumnSum { x, out }, &[out]);
    }
    arena.check();
}

#[test]
fn loss() {
    let mut arena = Arena::new();
    for [models, rows, cols] in shapes() {
        let kinds = match cols {
            1 => &[LossKind::BinaryCrossEntropy, LossKind::SquaredError][..],
            _ => &[LossKind::SoftmaxCrossEntropy][..],
        };
        for &kind in kinds {
            let targets = Tensor { stride: 0, ..arena.place(Space::Targets, 1, 1, EXAMPLES) };
            let classes = cols.max(2) as u32;
            arena.fill(targets, |random, _| random.random_range(0..classes) as f64);
            let start = targets.at(0, 0, 0);
            arena.reals.get_mut(&Space::Targets).unwrap()[start + EXAMPLES..][..2].fill(f32::NAN);
            let order = arena.order(models, rows);
            let case = |arena: &mut Arena, op: fn(Loss, Tensor) -> Op, per_row: bool| {
                let logits = arena.derive(0, [models, rows, cols], |random, _| 10.0 * normal(random));
                let metrics = arena.output(1, models, rows, 4);
                let sum = arena.place(Space::Log, 2 * models, 1, 4);
                let sum = Tensor { models, slot: models * sum.stride, ..sum };
                let loss = Loss { kind, logits, order, targets, metrics };
                // A gradient is the difference of two shares, divided by the rows.
                let gradient = (logits, Measure::Terms(1.0 / rows as f64));
                let metrics = (if per_row { metrics } else { sum }, Measure::Values);
                arena.cases.push(Case { op: op(loss, sum), outputs: vec![gradient, metrics] });
            };
            case(&mut arena, |loss, _| loss.into(), true);
            case(
                &mut arena,
                |loss, out| LossTotal { sum: ColumnSum { x: loss.metrics, out }, loss }.into(),
                false,
            );
        }
    }
    arena.check();
}

#[test]
fn optimizer() {
    let rules = [
        Rule::Sgd,
        Rule::Momentum { momentum: 0.9, nesterov: false },
        Rule::Momentum { momentum: 0.9, nesterov: true },
        Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 },
    ];
    let mut arena = Arena::new();
    for rule in rules {
        for (models, size) in
            [1, 3].into_iter().flat_map(|m| SIZES.map(|size| (m, size))).chain([(1, 1100000)])
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
            arena.case(Optimizer { rule, theta, decayed: size / 2 / 4 * 4 }, outputs);
        }
    }
    arena.check();
}

#[test]
fn dropout() {
    let mut arena = Arena::new();
    for [models, rows, cols] in shapes() {
        let (x, out) = (arena.input(0, models, rows, cols), arena.output(0, models, rows, cols));
        let layer = (rows % 5) as u32;
        arena.case(Dropout { x, out, p: 0.3, layer }, &[out]);
    }
    arena.check();
}

#[test]
fn dropout_drops_what_keep_says() {
    let Some(gpu) = crate::gpu() else { return };
    let mut arena = Arena::new();
    let x = arena.derive(0, [3, 257, 1000], |_, _| 1.0);
    let out = arena.output(0, 3, 257, 1000);
    arena.case(Dropout { x, out, p: 0.3, layer: 2 }, &[out]);
    let results = arena.run(&gpu, gpu.variant());
    let hyper = Tensor::alone(Space::Hyper, 3, 1, 4);
    let (mut kept, mut wrong) = (0, 0);
    for (model, row) in rows(out) {
        let key = arena.get(hyper, model, 0, 3) as u32;
        for c in 0..out.cols {
            let keeps = results[&out.space][out.at(model, row, 0) + c] != 0.0;
            kept += keeps as usize;
            wrong += (keeps != keep(0.3, key, 2, STEP.number, row as u32, c as u32)) as usize;
        }
    }
    assert_eq!(wrong, 0);
    // Five deviations of a binomial: sqrt(0.3 * 0.7 / 771000) = 0.0005.
    let share = kept as f64 / out.elements() as f64;
    assert!((share - 0.7).abs() < 0.0026, "kept {share}");
}

/// A NaN and both infinities come through every kernel as they come through the twin: nothing turns
/// them into numbers. Losses count them, too.
#[test]
fn what_is_not_finite_stays_so() {
    let Some(gpu) = crate::gpu() else { return };
    let mut arena = Arena::new();
    let broken = |random: &mut _, [_, row, c]: [usize; 3]| match (row, c) {
        (0, 0) => f64::NAN,
        (3, 1) => f64::INFINITY,
        (5, 2) | (3, 3) => f64::NEG_INFINITY,
        _ => normal(random),
    };
    let x = arena.derive(0, [3, 9, 6], broken);
    for function in [Function::Relu, Function::Tanh, Function::Sigmoid] {
        let (out, dx) = (arena.output(0, 3, 9, 6), arena.output(1, 3, 9, 6));
        arena.case(Activation { function, x, out }, &[out]);
        let y = arena.input(0, 3, 9, 6);
        arena.case(ActivationBackward { function, y, dy: x, dx }, &[dx]);
    }
    batch_norm(&mut arena, x);
    let b = arena.input(1, 3, 4, 6);
    let out = arena.output(0, 3, 9, 4);
    arena.case(MatMul::new(Product::ABt, x, b, out), &[out]);
    let mut metrics = vec![];
    for kind in [LossKind::SoftmaxCrossEntropy, LossKind::BinaryCrossEntropy, LossKind::SquaredError] {
        let softmax = kind == LossKind::SoftmaxCrossEntropy;
        let logits = arena.derive(0, [3, 9, if softmax { 6 } else { 1 }], broken);
        let targets = arena.place(Space::Targets, 1, 1, EXAMPLES);
        arena.fill(targets, |random, _| random.random_range(0..2) as f64);
        let order = arena.order(3, 9);
        metrics.push((softmax, arena.output(1, 3, 9, 4)));
        let metrics = metrics[metrics.len() - 1].1;
        arena.case(Loss { kind, logits, order, targets, metrics }, &[logits, metrics]);
    }
    arena.check();
    let results = arena.run(&gpu, gpu.variant());
    for (softmax, metrics) in metrics {
        let counts: Vec<f32> = (0..9).map(|row| results[&metrics.space][metrics.at(1, row, 0) + 2]).collect();
        let [first, fourth, sixth] = if softmax { [1.0, 2.0, 1.0] } else { [1.0, 0.0, 0.0] };
        assert_eq!(counts, [first, 0.0, 0.0, fourth, 0.0, sixth, 0.0, 0.0, 0.0]);
    }
}
