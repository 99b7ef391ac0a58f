//! TPC-H lineitem and orders, made by the `tpchgen` crate: the data of the specification's own generator.

use std::path::Path;

use tpchgen::generators::{LineItemGenerator, OrderGenerator};
use tpchgen_arrow::{LineItemArrow, OrderArrow};

use super::table::{BATCH_ROWS, Table};
use crate::error::{BenchError, Result};

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 16 columns, 6 million rows at scale factor 1.
    Lineitem,
    /// 9 columns, 1.5 million rows at scale factor 1.
    Orders,
}

/// The table at a scale factor, made once and cached in `folder`.
pub fn table(kind: Kind, scale: f64, folder: &Path) -> Result<Table> {
    if !(scale > 0.0 && scale <= 1000.0) {
        return Err(BenchError::Usage(format!("a scale factor is above 0 and at most 1000, not {scale}")));
    }
    let orders = (1_500_000.0 * scale) as u64;
    match kind {
        Kind::Lineitem => {
            let name = format!("lineitem-sf{scale}");
            let path = folder.join(format!("{name}.arrow"));
            Table::cached(
                &name,
                &path,
                orders * 4,
                || Ok(LineItemArrow::schema_ref()),
                || {
                    let generator = LineItemGenerator::new(scale, 1, 1);
                    Ok(LineItemArrow::new(generator).with_batch_size(BATCH_ROWS))
                },
            )
        }
        Kind::Orders => {
            let name = format!("orders-sf{scale}");
            let path = folder.join(format!("{name}.arrow"));
            Table::cached(
                &name,
                &path,
                orders,
                || Ok(OrderArrow::schema_ref()),
                || {
                    let generator = OrderGenerator::new(scale, 1, 1);
                    Ok(OrderArrow::new(generator).with_batch_size(BATCH_ROWS))
                },
            )
        }
    }
}
