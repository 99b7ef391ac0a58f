//! Sizes, formats and types as people write them.

use std::path::Path;

use arrow_schema::DataType;
use deltalite::convert::FileFormat;
use deltalite::{EngineError, Profile};

/// A number of bytes: `65536`, `64KiB`, `1.5MiB`, `10MB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "kb" => 1e3,
        "m" | "mib" => 1_048_576.0,
        "mb" => 1e6,
        "g" | "gib" => 1_073_741_824.0,
        "gb" => 1e9,
        _ => return Err(format!("{unit:?} is no unit of bytes; write 65536, 64KiB, 1.5MiB or 1GiB")),
    };
    let number: f64 = number.parse().map_err(|_| "write it as 65536, 64KiB, 1.5MiB or 1GiB".to_owned())?;
    Ok((number * factor) as u64)
}

/// A type for a column: `name=type`.
pub(super) fn typed(text: &str) -> Result<(String, DataType), String> {
    let (name, data_type) = text.split_once('=').ok_or("write it as NAME=TYPE, as in price=decimal(15,2)")?;
    let data_type = deltalite::convert::parse_type(data_type).map_err(|e| e.to_string())?;
    Ok((name.trim().to_owned(), data_type))
}

/// A byte that separates: one ASCII character, or `\t` and `tab`.
pub(super) fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [one] if one.is_ascii() => Ok(*one),
        b"\\t" | b"tab" => Ok(b'\t'),
        _ => Err("it is one ASCII character, or `tab`".to_owned()),
    }
}

/// A file format by name.
pub(super) fn format(text: &str) -> Result<FileFormat, String> {
    let known = || FileFormat::NAMES.into_iter().filter(|(_, f)| *f != FileFormat::DeltaLite);
    known().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, f)| f).ok_or_else(|| {
        let names: Vec<&str> = known().map(|(name, _)| name).collect();
        format!("it can be {}", names.join(", "))
    })
}

/// What a writer prefers.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum ProfileName {
    /// Fast to write and to scan, small enough.
    Default,
    /// Smallest, at the price of slower reads.
    Compact,
    /// Values as they are.
    Plain,
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Default => Self::Default,
            ProfileName::Compact => Self::Compact,
            ProfileName::Plain => Self::Plain,
        }
    }
}

/// That the folder which a file is to be made in exists.
pub(super) fn require_folder(dest: &Path) -> Result<(), EngineError> {
    match dest.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.exists() => Err(EngineError::usage(
            dest.display().to_string(),
            format!("there is no folder {}; make it with mkdir -p, or check the path", folder.display()),
        )),
        _ => Ok(()),
    }
}

/// That a DeltaLite file can be made there: in a folder that exists, and not in the place of a pipe or a device.
pub(super) fn require_file_place(dest: &Path) -> Result<(), EngineError> {
    if dest == Path::new("-") || dest.metadata().is_ok_and(|m| !m.is_file()) {
        return Err(EngineError::usage(
            dest.display().to_string(),
            "DeltaLite files are made whole under a name, not written to standard output, pipes or devices; give the path of a file",
        ));
    }
    require_folder(dest)
}

/// Threads to use: as asked, or one a CPU that this process may use.
pub(super) fn threads(asked: Option<usize>) -> usize {
    asked
        .filter(|&n| n > 0)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!((size("65536"), size("64KiB"), size("1.5 MiB")), (Ok(65536), Ok(65536), Ok(1_572_864)));
        assert!(size("many").is_err() && size("1 parsec").is_err());
        assert_eq!((delimiter(";"), delimiter("tab")), (Ok(b';'), Ok(b'\t')));
        assert!(delimiter("ab").is_err() && format("xls").is_err());
    }
}
