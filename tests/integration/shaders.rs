//! The kernels' sources without a device: every shader parses and validates, says the same of its bindings,
//! parameters and constants as the operation that dispatches it, and can be said to Vulkan, Metal and Direct3D.

use std::collections::{BTreeMap, BTreeSet};

use minilote::Task;
use minilote::gpu::shaders::{SHADERS, merges, passes, source};
use minilote::model::{Norm, Spec};
use minilote::ops::*;
use minilote::program::{DataShape, Mode, Plan};
use naga::ShaderStage::Compute;
use naga::back::pipeline_constants::process_overrides;
use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

/// Every operation in every form: each entry point of each shader in each variant.
fn samples() -> Vec<Op> {
    let mut scratch = 0;
    let mut tensor = |rows, cols| {
        scratch += 1;
        Tensor::alone(Space::Scratch(scratch), 2, rows, cols)
    };
    let order = Tensor::alone(Space::Order, 2, 1, 20);
    let targets = Tensor::shared(Space::Targets, 1, 20);
    let logits = tensor(5, 3);
    let (x, dy, out, stats) = (tensor(5, 6), tensor(5, 6), tensor(5, 6), tensor(3, 6));
    let (gamma, dgamma) = (tensor(1, 6), tensor(1, 6));
    let (beta, dbeta) = (Tensor { offset: 8, ..gamma }, Tensor { offset: 8, ..dgamma });
    let mut ops: Vec<Op> = vec![];
    for space in [Space::Inputs, Space::Bytes] {
        ops.push(Gather { inputs: Tensor::shared(space, 20, 6), order, out }.into());
    }
    for product in [Product::AB, Product::ABt, Product::AtB] {
        let plain = MatMul::new(product, tensor(6, 6), tensor(6, 6), tensor(6, 6));
        let slope = Some((Function::Tanh, tensor(6, 6)));
        ops.push(plain.clone().into());
        ops.push(MatMul { bias: Some(beta), function: Some(Function::Relu), ..plain.clone() }.into());
        ops.push(MatMul { slope, ..plain.clone() }.into());
        let tiles = [Variant::Gpu, Variant::Software].into_iter().flat_map(Tile::candidates);
        ops.extend(tiles.map(|&tile| MatMul { tile: Some(tile), ..plain.clone() }.into()));
    }
    for &tile in Tile::candidates(Variant::Gpu) {
        let plain = MatMul::new(Product::ABt, tensor(6, 6), tensor(6, 6), tensor(6, 6));
        let product = MatMul { tile: Some(tile), ..plain };
        ops.push(MatMulMoments { product, moments: tensor(3, 6) }.into());
    }
    for function in [Function::Relu, Function::Tanh, Function::Sigmoid] {
        ops.push(Activation { function, x, out }.into());
        ops.push(ActivationBackward { function, y: x, dy, dx: out }.into());
    }
    let statistics = ColumnStats { x, stats, log: tensor(3, 6) };
    ops.push(statistics.clone().into());
    for function in [None, Some(Function::Relu)] {
        let norm = BatchNorm { x, stats, gamma, beta, function, out, eps: 1e-5 };
        ops.push(norm.clone().into());
        ops.push(BatchNormTrain { stats: statistics.clone(), norm: norm.clone() }.into());
        ops.push(BatchNormMerged { moments: tensor(9, 6), block: 2, stats: statistics.clone(), norm }.into());
    }
    for slope in [None, Some((Function::Relu, tensor(5, 6)))] {
        let reduce = BatchNormReduce { x, dy, stats, slope, dgamma, dbeta, eps: 1e-5 };
        ops.push(reduce.clone().into());
        let norm = BatchNormBackward { reduce, gamma, dx: out };
        ops.push(norm.clone().into());
        ops.push(BatchNormGradient(norm).into());
    }
    let product = MatMul::new(Product::ABt, tensor(5, 6), gamma, x);
    let norm = BatchNorm { x, stats, gamma, beta, function: Some(Function::Relu), out, eps: 1e-5 };
    let norm = BatchNormTrain { stats: statistics, norm };
    let dropout = Dropout { x: out, out: tensor(5, 6), p: 0.5, layer: 3 };
    let joined = MatMulNorm { product, norm, dropout: None };
    ops.extend([joined.clone().into(), MatMulNorm { dropout: Some(dropout), ..joined }.into()]);
    let weight = MatMul::new(Product::AtB, x, tensor(5, 6), dgamma);
    let tile = Some(Tile::Lanes { double: false });
    ops.push(MatMulSum { weight: MatMul { tile, ..weight }, bias: ColumnSum { x, out: dbeta } }.into());
    for slope in [None, Some((Function::Relu, tensor(5, 6)))] {
        let input = MatMul::new(Product::AB, tensor(5, 6), gamma, dy);
        let weight = MatMul::new(Product::AtB, input.a, tensor(5, 6), dgamma);
        let bias = slope.map(|_| ColumnSum { x: input.a, out: dbeta });
        let both = MatMulGradients {
            x: weight.b,
            weight: Some(weight),
            bias,
            input: MatMul { slope, ..input.clone() },
            through: None,
        };
        let reduce = BatchNormReduce { x, dy, stats, slope, dgamma, dbeta, eps: 1e-5 };
        let norm = BatchNormGradient(BatchNormBackward { reduce, gamma, dx: out });
        let through = Some(ThroughNorm { dropout: None, norm, slope: None });
        ops.extend([both.clone().into(), MatMulGradients { input, through, ..both }.into()]);
    }
    ops.push(Dropout { x, out, p: 0.5, layer: 3 }.into());
    for kind in [LossKind::SoftmaxCrossEntropy, LossKind::BinaryCrossEntropy, LossKind::SquaredError] {
        let metrics = tensor(5, 4);
        let loss = Loss { kind, logits, order, targets, metrics, hyper: None };
        let sum = ColumnSum { x: metrics, out: tensor(1, 4) };
        let total = LossTotal { loss: loss.clone(), sum };
        let product = MatMul::new(Product::ABt, tensor(5, 6), gamma, logits);
        let product = MatMul { bias: Some(beta), ..product };
        ops.extend([loss.into(), total.clone().into(), MatMulLoss { product, loss: total }.into()]);
    }
    ops.push(ColumnSum { x, out: gamma }.into());
    ops.extend(stages());
    let theta = Tensor::alone(Space::Params, 2, 1, 12);
    let momentum = Rule::Momentum { momentum: 0.9, nesterov: true };
    for rule in [Rule::Sgd, momentum, Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 }] {
        let update = Optimizer { rule, theta, decayed: 8, weights: vec![] };
        for (space, gathers) in [(Space::Inputs, true), (Space::Bytes, true), (Space::Bytes, false)] {
            let gather = Gather { inputs: Tensor::shared(space, 20, 6), order, out };
            ops.push(UpdateGather { update: update.clone(), gather, gathers }.into());
        }
        ops.push(update.into());
    }
    ops
}

