//! Relations that are joined with each other, and the conditions among them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchemaRef, ExprSchema, NullEquality, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Filter, Join, JoinConstraint, JoinType, LogicalPlan, Operator, Projection,
};

use super::enumerate::{Graph, RELATIONS_MAX, Set, Tree, members};
use super::estimate::{Estimate, Known, estimate};

/// The part of what an order costs that a better one may.
const BETTER: f64 = 0.9;
/// The part of rows that a condition on several relations keeps that is no equality.
const CONDITIONED: f64 = 0.2;
/// The part of rows that a semi join or an anti join keeps beyond what its keys say, where it has other conditions too.
const HALF: f64 = 0.5;

/// What a relation is to the others.
#[derive(Debug, Clone)]
enum Role {
    /// Its rows are joined.
    Joined,
    /// It keeps rows of another relation: a semi join, or an anti join.
    Keeps { join_type: JoinType, on: Vec<(Expr, Expr)>, filter: Option<Expr>, of: usize },
}

#[derive(Debug, Clone)]
struct Relation {
    plan: LogicalPlan,
    role: Role,
}

/// A condition, and the relations that it names; of an equality those of each side too.
#[derive(Debug, Clone)]
struct Condition {
    expr: Expr,
    on: Set,
    sides: Option<(Set, Set)>,
}

/// Joins that stand on each other.
#[derive(Debug)]
pub(super) struct Group {
    relations: Vec<Relation>,
    /// Which relation a column is of.
    columns: HashMap<Column, usize>,
    /// Columns that are equal, and of one type.
    equal: Vec<Vec<(Column, usize)>>,
    conditions: Vec<Condition>,
    tree: Tree,
    estimates: Vec<Estimate>,
    /// Of each relation those that a condition connects it with.
    neighbours: Vec<Set>,
    /// Rows of sets of relations, as far as they were asked for.
    rows: HashMap<Set, f64>,
}

/// What is found while a plan is taken apart.
#[derive(Default)]
struct Found {
    relations: Vec<Relation>,
    equalities: Vec<(Expr, Expr)>,
    conditions: Vec<Expr>,
}

impl Found {
    fn relation(&mut self, plan: &LogicalPlan, role: Role) -> Tree {
        self.relations.push(Relation { plan: plan.clone(), role });
        Tree::Leaf(self.relations.len() - 1)
    }

    fn take(&mut self, plan: &LogicalPlan) -> Tree {
        match plan {
            LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNothing => {
                match join.join_type {
                    JoinType::Inner => {
                        let (left, right) = (self.take(&join.left), self.take(&join.right));
                        self.equalities.extend(join.on.iter().cloned());
                        let filter = join.filter.iter().flat_map(split_conjunction);
                        self.conditions.extend(filter.cloned());
                        Tree::Join(Box::new(left), Box::new(right))
                    }
                    JoinType::LeftSemi | JoinType::LeftAnti if !join.null_aware => self.keeping(plan, join),
                    _ => self.relation(plan, Role::Joined),
                }
            }
            LogicalPlan::Projection(projection) if only_leaves_out(projection) => {
                self.take(&projection.input)
            }
            _ => self.relation(plan, Role::Joined),
        }
    }

    /// A semi join or an anti join of which rows are kept by one relation's columns: it may as well be joined with that one alone.
    fn keeping(&mut self, plan: &LogicalPlan, join: &Join) -> Tree {
        let before = (self.relations.len(), self.equalities.len(), self.conditions.len());
        let left = self.take(&join.left);
        let inner = join.filter.iter().chain(join.on.iter().map(|(left, _)| left));
        let named: Vec<&Column> = inner.flat_map(Expr::column_refs).collect();
        let of_left = named.into_iter().filter(|column| !join.right.schema().has_column(column));
        let has_all = |relation: &Relation| {
            let schema = relation.plan.schema();
            matches!(relation.role, Role::Joined) && of_left.clone().all(|column| schema.has_column(column))
        };
        let only = self.relations[before.0..].iter().position(has_all).map(|at| before.0 + at);
        let only = only.filter(|_| !join.on.is_empty());
        if let Some(of) = only {
            let (on, filter) = (join.on.clone(), join.filter.clone());
            let right = self.relation(&join.right, Role::Keeps { join_type: join.join_type, on, filter, of });
            return Tree::Join(Box::new(left), Box::new(right));
        }
        self.relations.truncate(before.0);
        self.equalities.truncate(before.1);
        self.conditions.truncate(before.2);
        self.relation(plan, Role::Joined)
    }
}

