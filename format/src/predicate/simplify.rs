//! Fewer and cheaper leaves with the same meaning: constants fold, tests on one column merge, and what is left is ordered.
//!
//! Only where the whole is true matters, so a test that is never true is as good as FALSE, and `a IS NOT NULL` adds nothing
//! beside another test on `a`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Bound;

use super::bound::{Leaf, LeafTest, Node};
use super::leaf::{BytesPred, FloatPred, IntPred};

/// Simplifies a tree from its leaves up.
pub(super) fn simplify(node: Node) -> Node {
    match node {
        Node::And(nodes) => join(nodes, true),
        Node::Or(nodes) => join(nodes, false),
        other => other,
    }
}

/// Most earlier tests that a test is compared with, so that a condition of many thousand terms does not take the square of them.
const COMPARED_MAX: usize = 64;

/// Under OR, one set of all values that a column is to equal, in the place of the first.
fn gather(parts: Vec<Node>) -> Vec<Node> {
    let mut gathered: Vec<Node> = Vec::with_capacity(parts.len());
    let mut sets: HashMap<(usize, Vec<usize>), (usize, Members)> = HashMap::new();
    for part in parts {
        if let Node::Leaf(leaf) = &part
            && let Some(members) = members(&leaf.test)
        {
            match sets.entry((leaf.column, leaf.path.clone())) {
                Entry::Vacant(entry) => {
                    entry.insert((gathered.len(), members));
                }
                Entry::Occupied(mut entry) => match (&mut entry.get_mut().1, members) {
                    (Members::Int(all), Members::Int(more)) => {
                        all.extend(more);
                        continue;
                    }
                    (Members::Bytes(all), Members::Bytes(more)) => {
                        all.extend(more);
                        continue;
                    }
                    // A column has one type, so that both are of one kind; if not, both tests stay.
                    _ => {}
                },
            }
        }
        gathered.push(part);
    }
    for (place, members) in sets.into_values() {
        if let Node::Leaf(leaf) = &mut gathered[place] {
            match members {
                Members::Int(values) if values.len() > 1 => {
                    leaf.test = LeafTest::Int(IntPred::Set { values: sorted(values), negated: false });
                }
                Members::Bytes(values) if values.len() > 1 => {
                    leaf.test = LeafTest::Bytes(BytesPred::Set { values: sorted(values), negated: false });
                }
                _ => {}
            }
        }
    }
    gathered
}

/// Values that a test is for.
enum Members {
    Int(Vec<i128>),
    Bytes(Vec<Vec<u8>>),
}

fn members(test: &LeafTest) -> Option<Members> {
    match test {
        LeafTest::Int(pred) => int_members(pred).map(Members::Int),
        LeafTest::Bytes(BytesPred::Set { values, negated: false }) => Some(Members::Bytes(values.clone())),
        _ => None,
    }
}

/// `nodes` under AND (`all`) or under OR.
fn join(nodes: Vec<Node>, all: bool) -> Node {
    let mut parts: Vec<Node> = Vec::with_capacity(nodes.len());
    for node in nodes.into_iter().map(simplify) {
        match node {
            // FALSE decides an AND and adds nothing to an OR; TRUE the other way round.
            Node::Const(value) if value != all => return Node::Const(value),
            Node::Const(_) => {}
            Node::And(inner) if all => parts.extend(inner),
            Node::Or(inner) if !all => parts.extend(inner),
            other => parts.push(other),
        }
    }
    if !all {
        parts = gather(parts);
    }
    let mut merged: Vec<Node> = Vec::with_capacity(parts.len());
    'parts: for part in parts {
        if let Node::Leaf(leaf) = &part {
            for earlier in merged.iter_mut().take(COMPARED_MAX) {
                if let Node::Leaf(other) = earlier
                    && other.column == leaf.column
                    && other.path == leaf.path
                {
                    let joint = if all { both(other, leaf) } else { either(other, leaf) };
                    match joint {
                        Joint::Test(test) => {
                            other.test = test;
                            continue 'parts;
                        }
                        Joint::Const(value) if value != all => return Node::Const(value),
                        Joint::Const(_) | Joint::Apart => {}
                    }
                }
            }
        }
        merged.push(part);
    }
    match merged.len() {
        0 => Node::Const(all),
        1 => merged.remove(0),
        _ => {
            merged.sort_by(|a, b| rank(a, all).total_cmp(&rank(b, all)));
            if all { Node::And(merged) } else { Node::Or(merged) }
        }
    }
}

