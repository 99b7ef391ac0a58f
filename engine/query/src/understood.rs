//! Refusing what a statement says and we would not do.
//!
//! The parser knows the words of many systems. A part that is passed over silently does harm: `DELETE … LIMIT 1` would delete everything. So each
//! statement is compared with itself reduced to the parts that are acted on.

use std::fmt::Display;

use datafusion::sql::sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use datafusion::sql::sqlparser::ast::{
    CommentDef, CreateTable, CreateTableOptions, Delete, HiveDistributionStyle, HiveFormat, Insert, Merge,
    MergeAction, MergeClause, MergeInsertExpr, MergeUpdateExpr, SqlOption, Statement, TableFactor,
    TableWithJoins, Truncate, TruncateTableTarget, Update,
};

use crate::error::{QueryError, Result};

fn same<T: PartialEq + Display>(given: &T, reduced: &T) -> Result<()> {
    if given == reduced {
        return Ok(());
    }
    Err(QueryError::NotSupported(format!("a part of {given}; what is understood of it is {reduced}")))
}

fn table(factor: &TableFactor) -> TableFactor {
    match factor {
        TableFactor::Table { name, alias, .. } => TableFactor::Table {
            name: name.clone(),
            alias: alias.clone(),
            args: None,
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        },
        other => other.clone(),
    }
}

fn tables(given: &[TableWithJoins]) -> Vec<TableWithJoins> {
    given
        .iter()
        .map(|table_with_joins| TableWithJoins {
            relation: table(&table_with_joins.relation),
            joins: Vec::new(),
        })
        .collect()
}

pub(crate) fn insert(given: &Insert) -> Result<()> {
    let reduced = Insert {
        or: None,
        ignore: false,
        table_alias: None,
        assignments: Vec::new(),
        partitioned: None,
        after_columns: Vec::new(),
        on: None,
        returning: None,
        output: None,
        replace_into: false,
        priority: None,
        insert_alias: None,
        settings: None,
        format_clause: None,
        multi_table_insert_type: None,
        multi_table_into_clauses: Vec::new(),
        multi_table_when_clauses: Vec::new(),
        multi_table_else_clause: None,
        ..given.clone()
    };
    same(given, &reduced)
}

pub(crate) fn delete(given: &Delete) -> Result<()> {
    use datafusion::sql::sqlparser::ast::FromTable::{WithFromKeyword, WithoutKeyword};
    let from = match &given.from {
        WithFromKeyword(from) => WithFromKeyword(tables(from)),
        WithoutKeyword(from) => WithoutKeyword(tables(from)),
    };
    let reduced = Delete {
        tables: Vec::new(),
        from,
        returning: None,
        output: None,
        order_by: Vec::new(),
        limit: None,
        ..given.clone()
    };
    same(given, &reduced)
}

pub(crate) fn update(given: &Update) -> Result<()> {
    let reduced = Update {
        table: TableWithJoins { relation: table(&given.table.relation), joins: Vec::new() },
        returning: None,
        output: None,
        or: None,
        order_by: Vec::new(),
        limit: None,
        ..given.clone()
    };
    same(given, &reduced)
}

pub(crate) fn merge(given: &Merge) -> Result<()> {
    let clause = |clause: &MergeClause| {
        let action = match &clause.action {
            MergeAction::Insert(insert) => {
                MergeAction::Insert(MergeInsertExpr { insert_predicate: None, ..insert.clone() })
            }
            MergeAction::Update(update) => MergeAction::Update(MergeUpdateExpr {
                update_predicate: None,
                delete_predicate: None,
                ..update.clone()
            }),
            delete @ MergeAction::Delete { .. } => delete.clone(),
        };
        MergeClause { action, ..clause.clone() }
    };
    let reduced = Merge {
        table: table(&given.table),
        source: table(&given.source),
        clauses: given.clauses.iter().map(clause).collect(),
        output: None,
        ..given.clone()
    };
    same(given, &reduced)
}

pub(crate) fn truncate(given: &Truncate) -> Result<()> {
    let target = |target: &TruncateTableTarget| TruncateTableTarget {
        name: target.name.clone(),
        only: false,
        has_asterisk: false,
    };
    let reduced = Truncate {
        table_names: given.table_names.iter().map(target).collect(),
        partitions: None,
        if_exists: false,
        identity: None,
        cascade: None,
        on_cluster: None,
        ..given.clone()
    };
    same(given, &reduced)
}

/// Properties that a new table is given.
pub(crate) fn properties(create: &CreateTable) -> &[SqlOption] {
    match &create.table_options {
        CreateTableOptions::With(options)
        | CreateTableOptions::Options(options)
        | CreateTableOptions::TableProperties(options)
        | CreateTableOptions::Plain(options) => options,
        CreateTableOptions::None => &[],
    }
}

/// What a new table is said to be about.
pub(crate) fn comment(create: &CreateTable) -> Option<&str> {
    match create.comment.as_ref()? {
        CommentDef::WithEq(text) | CommentDef::WithoutEq(text) => Some(text),
    }
}

pub(crate) fn create(given: &CreateTable) -> Result<()> {
    let reduced = CreateTableBuilder::new(given.name.clone())
        .or_replace(given.or_replace)
        .if_not_exists(given.if_not_exists)
        .columns(given.columns.clone())
        .constraints(given.constraints.clone())
        .table_options(given.table_options.clone())
        .location(given.location.clone())
        .query(given.query.clone())
        .like(given.like.clone())
        .clone_clause(given.clone.clone())
        .comment_after_column_def(given.comment.clone())
        .hive_distribution(HiveDistributionStyle::NONE)
        .hive_formats(
            given
                .hive_formats
                .as_ref()
                .map(|_| HiveFormat { location: given.location.clone(), ..HiveFormat::default() }),
        )
        .build();
    same(&Statement::CreateTable(given.clone()), &Statement::CreateTable(reduced))
}
