//! Chooses an encoding for each page of a stream of byte strings, and writes it.
//!
//! The first page is tried in every way that may suit it, each way's cost being the bytes it takes, with a factor for the time that
//! decoding takes. The choice stays until the bytes a page takes drift by more than a tenth from what they were when it was made.

use std::fmt;

use super::concat::{GRANULE_ROWS, encode_fsst, encode_plain, encode_zstd};
use super::dictionary::DictionaryBuilder;
use super::fsst;
use super::input::{BytesInput, Flat};
use crate::encoding::dictionary::{FLAG_SHARED, encode_codes};
use crate::encoding::{EncodeOptions, Profile};
use crate::error::Result;
use crate::limits::{CASCADE_DEPTH_MAX, PAGE_VALUES_MAX, UNIT_ROWS_MAX, VECTOR_ROWS};
use crate::page::{EncodingKind, NodeSpec, PageBuilder};
use crate::phys::PhysType;

/// Most bytes of distinct values in a shared dictionary: what every reader of one page of the chunk has to decode.
const DICTIONARY_BYTES_MAX: usize = 4 << 20;
/// Pages that share a dictionary, as a guess: those of a block of the usual size.
const PAGES_PER_CHUNK: usize = 16;
/// Of the values of a page, the share that may be distinct for a dictionary to be tried.
const DISTINCT_SHARE_MAX: f64 = 0.6;
/// Drift of bytes that makes a choice be made again.
const DRIFT: f64 = 0.1;

/// Rows for which a dictionary may take a byte more than another encoding, as they are decoded several times faster.
const DICTIONARY_ROWS_PER_BYTE: usize = 2;

/// What a zstd page must be smaller than, as a share of the best other one, to be worth its time to decode.
const ZSTD_SHARE_DEFAULT: f64 = 0.55;
const ZSTD_SHARE_COMPACT: f64 = 0.97;
const ZSTD_LEVEL_DEFAULT: i32 = 3;
const ZSTD_LEVEL_COMPACT: i32 = 9;
/// Rows of a zstd frame in the default profile, where one row should not cost a whole page.
const ZSTD_FRAME_ROWS: usize = 8 * VECTOR_ROWS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Dictionary,
    Fsst,
    Zstd,
}

/// A choice, and what the page for which it was made took.
#[derive(Debug, Clone, Copy)]
struct Choice {
    kind: Kind,
    /// Encoded bytes for each byte of the values, or for each row where that is what counts.
    rate: f64,
}

/// The encoder of a stream of byte strings.
///
/// Pages of a chunk may share a dictionary and a symbol table; [`BytesEncoder::finish_chunk`] ends both.
pub struct BytesEncoder {
    options: EncodeOptions,
    choice: Option<Choice>,
    /// Distinct values of the chunk.
    dictionary: DictionaryBuilder,
    /// Whether a page of the chunk refers to it.
    dictionary_used: bool,
    symbols: Option<::fsst::Compressor>,
}

impl fmt::Debug for BytesEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BytesEncoder")
            .field("options", &self.options)
            .field("choice", &self.choice)
            .field("distinct", &self.dictionary.len())
            .finish_non_exhaustive()
    }
}

impl BytesEncoder {
    /// An encoder for one stream.
    pub fn new(options: EncodeOptions) -> Self {
        Self {
            options,
            choice: None,
            dictionary: DictionaryBuilder::default(),
            dictionary_used: false,
            symbols: None,
        }
    }

    /// Writes a page's values.
    ///
    /// # Errors
    /// [`crate::FormatError::Invalid`] when the values are too long for a page.
    pub fn encode(&mut self, values: &BytesInput<'_>, out: &mut PageBuilder) -> Result<()> {
        if self.options.profile == Profile::Plain {
            return encode_plain(&values.flatten()?, self.options, out);
        }
        if let Some(value) = values.constant() {
            out.node(NodeSpec::new(EncodingKind::Constant, PhysType::Bytes, values.len()));
            out.buffer(value);
            return Ok(());
        }
        if let Some(choice) = self.choice {
            let before = out.data_len();
            let mut flat = None;
            if self.write(choice.kind, values, &mut flat, out)? {
                let rate = Self::rate(choice.kind, out.data_len() - before, values, flat.as_ref());
                if (rate - choice.rate).abs() > DRIFT * choice.rate {
                    self.choice = None;
                    self.symbols = None;
                }
                return Ok(());
            }
        }
        let flat = values.flatten()?;
        let mut kind = self.choose(values, &flat)?;
        let mut flat = Some(flat);
        let before = out.data_len();
        if !self.write(kind, values, &mut flat, out)? {
            // The chunk's dictionary is full, or zstd shrinks the values more than readers accept.
            kind = Kind::Fsst;
            self.write(kind, values, &mut flat, out)?;
        }
        self.choice =
            Some(Choice { kind, rate: Self::rate(kind, out.data_len() - before, values, flat.as_ref()) });
        Ok(())
    }

