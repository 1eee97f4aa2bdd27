//! Which tile of the products' kernel is the fastest, measured on the device and remembered in a file.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Instant;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::device::GpuDevice;
use super::session::Gpu;
use crate::ops::{Describe, MatMul, Op, Space, Step, Tensor, Tile};
use crate::program::{Mode, Plan, Program};
use crate::{Result, cache};

/// Whether the tiles of products are measured before training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Autotune {
    /// Tiles that suit the sizes; nothing is measured or remembered
    #[default]
    Off,
    /// Those remembered; sizes that are new are measured
    Quick,
    /// All are measured again, and longer
    Full,
}

/// What [`GpuDevice::tune`] came to.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// The tile for each kind and class of sizes of the plan's products.
    pub tiles: BTreeMap<String, String>,
    /// How many of them were measured now.
    pub measured: usize,
    /// What a person should know: a file that was damaged or could not be written.
    pub notes: Vec<String>,
}

/// The file, by device and class: `{"GeForce …": {"ABt 64x1024x128": "32x32 of 4x4, depth 16, slices 4"}}`.
type Remembered = BTreeMap<String, BTreeMap<String, String>>;

/// Steps of a measured run at the most, and about its seconds.
const STEPS: usize = 64;
const SECONDS: f64 = 0.005;

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
            notes.push(format!("{}: {error}; its tiles are measured again", file.display()));
        }
        Remembered::new()
    })
}

impl GpuDevice {
    /// Gives each product of a plan the tile of [`Tile::candidates`] that was the fastest on this device, as the
    /// file remembers it or as measured now.
    ///
    /// # Errors
    /// [`crate::Error::Device`] and [`crate::Error::Fit`] as for [`Gpu::new`] and [`Gpu::run`]. A file that
    /// can't be read or written is a note.
    pub async fn tune(&self, plan: &mut Plan, autotune: Autotune, file: Option<&Path>) -> Result<Tuning> {
        let mut tuning = Tuning::default();
        if autotune == Autotune::Off {
            return Ok(tuning);
        }
        let mut remembered = file.map(|file| recall(file, &mut tuning.notes)).unwrap_or_default();
        let version = env!("CARGO_PKG_VERSION");
        let key = format!("{}, {}, minilote {version}", self.summary.name, self.summary.driver);
        let known = remembered.entry(key).or_default();
        let new: BTreeMap<String, &MatMul> = products(plan)
            .map(|product| (class(product), product))
            .filter(|(class, _)| autotune == Autotune::Full || self.tile(known.get(class)).is_none())
            .collect();
        tuning.measured = new.len();
        if !new.is_empty() {
            let fastest = self.fastest(plan, &new, autotune.rounds()).await?;
            known.extend(new.into_keys().zip(fastest.iter().map(Tile::to_string)));
        }
        for op in plan.programs.iter_mut().flat_map(|program| &mut program.ops) {
            if let Op::MatMul(product) = op {
                let class = class(product);
                product.tile = self.tile(known.get(&class)).filter(|&tile| self.takes(product, tile));
                tuning.tiles.extend(product.tile.map(|tile| (class, tile.to_string())));
            }
        }
        if let Some(file) = file {
            let text = serde_json::to_string_pretty(&remembered).unwrap_or_default();
            let written = cache::write(file, text.as_bytes());
            tuning.notes.extend(written.err().map(|error| format!("tiles are not remembered: {error}")));
        }
        Ok(tuning)
    }

    /// The candidate of that name.
    fn tile(&self, name: Option<&String>) -> Option<Tile> {
        let mut candidates = Tile::candidates(self.variant).iter();
        candidates.find(|tile| Some(tile.to_string()) == name.cloned()).copied()
    }

    /// Whether the device takes as many workgroups as a tile makes of a product.
    fn takes(&self, product: &MatMul, tile: Tile) -> bool {
        let dispatch = MatMul { tile: Some(tile), ..product.clone() }.dispatch(self.variant);
        dispatch.workgroups.into_iter().all(|count| count <= self.limits().workgroups)
    }

    /// The fastest tile for each product, in a session of their own: every candidate is a program, and they
    /// are timed in turns.
    async fn fastest(
        &self,
        plan: &Plan,
        products: &BTreeMap<String, &MatMul>,
        rounds: usize,
    ) -> Result<Vec<Tile>> {
        let mut trials: Vec<Vec<(Tile, Vec<f64>)>> = vec![];
        let mut programs = vec![];
        for &product in products.values() {
            let takes = |tile: &&Tile| self.takes(product, **tile);
            let tiles: Vec<Tile> = Tile::candidates(self.variant).iter().filter(takes).copied().collect();
            programs.extend(tiles.iter().map(|&tile| {
                // What follows the product costs every tile the same.
                let [a, b, out] = [(0, product.a), (1, product.b), (2, product.out)]
                    .map(|(i, tensor)| Tensor { space: Space::Scratch(i), offset: 0, slot: 0, ..tensor });
                let op = MatMul { tile: Some(tile), ..MatMul::new(product.product, a, b, out) };
                Program {
                    mode: Mode::Train,
                    rows: out.rows,
                    ops: vec![op.into()],
                    labels: vec![String::new()],
                }
            }));
            trials.push(tiles.into_iter().map(|tile| (tile, vec![])).collect());
        }
        let mut session = Gpu::new(self.clone(), scratch(plan, programs)).await?;
        // The first round compiles what drivers put off, the second one finds how many steps are a run.
        let mut steps = vec![1; trials.len()];
        for round in 0..2 + rounds {
            let mut program = 0;
            for (tiles, steps) in trials.iter_mut().zip(&mut steps) {
                for (_, seconds) in tiles.iter_mut() {
                    let run = vec![(program, Step::default()); *steps];
                    let started = Instant::now();
                    session.run(&run).await?;
                    seconds.push(started.elapsed().as_secs_f64());
                    program += 1;
                }
                if round == 1 {
                    let least = tiles.iter().map(|(_, seconds)| seconds[1]).fold(f64::INFINITY, f64::min);
                    *steps = ((SECONDS / least) as usize).clamp(1, STEPS);
                    tiles.iter_mut().for_each(|(_, seconds)| seconds.clear());
                }
            }
        }
        let suited = |product: &&MatMul| Tile::suited(self.variant, product.out.models, product.sizes());
        let fastest = |(product, tiles): (&&MatMul, Vec<(Tile, Vec<f64>)>)| {
            let timed = tiles.into_iter().map(|(tile, seconds)| (tile, median(seconds)));
            timed.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(suited(product), |(tile, _)| tile)
        };
        Ok(products.values().zip(trials).map(fastest).collect())
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
    Plan { spec, models: plan.models, data: plan.data, layout, programs, record, slots: STEPS, spaces }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