/// The operations of staged training steps.
fn stages() -> Vec<Op> {
    let mut ops = vec![];
    for (norm, bytes, dropout, rows, models, width) in [
        (Norm::None, true, 0.5, 8, 2, 4),
        (Norm::Before, true, 0.0, 8, 2, 4),
        (Norm::After, false, 0.5, 8, 2, 4),
        // Wide enough for updates beside gradients through other weights.
        (Norm::Before, true, 0.5, 200, 2, 90),
        (Norm::Before, true, 0.5, 300, 2, 4),
        (Norm::After, false, 0.0, 300, 2, 4),
        // Models enough for the largest tiles.
        (Norm::Before, false, 0.0, 300, 60, 4),
    ] {
        let spec = Spec::mlp(Task::Classification, 6, &[5, width], 3, Function::Tanh, norm, dropout);
        let data = DataShape { examples: 300, features: 6, bytes, places: 300 };
        let plan = Plan::new(&spec, models, data, Rule::Sgd, &[(Mode::Train, rows)].into(), 1).staged();
        ops.extend(plan.programs.into_iter().flat_map(|program| program.ops));
    }
    ops
}

/// The text that compilers and drivers see, parsed and validated.
fn parse(stem: &str, subgroup: u32) -> Result<(naga::Module, ModuleInfo), String> {
    let source = source(stem, subgroup);
    let module = naga::front::wgsl::parse_str(&source).map_err(|error| error.emit_to_string(&source))?;
    let capabilities = if subgroup > 1 { Capabilities::SUBGROUP } else { Capabilities::empty() };
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
    validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
    let info = validator.validate(&module).map_err(|error| error.emit_to_string(&source))?;
    Ok((module, info))
}

