//! The cheapest order of joins, by what each would yield.
//!
//! Up to [`EXACT_MAX`] relations every order without a needless cross product is looked at: the pairs of connected sets of relations of Moerkotte and Neumann, "Analysis of
//! Two Existing and One New Dynamic Programming Algorithm for the Generation of Optimal Bushy Join Trees without Cross Products" (VLDB 2006). Beyond,
//! the pair that yields least is joined, again and again.

use std::collections::HashMap;

/// Relations of which every order is looked at.
pub(super) const EXACT_MAX: usize = 10;
/// Relations that a set can have.
pub(super) const RELATIONS_MAX: usize = 64;

/// Relations by their numbers, a bit each.
pub(super) type Set = u64;

/// An order of joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tree {
    Leaf(usize),
    Join(Box<Tree>, Box<Tree>),
}

impl Tree {
    fn join(left: Tree, right: Tree) -> Self {
        Tree::Join(Box::new(left), Box::new(right))
    }

    pub(super) fn set(&self) -> Set {
        match self {
            Tree::Leaf(at) => 1 << at,
            Tree::Join(left, right) => left.set() | right.set(),
        }
    }
}

/// Relations of a set, by number.
pub(super) fn members(set: Set) -> impl DoubleEndedIterator<Item = usize> {
    (0..RELATIONS_MAX).filter(move |at| set & 1 << at != 0)
}

/// Relations, which of them a condition connects, and how many rows any set of them yields when it is joined.
pub(super) struct Graph<'a> {
    /// Of each relation, those that it is connected with.
    pub(super) neighbours: &'a [Set],
    pub(super) rows: &'a mut dyn FnMut(Set) -> f64,
}

/// A plan of a set of relations: what all its joins yield and hold in memory, together.
#[derive(Debug, Clone)]
struct Best {
    cost: f64,
    tree: Tree,
}

impl Graph<'_> {
    fn around(&self, set: Set) -> Set {
        members(set).fold(0, |all, at| all | self.neighbours[at]) & !set
    }

    /// Rows that a join yields, and those of its smaller side, which is held in memory.
    fn join_cost(&mut self, left: Set, right: Set) -> f64 {
        (self.rows)(left | right) + (self.rows)(left).min((self.rows)(right))
    }

    /// What an order costs.
    pub(super) fn cost(&mut self, tree: &Tree) -> f64 {
        match tree {
            Tree::Leaf(_) => 0.0,
            Tree::Join(left, right) => {
                self.cost(left) + self.cost(right) + self.join_cost(left.set(), right.set())
            }
        }
    }

    /// The sets of relations that conditions connect.
    pub(super) fn components(&self, of: Set) -> Vec<Set> {
        let (mut left, mut found) = (of, Vec::new());
        while left != 0 {
            let mut component = left & left.wrapping_neg();
            loop {
                let more = self.around(component) & of;
                if more == 0 {
                    break;
                }
                component |= more;
            }
            found.push(component);
            left &= !component;
        }
        found
    }

    /// The cheapest order of all relations.
    pub(super) fn best(&mut self) -> Option<Tree> {
        let all =
            if self.neighbours.len() == RELATIONS_MAX { Set::MAX } else { (1 << self.neighbours.len()) - 1 };
        let mut parts = Vec::new();
        for component in self.components(all) {
            parts.push(if component.count_ones() as usize <= EXACT_MAX {
                self.exact(component)?
            } else {
                self.greedy(members(component).map(leaf).collect(), true)?
            });
        }
        // What nothing connects is multiplied, the least first.
        self.greedy(parts, false).map(|best| best.tree)
    }

    /// Joins what yields least, again and again; with `connected` only what a condition connects.
    fn greedy(&mut self, mut parts: Vec<Best>, connected: bool) -> Option<Best> {
        while parts.len() > 1 {
            let mut found: Option<(f64, usize, usize)> = None;
            for left in 0..parts.len() {
                for right in left + 1..parts.len() {
                    let (l, r) = (parts[left].tree.set(), parts[right].tree.set());
                    if connected && self.around(l) & r == 0 {
                        continue;
                    }
                    let cost = self.join_cost(l, r);
                    if found.is_none_or(|(least, ..)| cost < least) {
                        found = Some((cost, left, right));
                    }
                }
            }
            let (cost, left, right) = found?;
            let (right, left) = (parts.swap_remove(right), parts.swap_remove(left));
            parts.push(Best { cost: left.cost + right.cost + cost, tree: Tree::join(left.tree, right.tree) });
        }
        parts.pop()
    }

    /// The cheapest order of connected relations.
    fn exact(&mut self, component: Set) -> Option<Best> {
        let numbers = self.breadth_first(component);
        let place = |at: usize| numbers.iter().position(|n| *n == at);
        let neighbours: Vec<Set> = numbers
            .iter()
            .map(|at| {
                members(self.neighbours[*at] & component).filter_map(place).fold(0, |all, p| all | 1 << p)
            })
            .collect();
        let outside = |set: Set| members(set).fold(0, |all: Set, at| all | 1 << numbers[at]);
        let mut best: HashMap<Set, Best> =
            numbers.iter().enumerate().map(|(at, number)| (1 << at, leaf(*number))).collect();
        connected_pairs(&neighbours, &mut |left, right| {
            let (Some(l), Some(r)) = (best.get(&left), best.get(&right)) else { return };
            let cost = l.cost + r.cost + self.join_cost(outside(left), outside(right));
            if best.get(&(left | right)).is_none_or(|known| cost < known.cost) {
                let tree = Tree::join(l.tree.clone(), r.tree.clone());
                best.insert(left | right, Best { cost, tree });
            }
        });
        best.remove(&((1 << numbers.len()) - 1))
    }

    /// Relations of a component, neighbours after each other: what the enumeration of pairs wants.
    fn breadth_first(&self, component: Set) -> Vec<usize> {
        let mut found: Vec<usize> = members(component).take(1).collect();
        let mut next = 0;
        while let Some(at) = found.get(next).copied() {
            let new: Vec<usize> =
                members(self.neighbours[at] & component).filter(|n| !found.contains(n)).collect();
            found.extend(new);
            next += 1;
        }
        found
    }
}

