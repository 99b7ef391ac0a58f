//! Vectors that decoders reuse.

use bytemuck::{Pod, Zeroable};

use crate::limits::VECTOR_ROWS;

/// Room for one unpacked vector in lanes of any width, aligned for the widest registers.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Lanes([u64; VECTOR_ROWS]);

/// What decoding a vector needs besides its output; made once per call, not per vector.
pub(crate) struct Scratch {
    lanes: Box<Lanes>,
    values: Vec<Box<[u64; VECTOR_ROWS]>>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { lanes: Box::new(Lanes::zeroed()), values: Vec::new() }
    }

    /// The lanes as `N` values of `T`; `N` must be 1,024.
    #[inline(always)]
    pub(crate) fn lanes<T: Pod>(&mut self) -> &mut [T; VECTOR_ROWS] {
        // Lanes of at most 8 bytes: the first `1024 * size_of::<T>()` bytes.
        let bytes: &mut [u8] = bytemuck::bytes_of_mut(&mut *self.lanes);
        bytemuck::from_bytes_mut(&mut bytes[..VECTOR_ROWS * size_of::<T>()])
    }

    /// A vector of values for an encoding whose children decode into it; give it back with [`Scratch::give`].
    pub(crate) fn take(&mut self) -> Box<[u64; VECTOR_ROWS]> {
        self.values.pop().unwrap_or_else(|| Box::new([0; VECTOR_ROWS]))
    }

    pub(crate) fn give(&mut self, values: Box<[u64; VECTOR_ROWS]>) {
        self.values.push(values);
    }
}
