//! Pages for tests: real ones with bytes overwritten, and trees that are sound as trees but say anything.

use arrow_buffer::{Buffer, MutableBuffer};
use proptest::prelude::*;

use crate::page::{EncodingKind, NodeSpec, PageBuilder};
use crate::phys::PhysType;

/// The bytes in a buffer aligned as pages are.
pub(crate) fn aligned(bytes: &[u8]) -> Buffer {
    let mut buffer = MutableBuffer::with_capacity(bytes.len());
    buffer.extend_from_slice(bytes);
    buffer.into()
}

#[derive(Debug, Clone)]
struct Tree {
    kind: u8,
    ptype: PhysType,
    flags: u8,
    len: usize,
    width: u32,
    p0: u64,
    p1: u64,
    buffers: Vec<Vec<u8>>,
    children: Vec<Tree>,
}

impl Tree {
    fn write(&self, out: &mut PageBuilder) {
        out.node(NodeSpec {
            kind: EncodingKind::from_code(self.kind).unwrap(),
            ptype: self.ptype,
            flags: self.flags,
            children: self.children.len() as u8,
            len: self.len,
            width: self.width,
            p0: self.p0,
            p1: self.p1,
        });
        self.buffers.iter().for_each(|b| out.buffer(b));
        self.children.iter().for_each(|c| c.write(out));
    }
}

/// Trees whose root has one of `ptypes`, and whose nodes otherwise say anything.
pub(crate) fn any_tree(ptypes: &'static [PhysType]) -> impl Strategy<Value = Buffer> {
    let number = || {
        prop_oneof![
            4 => 0u64..20,
            1 => Just(u64::MAX),
            2 => any::<u64>(),
            2 => (0u32..64).prop_map(|b| 1u64 << b),
        ]
    };
    let buffer = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        (any::<u8>(), 0usize..9000).prop_map(|(b, n)| vec![b; n]),
        (0usize..200).prop_map(|n| (0..n as u16).flat_map(u16::to_le_bytes).collect()),
        (0usize..200).prop_map(|n| (0..n as u32).flat_map(|v| (v * 16).to_le_bytes()).collect()),
    ];
    let len = prop_oneof![Just(0), 1usize..200, Just(1024), 1usize..5000, Just(65_536)];
    let leaf = (
        0u8..16,
        prop::sample::select(ptypes),
        prop_oneof![4 => 0u8..4, 1 => any::<u8>()],
        len,
        prop_oneof![0u32..70, any::<u32>()],
        (number(), number()),
        prop::collection::vec(buffer, 0..6),
    );
    let leaf = leaf.prop_map(|(kind, ptype, flags, len, width, (p0, p1), buffers)| Tree {
        kind,
        ptype,
        flags,
        len,
        width,
        p0,
        p1,
        buffers,
        children: vec![],
    });
    let child_type = prop::sample::select(&[
        PhysType::U8,
        PhysType::U16,
        PhysType::U32,
        PhysType::U64,
        PhysType::I32,
        PhysType::I64,
        PhysType::F32,
        PhysType::F64,
        PhysType::I128,
    ]);
    let child = (leaf.clone(), child_type, any::<bool>());
    (leaf, prop::collection::vec(child, 0..4)).prop_map(|(mut root, children)| {
        for (mut child, ptype, same_len) in children {
            child.ptype = ptype;
            if same_len {
                child.len = root.len;
            }
            root.children.push(child);
        }
        let mut out = PageBuilder::new();
        root.write(&mut out);
        aligned(&out.finish(root.len).unwrap())
    })
}

/// A page with some of its bytes overwritten.
pub(crate) fn damaged(page: &Buffer, damage: &[(prop::sample::Index, u8)]) -> Buffer {
    let mut bytes = page.as_slice().to_vec();
    for (at, value) in damage {
        let at = at.index(bytes.len());
        bytes[at] = *value;
    }
    aligned(&bytes)
}
