//! Fused and staged programs against the same programs with every operation by itself.

use std::collections::BTreeSet;

use minilote::Device;
use minilote::cpu::Cpu;
use minilote::doctor::{FEATURES, Net, difference, staged};
use minilote::gpu::{Autotune, Gpu, GpuDevice};
use minilote::model::{Layer, Norm, Spec};
use minilote::ops::{Function, MatMulLoss, Op, Rule, Space, Step, Tile, Variant};
use minilote::program::{DataShape, Mode, Plan, Program, ROWS_IN_STAGES, ROWS_OF_A_PRODUCT};
use pollster::block_on;

use crate::devices;

fn results(net: &Net, plan: Plan, device: &Device) -> Vec<f64> {
    block_on(net.results(plan, device)).unwrap()
}

#[test]
fn fused_and_unfused_programs_agree() {
    // In f64 the twins of a fused operation are those of its parts: the same arithmetic.
    let mut devices = vec![("f64 twin".to_string(), Device::Twin, 1e-13)];
    devices.extend(devices_with(1e-5));
    for (name, device, tolerance) in devices {
        for function in [Function::Relu, Function::Tanh, Function::Sigmoid] {
            for norm in [Norm::None, Norm::Before, Norm::After] {
                for dropout in [0.0, 0.3] {
                    let net = Net::new(&[9, 6], function, norm, dropout);
                    let [fused, unfused] = [net.plan().fused(), net.plan()];
                    assert!(fused.programs[0].ops.len() < unfused.programs[0].ops.len());
                    assert!(fused.memory() < unfused.memory());
                    let off = difference(&results(&net, fused, &device), &results(&net, unfused, &device));
                    assert!(
                        off <= tolerance,
                        "{name}, {function}, norm {norm:?}, dropout {dropout}: {off:.1e}"
                    );
                }
            }
        }
    }
}

/// Whether a stage has eight by eight values to an invocation.
fn has_large_tiles(program: &Program) -> bool {
    program.ops.iter().any(|op| op.describe().dispatch(Variant::Gpu).constants.contains(&("WIDE", 2.0)))
}

fn devices_with(tolerance: f64) -> Vec<(String, Device, f64)> {
    devices().into_iter().map(|(name, device)| (name, device, tolerance)).collect()
}

#[test]
fn staged_and_unfused_programs_agree_and_keep_to_their_tensors() {
    let any_large = |net: &Net| net.plan().staged().programs.iter().any(has_large_tiles);
    assert!(staged().iter().any(any_large));
    // Of few rows: behind gradients through the same weights, and beside those through others, which takes a stage more.
    let more = |net: &Net| {
        let ops = net.train(&net.plan().staged());
        let count = |name| ops.iter().filter(|op| **op == name).count();
        (net.rows <= ROWS_IN_STAGES && count("Forward") > 1).then(|| count("Backward") - count("Forward"))
    };
    assert_eq!(staged().iter().filter_map(more).collect::<BTreeSet<_>>(), [0, 1].into());
    for (i, net) in staged().iter().enumerate() {
        let name = || format!("net {i}, {} rows, {:?}, {:?}", net.rows, net.spec.layers, net.rule);
        let exact = results(net, net.plan(), &Device::Twin);
        let plan = net.plan().staged();
        assert!(plan.programs.iter().any(Program::joint), "{}", name());
        let off = difference(&results(net, plan.clone(), &Device::Twin), &exact);
        assert!(off <= 1e-13, "f64 twin, {}: {off:.1e}", name());
        let Some(gpu) = crate::gpu() else { continue };
        let gpu = gpu.with_variant(Variant::Gpu);
        // Each of their kernels takes a second to compile, so half of the networks run without subgroups: not always the
        // same of the six numbers of rows that come around.
        let gpu = if (i + i / 6) % 2 == 0 { gpu } else { gpu.without_subgroups() };
        let subgroups = gpu.has_subgroups();
        let off = difference(&results(net, plan.clone(), &Device::Gpu(gpu.clone())), &exact);
        assert!(off <= 1e-4, "{}, subgroups {subgroups}: {off:.1e}", name());
        keeps_to_its_tensors(net, gpu);
    }
}

