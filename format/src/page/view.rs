//! Validates a page and hands out its nodes.

use arrow_buffer::Buffer;
use bytemuck::{AnyBitPattern, NoUninit, pod_read_unaligned, try_cast_slice};

use super::{BufferRecord, EncodingKind, FLAG_VALIDITY, NodeRecord, PAGE_HEADER_BYTES};
use crate::error::{FormatError, Result};
use crate::limits::{CASCADE_DEPTH_MAX, PAGE_ALIGN, PAGE_BUFFERS_MAX, PAGE_NODES_MAX, PAGE_VALUES_MAX};
use crate::phys::PhysType;

/// Levels of nodes a reader accepts: the cascade, with dictionaries' and strings' own children.
const TREE_DEPTH_MAX: usize = CASCADE_DEPTH_MAX + 3;

/// A page whose structure has been checked: every node, buffer and child lies inside it.
///
/// The encodings check what is in the buffers when they open a node.
#[derive(Debug, Clone)]
pub struct PageView<'a> {
    page: &'a Buffer,
    values: usize,
    nodes: usize,
    buffers: usize,
    validity: Option<usize>,
}

impl<'a> PageView<'a> {
    /// Checks the page's structure. The page must start at an address that is a multiple of 64 (as every pool gives).
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when anything in the page points outside it or contradicts itself.
    pub fn parse(page: &'a Buffer) -> Result<Self> {
        let bad = |detail: String| Err(FormatError::corrupt("page", detail));
        if page.len() < PAGE_HEADER_BYTES {
            return bad(format!("{} bytes are fewer than a page header", page.len()));
        }
        if page.as_ptr().align_offset(PAGE_ALIGN) != 0 {
            return Err(FormatError::invalid(
                "reading a page",
                "its buffer is not aligned to 64 bytes".to_owned(),
            ));
        }
        let values = u32::from_le_bytes([page[0], page[1], page[2], page[3]]) as usize;
        let (nodes, buffers, flags) = (page[4] as usize, page[5] as usize, page[6]);
        if values > PAGE_VALUES_MAX
            || nodes == 0
            || nodes > PAGE_NODES_MAX
            || buffers > PAGE_BUFFERS_MAX
            || flags > 1
            || page[7] != 0
        {
            return bad(format!(
                "header says {values} values, {nodes} nodes, {buffers} buffers, flags {flags}"
            ));
        }
        let head = PAGE_HEADER_BYTES + nodes * size_of::<NodeRecord>() + buffers * size_of::<BufferRecord>();
        if page.len() < head {
            return bad(format!("{} bytes can't hold a head of {head}", page.len()));
        }
        let mut view = Self { page, values, nodes, buffers, validity: None };
        for i in 0..buffers {
            let b = view.buffer_record(i);
            let end = b.offset as u64 + b.len as u64;
            if !(b.offset as usize).is_multiple_of(PAGE_ALIGN)
                || (b.offset as usize) < head
                || end > page.len() as u64
            {
                return bad(format!(
                    "buffer {i} at {} of {} bytes is outside the page of {}",
                    b.offset,
                    b.len,
                    page.len()
                ));
            }
        }
        for i in 0..nodes {
            let n = view.record(i);
            if n.first_buffer as usize + n.buffers as usize > buffers || n.len as usize > PAGE_VALUES_MAX {
                return bad(format!("node {i} claims buffers or values the page does not have"));
            }
            if EncodingKind::from_code(n.kind).is_none() || PhysType::from_code(n.ptype).is_none() {
                return bad(format!("node {i} has kind {} and type {}", n.kind, n.ptype));
            }
        }
        let end = view.check_tree(0, 1)?;
        if view.record(0).len as usize != values {
            return bad(format!("the root has {} values, the page {values}", view.record(0).len));
        }
        let end = if flags & FLAG_VALIDITY == 0 {
            end
        } else {
            if end >= nodes
                || view.record(end).ptype != PhysType::Bool as u8
                || view.record(end).len as usize != values
            {
                return bad("the validity tree is missing or is not one bit a value".to_owned());
            }
            view.validity = Some(end);
            view.check_tree(end, 1)?
        };
        if end != nodes {
            return bad(format!("{nodes} nodes, of which the trees use {end}"));
        }
        Ok(view)
    }

    fn check_tree(&self, index: usize, depth: usize) -> Result<usize> {
        if index >= self.nodes || depth > TREE_DEPTH_MAX {
            return Err(FormatError::corrupt("page", "a node's children are missing or nested too deep"));
        }
        (0..self.record(index).children).try_fold(index + 1, |next, _| self.check_tree(next, depth + 1))
    }

    fn record(&self, i: usize) -> NodeRecord {
        let at = PAGE_HEADER_BYTES + i * size_of::<NodeRecord>();
        pod_read_unaligned(&self.page[at..at + size_of::<NodeRecord>()])
    }

    fn buffer_record(&self, i: usize) -> BufferRecord {
        let at = PAGE_HEADER_BYTES + self.nodes * size_of::<NodeRecord>() + i * size_of::<BufferRecord>();
        pod_read_unaligned(&self.page[at..at + size_of::<BufferRecord>()])
    }

