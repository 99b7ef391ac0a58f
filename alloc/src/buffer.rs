//! Buffers: uniquely owned while they are filled, shared once they are not.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_buffer::Buffer;

use crate::pool::{BlockClass, PoolCore};

/// A buffer that one owner fills; it returns to its pool when dropped, on whatever thread.
///
/// Its bytes are always initialised: zero the first time, later whatever the previous owner left there. It
/// starts at a multiple of [`ALIGNMENT`](crate::ALIGNMENT), except that a `Growing` pool's buffers of less
/// than 4 KiB start at a multiple of 64.
///
/// ```
/// use deltalite_alloc::BufferPool;
///
/// let mut buffer = BufferPool::global().take(24)?;
/// buffer.typed_mut::<i64>().copy_from_slice(&[1, 2, 3]);
/// let values: arrow_buffer::ScalarBuffer<i64> = buffer.into_arrow().into(); // no copy
/// assert_eq!(&values[..], &[1, 2, 3]);
/// # Ok::<(), deltalite_alloc::AllocError>(())
/// ```
pub struct PoolBuffer {
    ptr: NonNull<u8>,
    len: usize,
    capacity: usize,
    class: BlockClass,
    pool: Arc<PoolCore>,
}

// SAFETY: the block is owned by this value alone, and the pool behind it is `Sync`; `&PoolBuffer` only reads.
unsafe impl Send for PoolBuffer {}
// SAFETY: as above.
unsafe impl Sync for PoolBuffer {}

impl PoolBuffer {
    /// # Safety
    ///
    /// `ptr` is the start of a live block of `capacity` initialised bytes of `pool` and class `class`, owned
    /// by nobody else; `len <= capacity`.
    pub(crate) unsafe fn from_block(
        ptr: NonNull<u8>,
        len: usize,
        capacity: usize,
        class: BlockClass,
        pool: Arc<PoolCore>,
    ) -> Self {
        debug_assert!(len <= capacity);
        Self { ptr, len, capacity, class, pool }
    }

    /// Bytes in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no bytes are in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that [`set_len`](Self::set_len) may reach: the length asked for, rounded up to a size class.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Name of the pool it returns to.
    pub fn pool_name(&self) -> &str {
        self.pool.name()
    }

    /// Shortens to `len` bytes; does nothing when it is that short already.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Sets the length, up to the capacity; bytes that come into view are stale, not zero.
    ///
    /// # Panics
    ///
    /// When `len` is above [`capacity`](Self::capacity), as slicing would.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity, "length {len} above the buffer's capacity {}", self.capacity);
        self.len = len;
    }

    /// The bytes in use.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the block is alive, initialised and at least `len` long; a shared borrow of the only owner.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }

    /// The bytes in use, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, through a unique borrow.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }

    /// The first byte; valid for [`capacity`](Self::capacity) bytes while the buffer lives.
    pub fn as_ptr(&self) -> *const u8 {
        self.ptr.as_ptr()
    }

    /// The first byte, to be written (by the kernel, for one); valid for [`capacity`](Self::capacity) bytes
    /// while the buffer lives, wherever the `PoolBuffer` itself moves.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// The bytes in use as values of `T`: as many whole ones as fit into the length.
    pub fn typed<T: bytemuck::Pod>(&self) -> &[T] {
        const { assert!(align_of::<T>() <= crate::MIN_ALIGNMENT && size_of::<T>() > 0) };
        // SAFETY: aligned to at least MIN_ALIGNMENT, in bounds, initialised, and any bytes are a valid `T:
        // Pod`.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr().cast::<T>(), self.len / size_of::<T>()) }
    }

    /// The bytes in use as values of `T`, to be written: as many whole ones as fit into the length.
    pub fn typed_mut<T: bytemuck::Pod>(&mut self) -> &mut [T] {
        const { assert!(align_of::<T>() <= crate::MIN_ALIGNMENT && size_of::<T>() > 0) };
        // SAFETY: as in `typed`, through a unique borrow; whatever is written as `T: Pod` leaves initialised
        // bytes.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr().cast::<T>(), self.len / size_of::<T>()) }
    }

    /// Gives up the right to write, for the right to share.
    pub fn freeze(self) -> SharedBuffer {
        let len = self.len;
        SharedBuffer { owner: Arc::new(self), start: 0, len }
    }

    /// Becomes an Arrow buffer without a copy; the memory returns to its pool when the last array over it is
    /// dropped.
    pub fn into_arrow(self) -> Buffer {
        let (ptr, len) = (self.ptr, self.len);
        // SAFETY: `len` initialised bytes at `ptr` live as long as the owner, which nobody can write through
        // any more.
        unsafe { Buffer::from_custom_allocation(ptr, len, Arc::new(self)) }
    }
}