/// The kernels of stages run without bounds checks: what lies between their tensors is neither read, or NaNs
/// would spread, nor written.
fn keeps_to_its_tensors(net: &Net, gpu: GpuDevice) {
    let mut plan = net.plan().staged();
    // A session reads back what is no larger than the log.
    let log = plan.spaces[&Space::Log].max(plan.spaces[&Space::Joint]);
    plan.spaces.insert(Space::Log, log);
    let program = plan.program(Mode::Train, net.rows);
    let mut inside = vec![false; plan.spaces[&Space::Joint]];
    for op in plan.programs[program].kernels() {
        for operand in op.describe().operands() {
            if let Space::Scratch(_) = operand.tensor.space {
                inside[operand.tensor.offset..operand.tensor.end(1)].fill(true);
            }
        }
    }
    let nan = f32::NAN.to_bits();
    let all = vec![f32::NAN; inside.len()];
    let mut session = block_on(Gpu::new(gpu, plan)).unwrap();
    session.write(Space::Joint, bytemuck::cast_slice(&all));
    if !net.bytes {
        session.write(
            Space::Inputs,
            bytemuck::cast_slice(&vec![0.5f32; net.rows * FEATURES.next_multiple_of(4)]),
        );
    }
    let step = Step { lr_factor: 1.0, corrections: [0.1, 0.001], ..Step::default() };
    let log = block_on(session.run(&[(program, step), (program, Step { slot: 1, ..step })])).unwrap();
    assert!(log.iter().all(|value| value.is_finite()), "{} rows, {:?}", net.rows, net.spec.layers);
    let after = block_on(session.read(Space::Joint)).unwrap();
    let parameters = block_on(session.read(Space::Params)).unwrap();
    assert!(parameters.iter().all(|value| value.is_finite()), "{} rows, {:?}", net.rows, net.spec.layers);
    let written = after.iter().zip(&inside).filter(|(value, inside)| !**inside && value.to_bits() != nan);
    assert_eq!(written.count(), 0, "{} rows, {:?}", net.rows, net.spec.layers);
}

/// Steps that are linked within a chunk and those that are not: the same bits, whatever the chunks.
#[test]
fn chunks_change_no_bit() {
    let Some(gpu) = crate::gpu() else { return };
    let links = |plan: &Plan| plan.programs.iter().any(|program| program.link.is_some());
    for variant in [Variant::Gpu, Variant::Software] {
        let gpu = gpu.clone().with_variant(variant);
        let nets = staged().into_iter().filter(|net| net.rows <= ROWS_IN_STAGES);
        let (linked, alone): (Vec<Net>, Vec<Net>) = nets.partition(|net| links(&gpu.rewrite(net.plan())));
        assert!(linked.len() > 10, "{variant:?}: {} nets", linked.len());
        assert_eq!(alone.is_empty(), variant == Variant::Software);
        let device = Device::Gpu(gpu.clone());
        for net in linked {
            let results = [64, 3, 1].map(|chunk| {
                let net = Net { chunk, spec: net.spec.clone(), ..net };
                let plan = gpu.rewrite(net.plan());
                let record = plan.models * plan.record;
                let mut results = results(&net, plan, &device);
                // The statistics pass leaves metrics of whichever step ran in its place of the log.
                results.drain(net.steps as usize * record..(net.steps as usize + 1) * record);
                results.into_iter().map(f64::to_bits).collect::<Vec<_>>()
            });
            let [whole, parts, single] = results;
            assert!(
                whole == parts && whole == single,
                "{variant:?}, {} rows, {:?}",
                net.rows,
                net.spec.layers
            );
        }
    }
}

/// The twin of a link is that of the two steps that it links.
#[test]
fn a_link_does_the_end_of_one_step_and_the_beginning_of_the_next() {
    let plan = Net::new(&[9, 6], Function::Tanh, Norm::Before, 0.3).plan();
    for plan in [plan.clone().staged(), plan.fused().ahead(8)] {
        check_link(plan);
    }
}

fn check_link(plan: Plan) {
    let program = plan.programs[plan.program(Mode::Train, 12)].clone();
    let [first, second] =
        [0, 2].map(|first| Step { first, number: 1 + first, lr_factor: 1.0, ..Step::default() });
    let (link, ops) = (program.link.unwrap(), program.ops);
    let last = ops.len() - 1;
    let alone: Vec<(&Op, Step)> =
        [first, second].into_iter().flat_map(|step| ops.iter().map(move |op| (op, step))).collect();
    let of_first = ops[..last].iter().map(|op| (op, first));
    let of_second = ops[1..].iter().map(|op| (op, second));
    let linked: Vec<(&Op, Step)> =
        of_first.chain([(&link, Step { next: second.first, ..first })]).chain(of_second).collect();
    let [alone, linked] = [alone, linked].map(|steps| {
        let mut memory = Cpu::<f64>::new(plan.clone()).memory;
        let values = |n: usize| (0..n).map(|i| ((i * 37) % 19) as f64 / 19.0 - 0.4).collect::<Vec<_>>();
        for space in [Space::Inputs, Space::Params] {
            memory.load(space, 0, &values(plan.spaces[&space]));
        }
        memory.load(Space::Hyper, 0, &[0.1, 0.01, 0.02, 5.0]);
        memory.load_order(&(0..12).chain(0..3).rev().collect::<Vec<u32>>());
        steps.into_iter().for_each(|(op, step)| op.run(&mut memory, &step));
        memory.get(Space::Params).to_vec()
    });
    assert_eq!(alone, linked);
}

