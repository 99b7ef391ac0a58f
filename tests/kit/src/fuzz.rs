//! The bodies of fuzz targets, run without a fuzzer.
//!
//! Every crate with fuzz targets keeps their bodies in `fuzz/bodies.rs`, which both the targets (`fuzz/fuzz_targets/`) and a test of the crate include,
//! and their corpora in `fuzz/corpus/`. `DELTALITE_MUTATIONS=1000000` runs more mutations of each, `DELTALITE_REGENERATE=1` writes the
//! corpora anew: only on request, because a corpus that follows the code tests nothing of what was written before.

use std::fmt::Display;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::mutate::mutate;

/// Mutated inputs for each target.
const MUTATIONS: u64 = 4000;
/// Largest input that mutations may grow to, in bytes.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// A target: its name, which is also its corpus' folder, and what it does with an input.
pub type Target<E> = (&'static str, fn(&[u8]) -> Result<(), E>);

/// The corpora of a crate.
#[derive(Debug)]
pub struct Corpora(PathBuf);

impl Corpora {
    /// Of the crate in a folder: `env!("CARGO_MANIFEST_DIR")`.
    pub fn of_crate(folder: &str) -> Self {
        Self(Path::new(folder).join("fuzz/corpus"))
    }

    fn seeds(&self, target: &str) -> Vec<(String, Vec<u8>)> {
        let folder = self.0.join(target);
        let entries = fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("corpus of {target}: {e}; write it with DELTALITE_REGENERATE=1"));
        let seed = |path: PathBuf| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())
        };
        let mut seeds: Vec<_> = entries.map(|entry| seed(entry.unwrap().path())).collect();
        seeds.sort();
        assert!(!seeds.is_empty(), "{target} has no corpus");
        seeds
    }

    /// Runs a target's body over its corpus, all of which it has to take, and over mutations of it, some of which it has to refuse.
    ///
    /// # Panics
    /// When it doesn't, or the body panics: the input is left in a file then.
    pub fn run<E: Display>(&self, (name, body): Target<E>) {
        let seeds = self.seeds(name);
        for (file, bytes) in &seeds {
            body(bytes).unwrap_or_else(|e| panic!("{name}/{file} is no longer taken: {e}"));
        }
        drop(body(b""));
        let wanted = std::env::var("DELTALITE_MUTATIONS").ok().and_then(|n| n.parse().ok());
        let mutations: u64 = wanted.unwrap_or(MUTATIONS);
        let mut refused = 0;
        for n in 0..mutations {
            let mut rng = StdRng::seed_from_u64(n);
            let (file, seed) = &seeds[rng.random_range(0..seeds.len())];
            let mut bytes = seed.clone();
            for _ in 0..rng.random_range(1..3) {
                mutate(&mut bytes, &seeds[rng.random_range(0..seeds.len())].1, &mut rng);
            }
            bytes.truncate(INPUT_BYTES_MAX);
            match catch_unwind(|| body(&bytes).is_err()) {
                Ok(is_refused) => refused += u64::from(is_refused),
                Err(_) => {
                    let path = std::env::temp_dir().join(format!("deltalite-{name}-{n}"));
                    fs::write(&path, &bytes).unwrap();
                    panic!("{name} panics on mutation {n} of {file}; the input is in {}", path.display());
                }
            }
        }
        eprintln!("{name}: {mutations} mutations, {refused} refused");
        // Mutations of which all or none get through would test little.
        let enough = mutations / 100..=mutations * 199 / 200;
        assert!(enough.contains(&refused), "{name} refuses {refused} of {mutations} mutations");
    }

    /// Empties the corpora of targets to be written anew; whether that was asked for.
    pub fn begin_anew<'a>(&self, targets: impl IntoIterator<Item = &'a str>) -> bool {
        if std::env::var_os("DELTALITE_REGENERATE").is_none() {
            return false;
        }
        for target in targets {
            drop(fs::remove_dir_all(self.0.join(target)));
            fs::create_dir_all(self.0.join(target)).unwrap();
        }
        true
    }

    /// Adds an input to a target's corpus, of its parts.
    pub fn put(&self, target: &str, name: &str, parts: &[&[u8]]) {
        fs::write(self.0.join(target).join(name), parts.concat()).unwrap();
    }
}

/// A test for each of the targets `TARGETS`, in their order, and one that there are no others.
#[macro_export]
macro_rules! fuzz_tests {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            let target = TARGETS.into_iter().find(|(name, _)| *name == stringify!($name));
            $crate::fuzz::Corpora::of_crate(env!("CARGO_MANIFEST_DIR")).run(target.unwrap());
        })*

        #[test]
        fn every_target_is_tested() {
            assert_eq!(TARGETS.map(|(name, _)| name), [$(stringify!($name)),*]);
        }
    };
}