    /// Ends a chunk: the page of its shared dictionary, if a page refers to it.
    ///
    /// # Errors
    /// As [`BytesEncoder::encode`].
    pub fn finish_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        self.symbols = None;
        let dictionary = std::mem::take(&mut self.dictionary);
        if !std::mem::take(&mut self.dictionary_used) {
            return Ok(None);
        }
        let mut page = PageBuilder::new();
        encode_alone(&dictionary.values(), self.options, &mut page)?;
        page.finish(dictionary.len()).map(Some)
    }

    fn rate(kind: Kind, bytes: usize, values: &BytesInput<'_>, flat: Option<&Flat>) -> f64 {
        let per = match (kind, flat) {
            (Kind::Dictionary, _) | (_, None) => values.len(),
            (_, Some(flat)) => flat.bytes.len() + values.len(),
        };
        (bytes as f64 + 1.0) / (per as f64 + 1.0)
    }

    /// Writes a page in one encoding; false, with nothing written, when these values can't be in it.
    fn write(
        &mut self,
        kind: Kind,
        values: &BytesInput<'_>,
        flat: &mut Option<Flat>,
        out: &mut PageBuilder,
    ) -> Result<bool> {
        if kind == Kind::Dictionary {
            let Some(codes) = self.dictionary.encode(values, PAGE_VALUES_MAX, DICTIONARY_BYTES_MAX) else {
                return Ok(false);
            };
            self.dictionary_used = true;
            out.node(NodeSpec {
                flags: FLAG_SHARED,
                children: 1,
                ..NodeSpec::new(EncodingKind::Dictionary, PhysType::Bytes, values.len())
            });
            encode_codes(&codes, self.dictionary.len(), CASCADE_DEPTH_MAX - 1, self.options, out)?;
            return Ok(true);
        }
        let flat = match flat {
            Some(flat) => flat,
            None => flat.insert(values.flatten()?),
        };
        match kind {
            Kind::Zstd => {
                let (rows, level) = zstd_options(self.options);
                return encode_zstd(flat, rows, level, self.options, out);
            }
            Kind::Fsst => {
                let symbols = self.symbols.get_or_insert_with(|| fsst::train(&flat.bytes));
                encode_fsst(flat, symbols, self.options, out)?;
            }
            Kind::Plain | Kind::Dictionary => encode_plain(flat, self.options, out)?,
        }
        Ok(true)
    }

    fn choose(&mut self, values: &BytesInput<'_>, flat: &Flat) -> Result<Kind> {
        let symbols = self.symbols.insert(fsst::train(&flat.bytes));
        let concat = Estimate::new(flat, symbols, self.options)?;
        let (mut kind, mut cost) = concat.best();
        if let Some(bytes) = dictionary_cost(values, concat.shrinkage(), self.options)? {
            // A code is an index to a value that is decoded already: the cheapest there is to read.
            let rows_per_byte = match self.options.profile {
                Profile::Compact => usize::MAX,
                _ => DICTIONARY_ROWS_PER_BYTE,
            };
            if bytes <= cost + values.len() / rows_per_byte {
                (kind, cost) = (Kind::Dictionary, bytes);
            }
        }
        if let Some(bytes) = zstd_cost(flat, self.options)?
            && (bytes as f64) < cost as f64 * zstd_share(self.options)
        {
            kind = Kind::Zstd;
        }
        Ok(kind)
    }
}

/// Writes values that no other page has to do with: a dictionary's.
pub(super) fn encode_alone(values: &BytesInput<'_>, o: EncodeOptions, out: &mut PageBuilder) -> Result<()> {
    let flat = values.flatten()?;
    if o.profile == Profile::Plain {
        return encode_plain(&flat, o, out);
    }
    let symbols = fsst::train(&flat.bytes);
    let (kind, cost) = Estimate::new(&flat, &symbols, o)?.best();
    if o.profile == Profile::Compact
        && let Some(bytes) = zstd_cost(&flat, o)?
        && (bytes as f64) < cost as f64 * ZSTD_SHARE_COMPACT
        && encode_zstd(&flat, UNIT_ROWS_MAX, ZSTD_LEVEL_COMPACT, o, out)?
    {
        return Ok(());
    }
    match kind {
        Kind::Fsst => encode_fsst(&flat, &symbols, o, out),
        _ => encode_plain(&flat, o, out),
    }
}