/// A kernel has one function: where layers have two, or differ, a program is not put into stages.
#[test]
fn what_no_stage_has_stays_as_it_was() {
    let linear = |inputs, outputs| Layer::Linear { inputs, outputs, bias: true };
    let [relu, tanh] = [Function::Relu, Function::Tanh].map(|function| Layer::Activation { function });
    let norm = Layer::BatchNorm { features: 6, eps: 1e-5 };
    let layers: [&[Layer]; 4] =
        [&[relu, tanh], &[relu, norm, tanh], &[norm, relu, tanh], &[relu, linear(6, 6), tanh]];
    for hidden in layers {
        let layers = [&[linear(7, 6)], hidden, &[linear(6, 3)]].concat();
        let spec = Spec { layers, ..Net::new(&[6], Function::Relu, Norm::None, 0.0).spec };
        for rows in [12, 300, 1030] {
            let net = Net { rows, spec: spec.clone(), ..Net::new(&[], Function::Relu, Norm::None, 0.0) };
            let exact = results(&net, net.plan(), &Device::Twin);
            let plan = net.plan().staged();
            assert!(!plan.programs.iter().any(Program::joint), "{rows} rows, {hidden:?}");
            assert_eq!(net.train(&plan.clone().fused()), net.train(&plan), "{rows} rows, {hidden:?}");
            for device in [Device::Twin].into_iter().chain(crate::gpu().map(Device::Gpu)) {
                let off = difference(&results(&net, plan.clone(), &device), &exact);
                assert!(off <= 1e-4, "{device:?}, {rows} rows, {hidden:?}: {off:.1e}");
            }
        }
    }
}

/// Batch normalization of any width goes into stages, within the shared memory that WebGPU promises.
#[test]
fn stages_of_any_width_fit_shared_memory() {
    let widths: [usize; 7] = [4, 340, 512, 516, 680, 684, 1100];
    for (width, large) in widths.into_iter().flat_map(|width| [(width, false), (width, true)]) {
        // With enough models a layer of 300 rows has the largest tiles.
        let models = if large { 256usize.div_ceil(5 * width.div_ceil(64)) } else { 1 };
        let spec = Net::new(&[width, 9], Function::Relu, Norm::Before, 0.0).spec;
        let data = DataShape { examples: 300, features: 7, bytes: false, places: 300 };
        let requests = [(Mode::Train, 44), (Mode::Train, 300)];
        let plan = Plan::new(&spec, models, data, Rule::Sgd, &requests.into(), 1).staged();
        for program in &plan.programs {
            assert!(program.joint());
            assert_eq!(has_large_tiles(program), large && program.rows == 300, "{models} of {width} columns");
            for op in program.kernels() {
                let shared = op.describe().dispatch(Variant::Gpu).shared();
                assert!(shared <= 16 << 10, "{models} of {width} columns, {}: {shared} bytes", op.name());
            }
        }
    }
}

/// Large minibatches: by blocks of rows, of which the last is not whole.
#[test]
fn programs_by_blocks_of_rows_and_unfused_ones_agree() {
    for (rows, norm, dropout, gradient) in [
        (300, Norm::Before, 0.3, "BatchNormGradient"),
        (300, Norm::After, 0.0, "BatchNormGradient"),
        (1030, Norm::Before, 0.0, "BatchNormBackward"),
    ] {
        let net = Net { rows, models: 2, ..Net::new(&[9, 70], Function::Tanh, norm, dropout) };
        let (plan, exact) = (net.plan().fused().in_blocks(), results(&net, net.plan(), &Device::Twin));
        let ops = net.train(&plan);
        let count = |name| ops.iter().filter(|op| **op == name).count();
        assert_eq!(["MatMulMoments", "BatchNormMerged", "ColumnStats", gradient].map(count), [2, 2, 0, 2]);
        let off = difference(&results(&net, plan.clone(), &Device::Twin), &exact);
        assert!(off <= 1e-13, "f64 twin, {rows} rows, {norm:?}: {off:.1e}");
        let Some(gpu) = crate::gpu().map(|gpu| gpu.with_variant(Variant::Gpu)) else { continue };
        let mut plans = vec![plan];
        if rows > 1024 {
            // Tiles as they were measured have other blocks.
            plans.push(block_on(gpu.tune(net.plan(), Autotune::Quick, None)).unwrap().0);
            assert!(net.train(&plans[1]).contains(&"BatchNormMerged"));
        }
        for plan in plans {
            let off = difference(&results(&net, plan, &Device::Gpu(gpu.clone())), &exact);
            assert!(off <= 1e-4, "{rows} rows, {norm:?}: {off:.1e}");
        }
    }
}

