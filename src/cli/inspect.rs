use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use minilote::data::{FeatureKind, Images, Schema, Table, is_idx};
use minilote::model::{Layer, Model};
use minilote::program::{Plan, Program};
use minilote::train::{Config, Predictor, Trainer, TrainingData, labels_beside};
use minilote::{Error, Result, caps};
use serde_json::{Value, json};

use super::columns::{self, Column};
use super::projection::Projection;
use super::{print, print_json, report};

const EXAMPLES: &str = "\
Examples:
  minilote inspect flowers.csv
  minilote inspect flowers.csv --target species --hidden 256,256 --batch 128
  minilote inspect runs/flowers-1/model.safetensors --json";

/// A longer list of columns or features is cut.
const LISTED: usize = 40;
/// Rows of the prediction program that is shown.
const ROWS: usize = 256;
/// What a safetensors header can't be longer than.
const HEADER: u64 = 100_000_000;

/// Show what a model or a data file holds, and the operations that training would run
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_override_self = true, allow_negative_numbers = true)]
pub struct Inspect {
    /// Model files, CSV tables or IDX images
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// Print JSON, one line for each path
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: Config,
}

impl Inspect {
    pub fn run(&self) -> Result<u8> {
        for path in &self.paths {
            let (text, json) = if is_model(path)? {
                model(path)?
            } else if is_idx(path)? {
                self.images(path)?
            } else {
                self.table(path)?
            };
            if self.json { print_json(&json)? } else { print(&format!("{}: {text}\n", path.display()))? }
        }
        Ok(0)
    }

    fn table(&self, path: &Path) -> Result<(String, Value)> {
        let table = Table::read(path)?;
        let columns = Column::all(&table);
        let mut text = format!("a table of {} rows, {} columns\n", table.rows(), columns.len());
        text += &columns::text(&columns, LISTED, self.config.target.as_deref());
        let mut json = json!({
            "path": path.display().to_string(), "kind": "table", "rows": table.rows(), "columns": columns,
        });
        if self.config.target.is_some() {
            self.training(path, &mut text, &mut json)?;
        } else {
            text += "with --target COLUMN, the plan of training is shown\n";
        }
        Ok((text, json))
    }

    fn images(&self, path: &Path) -> Result<(String, Value)> {
        let labels = self.config.labels.clone().or_else(|| labels_beside(path));
        let images = Images::read(path, labels.as_deref())?;
        let (count, pixels) = images.pixels.dim();
        let mut counts: BTreeMap<u8, usize> = BTreeMap::new();
        images.labels.iter().flatten().for_each(|label| *counts.entry(*label).or_default() += 1);
        let mut text = format!("{count} images of {pixels} pixels\n");
        let mut json = json!({
            "path": path.display().to_string(), "kind": "images", "images": count, "pixels": pixels,
            "labels": counts,
        });
        if images.labels.is_some() {
            let counts: Vec<_> = counts.iter().map(|(label, count)| format!("{label} ×{count}")).collect();
            text += &format!("labels: {}\n", counts.join(", "));
            self.training(path, &mut text, &mut json)?;
        } else {
            text += "no labels; with --labels FILE, the plan of training is shown\n";
        }
        Ok((text, json))
    }

    /// Adds what training with the flags would do.
    fn training(&self, path: &Path, text: &mut String, json: &mut Value) -> Result<()> {
        let data = TrainingData::read(path, &self.config)?;
        // As a GPU runs it.
        let plan = Trainer::plan(&data, &self.config)?.staged();
        *text += &format!("{}\n", report::data(&data));
        data.notes.iter().for_each(|note| *text += &format!("{note}\n"));
        *text += &format!(
            "network: {} parameters; its programs as a GPU runs them:\n\n{plan}",
            plan.spec.parameter_count()
        );
        let projection = Projection::new(&plan);
        *text += &projection.as_ref().map_or(String::new(), |step| format!("\n{}", step.text()));
        let split = &data.split;
        json["training"] = json!({
            "task": data.task,
            "rows": { "train": split.train.len(), "valid": split.valid.len(), "test": split.test.len() },
            "schema": data.schema,
            "notes": data.notes,
            "network": plan.spec,
            "parameters": plan.spec.parameter_count(),
            "plan": plan_json(&plan),
            "step": projection,
        });
        Ok(())
    }
}

