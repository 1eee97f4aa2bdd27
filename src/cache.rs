//! What is kept from run to run: the kernels' shapes that were measured and the pipelines that drivers compiled. It can
//! be deleted at any time.

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::write_whole;
use crate::{Error, Result};

/// The folder: that of the environment's `MINILOTE_CACHE`, and else `minilote` in the system's own for
/// caches. None where `MINILOTE_CACHE` is empty, or the system names none.
pub fn folder() -> Option<PathBuf> {
    if let Some(own) = std::env::var_os("MINILOTE_CACHE") {
        return (!own.is_empty()).then(|| own.into());
    }
    let named = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = |below| named("HOME").map(|home| home.join(below));
    let system = if cfg!(windows) {
        named("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        home("Library/Caches")
    } else {
        named("XDG_CACHE_HOME").or_else(|| home(".cache"))
    };
    system.map(|system| system.join("minilote"))
}

/// Writes a file of the cache as a whole, and its folder if there is none.
///
/// # Errors
/// [`Error::File`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).map_err(|error| Error::file(folder, error))?;
    write_whole(path, bytes)
}
