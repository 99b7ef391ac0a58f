//! Vectors that decoders reuse.

use std::cell::Cell;

use bytemuck::{Pod, Zeroable};

use crate::limits::VECTOR_ROWS;

/// Room for one unpacked vector in lanes of any width, aligned for the widest registers.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Lanes([u64; VECTOR_ROWS]);

/// A vector of canonical values.
pub(super) type Values = Box<[u64; VECTOR_ROWS]>;

struct Room {
    lanes: Lanes,
    values: Vec<Values>,
}

/// What decoding a vector needs besides its output. Threads keep theirs, so that decoding a few rows allocates nothing.
pub(super) struct Scratch(Option<Box<Room>>);

thread_local! {
    static ROOM: Cell<Option<Box<Room>>> = const { Cell::new(None) };
}

impl Scratch {
    pub(super) fn new() -> Self {
        let kept = ROOM.try_with(Cell::take).ok().flatten();
        Self(Some(kept.unwrap_or_else(|| Box::new(Room { lanes: Lanes::zeroed(), values: Vec::new() }))))
    }

    fn room(&mut self) -> &mut Room {
        // Only dropping takes the room.
        self.0.get_or_insert_with(|| Box::new(Room { lanes: Lanes::zeroed(), values: Vec::new() }))
    }

    /// The lanes as values of `T`, of at most 8 bytes.
    #[inline(always)]
    pub(super) fn lanes<T: Pod>(&mut self) -> &mut [T; VECTOR_ROWS] {
        let bytes: &mut [u8] = bytemuck::bytes_of_mut(&mut self.room().lanes);
        bytemuck::from_bytes_mut(&mut bytes[..VECTOR_ROWS * size_of::<T>()])
    }

    /// A vector for an encoding whose children decode into it; give it back with [`Scratch::give`].
    pub(super) fn take(&mut self) -> Values {
        self.room().values.pop().unwrap_or_else(|| Box::new([0; VECTOR_ROWS]))
    }

    pub(super) fn give(&mut self, values: Values) {
        self.room().values.push(values);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let room = self.0.take();
        // A thread that ends has nowhere to keep it.
        let _ = ROOM.try_with(|kept| kept.set(room));
    }
}
