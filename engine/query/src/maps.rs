//! Values of maps by their keys: `m['k']`.
//!
//! A literal text is of another type than the texts of a table's columns, and DataFusion 55.2 compares a map's keys with what is given as it is. So a literal
//! becomes one of the keys' type.

use arrow_schema::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Expr, ExprSchemable};

/// Gives literals the type of the keys that they are compared with.
#[derive(Debug)]
pub(crate) struct MapKeys;

/// What a field or a key leads to, and the literal as it has to be.
fn step(of: &DataType, key: &ScalarValue) -> Option<(DataType, ScalarValue)> {
    match of {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => {
                let [keys, values] = pair.as_ref() else { return None };
                Some((values.data_type().clone(), key.cast_to(keys.data_type()).ok()?))
            }
            _ => None,
        },
        DataType::Struct(fields) => {
            let name = key.try_as_str().flatten()?;
            let field = fields.iter().find(|f| f.name() == name)?;
            Some((field.data_type().clone(), key.clone()))
        }
        _ => None,
    }
}

impl FunctionRewrite for MapKeys {
    fn name(&self) -> &'static str {
        "map_keys"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let Expr::ScalarFunction(ScalarFunction { func, mut args }) = expr else {
            return Ok(Transformed::no(expr));
        };
        let mut changed = false;
        if func.name() == "get_field"
            && let [base, path @ ..] = args.as_mut_slice()
            && let Ok(mut data_type) = base.get_type(schema)
        {
            for key in path {
                let Expr::Literal(literal, _) = key else { break };
                let Some((below, wanted)) = step(&data_type, literal) else { break };
                changed |= wanted.data_type() != literal.data_type();
                *literal = wanted;
                data_type = below;
            }
        }
        let expr = Expr::ScalarFunction(ScalarFunction { func, args });
        Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
    }
}
