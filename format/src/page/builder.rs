//! Writes a page: nodes in pre-order, each with its buffers.

use bytemuck::{NoUninit, bytes_of, cast_slice};

use super::{BufferRecord, EncodingKind, FLAG_VALIDITY, NodeRecord, PAGE_HEADER_BYTES};
use crate::error::{FormatError, Result};
use crate::limits::{PAGE_ALIGN, PAGE_BUFFERS_MAX, PAGE_BYTES_MAX, PAGE_NODES_MAX};
use crate::phys::PhysType;

/// What an encoder says of a node; the builder adds what follows from the order of calls.
#[derive(Debug, Clone, Copy)]
pub struct NodeSpec {
    /// How the values are encoded.
    pub kind: EncodingKind,
    /// Type of the node's values.
    pub ptype: PhysType,
    /// Meaning depends on the kind.
    pub flags: u8,
    /// Number of direct children, which are pushed right after this node's buffers.
    pub children: u8,
    /// Number of values.
    pub len: usize,
    /// Width of `Fixed` values in bytes; else meaning depends on the kind.
    pub width: u32,
    /// Meaning depends on the kind.
    pub p0: u64,
    /// Meaning depends on the kind.
    pub p1: u64,
}

impl NodeSpec {
    /// A leaf without parameters.
    pub fn new(kind: EncodingKind, ptype: PhysType, len: usize) -> Self {
        Self { kind, ptype, flags: 0, children: 0, len, width: 0, p0: 0, p1: 0 }
    }
}

/// A state of a [`PageBuilder`].
#[derive(Debug, Clone, Copy)]
pub struct PageMark {
    nodes: usize,
    buffers: usize,
    data: usize,
    last: u16,
}

/// Collects the nodes and buffers of a page. Order of calls: a node, its buffers, its first child's tree, its second …
///
/// A validity tree, if any, comes after the values' tree and is announced by [`PageBuilder::start_validity`].
#[derive(Debug, Default)]
pub struct PageBuilder {
    nodes: Vec<NodeRecord>,
    buffers: Vec<(usize, usize)>,
    data: Vec<u8>,
    flags: u8,
}

impl PageBuilder {
    /// An empty page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node; the buffers that follow are its own.
    pub fn node(&mut self, spec: NodeSpec) {
        self.nodes.push(NodeRecord {
            kind: spec.kind as u8,
            ptype: spec.ptype as u8,
            flags: spec.flags,
            children: spec.children,
            len: spec.len as u32,
            first_buffer: self.buffers.len() as u16,
            buffers: 0,
            width: spec.width,
            p0: spec.p0,
            p1: spec.p1,
        });
    }

    /// Adds a buffer to the last node.
    pub fn buffer<T: NoUninit>(&mut self, values: &[T]) {
        let bytes: &[u8] = cast_slice(values);
        self.data.resize(self.data.len().next_multiple_of(PAGE_ALIGN), 0);
        self.buffers.push((self.data.len(), bytes.len()));
        self.data.extend_from_slice(bytes);
        if let Some(node) = self.nodes.last_mut() {
            node.buffers += 1;
        }
    }

    /// Says that the tree that follows is the validity of the first.
    pub fn start_validity(&mut self) {
        self.flags |= FLAG_VALIDITY;
    }

    /// Where the page stands, to come back to with [`PageBuilder::rewind`].
    pub fn mark(&self) -> PageMark {
        PageMark {
            nodes: self.nodes.len(),
            buffers: self.buffers.len(),
            data: self.data.len(),
            last: self.nodes.last().map_or(0, |n| n.buffers),
        }
    }

    /// Forgets what was added since `mark`: a form that was tried and lost.
    pub fn rewind(&mut self, mark: PageMark) {
        self.nodes.truncate(mark.nodes);
        self.buffers.truncate(mark.buffers);
        self.data.truncate(mark.data);
        if let Some(node) = self.nodes.last_mut() {
            node.buffers = mark.last;
        }
    }

    /// Bytes of buffers so far: what a chooser compares.
    pub fn data_len(&self) -> usize {
        self.data.len()
    }

    /// Encodings of the values' tree so far, root first.
    pub fn kinds(&self) -> Vec<EncodingKind> {
        self.nodes.iter().filter_map(|n| EncodingKind::from_code(n.kind)).collect()
    }

    /// The page's bytes.
    ///
    /// # Errors
    /// When the page has more nodes, buffers or bytes than the format allows.
    pub fn finish(self, values: usize) -> Result<Vec<u8>> {
        let head = PAGE_HEADER_BYTES
            + self.nodes.len() * size_of::<NodeRecord>()
            + self.buffers.len() * size_of::<BufferRecord>();
        let base = head.next_multiple_of(PAGE_ALIGN);
        let total = base + self.data.len();
        if self.nodes.len() > PAGE_NODES_MAX
            || self.buffers.len() > PAGE_BUFFERS_MAX
            || total > PAGE_BYTES_MAX
        {
            return Err(FormatError::invalid(
                "writing a page",
                format!(
                    "{} nodes, {} buffers, {total} bytes exceed the format's limits; write shorter values",
                    self.nodes.len(),
                    self.buffers.len()
                ),
            ));
        }
        let mut out = Vec::with_capacity(total);
        out.extend_from_slice(&(values as u32).to_le_bytes());
        out.extend_from_slice(&[self.nodes.len() as u8, self.buffers.len() as u8, self.flags, 0]);
        out.extend_from_slice(cast_slice(&self.nodes));
        for (offset, len) in self.buffers {
            out.extend_from_slice(bytes_of(&BufferRecord {
                offset: (base + offset) as u32,
                len: len as u32,
            }));
        }
        out.resize(base, 0);
        out.extend_from_slice(&self.data);
        Ok(out)
    }
}
