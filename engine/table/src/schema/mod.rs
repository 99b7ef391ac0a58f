//! A table's schema: in Delta's JSON form, as Arrow, and how rows are brought to it.
//!
//! * [`json`] – Delta's schema strings; [`types`] – which Arrow types a table has;
//! * [`table_schema`] – the schema itself; [`change`] – adding, dropping, renaming, moving, widening columns;
//! * [`expressions`] – who understands SQL expressions; [`prepare`] – from rows given to rows stored.

pub mod change;
pub mod expressions;
mod json;
pub mod prepare;
pub mod table_schema;
mod types;

pub use expressions::{Expression, Expressions, Literals};
pub use prepare::Preparer;
pub use table_schema::{TableSchema, physical_name};

/// The columns in a schema string of Delta's form, as Arrow; metadata as Delta has it.
///
/// # Errors
/// When it is not in that form, or has types that this version does not know.
pub fn delta_schema(text: &str) -> crate::error::Result<arrow_schema::Schema> {
    json::parse(text)
}

/// Columns in Delta's form. Types that Delta does not have are the nearest that it has.
pub fn delta_schema_string(schema: &arrow_schema::Schema) -> String {
    json::to_json(schema)
}

/// Metadata of a field: under which name statistics and partition values have it.
pub const PHYSICAL_NAME: &str = "delta.columnMapping.physicalName";
/// Metadata of a field: what rows get that don't have it, as SQL.
pub const CURRENT_DEFAULT: &str = "CURRENT_DEFAULT";
/// Metadata of a field: what rows have that were written before it was added, as SQL.
pub const INITIAL_DEFAULT: &str = "deltalite.initialDefault";
/// Metadata of a field: how it is computed, as SQL.
pub const GENERATION_EXPRESSION: &str = "delta.generationExpression";
/// Metadata of a field: its values count upwards from here.
pub const IDENTITY_START: &str = "delta.identity.start";
/// Metadata of a field: by this.
pub const IDENTITY_STEP: &str = "delta.identity.step";
/// Metadata of a field: the last value given out.
pub const IDENTITY_HIGH_WATER: &str = "delta.identity.highWaterMark";
/// Metadata of a field: whether rows may bring values of their own.
pub const IDENTITY_EXPLICIT: &str = "delta.identity.allowExplicitInsert";
/// Prefix of the properties that hold conditions all rows fulfil.
pub const CONSTRAINT_PREFIX: &str = "delta.constraints.";
/// Property: the highest id that a column ever had.
pub const MAX_COLUMN_ID: &str = "delta.columnMapping.maxColumnId";