fn leaf(at: usize) -> Best {
    Best { cost: 0.0, tree: Tree::Leaf(at) }
}

/// Every pair of disjoint connected sets with a connection between them, once, and after all pairs that make up either of them.
fn connected_pairs(neighbours: &[Set], emit: &mut dyn FnMut(Set, Set)) {
    let around = |set: Set| members(set).fold(0, |all, at| all | neighbours[at]) & !set;
    // Relations up to this number.
    let up_to = |at: usize| (1 << at) | ((1 << at) - 1);
    for first in (0..neighbours.len()).rev() {
        let mut with_complements = |one: Set| {
            let least = one.trailing_zeros() as usize;
            let without = up_to(least) | one;
            let beside = around(one) & !without;
            for second in members(beside).rev() {
                emit(one, 1 << second);
                grow(&around, 1 << second, without | up_to(second) & beside, &mut |other| emit(one, other));
            }
        };
        with_complements(1 << first);
        grow(&around, 1 << first, up_to(first), &mut with_complements);
    }
}

/// Every connected set that has more relations than this one and none that is excluded.
fn grow(around: &impl Fn(Set) -> Set, set: Set, excluded: Set, emit: &mut dyn FnMut(Set)) {
    let beside = around(set) & !excluded;
    for more in subsets(beside) {
        emit(set | more);
    }
    for more in subsets(beside) {
        grow(around, set | more, excluded | beside, emit);
    }
}