/// Whether a file begins like safetensors: the length of a header, then JSON. Eight characters of a
/// text, or the magic of another format, would be a far greater length.
fn is_model(path: &Path) -> Result<bool> {
    let mut head = vec![];
    let file = caps::open(path)?;
    file.take(9).read_to_end(&mut head).map_err(|error| Error::file(path, error))?;
    let [length @ .., b'{'] = head.as_slice() else { return Ok(false) };
    Ok(length.try_into().is_ok_and(|length| u64::from_le_bytes(length) <= HEADER))
}

fn model(path: &Path) -> Result<(String, Value)> {
    let model = Model::load(path)?;
    let bytes = model.schema.features.iter().any(|only| matches!(only.kind, FeatureKind::Pixels { .. }));
    let plan = Predictor::plan(&model, ROWS, bytes);
    let source = format!("{:?}", model.source).to_lowercase();
    let text = format!(
        "a model of minilote\n{}{}statistics: {source}, {} updates\n\n{plan}",
        schema(&model.schema, &model),
        network(&model),
        model.updates,
    );
    let json = json!({
        "path": path.display().to_string(), "kind": "model",
        "schema": model.schema, "standardizer": model.standardizer, "target": model.target,
        "network": model.spec, "parameters": model.spec.parameter_count(),
        "statistics": source, "updates": model.updates, "plan": plan_json(&plan),
    });
    Ok((text, json))
}

fn schema(schema: &Schema, model: &Model) -> String {
    let mut text = report::target(schema, model.spec.task) + "\n";
    let mode = format!("{:?}", model.standardizer.mode).to_lowercase();
    let (features, inputs) = (&schema.features, schema.width());
    text += &format!("features: {}, as {inputs} inputs; standardize {mode}\n", features.len());
    let width = features.iter().map(|feature| feature.name.chars().count()).max().unwrap_or(0).min(40);
    for feature in features.iter().take(LISTED) {
        let kind = match &feature.kind {
            FeatureKind::Numeric { .. } => "number".into(),
            FeatureKind::Categorical { levels, .. } => format!("one of {}", levels.join(", ")),
            FeatureKind::Pixels { count } => format!("{count} pixels"),
        };
        text += &format!("  {:width$}  {kind}\n", feature.name);
    }
    match features.len().saturating_sub(LISTED) {
        0 => text,
        more => text + &format!("  … and {more} more: see --json\n"),
    }
}

fn network(model: &Model) -> String {
    let mut text = format!("network: {} parameters\n", model.spec.parameter_count());
    for (i, layer) in model.spec.layers.iter().enumerate() {
        let what = match layer {
            Layer::Linear { inputs, outputs, bias } => {
                format!("linear {inputs} → {outputs}{}", if *bias { "" } else { ", no bias" })
            }
            Layer::BatchNorm { features, eps } => format!("batch norm of {features}, eps {eps:e}"),
            Layer::Activation { function } => format!("{function:?}").to_lowercase(),
            Layer::Dropout { p } => format!("dropout {p} (in training)"),
        };
        text += &format!("  {i}  {what}\n");
    }
    text
}

fn plan_json(plan: &Plan) -> Value {
    let program = |program: &Program| {
        let cost = program.cost();
        let ops = program.step().map(|(op, label)| {
            let cost = op.cost();
            json!({
                "label": label, "name": op.name(), "shapes": op.describe().shapes(), "flops": cost.flops,
                "bytes_read": cost.bytes_read, "bytes_written": cost.bytes_written,
            })
        });
        json!({
            "mode": format!("{:?}", program.mode).to_lowercase(), "rows": program.rows,
            "dispatches": program.dispatches(), "flops": cost.flops, "bytes_read": cost.bytes_read,
            "bytes_written": cost.bytes_written, "ops": ops.collect::<Vec<_>>(),
        })
    };
    let space = |space| (format!("{space:?}").to_lowercase(), plan.bytes(space));
    json!({
        "programs": plan.programs.iter().map(program).collect::<Vec<_>>(),
        "memory": plan.memory(),
        "spaces": plan.spaces.keys().copied().map(space).collect::<BTreeMap<_, _>>(),
    })
}
