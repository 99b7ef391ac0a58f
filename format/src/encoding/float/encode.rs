//! Chooses a form for a page of floats and writes it.
//!
//! A form is judged by a sample of ten runs of 64 values: bits a value, plus what its decoding costs in time, in bits. The
//! choice is kept from page to page, and made anew when a page's sample takes a tenth more bits than the one it was made for.

use super::alp::{self, Exponents};
use super::alp_rd::{self, Cut};
use super::dictionary::{Coded, DISTINCT_MAX};
use super::pcodec::Compressed;
use super::{Float, run_end};
use crate::encoding::{EncodeOptions, Profile};
use crate::error::{FormatError, Result};
use crate::limits::{CASCADE_DEPTH_MAX, PAGE_VALUES_MAX};
use crate::page::{EncodingKind, NodeSpec, PageBuilder};
use crate::phys::{Lane, PhysType};

/// Sampled runs, and values in each.
const SAMPLE_RUNS: usize = 10;
const SAMPLE_RUN: usize = 64;
/// Values that ALP's exponents are first tried on, and exponents that are tried on the whole sample.
const FIRST_ROUND: usize = 128;
const SECOND_ROUND: usize = 8;
/// Growth of a sample's cost that makes the choice anew.
const DRIFT: f64 = 1.1;
/// What decoding costs beyond that of packed integers, in bits a value of size: forms that save less are not worth it.
const PENALTY_DIVISION: f64 = 0.5;
const PENALTY_DICTIONARY: f64 = 1.0;
const PENALTY_RUNS: f64 = 0.5;
const PENALTY_RD: f64 = 2.0;
/// Share of the plain size that any form must stay below, because plain values are handed out as they lie.
const PLAIN_SHARE: f64 = 0.9;
/// Share of the best other form's size that pco must stay below in the compact profile.
const PCO_SHARE: f64 = 0.98;

/// Encodes the pages of one stream of floats.
#[derive(Debug)]
pub struct FloatEncoder {
    ptype: PhysType,
    options: EncodeOptions,
    choice: Option<Choice>,
}

/// A form and what it was expected to cost, in bits a value.
#[derive(Debug, Clone)]
struct Choice {
    form: Form,
    cost: f64,
}

#[derive(Debug, Clone)]
enum Form {
    Plain,
    Alp(Exponents),
    AlpRd(Cut),
    Dictionary,
    Runs,
}

impl FloatEncoder {
    /// An encoder for a stream of `ptype`, [`PhysType::F32`] or [`PhysType::F64`].
    pub fn new(ptype: PhysType, options: EncodeOptions) -> Self {
        Self { ptype, options, choice: None }
    }

    /// Writes a page of singles.
    ///
    /// # Errors
    /// When the stream holds another type, or there are more values than a page may have.
    pub fn encode_f32(&mut self, values: &[f32], out: &mut PageBuilder) -> Result<()> {
        self.encode(values, out)
    }

    /// Writes a page of doubles.
    ///
    /// # Errors
    /// When the stream holds another type, or there are more values than a page may have.
    pub fn encode_f64(&mut self, values: &[f64], out: &mut PageBuilder) -> Result<()> {
        self.encode(values, out)
    }

    fn encode<F: Float>(&mut self, values: &[F], out: &mut PageBuilder) -> Result<()> {
        if self.ptype != F::PTYPE {
            return Err(FormatError::invalid(
                "writing floats",
                format!("values of {:?} to a stream of {:?}", F::PTYPE, self.ptype),
            ));
        }
        if values.len() > PAGE_VALUES_MAX {
            return Err(FormatError::invalid(
                "writing floats",
                format!("{} values exceed a page's {PAGE_VALUES_MAX}", values.len()),
            ));
        }
        write(values, CASCADE_DEPTH_MAX, self.options, &mut self.choice, out)
    }

