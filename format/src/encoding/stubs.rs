#![allow(missing_docs, unused)]
use super::*;
use crate::error::Result;
use crate::page::*;
use crate::phys::*;
use crate::predicate::leaf::*;
use arrow_buffer::*;
pub mod bytes {
    use super::*;
    use arrow_array::Array;
    pub struct BytesInput<'a>(&'a ());
    impl<'a> BytesInput<'a> {
        pub fn new(a: &'a dyn Array) -> Result<Self> {
            todo!()
        }
    }
    #[derive(Debug)]
    pub struct BytesEncoder;
    impl BytesEncoder {
        pub fn new(o: EncodeOptions) -> Self {
            todo!()
        }
        pub fn encode(&mut self, v: &BytesInput<'_>, o: &mut PageBuilder) -> Result<()> {
            todo!()
        }
        pub fn finish_chunk(&mut self) -> Result<Option<Vec<u8>>> {
            todo!()
        }
    }
    #[derive(Debug)]
    pub struct BytesDecoder<'a>(&'a ());
    impl<'a> BytesDecoder<'a> {
        pub fn open(n: NodeView<'a>, c: DecodeContext<'a>) -> Result<Self> {
            todo!()
        }
        pub fn decode(&self, s: usize, o: &mut [u128], d: &mut Vec<Buffer>) -> Result<()> {
            todo!()
        }
        pub fn take(&self, s: &[u32], o: &mut [u128], d: &mut Vec<Buffer>) -> Result<()> {
            todo!()
        }
        pub fn filter(&self, p: &BytesPred, s: usize, o: &mut [u64], n: usize) -> Result<()> {
            todo!()
        }
    }
}
pub mod fixed {
    use super::*;
    #[derive(Debug)]
    pub struct FixedEncoder;
    impl FixedEncoder {
        pub fn new(w: u32, o: EncodeOptions) -> Self {
            todo!()
        }
        pub fn encode(&mut self, v: &[u8], n: usize, o: &mut PageBuilder) -> Result<()> {
            todo!()
        }
        pub fn finish_chunk(&mut self) -> Result<Option<Vec<u8>>> {
            todo!()
        }
    }
    #[derive(Debug)]
    pub struct FixedDecoder<'a>(&'a ());
    impl<'a> FixedDecoder<'a> {
        pub fn open(n: NodeView<'a>, w: u32, c: DecodeContext<'a>) -> Result<Self> {
            todo!()
        }
        pub fn decode(&self, s: usize, o: &mut [u8]) -> Result<()> {
            todo!()
        }
        pub fn take(&self, s: &[u32], o: &mut [u8]) -> Result<()> {
            todo!()
        }
        pub fn plain_buffer(&self) -> Option<Buffer> {
            todo!()
        }
    }
}
impl crate::encoding::dictionary::ChunkDictionary {
    pub fn open(b: &Buffer, p: PhysType, u: bool, pool: &BufferPool) -> Result<Self> {
        todo!()
    }
    pub fn memory_bytes(&self) -> usize {
        todo!()
    }
}