#[test]
fn files_and_list_agree_and_validate() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<String> =
        files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_string()).collect();
    let mut listed: BTreeSet<String> = SHADERS.iter().map(|(stem, _)| stem.to_string()).collect();
    let failures: Vec<String> = [1, 32]
        .into_iter()
        .flat_map(|subgroup| listed.iter().filter_map(move |stem| parse(stem, subgroup).err()))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let preludes = [
        "backward_norm",
        "backward_stage",
        "blocks",
        "columns",
        "common",
        "forward_stage",
        "function",
        "gradients",
        "joined",
        "loaded",
        "mask",
        "matmul_params",
        "minibatch",
        "moments",
        "normalize",
        "product",
        "product_alone",
        "product_lanes",
        "product_rows",
        "row_loss",
        "stage",
        "through_norm",
        "turns",
        "update",
        "update_all",
        "weight_gradient",
    ];
    listed.extend(preludes.map(String::from));
    listed.extend(["subgroups", "no_subgroups", "lanes", "no_lanes"].map(String::from));
    assert_eq!(files, listed);
}

/// Whether a workgroup is what the dispatch says, and no more than WebGPU promises on every device.
fn within_defaults(module: &naga::Module, dispatch: &Dispatch) -> Result<(), String> {
    let found = module.entry_points.iter().find(|found| found.name == dispatch.entry);
    let size = found.map(|found| found.workgroup_size).unwrap_or_default();
    let shared =
        module.global_variables.iter().filter(|(_, global)| global.space == naga::AddressSpace::WorkGroup);
    let bytes: u32 = shared.map(|(_, global)| module.types[global.ty].inner.size(module.to_ctx())).sum();
    // A subgroup passes on without.
    let as_said = bytes == dispatch.shared() || passes(dispatch.shader) && bytes + 128 == dispatch.shared();
    if dispatch.workgroup() != size || !as_said {
        return Err(format!("{:?}, {} shared: {size:?}, {bytes}", dispatch.workgroup(), dispatch.shared()));
    }
    match size.iter().product() {
        1..=256 if bytes <= 16384 => Ok(()),
        invocations => Err(format!("{invocations} invocations with {bytes} bytes of shared memory")),
    }
}

/// Translates a kernel to the languages of Vulkan, Metal and, without subgroups, Direct3D, with the options that
/// wgpu takes for trusted shaders: no bounds checks, no bounded loops, no zeroed shared memory but on Direct3D.
fn translate(module: &naga::Module, info: &ModuleInfo, entry: &str, subgroups: bool) -> Result<(), String> {
    let names: Vec<_> = module.global_variables.iter().filter_map(|(_, global)| global.binding).collect();
    let unchecked = BoundsCheckPolicy::Unchecked;
    let unchecked = BoundsCheckPolicies {
        index: unchecked,
        buffer: unchecked,
        image_load: unchecked,
        binding_array: unchecked,
    };

    // Of Vulkan 1.1, the oldest with subgroups.
    let options = spv::Options {
        lang_version: (1, 3),
        bounds_check_policies: unchecked,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..Default::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: Compute, entry_point: entry.into() };
    let words = spv::write_vec(module, info, &options, Some(&pipeline));
    let words = words.map_err(|error| format!("as SPIR-V: {error}"))?;
    if words.first() != Some(&0x0723_0203) {
        return Err("as SPIR-V: no magic number".into());
    }

    let target =
        |slot: usize| msl::BindTarget { buffer: Some(slot as u8), mutable: true, ..Default::default() };
    let resources = msl::EntryPointResources {
        resources: names.iter().enumerate().map(|(slot, name)| (*name, target(slot))).collect(),
        sizes_buffer: Some(names.len() as u8),
        ..Default::default()
    };
    let options = msl::Options {
        lang_version: (2, 1),
        per_entry_point_map: BTreeMap::from([(entry.to_string(), resources)]),
        fake_missing_bindings: false,
        bounds_check_policies: unchecked,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    let pipeline = msl::PipelineOptions { entry_point: Some((Compute, entry.into())), ..Default::default() };
    let metal = msl::write_string(module, info, &options, &pipeline);
    let (text, said) = metal.map_err(|error| format!("as MSL: {error}"))?;
    let [Ok(name)] = &said.entry_point_names[..] else {
        return Err(format!("as MSL: {:?}", said.entry_point_names));
    };
    // Metal has 31 buffers for a kernel.
    if names.len() >= 31 || !text.contains(&format!("kernel void {name}(")) {
        return Err(format!("as MSL: {} buffers and no kernel {name}", names.len()));
    }
    if subgroups { Ok(()) } else { direct3d(module, info, entry) }
}

/// As HLSL for the oldest compiler that wgpu has, which knows no subgroups.
fn direct3d(module: &naga::Module, info: &ModuleInfo, entry: &str) -> Result<(), String> {
    let names = module.global_variables.iter().filter_map(|(_, global)| global.binding);
    let target = |register| hlsl::BindTarget { register, ..Default::default() };
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V5_1,
        binding_map: (0..).zip(names).map(|(register, name)| (name, target(register))).collect(),
        fake_missing_bindings: false,
        special_constants_binding: Some(hlsl::BindTarget { space: 1, ..Default::default() }),
        restrict_indexing: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: Some((Compute, entry.into())) };
    let mut text = String::new();
    let said = hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None);
    let said = said.map_err(|error| format!("as HLSL: {error}"))?;
    match &said.entry_point_names[..] {
        [Ok(name)] if text.contains(&format!("void {name}(")) => Ok(()),
        names => Err(format!("as HLSL: {names:?}")),
    }
}