/// The subsets of a set but the empty one, each after those that it contains.
fn subsets(of: Set) -> impl Iterator<Item = Set> {
    let mut now: Set = 0;
    std::iter::from_fn(move || {
        now = now.wrapping_sub(of) & of;
        (now != 0).then_some(now)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    /// A random graph, connected if asked for, and rows of sets: each connection keeps a part of them.
    struct Sample {
        neighbours: Vec<Set>,
        rows: Vec<f64>,
        kept: Vec<(Set, f64)>,
    }

    impl Sample {
        fn new(r: &mut StdRng, relations: usize, connected: bool) -> Self {
            let mut sample = Self {
                neighbours: vec![0; relations],
                rows: (0..relations).map(|_| 10f64.powf(r.random_range(0.0..6.0))).collect(),
                kept: Vec::new(),
            };
            for at in 1..relations {
                if connected || r.random_ratio(2, 3) {
                    sample.connect(r, at, at);
                }
            }
            for _ in 0..r.random_range(0..relations) {
                sample.connect(r, relations, relations);
            }
            sample
        }

        fn connect(&mut self, r: &mut StdRng, one: usize, below: usize) {
            let one = if one < self.neighbours.len() { one } else { r.random_range(1..one) };
            let other = r.random_range(0..below.min(one));
            self.neighbours[one] |= 1 << other;
            self.neighbours[other] |= 1 << one;
            self.kept.push((1 << one | 1 << other, 10f64.powf(r.random_range(-6.0..0.0))));
        }

        fn rows_of(&self, set: Set) -> f64 {
            let all: f64 = members(set).map(|at| self.rows[at]).product();
            all * self
                .kept
                .iter()
                .filter(|(pair, _)| set & pair == *pair)
                .map(|(_, part)| part)
                .product::<f64>()
        }

        /// The cost of the cheapest order without cross products, by trying all.
        fn least(&self, set: Set, known: &mut HashMap<Set, f64>) -> f64 {
            if set.is_power_of_two() {
                return 0.0;
            }
            if let Some(cost) = known.get(&set) {
                return *cost;
            }
            let mut least = f64::INFINITY;
            for left in subsets(set).filter(|left| *left != set && left & set & set.wrapping_neg() != 0) {
                let right = set & !left;
                if members(left).any(|at| self.neighbours[at] & right != 0) {
                    let here = self.rows_of(set) + self.rows_of(left).min(self.rows_of(right));
                    least = least.min(self.least(left, known) + self.least(right, known) + here);
                }
            }
            known.insert(set, least);
            least
        }
    }

    #[test]
    fn no_order_is_cheaper() {
        let mut r = StdRng::seed_from_u64(7);
        for round in 0..300 {
            let relations = r.random_range(2..8);
            let sample = Sample::new(&mut r, relations, true);
            let mut graph = Graph { neighbours: &sample.neighbours, rows: &mut |set| sample.rows_of(set) };
            let tree = graph.best().unwrap();
            assert_eq!(tree.set(), (1 << relations) - 1);
            let (cost, least) = (graph.cost(&tree), sample.least(tree.set(), &mut HashMap::new()));
            assert!((cost - least).abs() <= least * 1e-9, "round {round}: {cost}, not {least}: {tree:?}");
        }
    }

    #[test]
    fn every_pair_of_connected_sets_comes_once() {
        let mut r = StdRng::seed_from_u64(8);
        for _ in 0..100 {
            let relations = r.random_range(2..8);
            let sample = Sample::new(&mut r, relations, true);
            let graph = Graph { neighbours: &sample.neighbours, rows: &mut |_| 1.0 };
            let numbers = graph.breadth_first((1 << relations) - 1);
            let place = |at: usize| numbers.iter().position(|n| *n == at).unwrap();
            let neighbours: Vec<Set> = numbers
                .iter()
                .map(|at| members(sample.neighbours[*at]).fold(0, |all, n| all | 1 << place(n)))
                .collect();
            let graph = Graph { neighbours: &neighbours, rows: &mut |_| 1.0 };
            let mut found = std::collections::HashSet::new();
            connected_pairs(&neighbours, &mut |a, b| assert!(found.insert((a.min(b), a.max(b)))));
            let all: Set = (1 << relations) - 1;
            let connected = |set: Set| graph.components(set).len() == 1;
            let mut expected = 0;
            for one in subsets(all).filter(|one| connected(*one)) {
                let others = subsets(all & !one).filter(|other| one < *other && connected(*other));
                expected += others.filter(|other| graph.around(one) & other != 0).count();
            }
            assert_eq!(found.len(), expected);
        }
    }

    #[test]
    fn many_relations_and_unconnected_ones_are_ordered_too() {
        let mut r = StdRng::seed_from_u64(9);
        for relations in [3, 12, 30, RELATIONS_MAX] {
            for connected in [true, false] {
                let sample = Sample::new(&mut r, relations, connected);
                let mut graph =
                    Graph { neighbours: &sample.neighbours, rows: &mut |set| sample.rows_of(set) };
                let tree = graph.best().unwrap();
                assert_eq!(tree.set().count_ones() as usize, relations);
            }
        }
    }
}
