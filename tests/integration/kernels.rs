//! Every kernel, in both variants, against its f64 twin on the same f32 inputs: see [`Arena`].

use std::collections::BTreeSet;

use minilote::doctor::{Arena, EXAMPLES, Extent, Line, STEP, Sample, batch_norm, normal, product, rows};
use minilote::ops::*;
use pollster::block_on;
use rand::RngExt;

const EXTENT: Extent = Extent {
    // Around the widths of vectors, workgroups and blocks.
    sizes: &[1, 2, 63, 64, 65, 257, 1000],
    // Around the blocks of out and the depths that are staged at once.
    products: &[
        [1, 1, 1],
        [1, 1000, 2],
        [3, 65, 130],
        [17, 127, 16],
        [63, 257, 65],
        [64, 64, 64],
        [130, 129, 33],
        [257, 3, 63],
        [60, 784, 100],
    ],
    beyond_lanes: true,
};

fn check(arena: &Arena, variants: &[Variant]) {
    let Some(gpu) = crate::gpu() else { return };
    let lines = block_on(arena.check(&gpu, variants)).unwrap_or_else(|error| panic!("{variants:?}: {error}"));
    let name = |line: &Line| format!("{} {:?}, subgroups {}", line.op, line.variant, line.subgroups);
    lines.iter().for_each(|line| println!("worst error of {}: {:.1e}", name(line), line.worst));
    let mut failures = vec![];
    for line in &lines {
        failures.extend(line.failures.iter().map(|failure| format!("{}, {failure}", name(line))));
    }
    let shown = failures[..failures.len().min(40)].join("\n");
    assert!(failures.is_empty(), "{} failures\n{shown}", failures.len());
}

macro_rules! samples {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            for sample in Sample::all().iter().filter(|sample| sample.name == stringify!($name)) {
                check(&sample.arena(&EXTENT), sample.variants);
            }
        })*

        #[test]
        fn every_sample_is_checked() {
            let names: BTreeSet<_> = Sample::all().into_iter().map(|sample| sample.name).collect();
            assert_eq!(names, BTreeSet::from([$(stringify!($name)),*]));
        }
    };
}

samples! {
    matmul matmul_with_every_tile matmul_with_moments matmul_with_batch_norm matmul_with_loss matmul_gradients gather
    activation batch_norm_of_centered_columns batch_norm_of_columns_far_from_zero column_sum loss optimizer dropout
}

/// Slices meet in shared memory, but always in their order.
#[test]
fn sliced_products_have_the_same_bits_every_time() {
    let Some(gpu) = crate::gpu() else { return };
    let gpu = gpu.with_variant(Variant::Gpu);
    let mut arena = Arena::new();
    let sliced = |tile: &&Tile| matches!(tile, Tile::Staged { slices, .. } if *slices > 1);
    for &tile in Tile::candidates(Variant::Gpu).iter().filter(sliced) {
        let op = product(&mut arena, Product::ABt, 1, [60, 784, 100], 0);
        let out = op.out;
        arena.case(MatMul { tile: Some(tile), ..op }, &[out]);
    }
    let mut runs = (0..3).map(|_| block_on(arena.run(&gpu)).unwrap()).map(|results| {
        let bits = |space: &Space| results[space].iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        arena.cases.iter().map(|case| bits(&case.outputs[0].0.space)).collect::<Vec<_>>()
    });
    let first = runs.next();
    assert!(runs.all(|run| Some(run) == first));
}

/// What a subgroup passes on goes through shared memory on a device without.
#[test]
fn products_across_lanes_need_no_subgroups() {
    let Some(gpu) = crate::gpu() else { return };
    let mut arena = Arena::new();
    for (i, product_of) in [Product::AB, Product::ABt, Product::AtB].into_iter().enumerate() {
        for double in [false, true] {
            let op = product(&mut arena, product_of, 2, [35, 37, 33], i);
            let out = op.out;
            arena.case(MatMul { tile: Some(Tile::Lanes { double }), ..op }, &[out]);
        }
    }
    for gpu in [gpu.clone(), gpu.without_subgroups()] {
        let lines = block_on(arena.check(&gpu, &[Variant::Software])).unwrap();
        assert!(lines.iter().all(|line| line.failures.is_empty()), "{:?}", lines[0].failures);
    }
}

#[test]
fn dropout_drops_what_keep_says() {
    let Some(gpu) = crate::gpu() else { return };
    let mut arena = Arena::new();
    let x = arena.derive(0, [3, 257, 1000], |_, _| 1.0);
    let out = arena.output(0, 3, 257, 1000);
    arena.case(Dropout { x, out, p: 0.3, layer: 2 }, &[out]);
    let results = block_on(arena.run(&gpu)).unwrap();
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
/// them into numbers. Losses count them, too, and take the learning rate away.
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
    let dropped = arena.output(0, 3, 9, 6);
    arena.case(Dropout { x, out: dropped, p: 0.9, layer: 2 }, &[dropped]);
    let b = arena.input(1, 3, 4, 6);
    let out = arena.output(0, 3, 9, 4);
    arena.case(MatMul::new(Product::ABt, x, b, out), &[out]);
    let (mut metrics, mut held) = (vec![], vec![]);
    for kind in [LossKind::SoftmaxCrossEntropy, LossKind::BinaryCrossEntropy, LossKind::SquaredError] {
        let softmax = kind == LossKind::SoftmaxCrossEntropy;
        let logits = arena.derive(0, [3, 9, if softmax { 6 } else { 1 }], broken);
        let targets = arena.place(Space::Targets, 1, 1, EXAMPLES);
        arena.fill(targets, |random, _| random.random_range(0..2) as f64);
        let order = arena.order(3, 9);
        metrics.push((softmax, arena.output(1, 3, 9, 4)));
        let hyper = arena.place(Space::Hyper, 3, 1, 4);
        arena.fill(hyper, |random, _| normal(random));
        held.push(hyper);
        let metrics = metrics[metrics.len() - 1].1;
        arena.case(
            Loss { kind, logits, order, targets, metrics, hyper: Some(hyper) },
            &[logits, metrics, hyper],
        );
    }
    check(&arena, &[Variant::Gpu, Variant::Software]);
    let results = block_on(arena.run(&gpu)).unwrap();
    let rates = held.iter().flat_map(|hyper| (0..3).map(|model| hyper.at(model, 0, 0)));
    assert_eq!(rates.map(|at| results[&Space::Hyper][at]).collect::<Vec<_>>(), [0.0; 9]);
    for (softmax, metrics) in metrics {
        let counts: Vec<f32> = (0..9).map(|row| results[&metrics.space][metrics.at(1, row, 0) + 2]).collect();
        let [first, fourth, sixth] = if softmax { [1.0, 2.0, 1.0] } else { [1.0, 0.0, 0.0] };
        assert_eq!(counts, [first, 0.0, 0.0, fourth, 0.0, sixth, 0.0, 0.0, 0.0]);
    }
}