/// Cost of a row and share of rows that pass, about.
fn guess(node: &Node) -> (f64, f64) {
    match node {
        Node::Const(value) => (0.0, f64::from(u8::from(*value))),
        Node::Leaf(leaf) => leaf.guess(),
        Node::And(nodes) => {
            nodes.iter().map(guess).fold((0.0, 1.0), |(cost, pass), (c, p)| (cost + pass * c, pass * p))
        }
        Node::Or(nodes) => {
            let (cost, fail) = nodes
                .iter()
                .map(guess)
                .fold((0.0, 1.0), |(cost, fail), (c, p)| (cost + fail * c, fail * (1.0 - p)));
            (cost, 1.0 - fail)
        }
    }
}

/// What to evaluate first has the smaller rank: rows decided for the cost (Hellerstein's predicate migration).
fn rank(node: &Node, all: bool) -> f64 {
    let (cost, pass) = guess(node);
    let decided = if all { 1.0 - pass } else { pass };
    -decided / cost.max(1e-3)
}

/// What two tests on one column come to.
enum Joint {
    /// One test.
    Test(LeafTest),
    /// A constant.
    Const(bool),
    /// Two tests still.
    Apart,
}

fn both(a: &Leaf, b: &Leaf) -> Joint {
    use LeafTest as T;
    match (&a.test, &b.test) {
        (x, y) if x == y => Joint::Test(x.clone()),
        (T::IsNull, _) | (_, T::IsNull) | (T::Bool(_), T::Bool(_)) => Joint::Const(false),
        (T::IsNotNull, test) | (test, T::IsNotNull) => Joint::Test(test.clone()),
        (
            T::Int(IntPred::Range { lo, hi, negated: false }),
            T::Int(IntPred::Range { lo: lo2, hi: hi2, negated: false }),
        ) => {
            let (lo, hi) = (*lo.max(lo2), *hi.min(hi2));
            if lo > hi {
                Joint::Const(false)
            } else {
                Joint::Test(T::Int(IntPred::Range { lo, hi, negated: false }))
            }
        }
        (
            T::Float(FloatPred::Range { lo, hi, negated: false }),
            T::Float(FloatPred::Range { lo: lo2, hi: hi2, negated: false }),
        ) => {
            let (lo, hi) = (*lo.max(lo2), *hi.min(hi2));
            if lo > hi {
                Joint::Const(false)
            } else {
                Joint::Test(T::Float(FloatPred::Range { lo, hi, negated: false }))
            }
        }
        (
            T::Bytes(BytesPred::Range { lo, hi, negated: false }),
            T::Bytes(BytesPred::Range { lo: lo2, hi: hi2, negated: false }),
        ) => {
            let (lo, hi) = (tighter(lo, lo2, true), tighter(hi, hi2, false));
            Joint::Test(T::Bytes(BytesPred::Range { lo, hi, negated: false }))
        }
        _ => Joint::Apart,
    }
}

fn either(a: &Leaf, b: &Leaf) -> Joint {
    use LeafTest as T;
    match (&a.test, &b.test) {
        (x, y) if x == y => Joint::Test(x.clone()),
        (T::IsNull, T::IsNotNull) | (T::IsNotNull, T::IsNull) => Joint::Const(true),
        (T::IsNull, _) | (_, T::IsNull) => Joint::Apart,
        (T::IsNotNull, _) | (_, T::IsNotNull) | (T::Bool(_), T::Bool(_)) => Joint::Test(T::IsNotNull),
        _ => Joint::Apart,
    }
}

fn int_members(pred: &IntPred) -> Option<Vec<i128>> {
    match pred {
        IntPred::Range { lo, hi, negated: false } if lo == hi => Some(vec![*lo]),
        IntPred::Set { values, negated: false } => Some(values.clone()),
        _ => None,
    }
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort_unstable();
    values.dedup();
    values
}

/// The bound that lets fewer values through.
fn tighter(a: &Bound<Vec<u8>>, b: &Bound<Vec<u8>>, lower: bool) -> Bound<Vec<u8>> {
    let (x, y) = match (a, b) {
        (Bound::Unbounded, other) | (other, Bound::Unbounded) => return other.clone(),
        (Bound::Included(x) | Bound::Excluded(x), Bound::Included(y) | Bound::Excluded(y)) => (x, y),
    };
    let first = match x.cmp(y) {
        std::cmp::Ordering::Equal => matches!(a, Bound::Excluded(_)),
        order => (order == std::cmp::Ordering::Greater) == lower,
    };
    if first { a.clone() } else { b.clone() }
}