/// Products by lanes with what one dispatch can do beside them.
#[test]
fn products_with_what_is_joined_and_unfused_ones_agree() {
    let by_lanes = |net: &Net, double: bool| {
        let mut plan = net.plan().fused();
        plan.products_mut().for_each(|product| product.tile = Some(Tile::Lanes { double }));
        plan.in_columns().ahead(8)
    };
    let small = "Gather MatMulNorm MatMulNorm MatMulLoss MatMulGradients MatMulGradients MatMul UpdateGather";
    // Those of large tiles lie apart.
    let large = "Gather MatMulNorm MatMulNorm MatMulLoss MatMulSum MatMulGradients MatMul MatMulGradients MatMul UpdateGather";
    for (rows, function, norm, dropout, double) in [
        (12, Function::Tanh, Norm::Before, 0.0, false),
        (33, Function::Sigmoid, Norm::Before, 0.3, false),
        (100, Function::Relu, Norm::Before, 0.0, true),
        (65, Function::Tanh, Norm::Before, 0.2, true),
        (45, Function::Tanh, Norm::After, 0.0, false),
        (256, Function::Sigmoid, Norm::After, 0.2, false),
        (130, Function::Relu, Norm::After, 0.2, true),
        // Of many rows, where models have workgroups enough.
        (257, Function::Relu, Norm::Before, 0.2, false),
    ] {
        let models = if rows > ROWS_OF_A_PRODUCT { 16 } else { 2 };
        let net = Net { rows, models, ..Net::new(&[9, 70], function, norm, dropout) };
        let plan = by_lanes(&net, double);
        let joined = if double { large } else { small };
        // A layer before the function has a bias.
        let joined = if norm == Norm::After {
            joined.replace("MatMul Mat", "MatMulSum Mat").replace("MatMul Upd", "MatMulSum Upd")
        } else {
            joined.into()
        };
        assert_eq!(net.train(&plan).join(" "), joined, "{rows} rows");
        let dispatches = plan.programs[plan.program(Mode::Train, rows)].dispatches();
        assert_eq!(dispatches, 2 * 3 + 1 + if double { 2 } else { 0 });
        let exact = results(&net, net.plan(), &Device::Twin);
        let off = difference(&results(&net, plan.clone(), &Device::Twin), &exact);
        assert!(off <= 1e-13, "f64 twin, {rows} rows: {off:.1e}");
        let Some(gpu) = crate::gpu().map(|gpu| gpu.with_variant(Variant::Software)) else { continue };
        // As they are, and as the device has them, which may be with other tiles.
        for plan in [plan, gpu.rewrite(net.plan())] {
            let off = difference(&results(&net, plan, &Device::Gpu(gpu.clone())), &exact);
            assert!(off <= 1e-5, "{rows} rows: {off:.1e}");
        }
    }
    // Where layers are in another order, or have two functions, or there are many outputs, only some of it is joined.
    let [relu, tanh] = [Function::Relu, Function::Tanh].map(|function| Layer::Activation { function });
    let (norm, dropout) = (Layer::BatchNorm { features: 6, eps: 1e-5 }, Layer::Dropout { p: 0.3 });
    let hidden: [(&[Layer], usize, [usize; 3]); 4] = [
        (&[relu, norm, tanh, dropout], 3, [0, 1, 1]),
        (&[norm, dropout, relu], MatMulLoss::COLUMNS, [1, 1, 1]),
        (&[norm, tanh, dropout, dropout], MatMulLoss::COLUMNS + 1, [1, 4, 0]),
        (&[dropout, norm, tanh, dropout], 3, [0, 3, 1]),
    ];
    for (hidden, outputs, expected) in hidden {
        let linear = |inputs, outputs| Layer::Linear { inputs, outputs, bias: true };
        let layers = [&[linear(7, 6)], hidden, &[linear(6, outputs)]].concat();
        let spec = Spec { layers, ..Net::new(&[6], Function::Relu, Norm::None, 0.0).spec };
        let net = Net { spec, ..Net::new(&[], Function::Relu, Norm::None, 0.0) };
        let (plan, exact) = (by_lanes(&net, false), results(&net, net.plan(), &Device::Twin));
        let ops = net.train(&plan);
        let count = |name| ops.iter().filter(|op| **op == name).count();
        assert_eq!(["MatMulNorm", "Dropout", "MatMulLoss"].map(count), expected, "{ops:?}");
        for device in [Device::Twin]
            .into_iter()
            .chain(crate::gpu().map(|gpu| Device::Gpu(gpu.with_variant(Variant::Software))))
        {
            let off = difference(&results(&net, plan.clone(), &device), &exact);
            assert!(off <= 1e-5, "{device:?}, {hidden:?}: {off:.1e}");
        }
    }
    // What lies between stays, as do products that would be by few workgroups with many rows each.
    let count = |rows, hidden: &[usize], norm, dropout| {
        let net = Net { rows, ..Net::new(hidden, Function::Tanh, norm, dropout) };
        let ops = net.train(&by_lanes(&net, false));
        let count = |name| ops.iter().filter(|op| **op == name).count();
        ["MatMulNorm", "MatMulGradients", "BatchNormGradient", "Dropout"].map(count)
    };
    assert_eq!(count(12, &[9, 70], Norm::None, 0.0), [0, 2, 0, 0]);
    assert_eq!(count(12, &[9, 70], Norm::None, 0.3), [0, 2, 0, 4]);
    assert_eq!(count(ROWS_OF_A_PRODUCT, &[9, 70], Norm::Before, 0.3), [2, 2, 0, 0]);
    assert_eq!(count(257, &[9, 70], Norm::Before, 0.3), [0, 2, 2, 4]);
    assert_eq!(count(257, &[9, 512], Norm::Before, 0.3), [1, 2, 1, 2]);
    assert_eq!(count(1025, &[9, 512], Norm::Before, 0.0), [0, 2, 0, 0]);
}