fn zstd_options(o: EncodeOptions) -> (usize, i32) {
    match o.profile {
        Profile::Compact => (UNIT_ROWS_MAX, ZSTD_LEVEL_COMPACT),
        _ => (ZSTD_FRAME_ROWS, ZSTD_LEVEL_DEFAULT),
    }
}

fn zstd_share(o: EncodeOptions) -> f64 {
    match o.profile {
        Profile::Compact => ZSTD_SHARE_COMPACT,
        _ => ZSTD_SHARE_DEFAULT,
    }
}

/// What plain values and FSST codes would take.
struct Estimate {
    raw: usize,
    codes: usize,
    table: usize,
    lengths: usize,
}

impl Estimate {
    fn new(flat: &Flat, symbols: &::fsst::Compressor, o: EncodeOptions) -> Result<Self> {
        /// Granules that are coded to tell how much all would shrink.
        const SAMPLES: usize = 32;
        let starts = flat.starts(GRANULE_ROWS);
        let granules = starts.len() - 1;
        let step = granules.div_ceil(SAMPLES).max(1);
        let (mut before, mut after) = (0, 0);
        for i in (0..granules).step_by(step) {
            let part = &flat.bytes[starts[i] as usize..starts[i + 1] as usize];
            before += part.len();
            after += symbols.compress(part).len();
        }
        let raw = flat.bytes.len();
        let codes = if before == 0 { raw } else { (raw as f64 * after as f64 / before as f64) as usize };
        let mut page = PageBuilder::new();
        crate::encoding::int::encode_ints(&flat.lengths, PhysType::U32, 2, o, &mut page)?;
        let table = symbols.symbol_lengths().iter().map(|&n| 1 + n as usize).sum();
        Ok(Self { raw, codes, table, lengths: page.data_len() + starts.len() * 4 })
    }

    /// The better of the two, with what it would take.
    fn best(&self) -> (Kind, usize) {
        /// Plain values are not copied on their way out; codes must save at least this share of them.
        const WORTH: f64 = 0.9;
        let fsst = self.codes + self.table;
        if (fsst as f64) < self.raw as f64 * WORTH {
            (Kind::Fsst, fsst + self.lengths)
        } else {
            (Kind::Plain, self.raw + self.lengths)
        }
    }

    /// Coded bytes for each byte of values.
    fn shrinkage(&self) -> f64 {
        if self.raw == 0 { 1.0 } else { self.codes as f64 / self.raw as f64 }
    }
}

/// What a page would take as codes into the chunk's dictionary, with its share of the dictionary.
fn dictionary_cost(values: &BytesInput<'_>, shrinkage: f64, o: EncodeOptions) -> Result<Option<usize>> {
    /// Values after which a column without repetition is given up.
    const PROBE: usize = 4 * VECTOR_ROWS;
    let n = values.len();
    let mut dictionary = DictionaryBuilder::default();
    let mut codes = Vec::with_capacity(n);
    let limit = (n as f64 * DISTINCT_SHARE_MAX) as usize;
    let (mut half_len, mut half_bytes) = (0, 0);
    for i in 0..n {
        if i == PROBE && dictionary.len() > PROBE / 10 * 9 {
            return Ok(None);
        }
        if i == n / 2 {
            (half_len, half_bytes) = (dictionary.len(), dictionary.value_bytes());
        }
        match dictionary.code(values.get(i), limit.max(1)) {
            Some(code) if dictionary.value_bytes() <= DICTIONARY_BYTES_MAX => codes.push(code),
            _ => return Ok(None),
        }
    }
    let mut page = PageBuilder::new();
    encode_codes(&codes, dictionary.len(), CASCADE_DEPTH_MAX - 1, o, &mut page)?;
    // A byte a value for its length.
    let stored = |values: usize, bytes: usize| (bytes as f64 * shrinkage) as usize + values;
    let whole = stored(dictionary.len(), dictionary.value_bytes());
    // What the second half added tells what further pages will add: nothing, when all values have been seen.
    let added = 2 * stored(dictionary.len() - half_len, dictionary.value_bytes() - half_bytes);
    Ok(Some(page.data_len() + added.min(whole) + whole / PAGES_PER_CHUNK))
}

/// What a page would take in zstd frames.
fn zstd_cost(flat: &Flat, o: EncodeOptions) -> Result<Option<usize>> {
    /// Fewer bytes than this are not worth a frame.
    const BYTES_MIN: usize = 256;
    if flat.bytes.len() < BYTES_MIN {
        return Ok(None);
    }
    let (rows, level) = zstd_options(o);
    let mut page = PageBuilder::new();
    Ok(encode_zstd(flat, rows, level, o, &mut page)?.then(|| page.data_len()))
}
