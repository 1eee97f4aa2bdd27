use std::path::PathBuf;

use minilote::data::{Missing, Unknown};
use minilote::model::Model;
use minilote::train::{read_for, score};
use minilote::{Device, Error, Result};
use serde_json::json;

use super::progress::{catch_interrupts, interrupted};
use super::{importance, note, predictions, print, print_json, report};

const EXAMPLES: &str = "\
Examples:
  minilote evaluate runs/flowers-1/model.safetensors more-flowers.csv
  minilote evaluate runs/flowers-1/model.safetensors more-flowers.csv --importance --json";

/// Score a trained model on data with known answers
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Evaluate {
    /// The model.safetensors of a run; it is not changed
    model: PathBuf,

    /// A CSV file with the columns that the model was trained on, or an IDX file of images
    data: PathBuf,

    /// The file of labels (IDX); by default the one named like the images
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// What to do with rows that miss a value: refuse the file, put the training file's mean (or most frequent category)
    /// in its place, or drop the row [default: as the model was trained]
    #[arg(long, value_enum)]
    missing: Option<Missing>,

    /// What to do with a category that training did not have: refuse the file, or take it as none of the column's
    #[arg(long, value_enum, default_value = "refuse")]
    unknown: Unknown,

    /// Where to run: auto, cpu, gpu, or an adapter's number or name
    #[arg(long, default_value = "auto")]
    device: String,

    /// Measure by how much loss and error rise as the values of a column are shuffled among the rows of a table, for
    /// each column
    #[arg(long)]
    importance: bool,

    /// Print the scores as JSON
    #[arg(long)]
    json: bool,
}

impl Evaluate {
    pub async fn run(&self) -> Result<u8> {
        let model = Model::load(&self.model)?;
        let schema = predictions::schema(&model, self.missing)?;
        let data = read_for(&schema, &self.data, self.labels.as_deref(), self.unknown)?;
        let no_targets = || Error::data(&self.data, "the file has no targets");
        let targets = data.targets.as_ref().ok_or_else(no_targets)?;
        let (device, line) = Device::choose(&self.device).await?;
        note(&line);
        predictions::tell(&data);
        if self.importance {
            importance::check(&data.inputs)?;
            // The scores are printed all the same.
            catch_interrupts()?;
        }
        let inputs = model.prepare(&data.inputs);
        let (outputs, fold) = report::outputs(&model, &inputs, &device).await?;
        report::check(&outputs, &data.lines, &self.data)?;
        let scores = score(&model, &outputs, targets)?;
        let columns = match self.importance {
            true => importance::measure(&model, &inputs, targets, 0, &device, false).await?,
            false => None,
        };
        if self.json {
            let (path, data) = (self.model.display().to_string(), self.data.display().to_string());
            let mut all = json!({ "model": path, "data": data, "scores": scores, "fold": fold });
            if let Some(columns) = columns {
                all["importance"] = json!(columns);
            }
            print_json(&all)?;
        } else {
            let mut text = report::scores(&scores);
            text += &fold.as_ref().map_or(String::new(), report::fold);
            print(&(text + &columns.map_or(String::new(), |columns| importance::text(&columns))))?;
        }
        Ok(interrupted().unwrap_or(0))
    }
}
