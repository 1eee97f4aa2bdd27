//! Which form of a training step and which tile of a product is the fastest, measured on the device and
//! remembered in a file.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Instant;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::device::GpuDevice;
use super::session::Gpu;
use super::shaders::VECTOR;
use crate::model::Layer;
use crate::ops::{Describe, MatMul, Op, Space, Step, Tensor, Tile, Variant};
use crate::program::{Mode, Plan, Program};
use crate::{Result, cache};

/// Whether the forms of training steps and the tiles of products are measured before training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Autotune {
    /// What suits the kind of device and the sizes; nothing is measured or remembered
    #[default]
    Off,
    /// What is remembered; what is new is measured
    Quick,
    /// All is measured again, and longer
    Full,
}

/// What [`GpuDevice::tune`] came to.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// The form of each training step, and the tile for each kind and class of sizes of the plan's products.
    pub choices: BTreeMap<String, String>,
    /// How many of them were measured now.
    pub measured: usize,
    /// What a person should know: a file that was damaged or could not be written.
    pub notes: Vec<String>,
}

/// The file, by device and class: `{"GeForce …": {"ABt 64x1024x128": "32x32 of 4x4, depth 16, slices 4"}}`.
type Remembered = BTreeMap<String, BTreeMap<String, String>>;

/// How a training step can run.
const FORMS: [&str; 2] = ["operations", "stages"];

/// Steps of a measured run at the most, and about its seconds.
const STEPS: usize = 64;
const SECONDS: f64 = 0.005;

/// Bytes that the processor of a software adapter keeps at hand.
const CACHE: u64 = 10 << 20;

impl Autotune {
    /// Runs of each tile, of which the median counts.
    fn rounds(self) -> usize {
        if self == Autotune::Full { 15 } else { 5 }
    }
}

/// Products that share a tile: of one kind, and of the same sizes rounded up to powers of two.
fn class(product: &MatMul) -> String {
    let [rows, depth, cols] = product.sizes().map(usize::next_power_of_two);
    format!("{} models {:?} {rows}x{depth}x{cols}", product.out.models, product.product)
}

fn products(plan: &Plan) -> impl Iterator<Item = &MatMul> {
    let ops = plan.programs.iter().flat_map(|program| &program.ops);
    ops.filter_map(|op| if let Op::MatMul(product) = op { Some(product) } else { None })
}

/// What the file holds; of a damaged one nothing, and a note.
fn recall(file: &Path, notes: &mut Vec<String>) -> Remembered {
    let parse = |text: Vec<u8>| serde_json::from_slice(&text).map_err(io::Error::from);
    fs::read(file).and_then(parse).unwrap_or_else(|error| {
        if error.kind() != ErrorKind::NotFound {
            notes.push(format!("{}: {error}; what it held is measured again", file.display()));
        }
        Remembered::new()
    })
}

impl GpuDevice {
    /// The plan with its programs rewritten as suits this kind of device.
    pub fn rewrite(&self, plan: Plan) -> Plan {
        match self.variant {
            // Where stages are too much for the device, a dispatch for each part may not be.
            Variant::Gpu => {
                let staged = plan.clone().staged();
                let fits = staged.check(&self.limits(), self.variant, "").is_ok();
                if fits { staged } else { plan.fused().in_blocks() }
            }
            // Its barriers are slow, and launches are not.
            Variant::Software => {
                let mut plan = plan.fused();
                let products = plan.products_mut().filter(|_| self.subgroup >= VECTOR);
                products.for_each(|product| {
                    product.tile = Some(Tile::suited_to_lanes(product.out.models, product.sizes()));
                });
                self.at_hand(plan)
            }
        }
    }

    /// The rewritten plan, on a software adapter with what its processor keeps at hand of a step: little of it, and of few
    /// models.
    fn at_hand(&self, plan: Plan) -> Plan {
        match self.variant {
            Variant::Gpu => plan,
            Variant::Software => plan.in_columns().ahead(self.limits().buffers).reusing().in_cache(CACHE),
        }
    }

