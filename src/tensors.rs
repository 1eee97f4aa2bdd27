//! Safetensors files: tensors and a description in words, read within the caps.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype, SafeTensors};

use crate::{Error, Result, caps};

/// What stands before the header: its length.
const LENGTH: usize = size_of::<u64>();

/// Name, type, shape and bytes.
pub(crate) type Tensor = (String, Dtype, Vec<usize>, Vec<u8>);

/// A file's bytes. The description under `key` that is too long for a header becomes a tensor of this name.
///
/// # Errors
/// A description or names over the caps, so that what was written can be read.
pub(crate) fn to_bytes(
    key: &str,
    description: String,
    limit: usize,
    mut metadata: HashMap<String, String>,
    mut tensors: Vec<Tensor>,
) -> Result<Vec<u8>, String> {
    // Quotes within quotes take two bytes; the names of tensors have what is left.
    let quoted = description.len() + description.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
    if description.len() > limit {
        return Err(format!("{key} takes {} bytes, over the limit of {}", description.len(), limit));
    } else if quoted > caps::HEADER / 2 {
        tensors.push((key.into(), Dtype::U8, vec![description.len()], description.into()));
    } else {
        metadata.insert(key.into(), description);
    }
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        TensorView::new(*dtype, shape.clone(), bytes).map(|view| (name.as_str(), view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
}

/// A file that was read.
pub(crate) struct Tensors<'a> {
    pub tensors: SafeTensors<'a>,
    metadata: HashMap<String, String>,
}

impl<'a> Tensors<'a> {
    /// Otherwise what is wrong with the file.
    pub fn new(bytes: &'a [u8]) -> Result<Tensors<'a>, String> {
        let (size, metadata) = header(bytes)?;
        if bytes.len() as u64 != size {
            return Err(of_length(bytes.len() as u64, size));
        }
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| damaged(&error))?;
        Ok(Tensors { tensors, metadata: metadata.metadata().clone().unwrap_or_default() })
    }

    /// A text of the metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The description, wherever it lies; `None` if there is none.
    pub fn description(&self, key: &str, limit: usize) -> Result<Option<&str>, String> {
        let Ok(view) = self.tensors.tensor(key) else { return Ok(self.metadata(key)) };
        let bytes = view.data();
        if view.dtype() != Dtype::U8 || bytes.len() > limit || self.metadata.contains_key(key) {
            return Err(format!("tensor {key:?} must be a text of at most {} bytes, and alone", limit));
        }
        std::str::from_utf8(bytes).map(Some).map_err(|error| format!("tensor {key:?}: {error}"))
    }
}

/// Reads a file whole, if its header and its length agree.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |error| Error::file(path, error);
    let mut file = caps::open(path)?;
    let found = file.metadata().map_err(failed)?.len();
    let mut bytes = vec![];
    (&mut file).take((LENGTH + caps::HEADER) as u64).read_to_end(&mut bytes).map_err(failed)?;
    let (size, _) = header(&bytes).map_err(|message| Error::file(path, message))?;
    if size != found {
        return Err(Error::file(path, of_length(found, size)));
    }
    bytes.reserve_exact(found as usize - bytes.len());
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The header, and how long it says that the file is.
fn header(bytes: &[u8]) -> Result<(u64, Metadata), String> {
    let (length, rest) = bytes.split_first_chunk().ok_or_else(|| damaged(&"no length of a header"))?;
    let length = u64::from_le_bytes(*length);
    if length > caps::HEADER as u64 {
        return Err(damaged(&format!("a header of {length} bytes; the limit is {}", caps::HEADER)));
    }
    let header = rest
        .get(..length as usize)
        .ok_or_else(|| damaged(&format!("{} of the header's {length} bytes", rest.len())))?;
    let metadata: Metadata =
        serde_json::from_slice(header).map_err(|error| damaged(&format!("header: {error}")))?;
    let tensors = metadata.tensors().len();
    if tensors > caps::TENSORS {
        return Err(damaged(&format!("{tensors} tensors; the limit is {}", caps::TENSORS)));
    }
    Ok(((LENGTH as u64 + length).saturating_add(metadata.data_len() as u64), metadata))
}

fn of_length(found: u64, size: u64) -> String {
    damaged(&format!("{found} bytes, and by its header {size}"))
}

fn damaged(what: &dyn std::fmt::Display) -> String {
    format!("no readable safetensors file ({what}): it is damaged, cut short or of another kind")
}
