//! Columns whose values call for one encoding each.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int32Array,
    Int64Array, StringViewArray,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Rows of each column: four units of a block.
pub(crate) const ROWS: usize = 4 * 65_536;

const WORDS: [&str; 16] = [
    "final",
    "ironic",
    "packages",
    "sleep",
    "carefully",
    "regular",
    "deposits",
    "quickly",
    "above",
    "the",
    "furiously",
    "even",
    "accounts",
    "bold",
    "requests",
    "slyly",
];

/// All shapes by name.
pub(crate) fn all() -> Vec<(&'static str, ArrayRef)> {
    let mut random = StdRng::seed_from_u64(7);
    let random = &mut random;
    let integers = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let mut shapes = vec![
        ("constant", integers(vec![42; ROWS])),
        ("sequence", integers((0..ROWS as i64).collect())),
        ("bits_12", integers((0..ROWS).map(|_| random.random_range(0..4096)).collect())),
        ("bits_24", integers((0..ROWS).map(|_| random.random_range(0..1 << 24)).collect())),
    ];
    let outlier = |random: &mut StdRng| {
        if random.random_bool(0.01) { random.random() } else { random.random_range(0..256) }
    };
    shapes.push(("bits_8_outliers", integers((0..ROWS).map(|_| outlier(random)).collect())));
    let mut key = 0;
    let mut next_key = |random: &mut StdRng| {
        key += random.random_range(1..9);
        key
    };
    shapes.push(("sorted", integers((0..ROWS).map(|_| next_key(random)).collect())));
    shapes.push(("runs", integers((0..ROWS).map(|row| (row / 500) as i64 * 7919 % 1009).collect())));
    let rare = |random: &mut StdRng| if random.random_bool(0.005) { random.random() } else { 0 };
    shapes.push(("sparse", integers((0..ROWS).map(|_| rare(random)).collect())));
    let spread: Vec<i64> = (0..200).map(|_| random.random()).collect();
    shapes.push(("few_distinct", integers((0..ROWS).map(|_| spread[random.random_range(0..200)]).collect())));
    shapes.push(("noise_64", integers((0..ROWS).map(|_| random.random()).collect())));

    let nullable: Int32Array =
        (0..ROWS).map(|_| random.random_bool(0.9).then(|| random.random_range(0..1000))).collect();
    shapes.push(("nulls_10", Arc::new(nullable)));
    let dates = Date32Array::from_iter_values((0..ROWS).map(|_| random.random_range(8035..10_592)));
    shapes.push(("dates", Arc::new(dates)));
    let prices =
        Decimal128Array::from_iter_values((0..ROWS).map(|_| random.random_range(90_000..10_500_000)));
    shapes.push(("decimals", Arc::new(prices.with_data_type(arrow::datatypes::DataType::Decimal128(15, 2)))));
    let flags: BooleanArray = (0..ROWS).map(|_| Some(random.random_bool(0.3))).collect();
    shapes.push(("booleans", Arc::new(flags)));

    let prices = (0..ROWS).map(|_| f64::from(random.random_range(0..1_000_000)) / 100.0);
    shapes.push(("doubles_2_places", Arc::new(Float64Array::from_iter_values(prices))));
    shapes.push((
        "doubles_noise",
        Arc::new(Float64Array::from_iter_values((0..ROWS).map(|_| random.random::<f64>()))),
    ));

    let modes = ["AIR", "FOB", "MAIL", "RAIL", "REG AIR", "SHIP", "TRUCK"];
    let categories = StringViewArray::from_iter_values((0..ROWS).map(|_| modes[random.random_range(0..7)]));
    shapes.push(("categories", Arc::new(categories)));
    let text = |random: &mut StdRng| {
        let words: Vec<&str> =
            (0..random.random_range(2..7)).map(|_| WORDS[random.random_range(0..16)]).collect();
        words.join(" ")
    };
    shapes.push(("text", Arc::new(StringViewArray::from_iter_values((0..ROWS).map(|_| text(random))))));
    let codes = (0..ROWS).map(|_| format!("{:016x}", random.random::<u64>()));
    shapes.push(("codes", Arc::new(StringViewArray::from_iter_values(codes))));
    let digests: Vec<[u8; 16]> = (0..ROWS).map(|_| random.random()).collect();
    if let Ok(digests) = FixedSizeBinaryArray::try_from_iter(digests.iter()) {
        shapes.push(("fixed_16", Arc::new(digests)));
    }
    shapes
}