    /// The plan as compiled, rewritten by measurement, or as the file remembers it: each training step in stages
    /// or operation by operation, and each product with that of its candidates that was the fastest. Without
    /// measurement, [`GpuDevice::rewrite`].
    ///
    /// # Errors
    /// [`crate::Error::Device`] and [`crate::Error::Fit`] as for [`Gpu::new`] and [`Gpu::run`]. A file that
    /// can't be read or written is a note.
    pub async fn tune(&self, plan: Plan, autotune: Autotune, file: Option<&Path>) -> Result<(Plan, Tuning)> {
        let mut tuning = Tuning::default();
        if autotune == Autotune::Off {
            return Ok((self.rewrite(plan), tuning));
        }
        let mut remembered = file.map(|file| recall(file, &mut tuning.notes)).unwrap_or_default();
        let version = env!("CARGO_PKG_VERSION");
        let key = format!("{}, {}, minilote {version}", self.summary.name, self.summary.driver);
        let known = remembered.entry(key).or_default();
        let mut plan = plan.fused();
        self.tune_products(&mut plan, autotune, known, &mut tuning).await?;
        let plan = self.tune_forms(plan, autotune, known, &mut tuning).await?;
        if let Some(file) = file {
            let text = serde_json::to_string_pretty(&remembered).unwrap_or_default();
            let written = cache::write(file, text.as_bytes());
            tuning.notes.extend(written.err().map(|error| format!("choices are not remembered: {error}")));
        }
        Ok((self.at_hand(plan), tuning))
    }

    async fn tune_products(
        &self,
        plan: &mut Plan,
        autotune: Autotune,
        known: &mut BTreeMap<String, String>,
        tuning: &mut Tuning,
    ) -> Result<()> {
        let new: BTreeMap<String, &MatMul> = products(plan)
            .map(|product| (class(product), product))
            .filter(|(class, _)| autotune == Autotune::Full || self.tile(known.get(class)).is_none())
            .collect();
        tuning.measured += new.len();
        if !new.is_empty() {
            let fastest = self.fastest(plan, &new, autotune.rounds()).await?;
            known.extend(new.into_keys().zip(fastest.iter().map(Tile::to_string)));
        }
        for product in plan.products_mut() {
            let class = class(product);
            product.tile = self.tile(known.get(&class)).filter(|&tile| self.takes(product, tile));
            tuning.choices.extend(product.tile.map(|tile| (class, tile.to_string())));
        }
        Ok(())
    }

    /// Puts each training step that is faster so into stages.
    async fn tune_forms(
        &self,
        plan: Plan,
        autotune: Autotune,
        known: &mut BTreeMap<String, String>,
        tuning: &mut Tuning,
    ) -> Result<Plan> {
        let staged = plan.clone().staged();
        let plan = if self.variant == Variant::Gpu { plan.in_blocks() } else { plan };
        if staged.check(&self.limits(), self.variant, "").is_err() {
            return Ok(plan);
        }
        let outputs =
            |layer: &Layer| if let Layer::Linear { outputs, .. } = layer { Some(*outputs) } else { None };
        let widths = [plan.spec.inputs()].into_iter().chain(plan.spec.layers.iter().filter_map(outputs));
        let widths: Vec<String> = widths.map(|width| width.to_string()).collect();
        let norm = if plan.spec.batch_norms().next().is_some() { ", batch norm" } else { "" };
        let drops = plan.spec.layers.iter().any(|layer| matches!(layer, Layer::Dropout { .. }));
        let dropout = if drops { ", dropout" } else { "" };
        let class = |program: &Program| {
            format!(
                "{} models training {} rows of {}{norm}{dropout}",
                plan.models,
                program.rows,
                widths.join("-")
            )
        };
        let pairs = || plan.programs.iter().zip(&staged.programs).filter(|(_, staged)| staged.joint());
        let is_new = |class: &String| {
            autotune == Autotune::Full
                || !FORMS.iter().any(|form| known.get(class).is_some_and(|is| is == form))
        };
        let new: Vec<_> = pairs().filter(|(program, _)| is_new(&class(program))).collect();
        tuning.measured += new.len();
        if !new.is_empty() {
            let programs =
                new.iter().flat_map(|&(program, staged)| [program.clone(), staged.clone()]).collect();
            let trial = Plan { slots: STEPS.min(plan.slots), ..plan.clone() }.with_programs(programs);
            let seconds = self.time(self.at_hand(trial), &vec![2; new.len()], autotune.rounds()).await?;
            let faster =
                seconds.iter().map(|of_pair| FORMS[usize::from(of_pair[1] < of_pair[0])].to_string());
            known.extend(new.iter().map(|(program, _)| class(program)).zip(faster));
        }
        let mut programs = plan.programs.clone();
        for (program, staged) in
            programs.iter_mut().zip(&staged.programs).filter(|(_, staged)| staged.joint())
        {
            let class = class(program);
            let form = known[&class].clone();
            if form == FORMS[1] {
                *program = staged.clone();
            }
            tuning.choices.insert(class, form);
        }
        Ok(plan.with_programs(programs))
    }

