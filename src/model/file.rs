use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use ndarray::Array2;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::{Model, Source, Spec, Statistics};
use crate::data::{Schema, Standardizer};
use crate::files::write_whole;
use crate::tensors::{self, Tensor, Tensors};
use crate::{Error, Result, caps};

/// The version of the model file that this crate writes, and the newest it reads.
const VERSION: u32 = 1;

/// Where the description lies: in the metadata, or as a tensor where it is too long for the header.
const KEY: &str = "minilote";

/// The description, as JSON.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    spec: Spec,
    source: Source,
    #[serde(default)]
    updates: u64,
    schema: Schema,
    standardizer: Standardizer,
    target: Option<Standardizer>,
    /// In words, for who reads the file without minilote; ignored on reading.
    #[serde(default)]
    conventions: BTreeMap<String, String>,
}

fn conventions() -> BTreeMap<String, String> {
    [
        ("linear", "y = x · weightᵀ + bias, weight [outputs, inputs], float32"),
        (
            "batch_norm",
            "y = weight · (x − running_mean) / sqrt(running_var + eps) + bias; statistics float64",
        ),
        ("names", "PyTorch's nn.Sequential: the index of the layer in spec.layers, then the parameter"),
        ("standardizer", "x ← (x − center) · scale of the training rows, before the first layer"),
        ("output", "logits of the classes, or the standardized target of a regression"),
    ]
    .map(|(key, text)| (key.to_string(), text.to_string()))
    .into()
}

impl Model {
    /// Writes the model as one safetensors file, through a temporary file beside it: what stood at
    /// `path` before is replaced whole or not at all.
    ///
    /// # Errors
    /// [`Error::File`] if the file can't be written, or is one that could not be read: see [`Model::check`].
    pub fn save(&self, path: &Path) -> Result<()> {
        write_whole(path, &self.to_bytes().map_err(|message| Error::file(path, message))?)
    }

    /// The model file's content.
    ///
    /// # Errors
    /// What can't be written: a description that is over the caps, or what [`Model::check`] refuses.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        self.check().map_err(|error| error.to_string())?;
        let header = Header {
            version: VERSION,
            spec: self.spec.clone(),
            source: self.source,
            updates: self.updates,
            schema: self.schema.clone(),
            standardizer: self.standardizer.clone(),
            target: self.target.clone(),
            conventions: conventions(),
        };
        let header = serde_json::to_string(&header).map_err(|error| error.to_string())?;
        let mut tensors: Vec<Tensor> = vec![];
        for (parameter, values) in self.spec.parameters().into_iter().zip(&self.parameters) {
            let bytes = values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect();
            let shape = if parameter.decayed { values.shape().to_vec() } else { vec![values.len()] };
            tensors.push((parameter.name, Dtype::F32, shape, bytes));
        }
        for ((layer, features), statistics) in self.spec.batch_norms().zip(&self.statistics) {
            for (name, values) in [("running_mean", &statistics.mean), ("running_var", &statistics.variance)]
            {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                tensors.push((format!("{layer}.{name}"), Dtype::F64, vec![features], bytes));
            }
            let bytes = (self.updates as i64).to_le_bytes().to_vec();
            tensors.push((format!("{layer}.num_batches_tracked"), Dtype::I64, vec![], bytes));
        }
        tensors::to_bytes(KEY, header, caps::DESCRIPTION, HashMap::new(), tensors)
    }

    /// Reads a model file. Opening one can't run code; whatever it holds is checked before it is used.
    ///
    /// # Errors
    /// [`Error::File`] that says what is wrong with the file.
    pub fn load(path: &Path) -> Result<Model> {
        if path.is_dir() {
            let message = "a directory, and no regular file: name its model, of a run model.safetensors, of a sweep best.safetensors";
            return Err(Error::file(path, message));
        }
        Model::from_bytes(path, &tensors::read(path)?)
    }

    /// The same with the file's content; errors name `path`.
    ///
    /// # Errors
    /// As for [`Model::load`].
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Model> {
        Model::parse(bytes).map_err(|message| Error::file(path, message))
    }

    fn parse(bytes: &[u8]) -> Result<Model, String> {
        let file = Tensors::new(bytes)?;
        let header = file.description(KEY, caps::DESCRIPTION)?.ok_or(
            "a safetensors file, but not a model of minilote: to start training from \
                                   PyTorch's weights use --init-weights",
        )?;
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } =
            serde_json::from_str(header).map_err(|error| format!("damaged header: {error}"))?;
        if version > VERSION {
            return Err(format!(
                "version {version} of the model file; this minilote reads up to {VERSION}: update it"
            ));
        }
        if version == 0 {
            return Err("damaged header: there is no version 0".into());
        }
        let header: Header =
            serde_json::from_str(header).map_err(|error| format!("damaged header: {error}"))?;
        let Header { spec, source, updates, schema, standardizer, target, .. } = header;
        spec.check().map_err(|error| error.to_string())?;
        schema.check()?;
        if schema.width() != spec.inputs() {
            return Err(format!(
                "the schema has {} features and the network {}",
                schema.width(),
                spec.inputs()
            ));
        }
        if schema.outputs(spec.task) != Some(spec.outputs()) {
            return Err(format!("the target and the network's {} outputs do not agree", spec.outputs()));
        }
        standardizer.check(spec.inputs())?;
        match (&target, spec.task) {
            (Some(target), crate::Task::Regression) => target.check(1)?,
            (None, crate::Task::Binary | crate::Task::Classification) => {}
            _ => return Err("only a regression has a standardized target".into()),
        }
        let tensors = &file.tensors;
        known(&spec, tensors.names().into_iter().filter(|&name| name != KEY))?;
        let parameters = parameters(&spec, tensors)?;
        let statistics = statistics(&spec, tensors)?;
        Ok(Model { spec, parameters, statistics, source, updates, schema, standardizer, target })
    }
}