    /// Number of values.
    pub fn values(&self) -> usize {
        self.values
    }

    /// Root of the values' tree.
    pub fn root(&self) -> NodeView<'a> {
        self.node(0)
    }

    /// Root of the validity tree, if any value is null.
    pub fn validity(&self) -> Option<NodeView<'a>> {
        self.validity.map(|i| self.node(i))
    }

    /// Every node's encoding in the values' tree, root first, as `inspect` prints it.
    pub fn kinds(&self) -> Vec<EncodingKind> {
        (0..self.validity.unwrap_or(self.nodes))
            .filter_map(|i| EncodingKind::from_code(self.record(i).kind))
            .collect()
    }

    fn node(&self, index: usize) -> NodeView<'a> {
        NodeView {
            page: self.page,
            buffer_table: PAGE_HEADER_BYTES + self.nodes * size_of::<NodeRecord>(),
            record: self.record(index),
            index,
        }
    }

    /// Number of buffers in the page.
    pub fn buffer_count(&self) -> usize {
        self.buffers
    }
}

/// A node of a checked page.
#[derive(Debug, Clone, Copy)]
pub struct NodeView<'a> {
    page: &'a Buffer,
    buffer_table: usize,
    record: NodeRecord,
    index: usize,
}

impl<'a> NodeView<'a> {
    /// How the node's values are encoded.
    pub fn kind(&self) -> EncodingKind {
        EncodingKind::from_code(self.record.kind).unwrap_or(EncodingKind::Plain)
    }
    /// Type of the node's values.
    pub fn ptype(&self) -> PhysType {
        PhysType::from_code(self.record.ptype).unwrap_or(PhysType::Bytes)
    }
    /// Number of values, ≤ 65,536.
    pub fn len(&self) -> usize {
        self.record.len as usize
    }
    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.record.len == 0
    }
    /// Kind-specific flags.
    pub fn flags(&self) -> u8 {
        self.record.flags
    }
    /// Kind-specific width.
    pub fn width(&self) -> u32 {
        self.record.width
    }
    /// First kind-specific parameter.
    pub fn p0(&self) -> u64 {
        self.record.p0
    }
    /// Second kind-specific parameter.
    pub fn p1(&self) -> u64 {
        self.record.p1
    }
    /// Number of direct children.
    pub fn children(&self) -> usize {
        self.record.children as usize
    }
    /// Number of own buffers.
    pub fn buffers(&self) -> usize {
        self.record.buffers as usize
    }

    fn record_at(&self, i: usize) -> NodeRecord {
        let at = PAGE_HEADER_BYTES + i * size_of::<NodeRecord>();
        pod_read_unaligned(&self.page[at..at + size_of::<NodeRecord>()])
    }

    fn tree_end(&self, index: usize) -> usize {
        // The tree was checked by `PageView::parse`, so every child is inside the page.
        (0..self.record_at(index).children).fold(index + 1, |next, _| self.tree_end(next))
    }

    /// The `i`-th child.
    ///
    /// # Errors
    /// When there is none.
    pub fn child(&self, i: usize) -> Result<NodeView<'a>> {
        if i >= self.children() {
            return Err(self.corrupt(format!("child {i} is missing")));
        }
        let index = (0..i).fold(self.index + 1, |next, _| self.tree_end(next));
        Ok(NodeView { record: self.record_at(index), index, ..*self })
    }

    fn range(&self, i: usize) -> Result<(usize, usize)> {
        if i >= self.buffers() {
            return Err(self.corrupt(format!("buffer {i} is missing")));
        }
        let at = self.buffer_table + (self.record.first_buffer as usize + i) * size_of::<BufferRecord>();
        let b: BufferRecord = pod_read_unaligned(&self.page[at..at + size_of::<BufferRecord>()]);
        Ok((b.offset as usize, b.len as usize))
    }

    /// The bytes of the `i`-th buffer.
    ///
    /// # Errors
    /// When there is none.
    pub fn bytes(&self, i: usize) -> Result<&'a [u8]> {
        let (offset, len) = self.range(i)?;
        Ok(&self.page.as_slice()[offset..offset + len])
    }

    /// The `i`-th buffer as values.
    ///
    /// # Errors
    /// When there is none, or its length is not a multiple of the value's size.
    pub fn typed<T: AnyBitPattern + NoUninit>(&self, i: usize) -> Result<&'a [T]> {
        let bytes = self.bytes(i)?;
        try_cast_slice(bytes).map_err(|e| self.corrupt(format!("buffer {i} of {} bytes: {e}", bytes.len())))
    }

    /// The `i`-th buffer as an Arrow buffer that shares the page's memory: no byte is copied.
    ///
    /// # Errors
    /// When there is none.
    pub fn arrow(&self, i: usize) -> Result<Buffer> {
        let (offset, len) = self.range(i)?;
        Ok(self.page.slice_with_length(offset, len))
    }

    /// An error that names this node.
    #[cold]
    pub fn corrupt(&self, detail: impl std::fmt::Display) -> FormatError {
        FormatError::corrupt("page", format!("node {} ({}): {detail}", self.index, self.kind().name()))
    }
}