/// Whether a projection only leaves columns out, of a join.
fn only_leaves_out(projection: &Projection) -> bool {
    matches!(projection.input.as_ref(), LogicalPlan::Join(_))
        && projection.expr.iter().zip(projection.schema.columns()).all(|(expr, name)| match expr {
            Expr::Column(column) => *column == name,
            _ => false,
        })
}

/// Whether a condition means the same wherever it is evaluated.
fn is_movable(expr: &Expr) -> bool {
    let subquery = |expr: &Expr| {
        matches!(
            expr,
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)
        )
    };
    !expr.is_volatile() && !expr.exists(|e| Ok(subquery(e))).unwrap_or(true)
}

impl Group {
    /// The group whose last join a plan is; `None` if it is none, or it can't be taken apart, or rows of a relation are not known.
    pub(super) fn of(plan: &LogicalPlan, depth: usize) -> Option<Self> {
        if !matches!(plan, LogicalPlan::Join(_)) {
            return None;
        }
        let mut found = Found::default();
        let tree = found.take(plan);
        let Found { relations, equalities, conditions } = found;
        if relations.len() < 2 || relations.len() > RELATIONS_MAX {
            return None;
        }
        let mut columns = HashMap::new();
        for (at, relation) in relations.iter().enumerate() {
            if matches!(relation.role, Role::Joined) {
                for column in relation.plan.schema().columns() {
                    if columns.insert(column, at).is_some() {
                        return None;
                    }
                }
            }
        }
        let estimates =
            relations.iter().map(|relation| estimate(&relation.plan, depth)).collect::<Option<Vec<_>>>()?;
        let mut group = Self {
            relations,
            columns,
            equal: Vec::new(),
            conditions: Vec::new(),
            tree,
            estimates,
            neighbours: Vec::new(),
            rows: HashMap::new(),
        };
        for (left, right) in equalities {
            group.add_equality(left, right)?;
        }
        for expr in conditions {
            let sides = match &expr {
                Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
                    Some((left.as_ref().clone(), right.as_ref().clone()))
                }
                _ => None,
            };
            match sides {
                Some((left, right)) => group.add_equality(left, right)?,
                None => group.add_condition(expr, None)?,
            }
        }
        group.neighbours = group.connected();
        Some(group)
    }

    fn relations_of(&self, expr: &Expr) -> Option<Set> {
        expr.column_refs().into_iter().try_fold(0, |all, column| Some(all | 1 << self.columns.get(column)?))
    }

    fn add_condition(&mut self, expr: Expr, sides: Option<(Set, Set)>) -> Option<()> {
        if !is_movable(&expr) {
            return None;
        }
        let on = self.relations_of(&expr)?;
        self.conditions.push(Condition { expr, on, sides });
        Some(())
    }

    fn add_equality(&mut self, left: Expr, right: Expr) -> Option<()> {
        if let (Expr::Column(l), Expr::Column(r)) = (&left, &right)
            && self.data_type(l)? == self.data_type(r)?
        {
            let (l, r) = (l.clone(), r.clone());
            let (l_of, r_of) = (*self.columns.get(&l)?, *self.columns.get(&r)?);
            let mut class = vec![(l, l_of), (r, r_of)];
            // What is equal to one of them is equal to both.
            self.equal.retain_mut(|other| {
                let meets = other.iter().any(|member| class.contains(member));
                if meets {
                    other.retain(|member| !class.contains(member));
                    class.append(other);
                }
                !meets
            });
            self.equal.push(class);
            return Some(());
        }
        let sides = (self.relations_of(&left)?, self.relations_of(&right)?);
        let splits = sides.0 != 0 && sides.1 != 0 && sides.0 & sides.1 == 0;
        self.add_condition(left.eq(right), splits.then_some(sides))
    }

    fn data_type(&self, column: &Column) -> Option<arrow_schema::DataType> {
        let relation = self.relations.get(*self.columns.get(column)?)?;
        relation.plan.schema().data_type(column).ok().cloned()
    }

    fn connected(&self) -> Vec<Set> {
        let mut neighbours = vec![0; self.relations.len()];
        let mut connect = |a: Set, b: Set| {
            for at in members(a) {
                neighbours[at] |= b & !(1 << at);
            }
            for at in members(b) {
                neighbours[at] |= a & !(1 << at);
            }
        };
        for class in &self.equal {
            let all = class.iter().fold(0, |all, (_, of)| all | 1 << of);
            connect(all, all);
        }
        for condition in &self.conditions {
            // Where a side has several relations, only all of them together are connected.
            if let Some((left, right)) = condition.sides.filter(|(l, r)| l.count_ones() + r.count_ones() == 2)
            {
                connect(left, right);
            }
        }
        for (at, relation) in self.relations.iter().enumerate() {
            if let Role::Keeps { of, .. } = relation.role {
                connect(1 << at, 1 << of);
            }
        }
        neighbours
    }

    /// What all its joins yield together.
    pub(super) fn estimate(&mut self) -> Estimate {
        let all = self.tree.set();
        let rows = self.rows_of(all);
        let mut found = Estimate::of_rows(rows);
        for (relation, estimate) in self.relations.iter().zip(&self.estimates) {
            if matches!(relation.role, Role::Joined) {
                found.take_columns(estimate.clone());
            }
        }
        found
    }

    /// The group with a better order, if there is one.
    pub(super) fn better(mut self) -> Option<Self> {
        // Which of two relations is held in memory is for the operators to choose.
        if self.relations.len() < 3 {
            return None;
        }
        let (neighbours, now) = (self.neighbours.clone(), self.tree.clone());
        let mut rows = |set: Set| self.rows_of(set);
        let mut graph = Graph { neighbours: &neighbours, rows: &mut rows };
        let best = graph.best()?;
        let better = graph.cost(&best) < graph.cost(&now) * BETTER;
        self.tree = best;
        better.then_some(self)
    }

    /// Rows of a set of relations that are joined: the same in whichever order.
    fn rows_of(&mut self, set: Set) -> f64 {
        if let Some(rows) = self.rows.get(&set) {
            return *rows;
        }
        let rows = if set.is_power_of_two() {
            self.estimates[set.trailing_zeros() as usize].rows
        } else {
            let mut any_rows = |_: Set| 0.0;
            let graph = Graph { neighbours: &self.neighbours, rows: &mut any_rows };
            let is_kept_by =
                |at: usize| matches!(self.relations[at].role, Role::Keeps { of, .. } if set & 1 << of != 0);
            let parts = graph.components(set);
            let last = members(set)
                .find(|at| is_kept_by(*at))
                .or_else(|| members(set).find(|at| graph.components(set & !(1 << at)).len() == 1));
            match (parts.as_slice(), last) {
                ([_], Some(last)) => {
                    let rest = set & !(1 << last);
                    self.rows_of(rest) * self.kept_by(last, rest)
                }
                _ => parts.iter().map(|part| self.rows_of(*part)).product(),
            }
        };
        let rows = rows.max(1.0);
        self.rows.insert(set, rows);
        rows
    }

    /// How many rows there are of each of a set's when a relation joins it.
    fn kept_by(&self, last: usize, rest: Set) -> f64 {
        let here = &self.estimates[last];
        if let Role::Keeps { join_type, on, filter, of } = &self.relations[last].role {
            let there = &self.estimates[*of];
            let part = |(left, right): &(Expr, Expr)| {
                let values = here.value(right).distinct.min(here.rows.max(1.0));
                (values / there.value(left).distinct).min(1.0)
            };
            let matched = on.iter().map(part).fold(1.0, f64::min);
            let matched = if filter.is_some() { matched * HALF } else { matched };
            return if *join_type == JoinType::LeftAnti { (1.0 - matched).max(1.0 - HALF) } else { matched };
        }
        let mut keys: Vec<(Known, Known, usize)> = Vec::new();
        for class in &self.equal {
            let known = |wanted: Set| {
                let members = class.iter().filter(|(_, of)| wanted & 1 << of != 0);
                let known = members.map(|(c, of)| (self.estimates[*of].value(&Expr::Column(c.clone())), *of));
                known.min_by(|(a, _), (b, _)| a.distinct.total_cmp(&b.distinct))
            };
            if let (Some((ours, _)), Some((theirs, of))) = (known(1 << last), known(rest)) {
                keys.push((ours, theirs, of));
            }
        }
        let mut kept = here.rows;
        for condition in &self.conditions {
            let all = rest | 1 << last;
            // Of one relation alone: it is in what that one yields, as far as anything is known of it.
            if condition.on & 1 << last == 0 || condition.on & !all != 0 || condition.on == 1 << last {
                continue;
            }
            match condition.sides {
                Some((left, right)) if left.count_ones() + right.count_ones() == 2 => {
                    let of = (condition.on & !(1 << last)).trailing_zeros() as usize;
                    let nothing = |rows: f64| Known::nothing(rows, arrow_schema::DataType::Null);
                    keys.push((nothing(here.all_rows), nothing(self.estimates[of].all_rows), of));
                }
                _ => kept *= CONDITIONED,
            }
        }
        // Several columns of one relation together: they have no more values than it has rows.
        let mut by_relation: BTreeMap<usize, Vec<(Known, Known)>> = BTreeMap::new();
        for (ours, theirs, of) in keys {
            by_relation.entry(of).or_default().push((ours, theirs));
        }
        for (of, keys) in by_relation {
            kept *= match keys.as_slice() {
                [(ours, theirs)] => equal_part(ours, theirs),
                several => {
                    let ours: f64 = several.iter().map(|(ours, _)| ours.distinct).product();
                    let theirs: f64 = several.iter().map(|(_, theirs)| theirs.distinct).product();
                    let (most_ours, most_theirs) =
                        (here.all_rows.max(1.0), self.estimates[of].all_rows.max(1.0));
                    if ours > most_ours || theirs > most_theirs {
                        1.0 / ours.min(most_ours).min(theirs.min(most_theirs))
                    } else {
                        1.0 / ours.max(theirs)
                    }
                }
            };
        }
        kept
    }

    /// The plan in this order, with the columns that the one before had.
    pub(super) fn build(self, schema: &DFSchemaRef) -> Result<LogicalPlan> {
        let mut left: Vec<Condition> = self.conditions.clone();
        let mut built = self.built(&self.tree, &mut left)?;
        if let Some(rest) = conjunction(left.into_iter().map(|condition| condition.expr)) {
            built = LogicalPlan::Filter(Filter::try_new(rest, Arc::new(built))?);
        }
        Ok(LogicalPlan::Projection(Projection::new_from_schema(Arc::new(built), schema.clone())))
    }

    fn built(&self, tree: &Tree, left: &mut Vec<Condition>) -> Result<LogicalPlan> {
        let (one, other) = match tree {
            Tree::Leaf(at) => return self.leaf(*at, left),
            Tree::Join(one, other) => (one, other),
        };
        for (kept, by) in [(one, other), (other, one)] {
            if let Tree::Leaf(at) = by.as_ref()
                && let Role::Keeps { join_type, on, filter, .. } = &self.relations[*at].role
            {
                let input = self.built(kept, left)?;
                let by = self.relations[*at].plan.clone();
                return join(input, by, on.clone(), filter.clone(), *join_type);
            }
        }
        // What is on the left is held in memory.
        let (one, other) = if self.known_rows(one.set()) <= self.known_rows(other.set()) {
            (one, other)
        } else {
            (other, one)
        };
        let (held, probed) = (self.built(one, left)?, self.built(other, left)?);
        let (held_set, probed_set) = (one.set(), other.set());
        let mut on = Vec::new();
        for class in &self.equal {
            let of = |set: Set| class.iter().find(|(_, of)| set & 1 << of != 0);
            if let (Some((l, _)), Some((r, _))) = (of(held_set), of(probed_set)) {
                on.push((Expr::Column(l.clone()), Expr::Column(r.clone())));
            }
        }
        let mut filters = Vec::new();
        for condition in left.extract_if(.., |condition| condition.on & !(held_set | probed_set) == 0) {
            let within = |part: Set, whole: Set| part & !whole == 0;
            match (condition.sides, condition.expr) {
                (Some((l, r)), Expr::BinaryExpr(BinaryExpr { left, right, .. }))
                    if within(l, held_set) && within(r, probed_set) =>
                {
                    on.push((*left, *right));
                }
                (Some((l, r)), Expr::BinaryExpr(BinaryExpr { left, right, .. }))
                    if within(l, probed_set) && within(r, held_set) =>
                {
                    on.push((*right, *left));
                }
                (_, expr) => filters.push(expr),
            }
        }
        join(held, probed, on, conjunction(filters), JoinType::Inner)
    }

    fn known_rows(&self, set: Set) -> f64 {
        self.rows.get(&set).copied().unwrap_or(f64::INFINITY)
    }

    /// A relation, with the conditions that are on it alone.
    fn leaf(&self, at: usize, left: &mut Vec<Condition>) -> Result<LogicalPlan> {
        let plan = self.relations[at].plan.clone();
        let mut conditions: Vec<Expr> = left
            .extract_if(.., |condition| condition.on == 1 << at)
            .map(|condition| condition.expr)
            .collect();
        for class in &self.equal {
            let ours: Vec<&Column> = class.iter().filter(|(_, of)| *of == at).map(|(c, _)| c).collect();
            let pairs =
                ours.windows(2).map(|pair| Expr::Column(pair[0].clone()).eq(Expr::Column(pair[1].clone())));
            conditions.extend(pairs);
        }
        Ok(match conjunction(conditions) {
            Some(condition) => LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?),
            None => plan,
        })
    }
}

