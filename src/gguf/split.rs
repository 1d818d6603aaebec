//! Models in several files, as llama.cpp's `gguf-split` makes them: `NAME-00001-of-00003.gguf` and so on. The
//! first has the model's metadata, each has some of its tensors.

use std::path::{Path, PathBuf};

use super::Metadata;
use crate::error::Result;

/// The files of the model whose first is `path` and says `m`, in order; `path` alone for a model in one.
pub fn paths(m: &Metadata, path: &Path) -> Result<Vec<PathBuf>> {
    let n = m.usize("split.count")?.unwrap_or(0);
    if n <= 1 {
        return Ok(vec![path.to_owned()]);
    }
    let part = m.require("split.no", m.usize("split.no"))?;
    if part != 0 {
        let message = format!("this is part {} of {n}; open the first, the others are found beside it", part + 1);
        return Err(m.error("split.no", message));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(stem) = name.strip_suffix(&suffix(0, n)) else {
        let message = format!("{n} parts, so the name of the first must end in {}", suffix(0, n));
        return Err(m.error("split.count", message));
    };
    Ok((0..n).map(|part| path.with_file_name(format!("{stem}{}", suffix(part, n)))).collect())
}

/// Refuses a file that is not part `part` of `n`.
pub fn check_part(m: &Metadata, part: usize, n: usize) -> Result<()> {
    for (key, expected) in [("split.no", part), ("split.count", n)] {
        let found = m.require(key, m.usize(key))?;
        if found != expected {
            return Err(
                m.error(key, format!("{found} is not allowed in part {} of {n}; allowed: {expected}", part + 1))
            );
        }
    }
    Ok(())
}

/// Refuses parts that do not have as many tensors as the first says.
pub fn check_tensors(m: &Metadata, n_tensors: usize) -> Result<()> {
    let key = "split.tensors.count";
    match m.usize(key)? {
        Some(expected) if expected != n_tensors => {
            Err(m.error(key, format!("the parts have {n_tensors} tensors; expected {expected}")))
        }
        _ => Ok(()),
    }
}

fn suffix(part: usize, n: usize) -> String {
    format!("-{:05}-of-{n:05}.gguf", part + 1)
}