impl Drop for PoolBuffer {
    fn drop(&mut self) {
        // SAFETY: this was the block's only owner.
        unsafe { self.pool.put(self.ptr, self.capacity, self.class) };
    }
}

impl AsRef<[u8]> for PoolBuffer {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::fmt::Debug for PoolBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolBuffer")
            .field("pool", &self.pool.name())
            .field("len", &self.len)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// Bytes of a pool that many may read, on any thread; the memory returns to its pool when the last of them is
/// dropped.
///
/// ```
/// use deltalite_alloc::BufferPool;
///
/// let pool = BufferPool::global();
/// let mut page = pool.take(8)?;
/// page.as_mut_slice().copy_from_slice(b"pagehead");
/// let page = page.freeze();
/// let head = page.slice(4..8);
/// drop(page); // `head` keeps the memory
/// assert_eq!(head.to_arrow().as_slice(), b"head");
/// # Ok::<(), deltalite_alloc::AllocError>(())
/// ```
#[derive(Clone)]
pub struct SharedBuffer {
    owner: Arc<PoolBuffer>,
    start: usize,
    len: usize,
}

impl SharedBuffer {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.owner.as_slice()[self.start..self.start + self.len]
    }

    /// The first byte; valid for [`len`](Self::len) bytes while any clone or slice lives.
    pub fn as_ptr(&self) -> *const u8 {
        self.as_slice().as_ptr()
    }

    /// Bytes of the pool that this keeps from being reused: those of the whole block, not of the slice.
    pub fn retained_bytes(&self) -> usize {
        self.owner.capacity
    }

    /// The bytes at `range`, sharing the memory.
    ///
    /// # Panics
    ///
    /// When `range` does not lie within the buffer, as slicing would.
    pub fn slice(&self, range: Range<usize>) -> SharedBuffer {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "slice {range:?} out of a buffer of {} bytes",
            self.len
        );
        SharedBuffer { owner: Arc::clone(&self.owner), start: self.start + range.start, len: range.len() }
    }

    /// An Arrow buffer over the same memory, without a copy.
    pub fn to_arrow(&self) -> Buffer {
        self.clone().into_arrow()
    }

    /// Becomes an Arrow buffer over the same memory, without a copy.
    pub fn into_arrow(self) -> Buffer {
        let bytes = NonNull::from(self.as_slice());
        // SAFETY: the bytes are initialised and live, unchanging, as long as the owner.
        unsafe { Buffer::from_custom_allocation(bytes.cast::<u8>(), self.len, self.owner) }
    }

    /// The buffer to itself again, whole, when no clone, slice or array shares it.
    pub fn try_into_unique(self) -> Result<PoolBuffer, SharedBuffer> {
        let (start, len) = (self.start, self.len);
        Arc::try_unwrap(self.owner).map_err(|owner| SharedBuffer { owner, start, len })
    }
}

impl AsRef<[u8]> for SharedBuffer {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::ops::Deref for SharedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::fmt::Debug for SharedBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedBuffer")
            .field("pool", &self.owner.pool.name())
            .field("start", &self.start)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
