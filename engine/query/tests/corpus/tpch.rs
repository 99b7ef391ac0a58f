//! The data of the corpus' TPC-H queries, as `dbgen` writes it.

use std::fmt::Display;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

/// What the answers in the corpus are of.
const SCALE: f64 = 0.1;

fn write<T: Display>(folder: &Path, table: &str, rows: impl Iterator<Item = T>) {
    let path = folder.join(format!("{table}.tbl"));
    if path.exists() {
        return;
    }
    let temporary = folder.join(format!("{table}.{}", std::process::id()));
    let mut out = BufWriter::new(fs::File::create(&temporary).unwrap());
    for row in rows {
        writeln!(out, "{row}").unwrap();
    }
    out.into_inner().unwrap();
    fs::rename(temporary, path).unwrap();
}

/// Writes the eight tables into a folder, if they are not there.
pub(crate) fn generate(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    write(folder, "region", RegionGenerator::new(SCALE, 1, 1).iter());
    write(folder, "nation", NationGenerator::new(SCALE, 1, 1).iter());
    write(folder, "supplier", SupplierGenerator::new(SCALE, 1, 1).iter());
    write(folder, "part", PartGenerator::new(SCALE, 1, 1).iter());
    write(folder, "partsupp", PartSuppGenerator::new(SCALE, 1, 1).iter());
    write(folder, "customer", CustomerGenerator::new(SCALE, 1, 1).iter());
    write(folder, "orders", OrderGenerator::new(SCALE, 1, 1).iter());
    write(folder, "lineitem", LineItemGenerator::new(SCALE, 1, 1).iter());
}