/// Reads the parameters and statistics of a network from a safetensors file with the names and
/// layouts of the state dict of PyTorch's equivalent `nn.Sequential`: `0.weight [outputs, inputs]`,
/// `1.running_mean`, … Statistics may be absent: they are then mean 0 and variance 1.
///
/// # Errors
/// [`Error::File`] that names the tensor that is missing, superfluous or of another shape.
pub fn read_weights(spec: &Spec, path: &Path) -> Result<(Vec<Array2<f64>>, Vec<Statistics>)> {
    let bytes = tensors::read(path)?;
    let read = || -> Result<_, String> {
        let tensors = Tensors::new(&bytes)?.tensors;
        known(spec, tensors.names())?;
        let parameters = parameters(spec, &tensors)?;
        let none = |(layer, _): &(usize, usize)| tensors.tensor(&format!("{layer}.running_mean")).is_err();
        if spec.batch_norms().all(|norm| none(&norm)) {
            let start = |(_, n): (usize, usize)| Statistics { mean: vec![0.0; n], variance: vec![1.0; n] };
            return Ok((parameters, spec.batch_norms().map(start).collect()));
        }
        Ok((parameters, statistics(spec, &tensors)?))
    };
    read().map_err(|message| Error::file(path, message))
}

/// Whether all tensors of a file are a network's.
fn known<'a>(spec: &Spec, names: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    let parameters = spec.parameters().into_iter().map(|parameter| parameter.name);
    let of_norms = spec.batch_norms().flat_map(|(layer, _)| {
        ["running_mean", "running_var", "num_batches_tracked"].map(|name| format!("{layer}.{name}"))
    });
    let known: HashSet<String> = parameters.chain(of_norms).collect();
    match names.into_iter().find(|&name| !known.contains(name)) {
        Some(name) => Err(format!(
            "tensor {name:?} is none of this network's: it has {}",
            spec.parameters().into_iter().map(|parameter| parameter.name).collect::<Vec<_>>().join(", ")
        )),
        None => Ok(()),
    }
}

fn parameters(spec: &Spec, tensors: &SafeTensors) -> Result<Vec<Array2<f64>>, String> {
    let of = |parameter: super::Parameter| {
        let shape =
            if parameter.decayed { vec![parameter.rows, parameter.cols] } else { vec![parameter.cols] };
        let values = floats(tensors, &parameter.name, &shape)?;
        Array2::from_shape_vec((parameter.rows, parameter.cols), values).map_err(|error| error.to_string())
    };
    spec.parameters().into_iter().map(of).collect()
}

fn statistics(spec: &Spec, tensors: &SafeTensors) -> Result<Vec<Statistics>, String> {
    let mut all = vec![];
    for (layer, features) in spec.batch_norms() {
        let mean = floats(tensors, &format!("{layer}.running_mean"), &[features])?;
        let variance = floats(tensors, &format!("{layer}.running_var"), &[features])?;
        if variance.iter().any(|&variance| variance < 0.0) {
            return Err(format!("tensor \"{layer}.running_var\" has a negative variance"));
        }
        all.push(Statistics { mean, variance });
    }
    Ok(all)
}

/// The finite numbers of a tensor of this name and shape.
fn floats(tensors: &SafeTensors, name: &str, shape: &[usize]) -> Result<Vec<f64>, String> {
    let view = tensors.tensor(name).map_err(|_| format!("tensor {name:?} is missing"))?;
    if view.shape() != shape {
        return Err(format!("tensor {name:?} has shape {:?} and should have {shape:?}", view.shape()));
    }
    let values: Vec<f64> = match view.dtype() {
        Dtype::F32 => {
            view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes).into()).collect()
        }
        Dtype::F64 => view.data().as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect(),
        other => return Err(format!("tensor {name:?} is of type {other:?}; float32 and float64 are read")),
    };
    match values.iter().position(|value| !(*value as f32).is_finite()) {
        Some(i) => Err(format!("tensor {name:?} is not finite in element {i}")),
        None => Ok(values),
    }
}