    /// Ends a chunk. Floats share no dictionary, so there is never a page; the choice stays for the next chunk.
    ///
    /// # Errors
    /// None today.
    pub fn finish_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// Writes values in the best form, without what was learnt from other pages; `depth` levels of nodes may be used.
pub(super) fn write_best<F: Float>(
    values: &[F],
    depth: usize,
    options: EncodeOptions,
    out: &mut PageBuilder,
) -> Result<()> {
    write(values, depth, options, &mut None, out)
}

/// Writes values as they are.
pub(super) fn write_plain<F: Float>(values: &[F], out: &mut PageBuilder) {
    out.node(NodeSpec::new(EncodingKind::Plain, F::PTYPE, values.len()));
    out.buffer(values);
}

fn write<F: Float>(
    values: &[F],
    depth: usize,
    options: EncodeOptions,
    choice: &mut Option<Choice>,
    out: &mut PageBuilder,
) -> Result<()> {
    if options.profile == Profile::Plain {
        write_plain(values, out);
        return Ok(());
    }
    if is_constant(values) {
        out.node(NodeSpec::new(EncodingKind::Constant, F::PTYPE, values.len()));
        out.buffer(&values[..values.len().min(1)]);
        return Ok(());
    }
    let mark = out.mark();
    let before = out.data_len();
    if depth > 1 {
        write_form(values, depth, options, choice, out)?;
    } else {
        write_plain(values, out);
    }
    let mut size = out.data_len() - before;
    let plain = size_of_val(values);
    if size as f64 > PLAIN_SHARE * plain as f64 {
        out.rewind(mark);
        write_plain(values, out);
        size = plain;
    }
    if options.profile == Profile::Compact {
        let compressed = Compressed::of(values)?;
        if (compressed.len() as f64) < PCO_SHARE * size as f64 {
            out.rewind(mark);
            compressed.write::<F>(values.len(), out);
        }
    }
    Ok(())
}

fn write_form<F: Float>(
    values: &[F],
    depth: usize,
    options: EncodeOptions,
    choice: &mut Option<Choice>,
    out: &mut PageBuilder,
) -> Result<()> {
    let sample = sample(values);
    let mut coded = None;
    let kept = choice.take().filter(|c| cost(&c.form, &sample, values, &mut coded) <= c.cost * DRIFT);
    let chosen = kept.unwrap_or_else(|| choose(&sample, values, depth, &mut coded));
    match &chosen.form {
        Form::Plain => write_plain(values, out),
        Form::Alp(exponents) => alp::encode(values, *exponents, depth, options, out)?,
        Form::AlpRd(cut) => alp_rd::encode(values, cut, depth, options, out)?,
        Form::Runs => run_end::encode(values, depth, options, out)?,
        // The cost of a dictionary is known by making it.
        Form::Dictionary => match &coded {
            Some(coded) => coded.write(depth, options, out)?,
            None => write_plain(values, out),
        },
    }
    *choice = Some(chosen);
    Ok(())
}

fn plain_cost<F: Float>() -> f64 {
    PLAIN_SHARE * F::Bits::BITS as f64
}

/// What a form that was chosen before costs for this page.
fn cost<F: Float>(form: &Form, sample: &[F], values: &[F], coded: &mut Option<Coded<F>>) -> f64 {
    match form {
        // Never kept: data that was random may no longer be, and looking is cheap against writing it plain.
        Form::Plain => f64::INFINITY,
        Form::Alp(e) => alp_cost(*e, sample, &mut vec![F::Bits::from_u64(0); sample.len()]),
        Form::AlpRd(cut) => cut.bits_per_value(sample) + PENALTY_RD,
        Form::Runs => runs_cost(sample, F::Bits::BITS as f64),
        Form::Dictionary => {
            *coded = Coded::of(values);
            coded.as_ref().map_or(f64::INFINITY, |c| c.bits_per_value() + PENALTY_DICTIONARY)
        }
    }
}

fn alp_cost<F: Float>(exponents: Exponents, sample: &[F], scratch: &mut [F::Bits]) -> f64 {
    let division = if exponents.divides() { PENALTY_DIVISION } else { 0.0 };
    exponents.bits_per_value(sample, scratch) + division
}

fn choose<F: Float>(sample: &[F], values: &[F], depth: usize, coded: &mut Option<Coded<F>>) -> Choice {
    let mut best = Choice { form: Form::Plain, cost: plain_cost::<F>() };
    let mut consider = |form: Form, cost: f64| {
        if cost < best.cost {
            best = Choice { form, cost };
        }
        best.cost
    };
    let mut scratch = vec![F::Bits::from_u64(0); sample.len()];
    // Most exponents lose on a few values; only the best of those are tried on all.
    let few: Vec<F> = sample.iter().step_by(sample.len().div_ceil(FIRST_ROUND)).copied().collect();
    let mut tried: Vec<(f64, Exponents)> = Exponents::all::<F>()
        .into_iter()
        .map(|e| (alp_cost(e, &few, &mut scratch[..few.len()]), e))
        .filter(|(cost, _)| cost.is_finite())
        .collect();
    tried.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (_, exponents) in tried.into_iter().take(SECOND_ROUND) {
        let cost = alp_cost(exponents, sample, &mut scratch);
        consider(Form::Alp(exponents), cost);
    }
    if let Some((cut, bits)) = Cut::best(sample) {
        consider(Form::AlpRd(cut), bits + PENALTY_RD);
    }
    let so_far = consider(Form::Plain, plain_cost::<F>());
    let runs = consider(Form::Runs, if depth > 2 { runs_cost(sample, so_far) } else { f64::INFINITY });
    // A dictionary of the whole page is made only where the sample repeats itself and codes could win.
    let mut distinct: Vec<u64> = sample.iter().map(|v| v.bits().to_u64()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let code = distinct.len().next_power_of_two().trailing_zeros();
    if distinct.len() * 4 <= sample.len() * 3
        && distinct.len() <= DISTINCT_MAX
        && f64::from(code) + PENALTY_DICTIONARY < runs
    {
        if coded.is_none() {
            *coded = Coded::of(values);
        }
        if let Some(coded) = coded {
            consider(Form::Dictionary, coded.bits_per_value() + PENALTY_DICTIONARY);
        }
    }
    best
}

/// Bits a value as runs, when a run's value takes `value` bits.
fn runs_cost<F: Float>(sample: &[F], value: f64) -> f64 {
    // An end of a run takes about a byte as a difference.
    const END_BITS: f64 = 8.0;
    let pairs = sample.chunks(SAMPLE_RUN).flat_map(|run| run.windows(2));
    let (changes, of) = pairs.fold((0usize, 0usize), |(changes, of), w| {
        (changes + usize::from(w[0].bits() != w[1].bits()), of + 1)
    });
    if of == 0 || changes * 4 > of {
        return f64::INFINITY;
    }
    // A sample without a change says that runs are long, not that there are none.
    (changes.max(1)) as f64 / of as f64 * (value + END_BITS) + PENALTY_RUNS
}

/// Ten runs of 64 values, evenly spread; all values when there are no more.
fn sample<F: Float>(values: &[F]) -> Vec<F> {
    if values.len() <= SAMPLE_RUNS * SAMPLE_RUN {
        return values.to_vec();
    }
    let stride = (values.len() - SAMPLE_RUN) / (SAMPLE_RUNS - 1);
    (0..SAMPLE_RUNS).flat_map(|i| &values[i * stride..i * stride + SAMPLE_RUN]).copied().collect()
}

/// Whether all values have the same bits.
fn is_constant<F: Float>(values: &[F]) -> bool {
    values.first().is_none_or(|first| values.iter().all(|v| v.bits() == first.bits()))
}
