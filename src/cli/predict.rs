use std::collections::HashSet;
use std::path::{Path, PathBuf};

use minilote::data::{Missing, Unknown};
use minilote::files::write_whole;
use minilote::model::Model;
use minilote::train::{Predictor, read_to_predict};
use minilote::{Device, Error, Result};
use ndarray::Array2;

use super::{note, predictions, print, report};

const EXAMPLES: &str = "\
Examples:
  minilote predict runs/flowers-1/model.safetensors new.csv
  minilote predict runs/flowers-1/model.safetensors new.csv --keep id --out predictions.csv
  minilote predict runs/flowers-1/model.safetensors new.csv --missing mean --unknown zero

The first column is the row's line in DATA (the header is line 1) or the image's number, then come
those of --keep, the prediction, and each class's probability.";

/// Predict rows with a trained model, as CSV
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Predict {
    /// The model.safetensors of a run
    model: PathBuf,

    /// A CSV file with the columns that the model was trained on, the target aside; or IDX images
    data: PathBuf,

    /// Write to this file rather than to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Copy these columns of DATA as they stand there, to join by an identifier (CSV); one whose name has a comma stands
    /// alone
    #[arg(long, value_name = "COLUMN,…")]
    keep: Option<String>,

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
}

impl Predict {
    pub async fn run(&self) -> Result<u8> {
        if let Some(out) = &self.out {
            check_out(out, &[&self.model, &self.data])?;
        }
        let model = Model::load(&self.model)?;
        let schema = predictions::schema(&model, self.missing)?;
        let (data, kept) = read_to_predict(&schema, &self.data, self.unknown, self.keep.as_deref())?;
        let (device, line) = Device::choose(&self.device).await?;
        note(&line);
        predictions::tell(&data);
        let outputs = Predictor::new(&model, &data.inputs, &device).await?.outputs().await?;
        report::check(&outputs, &data.lines, &self.data)?;
        let text = table(&model, &data.lines, kept, &model.interpret(&outputs))?;
        match &self.out {
            Some(out) => write_whole(out, text.as_bytes())?,
            None => print(&text)?,
        }
        Ok(0)
    }
}

/// Refuses to overwrite what is read.
fn check_out(out: &Path, read: &[&Path]) -> Result<()> {
    let real = |path: &Path| path.canonicalize().ok();
    match read.iter().find(|path| real(path).is_some_and(|path| Some(path) == real(out))) {
        Some(path) => Err(Error::Config(format!("--out {} would overwrite what is read", path.display()))),
        None => Ok(()),
    }
}

/// `kept` stands between a row's line and its prediction, names first.
fn table(model: &Model, lines: &[u64], kept: Vec<Vec<String>>, meanings: &Array2<f64>) -> Result<String> {
    let failed = |error: &dyn std::fmt::Display| Error::Config(format!("predictions as CSV: {error}"));
    let mut kept = kept.into_iter();
    let names = [vec!["row".into()], kept.next().unwrap_or_default(), predictions::head(model)].concat();
    let mut seen = HashSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(name.as_str())) {
        let message =
            format!("--keep: two columns of the output would be named {name:?}: leave one out, or rename it");
        return Err(Error::Config(message));
    }
    let mut writer = csv::Writer::from_writer(vec![]);
    writer.write_record(&names).map_err(|error| failed(&error))?;
    for (row, line) in lines.iter().enumerate() {
        let prediction = predictions::cells(model, meanings, row);
        let record = [vec![line.to_string()], kept.next().unwrap_or_default(), prediction].concat();
        writer.write_record(&record).map_err(|error| failed(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}
