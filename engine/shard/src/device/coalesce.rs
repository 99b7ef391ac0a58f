//! Which reads to issue for a set of segments: neighbours are read together, gaps that are cheaper to read than to
//! skip included.

use super::file::ByteRange;

/// When two segments are worth one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoalesceOptions {
    /// Bytes between two segments that are read along rather than skipped.
    pub gap_max: u64,
    /// A read grows by further segments up to this many bytes. A single larger segment stays one read: its buffer
    /// has to be contiguous, and the device splits it into requests of its own limit.
    pub read_max: u64,
    /// Reads start and end at multiples of this (a power of two).
    pub alignment: u64,
}

impl Default for CoalesceOptions {
    /// Gaps up to 64 KiB, reads up to 1 MiB, 4 KiB alignment.
    fn default() -> Self {
        Self { gap_max: 64 << 10, read_max: 1 << 20, alignment: 4096 }
    }
}

/// A segment's place in a planned read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedPart {
    /// Index of the segment in the input.
    pub segment: usize,
    /// Its first byte, counted from the start of the read.
    pub offset: usize,
    /// Its length in bytes.
    pub len: usize,
}

/// One read and the segments that lie in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRead {
    /// What to read, aligned.
    pub range: ByteRange,
    /// The segments found in it, by offset.
    pub parts: Vec<PlannedPart>,
}

/// Plans the reads for `segments` (any order, overlaps allowed, empty ones skipped).
///
/// Each segment that is not empty lies whole in exactly one read; reads are ordered by offset.
///
/// ```
/// use deltalite_shard::device::{coalesce, ByteRange, CoalesceOptions};
/// let wanted = [ByteRange::new(10_000, 100), ByteRange::new(0, 5_000), ByteRange::new(9_000_000, 10)];
/// let reads = coalesce(&wanted, &CoalesceOptions::default());
/// assert_eq!(reads.len(), 2);
/// assert_eq!(reads[0].range, ByteRange::new(0, 12_288));
/// assert_eq!(reads[0].parts[1].segment, 0);
/// ```
pub fn coalesce(segments: &[ByteRange], options: &CoalesceOptions) -> Vec<PlannedRead> {
    let mut order: Vec<usize> = (0..segments.len()).filter(|&i| segments[i].len > 0).collect();
    order.sort_by_key(|&i| (segments[i].offset, segments[i].end()));

    let mut reads: Vec<PlannedRead> = Vec::new();
    for index in order {
        let segment = segments[index];
        let aligned = segment.aligned(options.alignment);
        match reads.last_mut() {
            Some(read) if joins(read.range, aligned, options) => {
                let end = read.range.end().max(aligned.end());
                read.range.len = end - read.range.offset;
                read.parts.push(part(index, segment, read.range.offset));
            }
            _ => {
                reads.push(PlannedRead { range: aligned, parts: vec![part(index, segment, aligned.offset)] });
            }
        }
    }
    reads
}

fn joins(read: ByteRange, next: ByteRange, options: &CoalesceOptions) -> bool {
    // What lies inside the read anyway costs nothing more.
    if next.end() <= read.end() {
        return true;
    }
    let gap = next.offset.saturating_sub(read.end());
    gap <= options.gap_max && next.end() - read.offset <= options.read_max
}

fn part(index: usize, segment: ByteRange, read_offset: u64) -> PlannedPart {
    PlannedPart { segment: index, offset: (segment.offset - read_offset) as usize, len: segment.len as usize }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::rng::Rng;

    #[test]
    fn gaps_and_limits() {
        let options = CoalesceOptions::default();
        let near = [ByteRange::new(0, 4096), ByteRange::new(4096 + (64 << 10), 4096)];
        assert_eq!(coalesce(&near, &options).len(), 1);
        let far = [ByteRange::new(0, 4096), ByteRange::new(8192 + (64 << 10), 4096)];
        assert_eq!(coalesce(&far, &options).len(), 2);
        let big = [ByteRange::new(0, 5 << 20), ByteRange::new(5 << 20, 4096)];
        let reads = coalesce(&big, &options);
        assert_eq!(reads.len(), 2, "a large segment is a read of its own");
        assert_eq!(reads[0].range.len, 5 << 20);
        assert!(coalesce(&[ByteRange::new(77, 0)], &options).is_empty());
    }

    #[test]
    fn every_segment_lies_in_exactly_one_read() {
        let mut rng = Rng::new(3);
        for _ in 0..3000 {
            let options = CoalesceOptions {
                gap_max: rng.below(3) * 4096,
                read_max: 4096 << rng.below(6),
                alignment: 512 << rng.below(4),
            };
            let segments: Vec<ByteRange> =
                (0..rng.below(30)).map(|_| ByteRange::new(rng.below(400_000), rng.below(30_000))).collect();
            let reads = coalesce(&segments, &options);
            let mut seen = vec![0; segments.len()];
            for read in &reads {
                assert_eq!(
                    (read.range.offset % options.alignment, read.range.len % options.alignment),
                    (0, 0)
                );
                let widest =
                    read.parts.iter().map(|p| segments[p.segment].aligned(options.alignment).len).max();
                assert!(read.range.len <= options.read_max.max(widest.unwrap_or(0)));
                for part in &read.parts {
                    seen[part.segment] += 1;
                    let segment = segments[part.segment];
                    assert_eq!(read.range.offset + part.offset as u64, segment.offset);
                    assert_eq!(part.len as u64, segment.len);
                    assert!(segment.end() <= read.range.end());
                }
                let first = segments[read.parts[0].segment].aligned(options.alignment).offset;
                assert_eq!(read.range.offset, first);
            }
            for (segment, seen) in segments.iter().zip(seen) {
                assert_eq!(seen, usize::from(segment.len > 0));
            }
            assert!(reads.windows(2).all(|w| w[0].range.offset <= w[1].range.offset));
        }
    }
}
