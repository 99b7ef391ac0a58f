#![allow(missing_docs, unused)]
use crate::bloom::BloomView;
use crate::error::Result;
use crate::mask::BitMask;
pub use crate::predicate::leaf::Pruned;
use crate::predicate::leaf::*;
use crate::stats::ZoneStats;
#[derive(Debug, Clone)]
pub struct Predicate;
impl Predicate {
    pub fn columns(&self) -> Vec<String> {
        todo!()
    }
}
#[derive(Debug, Clone)]
pub struct BoundPredicate;
#[derive(Debug, Clone)]
pub struct Leaf {
    pub column: usize,
    pub test: LeafTest,
}
impl Leaf {
    pub fn evaluate_array(&self, a: &arrow_array::ArrayRef) -> Result<BitMask> {
        todo!()
    }
    pub fn needs_array(&self) -> bool {
        todo!()
    }
}
#[derive(Debug, Clone)]
pub enum LeafTest {
    Int(IntPred),
    Float(FloatPred),
    Bytes(BytesPred),
    Bool(bool),
    IsNull,
    IsNotNull,
    Always(bool),
}
impl BoundPredicate {
    pub fn column_indices(&self) -> Vec<usize> {
        todo!()
    }
    pub fn prune<'b>(
        &self,
        s: impl Fn(usize) -> Option<ZoneStats>,
        b: impl Fn(usize) -> Option<BloomView<'b>>,
    ) -> Pruned {
        todo!()
    }
    pub fn evaluate(
        &self,
        n: usize,
        c: &BitMask,
        f: &mut dyn FnMut(&Leaf, &BitMask) -> Result<BitMask>,
    ) -> Result<BitMask> {
        todo!()
    }
}
pub fn bind(p: &Predicate, s: &arrow_schema::Schema) -> Result<BoundPredicate> {
    todo!()
}
pub fn nearest_name<'a>(n: &str, i: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    todo!()
}
