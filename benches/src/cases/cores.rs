//! How a decode gains from more cores: the same file on one core and on all, taking turns.
//!
//! Each side lives on a thread of its own, held on its cores with everything it starts, and waits while the other runs.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::files::Files;
use super::{Case, Title};
use crate::cpu;
use crate::data::Table;
use crate::error::{BenchError, Result};
use crate::formats::{Formats, OpenedFile, Request, Residence, WriteOptions};
use crate::measure::{Budget, Contestant, Residue, interleave};
use crate::report::{Outcome, Row, Timing};

/// A side's end of the conversation: it is told to decode and answers when it has.
struct Side {
    go: Receiver<()>,
    done: Sender<Result<()>>,
}

/// Measures `cores` for one format on one table.
pub fn run(table: &Table, format: &str, files: &Files, budget: Budget) -> Result<Outcome> {
    let allowed = cpu::allowed();
    let mut outcome = Outcome::default();
    if allowed.len() < 2 {
        return Ok(outcome);
    }
    let samples = std::thread::scope(|scope| {
        let mut contestants = Vec::new();
        for count in [allowed.len(), 1] {
            let (tell, go) = channel();
            let (done, hear) = channel();
            let cores = allowed[allowed.len() - count..].to_vec();
            let path = on_one_core(table, format, files)?;
            scope.spawn(move || {
                let failed = done.clone();
                let side = Side { go, done };
                let result = cpu::on_cores(&cores, move || {
                    let formats = Formats::on(count);
                    let format = formats.named(format)?;
                    side.serve(format.open(&path, Residence::Memory)?.as_ref());
                    Ok(())
                });
                if let Err(error) = result {
                    // The other end is gone only when the comparison has failed already.
                    let _ = failed.send(Err(error));
                }
            });
            let name = format!("{count}_core{}", if count == 1 { "" } else { "s" });
            contestants.push(Contestant::new(name, move || {
                let gone = || BenchError::Usage("a measuring thread ended early".into());
                tell.send(()).map_err(|_| gone())?;
                hear.recv().map_err(|_| gone())??;
                Ok(Residue::Nothing)
            }));
        }
        interleave(&mut contestants, budget)
    })?;
    let title = Title::new(Case::Cores, &table.name);
    if let [many, _, one] = samples.as_slice() {
        let (ours, theirs) = (many.median() * 1e3, one.median() * 1e3);
        outcome.rows.push(Row {
            case: title.name.clone(),
            data: title.data.clone(),
            peer: one.name.clone(),
            cores: allowed.len(),
            ours,
            theirs,
            unit: "ms".to_owned(),
            ratio: theirs / ours,
        });
    }
    for samples in samples {
        outcome.timings.push(Timing {
            case: title.name.clone(),
            data: title.data.clone(),
            cores: allowed.len(),
            samples,
        });
    }
    Ok(outcome)
}

/// The file is written where it can't meet either side.
fn on_one_core(table: &Table, format: &str, files: &Files) -> Result<std::path::PathBuf> {
    files.written(table, Formats::on(1).named(format)?, WriteOptions::default())
}

impl Side {
    /// Decodes when told to, until nobody tells any more.
    fn serve(&self, file: &dyn OpenedFile) {
        while self.go.recv().is_ok() {
            let result = file.scan(&Request::everything(), &|batch| {
                std::hint::black_box(batch);
                Ok(())
            });
            if self.done.send(result).is_err() {
                break;
            }
        }
    }
}