/// What is wrong between a shader and a dispatch of it.
fn mismatches(op: &Op, variant: Variant, subgroup: u32) -> Result<(), String> {
    let mut dispatch = op.describe().dispatch(variant);
    dispatch.constants.extend(merges(dispatch.shader).then_some(("SUBGROUP", f64::from(subgroup))));
    let (module, info) = parse(dispatch.shader, subgroup)?;
    let found = module.entry_points.iter().position(|entry| entry.name == dispatch.entry);
    let index = found.ok_or("no such entry point")?;

    let given: BTreeSet<&str> = dispatch.constants.iter().map(|(name, _)| *name).collect();
    let declared: BTreeSet<&str> = module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
    if given != declared {
        return Err(format!("constants {given:?}, declared {declared:?}"));
    }
    let constants = dispatch.constants.iter().map(|(name, value)| (name.to_string(), *value)).collect();
    let entry = Some((Compute, dispatch.entry));
    let (made, made_info) = process_overrides(&module, &info, entry, &constants)
        .map_err(|error| format!("with its constants: {error}"))?;
    within_defaults(&made, &dispatch)?;
    translate(&made, &made_info, dispatch.entry, subgroup > 1)?;

    let used = info.get_entry_point(index);
    let mut bindings = BTreeMap::new();
    for (handle, global) in module.global_variables.iter() {
        let Some(binding) = global.binding.as_ref().filter(|binding| binding.group == 1) else { continue };
        if binding.binding == 0 {
            let naga::TypeInner::Struct { span, .. } = module.types[global.ty].inner else {
                return Err("parameters that are no struct".into());
            };
            let bytes = 4 * dispatch.params.words(0).len() as u32;
            if span.next_multiple_of(16) != bytes.next_multiple_of(16) {
                return Err(format!("{bytes} bytes of parameters for a struct of {span}"));
            }
        } else if !used[handle].is_empty() {
            let naga::AddressSpace::Storage { access } = global.space else { continue };
            let writes = access.contains(naga::StorageAccess::STORE);
            bindings.insert(binding.binding, if writes { Access::Write } else { Access::Read });
        }
    }
    let given = op.describe().bindings();
    let expected: BTreeMap<u32, Access> = (1..).zip(given.into_iter().map(|(_, access)| access)).collect();
    if bindings != expected {
        return Err(format!("bindings {bindings:?}, given {expected:?}"));
    }
    Ok(())
}

#[test]
fn dispatches_fit_their_shaders() {
    let mut entries = BTreeSet::new();
    let mut failures = vec![];
    for op in samples() {
        for variant in [Variant::Gpu, Variant::Software] {
            let dispatch = op.describe().dispatch(variant);
            entries.insert((dispatch.shader, dispatch.entry.to_string()));
            for subgroup in [1, 32] {
                if let Err(what) = mismatches(&op, variant, subgroup) {
                    failures.push(format!("{}.{}, {variant:?}: {what}", dispatch.shader, dispatch.entry));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // The measurement of a device's limits is no operation's, and has no constants.
    let (limits, info) = parse("limits", 1).unwrap();
    for entry in &limits.entry_points {
        let name = entry.name.as_str();
        let (made, info) =
            process_overrides(&limits, &info, Some((Compute, name)), &Default::default()).unwrap();
        translate(&made, &info, name, false).unwrap();
    }
    for (stem, _) in SHADERS.iter().filter(|(stem, _)| *stem != "limits") {
        for entry in parse(stem, 1).unwrap().0.entry_points {
            assert!(
                entries.contains(&(*stem, entry.name.clone())),
                "no operation runs {stem}.{}",
                entry.name
            );
        }
    }
}