fn join(
    left: LogicalPlan,
    right: LogicalPlan,
    on: Vec<(Expr, Expr)>,
    filter: Option<Expr>,
    join_type: JoinType,
) -> Result<LogicalPlan> {
    let (left, right) = (Arc::new(left), Arc::new(right));
    let equality = NullEquality::NullEqualsNothing;
    let join = Join::try_new(left, right, on, filter, join_type, JoinConstraint::On, equality, false)?;
    Ok(LogicalPlan::Join(join))
}

/// The part of pairs of rows in which two columns are equal.
///
/// If one may be a key, the other refers to it: each of its values is there once. Of two that repeat, the one with fewer values has some of the other's.
fn equal_part(ours: &Known, theirs: &Known) -> f64 {
    let (mut kept, mut values) = (1.0, [ours.distinct, theirs.distinct]);
    if let (Some(a), Some(b)) = (ours.range, theirs.range) {
        let both = (a.0.max(b.0), a.1.min(b.1));
        for (values, range) in values.iter_mut().zip([a, b]) {
            // Nothing equal is not the least that is believed: ranges of texts' hashes, of versions before, may be wrong.
            let part = ((both.1 - both.0 + 1.0) / (range.1 - range.0 + 1.0)).clamp(1e-6, 1.0);
            kept *= part;
            *values = (*values * part).max(1.0);
        }
    }
    let values =
        if ours.repeats || theirs.repeats { values[0].max(values[1]) } else { values[0].min(values[1]) };
    kept / values
}