/// The operations of a training step of reference nets: a regression of the rules shows without a clock.
#[test]
fn reference_nets_have_these_dispatches() {
    let fused = |norm, dropout| {
        let net = Net::new(&[9, 6], Function::Relu, norm, dropout);
        net.train(&net.plan().fused()).join(" ")
    };
    assert_eq!(
        fused(Norm::Before, 0.0),
        "Gather MatMul BatchNormTrain MatMul BatchNormTrain MatMul LossTotal \
         MatMul ColumnSum MatMul BatchNormGradient MatMul MatMul BatchNormGradient MatMul Optimizer"
    );
    assert_eq!(
        fused(Norm::None, 0.0),
        "Gather MatMul MatMul MatMul LossTotal \
         MatMul ColumnSum MatMul MatMul ColumnSum MatMul MatMul ColumnSum Optimizer"
    );
    let with_dropout = "Gather MatMul BatchNormTrain Dropout MatMul BatchNormTrain Dropout MatMul LossTotal \
         MatMul ColumnSum MatMul Dropout BatchNormGradient ActivationBackward \
         MatMul ColumnSum MatMul Dropout BatchNormGradient ActivationBackward MatMul ColumnSum Optimizer";
    assert_eq!(fused(Norm::After, 0.2), with_dropout);
    // 2 L + 2 for L layers, one less where narrow ones take gradients through weights that they then update, and one less where
    // steps are linked by the first layer; with batch normalization and without, with dropout and without.
    for hidden in [&[][..], &[9], &[9, 6], &[9, 6, 9], &[5462, 5461], &[9, 5462]] {
        for (norm, dropout) in
            [Norm::None, Norm::Before, Norm::After].into_iter().flat_map(|n| [(n, 0.0), (n, 0.2)])
        {
            for (rows, backward) in [(12, "Backward"), (2000, "BackwardBlocks")] {
                let net = Net { rows, ..Net::new(hidden, Function::Relu, norm, dropout) };
                let layers = hidden.len() + 1;
                let linked = rows == 12;
                // The first layer passes no gradient on.
                let narrow = linked && hidden.iter().skip(1).all(|&width| width < 5462);
                let stages = if layers == 1 || narrow { layers } else { layers + 1 };
                let mut expected =
                    [vec!["Forward"; layers], vec!["LossTotal"], vec![backward; stages]].concat();
                if linked {
                    (expected[0], expected[layers + stages]) = ("Link", "Link");
                }
                let plan = net.plan().staged();
                assert_eq!(net.train(&plan), expected);
                let step = &plan.programs[plan.program(Mode::Train, rows)];
                assert_eq!(step.dispatches(), layers + 1 + stages - usize::from(linked));
            }
        }
    }
}
