//! Products, and what follows them in one dispatch, as cases.

use rand::RngExt;

use super::arena::{Arena, Case, Measure, STEP, rows};
use super::samples::{Extent, FUNCTIONS, record, stats};
use crate::ops::*;

/// Added to variances.
const EPS: f64 = 1e-5;

/// Share of values.
const DROPPED: f64 = 0.3;

/// A product of random factors; `number` picks what follows it, of five, the kind of product the activation in it.
pub fn product(
    arena: &mut Arena,
    product: Product,
    models: usize,
    sizes: [usize; 3],
    number: usize,
) -> MatMul {
    let [rows, depth, cols] = sizes;
    let transposed = |on: bool, [rows, cols]: [usize; 2]| if on { [cols, rows] } else { [rows, cols] };
    let a = transposed(product == Product::AtB, [rows, depth]);
    let b = transposed(product == Product::ABt, [depth, cols]);
    let (a, b) = (arena.input(0, models, a[0], a[1]), arena.input(1, models, b[0], b[1]));
    let mut op = MatMul::new(product, a, b, arena.output(0, models, rows, cols));
    let function = FUNCTIONS[(number % 5 + product as usize) % 3];
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

/// Every pair of sizes in every two of the three places, then more at random.
pub(super) fn matmul(arena: &mut Arena, extent: &Extent, kind: Product) {
    let n = extent.sizes.len();
    let mut sizes: Vec<[usize; 3]> = vec![];
    for i in 0..n {
        sizes.extend((0..n).map(|j| [i, j, (i + j) % n].map(|place| extent.sizes[place])));
    }
    sizes.extend((0..20).map(|_| [0; 3].map(|_: usize| extent.sizes[arena.random.random_range(0..n)])));
    for (i, sizes) in sizes.into_iter().enumerate() {
        for models in [1, 3] {
            let op = product(arena, kind, models, sizes, i);
            let out = op.out;
            arena.case(op, &[out]);
        }
    }
}

/// Every tile, followed in two ways by each kind of product, which are all in all.
pub(super) fn tiles(arena: &mut Arena, extent: &Extent, kind: Product, variant: Variant) {
    for (t, &tile) in Tile::candidates(variant).iter().enumerate() {
        for (i, &sizes) in extent.products.iter().enumerate() {
            let models = 1 + 2 * (i % 2);
            let number = t + 2 * kind as usize + i % 2;
            let op = MatMul { tile: Some(tile), ..product(arena, kind, models, sizes, number) };
            let out = op.out;
            arena.case(op, &[out]);
        }
    }
}

/// Products and the statistics of their blocks of rows; one row alone has no deviation to compare by.
pub(super) fn product_moments(arena: &mut Arena, extent: &Extent) {
    let tiles = Tile::candidates(Variant::Gpu).iter().map(|&tile| Some(tile)).chain([None]);
    for (t, tile) in tiles.enumerate() {
        // In any examination some blocks of the tile that suits.
        let several = tile.is_none().then_some([130, 3, 65]);
        let products = extent.products.iter().copied().filter(|sizes| sizes[0] > 1).chain(several);
        for (i, sizes) in products.enumerate() {
            // Without a slope, which no forward pass has.
            let number = t % 3;
            let product = MatMul { tile, ..product(arena, Product::ABt, 1 + 2 * (i % 2), sizes, number) };
            let out = product.out;
            let rows = 3 * out.rows.div_ceil(MatMulMoments::block(&product));
            let moments = arena.output(2, out.models, rows, out.cols);
            let outputs = vec![(out, Measure::Values), (moments, Measure::Statistics)];
            arena.cases.push(Case { op: MatMulMoments { product, moments }.into(), outputs });
        }
    }
}

/// Products that are one with batch normalization and what lies on either side of it, forward; one row alone has no deviation
/// to compare by.
pub(super) fn product_norm(arena: &mut Arena, extent: &Extent) {
    for (i, &sizes) in extent.products.iter().filter(|sizes| sizes[0] > 1).enumerate() {
        let [models, rows, cols] = [1 + 2 * (i % 2), sizes[0], sizes[2]];
        let tile = Some(Tile::Lanes { double: i % 3 == 1 });
        let function = [None, Some(Function::Relu), Some(Function::Tanh), Some(Function::Sigmoid)][i % 4];
        let [gamma, beta] = [(); 2].map(|()| arena.input(1, models, 1, cols));
        // With a bias or without, and where there is no function after it, with one before it.
        let number = [[1, 4], [2, 0]][i / 4 % 2][usize::from(function.is_some())];
        let product = MatMul { tile, ..product(arena, Product::ABt, models, sizes, number) };
        let (x, stats, out) =
            (product.out, arena.output(2, models, 3, cols), arena.output(1, models, rows, cols));
        let log = record(arena, models, 3, cols);
        let norm = BatchNorm { x, stats, gamma, beta, function, out, eps: EPS };
        let norm = BatchNormTrain { stats: ColumnStats { x, stats, log }, norm };
        let dropout = (i / 2 % 2 == 0).then(|| {
            let dropped = arena.output(3, models, rows, cols);
            Dropout { x: out, out: dropped, p: DROPPED, layer: i as u32 }
        });
        let out = dropout.as_ref().map_or(out, |dropout| dropout.out);
        let statistics = [stats, log].map(|tensor| (tensor, Measure::Statistics));
        let outputs =
            statistics.into_iter().chain([x, out].map(|tensor| (tensor, Measure::Values))).collect();
        arena.cases.push(Case { op: MatMulNorm { product, norm, dropout }.into(), outputs });
    }
}

/// Both gradients of a product: alone, or through what lies before it.
pub(super) fn product_gradients(arena: &mut Arena, extent: &Extent) {
    for (i, &sizes) in extent.products.iter().enumerate() {
        let [models, rows, units, cols] = [1 + 2 * (i % 2), sizes[0], sizes[1], sizes[2]];
        sum(arena, sizes, i % 2 == 1);
        // In few ways each, with a sum for the bias and without: a driver may take seconds to compile one.
        let mut case = |normalized: bool| {
            // By itself, as in large layers.
            let alone = normalized && i % 4 == 3;
            let tile = Some(Tile::Lanes { double: alone });
            let mut x = arena.input(3, models, rows, cols);
            let input = MatMul { tile, ..product(arena, Product::AB, models, sizes, 4) };
            let bias = (!alone && usize::from(normalized) == i % 2)
                .then(|| ColumnSum { x: input.a, out: arena.output(2, models, 1, units) });
            let through = normalized.then(|| {
                let dropout = (i / 2 % 2 == 0).then(|| dropout(arena, input.out, i));
                let dy = dropout.as_ref().map_or(input.out, |dropout| dropout.out);
                let slope = (i % 2 == 1).then_some((Function::Tanh, x));
                if let Some(dropout) = &dropout {
                    x = kept_of(arena, x, dropout);
                }
                let norm = norm_gradient(arena, dy, slope);
                let (y, of_norm) = (norm.0.reduce.x, norm.0.dx);
                let slope = (i % 4 == 0).then(|| {
                    let dx = arena.output(6, models, rows, cols);
                    ActivationBackward { function: Function::Sigmoid, y, dy: of_norm, dx }
                });
                ThroughNorm { dropout, norm, slope }
            });
            let weight = (!alone).then(|| {
                let dw = arena.output(2, models, units, cols);
                MatMul { tile, ..MatMul::new(Product::AtB, input.a, x, dw) }
            });
            let mut outputs: Vec<Tensor> = weight.iter().map(|weight| weight.out).collect();
            outputs.extend(bias.iter().map(|bias| bias.out));
            match &through {
                Some(ThroughNorm { norm: BatchNormGradient(norm), slope, .. }) => {
                    let dx = slope.as_ref().map_or(norm.dx, |slope| slope.dx);
                    outputs.extend([norm.reduce.dgamma, norm.reduce.dbeta, dx]);
                }
                None => outputs.push(input.out),
            }
            let function = [Function::Relu, Function::Sigmoid][i % 2];
            let slope = (!normalized).then_some((function, x));
            let input = MatMul { slope, ..input };
            arena.case(MatMulGradients { x, weight, bias, input, through }, &outputs);
        };
        case(false);
        // Of fewer rows little or nothing is left of a gradient after its mean and slope.
        if rows > 3 {
            case(true);
        }
    }
}

/// The gradients of a weight and a bias.
fn sum(arena: &mut Arena, [rows, units, cols]: [usize; 3], double: bool) {
    let [dy, x] = [(0, units), (3, cols)].map(|(role, cols)| arena.input(role, 3, rows, cols));
    let [dw, db] = [[units, cols], [1, units]].map(|[rows, cols]| arena.output(2, 3, rows, cols));
    let weight = MatMul { tile: Some(Tile::Lanes { double }), ..MatMul::new(Product::AtB, dy, x, dw) };
    arena.case(MatMulSum { weight, bias: ColumnSum { x: dy, out: db } }, &[dw, db]);
}

/// Dropout of a gradient.
fn dropout(arena: &mut Arena, x: Tensor, number: usize) -> Dropout {
    let out = arena.output(5, x.models, x.rows, x.cols);
    Dropout { x, out, p: DROPPED, layer: number as u32 }
}

/// What the same dropout keeps of y.
fn kept_of(arena: &mut Arena, y: Tensor, dropout: &Dropout) -> Tensor {
    let keys = Tensor::alone(Space::Hyper, y.models, 1, 4);
    let mut values = vec![];
    for (model, row) in rows(y) {
        let key = arena.get(keys, model, 0, 3) as u32;
        for c in 0..y.cols {
            let kept = keep(dropout.p, key, dropout.layer, STEP.number, row as u32, c as u32);
            values.push(if kept { arena.get(y, model, row, c) / (1.0 - dropout.p) } else { 0.0 });
        }
    }
    arena.derive(3, [y.models, y.rows, y.cols], |_, [model, row, c]| {
        values[(model * y.rows + row) * y.cols + c]
    })
}

/// The gradient of batch normalization, given that of what it put out.
fn norm_gradient(arena: &mut Arena, dy: Tensor, slope: Option<(Function, Tensor)>) -> BatchNormGradient {
    let Tensor { models, rows, cols, .. } = dy;
    let x = arena.input(4, models, rows, cols);
    let stats = stats(arena, x, rows);
    let [dgamma, dbeta] = [(); 2].map(|()| arena.output(2, models, 1, cols));
    let (gamma, dx) = (arena.input(1, models, 1, cols), arena.output(4, models, rows, cols));
    let reduce = BatchNormReduce { x, dy, stats, slope, dgamma, dbeta, eps: EPS };
    BatchNormGradient(BatchNormBackward { reduce, gamma, dx })
}