    /// The tiles that are tried. Products by lanes are one with what lies beside them, which saves more than another tile
    /// does: where there are such, no others.
    fn candidates(&self) -> impl Iterator<Item = Tile> {
        let by_lanes = self.variant == Variant::Software && self.subgroup >= VECTOR;
        let all = Tile::candidates(self.variant).iter().copied();
        all.filter(move |tile| !by_lanes || matches!(tile, Tile::Lanes { .. }))
    }

    /// The candidate of that name.
    fn tile(&self, name: Option<&String>) -> Option<Tile> {
        self.candidates().find(|tile| Some(tile.to_string()) == name.cloned())
    }

    /// Whether the device takes as many workgroups as a tile makes of a product.
    fn takes(&self, product: &MatMul, tile: Tile) -> bool {
        let dispatch = MatMul { tile: Some(tile), ..product.clone() }.dispatch(self.variant);
        dispatch.workgroups.into_iter().all(|count| count <= self.limits().workgroups)
    }

    /// The fastest tile for each product.
    async fn fastest(
        &self,
        plan: &Plan,
        products: &BTreeMap<String, &MatMul>,
        rounds: usize,
    ) -> Result<Vec<Tile>> {
        let mut trials: Vec<Vec<Tile>> = vec![];
        let mut programs = vec![];
        for &product in products.values() {
            let tiles: Vec<Tile> = self.candidates().filter(|&tile| self.takes(product, tile)).collect();
            programs.extend(tiles.iter().map(|&tile| {
                // What follows the product costs every tile the same.
                let [a, b, out] = [(0, product.a), (1, product.b), (2, product.out)]
                    .map(|(i, tensor)| Tensor { space: Space::Scratch(i), offset: 0, slot: 0, ..tensor });
                let op = MatMul { tile: Some(tile), ..MatMul::new(product.product, a, b, out) };
                Program::new(Mode::Train, out.rows, vec![op.into()], vec![String::new()])
            }));
            trials.push(tiles);
        }
        let groups: Vec<usize> = trials.iter().map(Vec::len).collect();
        let seconds = self.time(scratch(plan, programs), &groups, rounds).await?;
        let suited = |product: &&MatMul| Tile::suited(self.variant, product.out.models, product.sizes());
        let fastest = |((product, tiles), seconds): ((&&MatMul, Vec<Tile>), Vec<f64>)| {
            let timed = tiles.into_iter().zip(seconds);
            timed.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(suited(product), |(tile, _)| tile)
        };
        Ok(products.values().zip(trials).zip(seconds).map(fastest).collect())
    }

    /// The median seconds of each program, in a session of their own. The programs of a group run in turns and as
    /// many steps each.
    async fn time(&self, plan: Plan, groups: &[usize], rounds: usize) -> Result<Vec<Vec<f64>>> {
        let most = plan.slots;
        let mut session = Gpu::new(self.clone(), plan).await?;
        let mut seconds: Vec<Vec<Vec<f64>>> = groups.iter().map(|&count| vec![vec![]; count]).collect();
        // The first round compiles what drivers put off, the second one finds how many steps are a run.
        let mut steps = vec![1; groups.len()];
        for round in 0..2 + rounds {
            let mut program = 0;
            for (of_group, steps) in seconds.iter_mut().zip(&mut steps) {
                for of_program in of_group.iter_mut() {
                    let run = vec![(program, Step::default()); *steps];
                    let started = Instant::now();
                    session.run(&run).await?;
                    of_program.push(started.elapsed().as_secs_f64());
                    program += 1;
                }
                if round == 1 {
                    let least = of_group.iter().map(|seconds| seconds[1]).fold(f64::INFINITY, f64::min);
                    *steps = ((SECONDS / least) as usize).clamp(1, most);
                    of_group.iter_mut().for_each(Vec::clear);
                }
            }
        }
        Ok(seconds.into_iter().map(|of_group| of_group.into_iter().map(median).collect()).collect())
    }
}

/// A plan of these programs alone, with the memory that they need.
fn scratch(plan: &Plan, programs: Vec<Program>) -> Plan {
    let record = 4;
    let mut spaces = BTreeMap::from([(Space::Log, STEPS * plan.models * record)]);
    for op in programs.iter().flat_map(|program| &program.ops) {
        for operand in op.describe().operands() {
            let size = spaces.entry(operand.tensor.space).or_insert(0);
            *size = operand.tensor.end(STEPS).max(*size);
        }
    }
    let (spec, layout) = (plan.spec.clone(), plan.layout.clone());
    Plan { spec, layout, programs, record, slots: STEPS, spaces, ..*plan }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
